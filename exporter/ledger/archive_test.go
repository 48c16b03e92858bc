package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks"
	"incident-exporter/sinks/sinktest"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

var (
	stream = Stream{"defender", "5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"}
	other  = Stream{"defender", "c3b1f0aa-2222-4b6e-9d51-0f7a6a1e9b02"}
	writer = By{"1.0.0", "0e6b8f3c-1111-4c53-8a0e-7a5f2b9d4c01"}
)

func instant(s string) time.Time {
	t, err := rawjson.ParseTime(s)
	if err != nil {
		panic(err)
	}
	return t
}

// incident is one version of a made-up incident.
func incident(id int, at time.Time, title string) []byte {
	return fmt.Appendf(nil, `{"incidentId":%d,"lastUpdateTime":"%s","incidentName":"%s","alerts":[]}`, id, rawjson.FormatTime(at), title)
}

func sum256(line []byte) [32]byte { return sha256.Sum256(line) }

// row is what a line says of itself.
func row(t testing.TB, line []byte) Row {
	t.Helper()
	r, err := rowOf(line, stream.Names(), sha256.Sum256(line))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begin returns a loaded ledger of an archive that has a genesis, or gets one.
func begin(t testing.TB, sink sinks.Sink, s Stream, start time.Time, c Compression) *Ledger {
	t.Helper()
	l := New(sink, s, writer, c)
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.Head() == nil {
		if err := l.Begin(t.Context(), start, start, 1); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// lateness is that of the chains in these tests, short enough for all of it
// to show in three hours.
var lateness = Lateness{Settle: time.Minute, Overlap: 30 * time.Minute, Deep: 2 * time.Hour, Every: time.Hour}

// byID is the incident that is read by its id, the others from lists.
const byID = "8"

// until is where the head's coverage ends, or where it will begin.
func until(l *Ledger) time.Time {
	if to := l.Head().Covered.Until(); !to.IsZero() {
		return to
	}
	return l.Head().Start.Time
}

// commit appends one batch of lines and claims what lies between the coverage
// so far and to, as asked for a minute later, with what change makes of the
// entry. Covered follows from it, unless change says that as well.
func commit(t testing.TB, l *Ledger, to time.Time, lines [][]byte, change func(*Entry)) {
	t.Helper()
	b, err := l.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		r := row(t, line)
		if r.ID == byID {
			r.How = "by-id"
		}
		if err := b.Add(r, line); err != nil {
			t.Fatal(err)
		}
		l.Index(&r)
	}
	e := l.Head().Entry()
	e.Calls, e.Now, e.Covered = 1, to.Add(time.Minute), nil
	if from := until(l); from.Before(to) {
		e.Read = []Claim{{From: Time{from}, To: Time{to}, Asked: Time{to.Add(time.Minute)}}}
	}
	if change != nil {
		change(&e)
	}
	if e.Covered == nil {
		e.Covered = following(l.Head().Covered, e.Withdrawn, e.Read).Aged(lateness, time.Time{})
	}
	if err := l.Commit(t.Context(), b, e); err != nil {
		t.Fatal(err)
	}
}

// following is the coverage after a manifest, not yet aged.
func following(c Coverage, withdrawn []Withdrawn, read []Claim) Coverage {
	for _, w := range withdrawn {
		c = c.Without(Span{w.From, w.To})
	}
	return c.Add(read...)
}

// verify returns all findings, which are the same where objects are fetched
// ahead of their turn.
func verify(t testing.TB, r sinks.Reader, check Check) ([]Finding, Summary) {
	t.Helper()
	all, sum := verifyOnce(t, r, check)
	check.Ahead = 3
	if ahead, aheadSum := verifyOnce(t, r, check); !reflect.DeepEqual(ahead, all) || !reflect.DeepEqual(aheadSum, sum) {
		t.Errorf("fetching ahead: %+v, %+v; without: %+v, %+v", aheadSum, ahead, sum, all)
	}
	return all, sum
}

func verifyOnce(t testing.TB, r sinks.Reader, check Check) ([]Finding, Summary) {
	t.Helper()
	var all []Finding
	sum, err := Verify(t.Context(), r, check, func(f Finding) { all = append(all, f) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("verify: ", err)
	}
	faults := 0
	for _, f := range all {
		if !f.Note {
			faults++
		}
		if f.Text == "" || f.Kind == "" {
			t.Errorf("a finding that says nothing: %+v", f)
		}
	}
	if faults != sum.Faults || len(all)-faults != sum.Notes {
		t.Errorf("%d faults of %d findings, the summary says %+v", faults, len(all), sum)
	}
	return all, sum
}

// sound fails the test if the archive has faults.
func sound(t testing.TB, r sinks.Reader) Summary {
	t.Helper()
	all, sum := verify(t, r, Check{})
	for _, f := range all {
		if !f.Note {
			t.Errorf("fault: %s %s: %s", f.Kind, f.Key, f.Text)
		}
	}
	return sum
}

// stored reads every line of a stream's data objects as a consumer does: from
// the objects, without the chain.
func stored(t testing.TB, r sinks.Reader, s Stream) map[string]int {
	t.Helper()
	all := map[string]int{}
	for o, err := range r.List(t.Context(), s.DataPrefix(), "") {
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		err = lines(f, compressionOf(o.Key), func(line []byte) error {
			all[string(line)]++
			return nil
		})
		f.Close()
		if err != nil {
			t.Errorf("%s: %v", o.Key, err)
		}
	}
	return all
}

// makeIntact makes the museum's intact chain: every kind of manifest once.
func makeIntact(t *testing.T) *sinktest.Mem {
	mem := sinktest.NewMem()
	day := instant("2026-03-01T22:00:00Z")
	at := func(minutes float64) time.Time { return day.Add(time.Duration(minutes * float64(time.Minute))) }
	read := func(from, to, asked float64, order bool) Claim {
		return Claim{From: Time{at(from)}, To: Time{at(to)}, Asked: Time{at(asked)}, Order: order}
	}
	stuck := Unfetched{From: Time{at(95)}, To: Time{at(96)}, Error: "500 Internal Server Error"}

	l := begin(t, mem, stream, day, "gzip")
	// Lines lie as they were served, the newest first.
	commit(t, l, at(30), [][]byte{incident(3, at(20.5), "third"), incident(2, at(1), "a tie"), incident(1, at(1), "first")}, func(e *Entry) {
		e.Read = []Claim{read(0, 30, 31, true)}
	})
	l = begin(t, mem, stream, day, "zstd")
	commit(t, l, at(45), nil, func(e *Entry) { // 3: covered, nothing new
		e.Read = []Claim{read(0, 45, 46, true)}
	})
	l = begin(t, mem, stream, day, "none")
	commit(t, l, at(60), [][]byte{incident(4, at(50), "fourth"), incident(1, at(46), "first, again")}, func(e *Entry) {
		e.Read = []Claim{read(15, 60, 61, true)}
	})
	commit(t, l, at(120), [][]byte{incident(6, at(62), "sixth"), incident(5, at(61), "a < b & \u2028")}, func(e *Entry) {
		e.Read = []Claim{read(30, 95, 121, true), read(96, 120, 121, true)}
		e.Unfetched = []Unfetched{stuck}
	})
	// 6: left by a writer that died between its two Puts.
	mem.Set(l.Head().Next, append(append(incident(3, at(121), "third, adopted"), '\n'), append(incident(7, at(122), "seventh"), '\n')...))
	adopt(t, l, at(125))
	mem.Set(l.Head().Next, []byte("not a batch\n")) // 7
	l = begin(t, mem, stream, day, "gzip")
	adopt(t, l, at(126))
	commit(t, l, at(150), [][]byte{incident(8, at(95.5), "read at last")}, func(e *Entry) {
		e.Read = []Claim{read(90, 95, 151, true), read(95, 96, 151, false), read(96, 150, 151, true)}
		e.Unfetched = nil
		e.Requests = []string{"7c1d6a2e-3333-4a41-9d07-5e1f3c2b8a90"}
	})
	// 9: the order was contradicted, and what was read by it is read again without.
	commit(t, l, at(165), [][]byte{incident(10, at(151), "tenth")}, func(e *Entry) {
		e.Withdrawn = []Withdrawn{{Time{at(120)}, Time{at(150)}, "the order was contradicted"}}
		e.Read = []Claim{read(120, 160, 166, false), read(161, 165, 166, false)}
		e.Disorder = at(165.5)
		e.Unfetched = []Unfetched{{From: Time{at(160)}, To: Time{at(161)}, ID: "11", Error: "answer larger than 256 MiB"}}
	})
	commit(t, l, at(180), nil, func(e *Entry) { // 10: a deep reading, and nothing new
		e.Read = []Claim{read(135, 160, 181, false), read(161, 180, 181, false), read(0, 100, 181, false)}
	})
	return mem
}

func adopt(t testing.TB, l *Ledger, now time.Time) {
	t.Helper()
	if found, err := l.Adopt(t.Context(), now); !found || err != nil {
		t.Fatalf("adopt: %v, %v", found, err)
	}
}

const intactDir = "testdata/intact"

// intact is a fresh copy of the committed intact chain.
func intact(t testing.TB) *sinktest.Mem {
	t.Helper()
	mem := sinktest.NewMem()
	err := filepath.WalkDir(intactDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		key, _ := filepath.Rel(intactDir, path)
		mem.Set(filepath.ToSlash(key), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// manifestOf reads a manifest past all checks.
func manifestOf(t testing.TB, mem *sinktest.Mem, s Stream, seq uint64) *Manifest {
	t.Helper()
	m := &Manifest{}
	if err := json.Unmarshal(mem.Bytes(s.ManifestKey(seq)), m); err != nil {
		t.Fatal(err)
	}
	m.Hash = hexSum(mem.Bytes(s.ManifestKey(seq)))
	return m
}

// write stores a manifest with a right sum, whatever it says, where seq belongs.
func write(t testing.TB, mem *sinktest.Mem, s Stream, seq uint64, m *Manifest) {
	t.Helper()
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	mem.Set(s.ManifestKey(seq), data)
}

// body is a stored manifest without its sum and its end.
func body(t testing.TB, mem *sinktest.Mem, s Stream, seq uint64) []byte {
	t.Helper()
	data := mem.Bytes(s.ManifestKey(seq))
	at := bytes.LastIndex(data, []byte(sumOpen))
	if at < 0 {
		t.Fatalf("manifest %d has no sum: %s", seq, data)
	}
	return data[:at]
}

// summed is a manifest as it is stored, with a right sum, whatever it says.
func summed(body []byte) []byte {
	return fmt.Appendf(nil, "%s%s%s\"}\n", body, sumOpen, hexSum(body))
}

var prevMember = regexp.MustCompile(`"prev":"[0-9a-f]*"`)

// relink makes every manifest follow from the one before, as a forger would.
func relink(t testing.TB, mem *sinktest.Mem, s Stream) {
	t.Helper()
	prev := ""
	for seq := uint64(1); mem.Bytes(s.ManifestKey(seq)) != nil; seq++ {
		data := summed(prevMember.ReplaceAll(body(t, mem, s, seq), []byte(`"prev":"`+prev+`"`)))
		mem.Set(s.ManifestKey(seq), data)
		prev = hexSum(data)
	}
}

// pack stores lines as an object.
func pack(t testing.TB, c Compression, lines [][]byte) []byte {
	t.Helper()
	var z compressors
	b, err := z.batch(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if _, err := b.out.Write(append(line[:len(line):len(line)], '\n')); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.buf.Bytes()
}

// unpack returns the lines of an object.
func unpack(t testing.TB, mem *sinktest.Mem, key string) (all [][]byte) {
	t.Helper()
	err := lines(strings.NewReader(string(mem.Bytes(key))), compressionOf(key), func(line []byte) error {
		all = append(all, append([]byte{}, line...))
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return all
}

// forgeBatch makes object and manifest say that the batch has these lines.
func forgeBatch(t testing.TB, mem *sinktest.Mem, seq uint64, lines [][]byte) {
	t.Helper()
	m := manifestOf(t, mem, stream, seq)
	data := pack(t, compressionOf(m.Object.Key), lines)
	mem.Set(m.Object.Key, data)
	m.Object.Bytes, m.Object.SHA256, m.Object.Lines = int64(len(data)), hexSum(data), len(lines)
	m.Versions = nil
	for _, line := range lines {
		r := row(t, line)
		m.Versions = append(m.Versions, Version{r.ID, r.Updated, hex.EncodeToString(r.SHA256[:])})
	}
	write(t, mem, stream, seq, m)
}

func get(t testing.TB, r sinks.Reader, key string) []byte {
	t.Helper()
	f, err := r.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
