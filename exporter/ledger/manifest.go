package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks"
)

// Format is the newest manifest format that is read and the one written.
const Format = 1

// maxManifest bounds what is read of a manifest: maxLines versions take 10 MB,
// with the longest ids and spellings that package rawjson lets pass 60.
const maxManifest = 64 << 20

// Errors about one manifest, which Verify turns into kinds of findings.
var (
	ErrAltered = errors.New("manifest altered: its sum does not fit its bytes")
	ErrCut     = errors.New("manifest cut: it does not end as a manifest ends")
	ErrFormat  = errors.New("manifest of a format that this version does not know")
	ErrForeign = errors.New("manifest of another stream or number")
)

// Time is an instant as a manifest writes it: RFC 3339, UTC, with exactly seven
// fractional digits, so that the texts sort as the times do.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.0000000Z"

// MarshalJSON writes the time. It fails for years that could not be read again.
func (t Time) MarshalJSON() ([]byte, error) {
	if text := t.text(); len(text) == len(timeLayout) {
		return []byte(`"` + text + `"`), nil
	}
	return nil, fmt.Errorf("%v is not in the years 0 to 9999", t.Time)
}

func (t Time) text() string { return t.UTC().Truncate(rawjson.Tick).Format(timeLayout) }

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	at, err := time.Parse(timeLayout, s)
	if err != nil || (Time{at}).text() != s {
		return fmt.Errorf("%.40q is not a time in UTC with seven fractional digits", s)
	}
	t.Time = at
	return nil
}

// Version is one line of a data object.
type Version struct {
	ID      string `json:"id"`
	Updated string `json:"updated"` // as served
	SHA256  string `json:"sha256"`  // of the line without its newline
}

// Object is what is known of a data object.
type Object struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"` // as stored
	SHA256 string `json:"sha256"`
	Lines  int    `json:"lines"`
}

// Unfetched says why a hole is one.
type Unfetched struct {
	From  Time   `json:"from"`
	To    Time   `json:"to"`
	ID    string `json:"id,omitempty"` // of the incident that cannot be served, where it is known
	Error string `json:"error"`
	Since uint64 `json:"since"` // the manifest that named it first
}

// BeyondReach is the error of a hole that is older than the API's reach. An
// empty answer shows nothing about it, and it is not asked for again.
const BeyondReach = "beyond the reach of the API"

// Withdrawn takes back what earlier manifests claimed.
type Withdrawn struct {
	From Time   `json:"from"`
	To   Time   `json:"to"`
	Why  string `json:"why"`
}

// By says who wrote a manifest.
type By struct {
	Version string `json:"version"`
	Client  string `json:"client"` // application id
}

// Manifest is one link of the chain. Covered is the archive's claim: all of
// Coverage that the manifest before had, less Withdrawn, and with Read.
type Manifest struct {
	Format    int               `json:"format"`
	Stream    Stream            `json:"stream"`
	Seq       uint64            `json:"seq"`
	Prev      string            `json:"prev"`             // SHA-256 of the previous manifest's stored bytes, empty in the first
	Start     Time              `json:"start"`            // nothing before it is read
	Object    *Object           `json:"object,omitempty"` // all but the first have one
	Versions  []Version         `json:"versions,omitempty"`
	Latest    Time              `json:"latest,omitzero"`  // the latest update time of any line so far
	Filled    uint64            `json:"filled,omitempty"` // the newest manifest so far whose object has lines
	Read      []Claim           `json:"read,omitempty"`
	Withdrawn []Withdrawn       `json:"withdrawn,omitempty"`
	Covered   Coverage          `json:"covered,omitempty"`
	Unfetched []Unfetched       `json:"unfetched,omitempty"` // oldest try first
	Disorder  Time              `json:"disorder,omitzero"`   // when the server's order was last contradicted
	Partial   []string          `json:"partial,omitempty"`   // providers that refuse, so that answers lack what they have
	Calls     int               `json:"calls"`
	Requests  []string          `json:"requests,omitempty"`
	How       map[string]string `json:"how,omitempty"`
	Adopted   bool              `json:"adopted,omitempty"`
	Void      string            `json:"void,omitempty"`
	Next      string            `json:"next"`
	By        By                `json:"by"`
	Committed Time              `json:"committed"`

	Hash string `json:"-"` // SHA-256 of the stored bytes
	Size int64  `json:"-"` // of the stored bytes
}

