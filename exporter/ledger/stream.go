// Package ledger keeps the archive: what a batch is, the hash chain of
// manifests that says what is covered by which object, how a batch is
// committed to it, how its end is found, and how all of it is proved.
//
// It guarantees, given a sink that keeps the contract of package sinks: that
// what Commit returned nil for is in the chain for ever; that an error from
// it, or a crash at any point, leaves an archive that verifies and that the
// next Open goes on from; that of several writers of one stream exactly one
// commits each manifest. It does not know where incidents come from, and it
// believes no claim of coverage but that of the process that did the reading.
package ledger

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"incident-exporter/exporter/rawjson"
)

// Stream is one source of one tenant. It has a chain of its own.
type Stream struct {
	Source string `json:"source"`
	Tenant string `json:"tenant"` // lower-case GUID
}

func (s Stream) String() string { return s.Source + "/" + s.Tenant }

// Names are the members that the source's incidents are ordered by.
func (s Stream) Names() rawjson.Names {
	if s.Source == "graph" {
		return rawjson.Names{ID: "id", Updated: "lastUpdateDateTime", Created: "createdDateTime"}
	}
	return rawjson.Names{ID: "incidentId", Updated: "lastUpdateTime", Created: "createdTime"}
}

// Roots of the archive's keys. What begins with private is not archive.
const (
	manifestRoot = "manifests/"
	dataRoot     = "incidents/"
	private      = ".incident-exporter/"
)

func (s Stream) path() string { return "source=" + s.Source + "/tenant=" + s.Tenant + "/" }

// ManifestPrefix and DataPrefix are what the stream's keys begin with.
func (s Stream) ManifestPrefix() string { return manifestRoot + s.path() }
func (s Stream) DataPrefix() string     { return dataRoot + s.path() }

// ManifestKey is the key of the seq-th manifest, counted from 1.
func (s Stream) ManifestKey(seq uint64) string {
	return s.ManifestPrefix() + fmt.Sprintf("%012d.json", seq)
}

// dataKey is the key of a data object: its date is the UTC day on which the
// manifest before it was committed.
func (s Stream) dataKey(seq uint64, day time.Time, c Compression) string {
	return s.DataPrefix() + "date=" + day.UTC().Format(time.DateOnly) + "/" + fmt.Sprintf("%012d", seq) + c.extension()
}

var (
	seqName    = regexp.MustCompile(`^\d{12}\.json$`)
	dataName   = regexp.MustCompile(`^date=\d{4}-\d{2}-\d{2}/\d{12}\.ndjson(\.gz|\.zst)?$`)
	streamPath = regexp.MustCompile(`^(?:manifests|incidents)/source=([a-z]+)/tenant=([0-9a-f-]+)/`)
)

// manifestSeq is the number in a manifest's key, 0 if it is not the key of one.
func (s Stream) manifestSeq(key string) uint64 {
	name, ok := strings.CutPrefix(key, s.ManifestPrefix())
	if !ok || !seqName.MatchString(name) {
		return 0
	}
	seq, _ := strconv.ParseUint(name[:12], 10, 64)
	return seq
}

// dataSeq is the number in a data object's key, 0 if it is not the key of one.
func (s Stream) dataSeq(key string) uint64 {
	name, ok := strings.CutPrefix(key, s.DataPrefix())
	if !ok || !dataName.MatchString(name) {
		return 0
	}
	seq, _ := strconv.ParseUint(name[len("date=2006-01-02/"):][:12], 10, 64)
	return seq
}

// streamOf is the stream that a key belongs to.
func streamOf(key string) (Stream, bool) {
	m := streamPath.FindStringSubmatch(key)
	if m == nil {
		return Stream{}, false
	}
	return Stream{m[1], m[2]}, true
}

// ParseStream reads what Stream.String writes, SOURCE/TENANT.
func ParseStream(text string) (Stream, bool) {
	source, tenant, ok := strings.Cut(text, "/")
	s, found := streamOf(Stream{source, tenant}.ManifestKey(1))
	return s, ok && found && s.String() == text
}

// Compression is how data objects are compressed: gzip, zstd or none.
type Compression string

func (c Compression) extension() string {
	switch c {
	case "zstd":
		return ".ndjson.zst"
	case "none":
		return ".ndjson"
	}
	return ".ndjson.gz"
}

// compressionOf is what a data key's extension says.
func compressionOf(key string) Compression {
	switch path.Ext(key) {
	case ".zst":
		return "zstd"
	case ".ndjson":
		return "none"
	}
	return "gzip"
}
