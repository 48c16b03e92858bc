package ledger

import (
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
		if err := l.Begin(t.Context(), start, start.Add(-7*24*time.Hour), start, 1); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// commit appends one batch of lines, with what change makes of the claim.
func commit(t testing.TB, l *Ledger, to time.Time, lines [][]byte, change func(*Claim)) {
	t.Helper()
	b, err := l.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		r := row(t, line)
		if err := b.Add(r, line); err != nil {
			t.Fatal(err)
		}
		l.Note(&r, i)
	}
	c := l.Head().Carry()
	c.To, c.Settled, c.Calls, c.Now = to, to.Add(-time.Hour), 1, to.Add(time.Minute)
	if c.Settled.Before(l.Head().Settled.Time) {
		c.Settled = l.Head().Settled.Time
	}
	if change != nil {
		change(&c)
	}
	if err := l.Commit(t.Context(), b, c); err != nil {
		t.Fatal(err)
	}
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
	stuck := Stretch{From: Time{at(95)}, To: Time{at(96)}, Error: "500 Internal Server Error"}

	l := begin(t, mem, stream, day, "gzip")
	commit(t, l, at(30), [][]byte{incident(1, at(1), "first"), incident(2, at(1), "a tie"), incident(3, at(20.5), "third")}, nil)
	l = begin(t, mem, stream, day, "zstd")
	commit(t, l, at(45), nil, nil) // 3: covered, nothing new
	l = begin(t, mem, stream, day, "none")
	commit(t, l, at(60), [][]byte{incident(1, at(46), "first, again"), incident(4, at(50), "fourth")}, nil)
	commit(t, l, at(120), [][]byte{incident(5, at(61), "a < b & \u2028"), incident(6, at(62), "sixth")}, func(c *Claim) {
		c.Unfetched = []Stretch{stuck}
	})
	// 6: left by a writer that died between its two Puts.
	mem.Set(l.Head().Next, append(append(incident(3, at(121), "third, adopted"), '\n'), append(incident(7, at(122), "seventh"), '\n')...))
	adopt(t, l, at(125))
	mem.Set(l.Head().Next, []byte("not a batch\n")) // 7
	l = begin(t, mem, stream, day, "gzip")
	adopt(t, l, at(126))
	commit(t, l, at(150), [][]byte{incident(8, at(95.5), "read at last")}, func(c *Claim) {
		stuck.Since = 5
		c.Unfetched, c.Fetched = nil, []Stretch{stuck}
		c.Requests = []string{"7c1d6a2e-3333-4a41-9d07-5e1f3c2b8a90"}
	})
	commit(t, l, at(165), [][]byte{incident(9, at(151), "ninth"), incident(10, at(151), "10 comes before 9 in a tie")}[1:], func(c *Claim) {
		c.Unfetched = []Stretch{{From: Time{at(160)}, To: Time{at(161)}, ID: "11", Error: "answer larger than 256 MiB"}}
		c.Deep = &Deep{Since: Time{at(160)}, To: Time{at(30)}}
	})
	commit(t, l, at(180), nil, nil) // 10
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

// relink makes every manifest follow from the one before, as a forger would.
func relink(t testing.TB, mem *sinktest.Mem, s Stream) {
	t.Helper()
	prev := ""
	for seq := uint64(1); mem.Bytes(s.ManifestKey(seq)) != nil; seq++ {
		m := manifestOf(t, mem, s, seq)
		m.Prev = prev
		write(t, mem, s, seq, m)
		prev = m.Hash
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