// Head is what names a chain's end to someone who keeps it: SEQ:HASH.
func (m *Manifest) Head() string { return fmt.Sprintf("%d:%s", m.Seq, m.Hash) }

const sumOpen = `,"sum":"`

var sumClose = regexp.MustCompile(`,"sum":"([0-9a-f]{64})"}\n$`)

// encode returns the bytes that are stored, and notes their hash.
func (m *Manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	b.Truncate(b.Len() - len("}\n"))
	sum := sha256.Sum256(b.Bytes())
	b.WriteString(sumOpen + hex.EncodeToString(sum[:]) + "\"}\n")
	m.Size = int64(b.Len())
	m.Hash = hexSum(b.Bytes())
	return b.Bytes(), nil
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// decode reads a stored manifest and holds it against its own sum.
func decode(data []byte) (*Manifest, error) {
	tail := data[max(0, len(data)-len(sumOpen)-80):]
	at := sumClose.FindSubmatchIndex(tail)
	if at == nil {
		return nil, unsummed(data)
	}
	m := &Manifest{Hash: hexSum(data), Size: int64(len(data))}
	body := data[:len(data)-len(tail)+at[0]]
	if hexSum(body) != string(tail[at[2]:at[3]]) {
		return nil, ErrAltered
	}
	var f struct{ Format int }
	if err := json.Unmarshal(data, &f); err == nil && f.Format != Format {
		return nil, fmt.Errorf("%w: format %d", ErrFormat, f.Format)
	}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := members(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return m, nil
}

// unsummed says why a stored manifest does not end with its sum.
func unsummed(data []byte) error {
	var f struct{ Format int }
	switch err := json.NewDecoder(bytes.NewReader(data)).Decode(&f); {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return ErrCut
	case err == nil && f.Format > Format:
		// Whole, but not as we write it: a later format may end otherwise.
		return fmt.Errorf("%w: format %d", ErrFormat, f.Format)
	case err == nil && data[len(data)-1] == '}':
		return ErrCut // of its newline
	}
	return ErrAltered
}

// readManifest gets the stream's seq-th manifest and checks that it is that.
func readManifest(ctx context.Context, r sinks.Reader, s Stream, seq uint64) (*Manifest, error) {
	key := s.ManifestKey(seq)
	data, err := readAll(ctx, r, key, maxManifest)
	if err != nil {
		return nil, err
	}
	m, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if m.Stream != s || m.Seq != seq {
		return nil, fmt.Errorf("%s: %w: it says %s, number %d", key, ErrForeign, m.Stream, m.Seq)
	}
	return m, nil
}

// readAll gets an object of at most limit bytes.
func readAll(ctx context.Context, r sinks.Reader, key string, limit int64) ([]byte, error) {
	f, err := r.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("get %q: larger than %d bytes", key, limit)
	}
	return data, nil
}

// ParseKept reads a head as a run prints it: SEQ:HASH, and where there are
// several tenants the stream after it, SOURCE/TENANT.
func ParseKept(text string) (Kept, error) {
	fields := strings.Fields(text)
	wrong := fmt.Errorf("%q is not SEQ:HASH, or SEQ:HASH SOURCE/TENANT, as a run prints it", text)
	if len(fields) < 1 || len(fields) > 2 {
		return Kept{}, wrong
	}
	k := Kept{}
	number, hash, ok := strings.Cut(fields[0], ":")
	if _, err := fmt.Sscanf(number, "%d", &k.Seq); !ok || err != nil || k.Seq == 0 || fmt.Sprint(k.Seq) != number ||
		!regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(hash) {
		return Kept{}, wrong
	}
	k.Hash = hash
	if len(fields) == 2 {
		if k.Stream, ok = ParseStream(fields[1]); !ok {
			return Kept{}, wrong
		}
	}
	return k, nil
}
