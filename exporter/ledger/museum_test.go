package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"incident-exporter/sinks/sinktest"
)

func TestIntactChainVerifiesForEver(t *testing.T) {
	if *update {
		mem := makeIntact(t)
		if err := os.RemoveAll(intactDir); err != nil {
			t.Fatal(err)
		}
		for _, key := range mem.Keys() {
			path := filepath.Join(intactDir, filepath.FromSlash(key))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, mem.Bytes(key), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	mem := intact(t)
	sum := sound(t, mem)
	if sum.Streams != 1 || sum.Manifests != 10 || sum.Objects != 9 || sum.Versions != 11 || sum.Notes != 2 {
		t.Errorf("summary %+v", sum)
	}
	// And it can be gone on with.
	l := begin(t, mem, stream, instant("2026-03-01T22:00:00Z"), "gzip")
	commit(t, l, instant("2026-03-02T01:15:00Z"), nil, nil)
	sound(t, mem)
	if v := mem.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// exhibit is a damaged copy of the intact chain, a directory of
// testdata/museum: damage.txt says what is done to the chain, expected.jsonl
// what verify reports. The directory's name begins with the kind of finding
// that it is there for. Keys are shortened: mN is manifest N, dN its data
// object, nN where data object N may lie before it has a manifest, oN manifest
// N of another tenant.
//
//	flip N KEY        change byte N (from the end if negative)
//	truncate N KEY    keep N bytes (leave out -N if negative)
//	delete KEY
//	cutoff KEY        delete, where verify need not name the key
//	swap KEY KEY
//	copy KEY KEY      from the first to the second
//	put KEY TEXT
//	refuse KEY        the sink fails to open it
//	break KEY         the sink fails in the middle of it
//	forge N JSON      manifest N says this instead, with a right sum
//	edit N OLD NEW    the first OLD in manifest N's text is NEW (or nothing), with a right sum
//	batch N REF...    data object N has these lines instead (N.LINE of the intact chain), its manifest says so
//	relink            every manifest follows from the one before
//	since N, head N   what verify is asked; the head is that of the intact chain
type exhibit struct {
	mem     *sinktest.Mem
	check   Check
	touched []string // keys that verify has to name
}

func (e *exhibit) key(t *testing.T, short string) string {
	if seq, err := strconv.ParseUint(short[1:], 10, 64); err == nil {
		switch short[0] {
		case 'm':
			return stream.ManifestKey(seq)
		case 'd':
			return manifestOf(t, intact(t), stream, seq).Object.Key
		case 'o':
			return other.ManifestKey(seq)
		case 'n': // where a data object without a manifest may lie
			return manifestOf(t, intact(t), stream, seq-1).Next
		}
	}
	return short
}

func (e *exhibit) apply(t *testing.T, op string) {
	t.Helper()
	f := strings.Fields(op)
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		return n
	}
	from := func(n, length int) int {
		if n < 0 {
			return length + n
		}
		return n
	}
	touch := func(key string) { e.touched = append(e.touched, key) }
	switch f[0] {
	case "flip":
		key := e.key(t, f[2])
		data := e.mem.Bytes(key)
		data[from(number(f[1]), len(data))] ^= 1
		e.mem.Set(key, data)
		touch(key)
	case "truncate":
		key := e.key(t, f[2])
		data := e.mem.Bytes(key)
		e.mem.Set(key, data[:from(number(f[1]), len(data))])
		touch(key)
	case "delete":
		e.mem.Delete(e.key(t, f[1]))
		touch(e.key(t, f[1]))
	case "cutoff":
		e.mem.Delete(e.key(t, f[1]))
	case "swap":
		a, b := e.key(t, f[1]), e.key(t, f[2])
		x, y := e.mem.Bytes(a), e.mem.Bytes(b)
		e.mem.Set(a, y)
		e.mem.Set(b, x)
		touch(a)
		touch(b)
	case "copy":
		f[2] = e.key(t, f[2])
		e.mem.Set(f[2], e.mem.Bytes(e.key(t, f[1])))
		if !strings.HasPrefix(f[2], private) {
			touch(f[2])
		}
	case "put":
		e.mem.Set(e.key(t, f[1]), []byte(strings.Join(f[2:], " ")+"\n"))
		touch(e.key(t, f[1]))
	case "refuse", "break":
		key, outcome := e.key(t, f[1]), sinktest.Failed
		if f[0] == "break" {
			outcome = sinktest.Cut
		}
		touch(key)
		e.mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Op == sinktest.OpGet && c.Key == key {
				return sinktest.Fault{Outcome: outcome}
			}
			return sinktest.Fault{}
		})
	case "forge":
		seq := uint64(number(f[1]))
		m := manifestOf(t, e.mem, stream, seq)
		text := []byte(strings.Join(f[2:], " "))
		var said struct{ Versions, Read, Withdrawn, Covered, Unfetched, How json.RawMessage }
		if err := json.Unmarshal(text, &said); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		// A list is said as a whole.
		for _, list := range []struct {
			said  json.RawMessage
			clear func()
		}{
			{said.Versions, func() { m.Versions = nil }}, {said.Read, func() { m.Read = nil }}, {said.Withdrawn, func() { m.Withdrawn = nil }},
			{said.Covered, func() { m.Covered = nil }}, {said.Unfetched, func() { m.Unfetched = nil }}, {said.How, func() { m.How = nil }},
		} {
			if list.said != nil {
				list.clear()
			}
		}
		if err := json.Unmarshal(text, m); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		write(t, e.mem, stream, seq, m)
	case "edit":
		seq := uint64(number(f[1]))
		before, after, found := strings.Cut(string(body(t, e.mem, stream, seq)), f[2])
		if !found {
			t.Fatalf("%s: it is not there: %s", op, before)
		}
		e.mem.Set(stream.ManifestKey(seq), summed([]byte(before+strings.Join(f[3:], "")+after)))
		touch(stream.ManifestKey(seq))
	case "batch":
		whole, lines := intact(t), [][]byte{}
		for _, ref := range f[2:] {
			seq, line, _ := strings.Cut(ref, ".")
			lines = append(lines, unpack(t, whole, e.key(t, "d"+seq))[number(line)-1])
		}
		forgeBatch(t, e.mem, uint64(number(f[1])), lines)
		touch(e.key(t, "d"+f[1]))
	case "relink":
		relink(t, e.mem, stream)
	case "since":
		e.check.Since = uint64(number(f[1]))
	case "head":
		seq := uint64(number(f[1]))
		e.check.Kept = append(e.check.Kept, Kept{Seq: seq, Hash: manifestOf(t, intact(t), stream, seq).Hash})
	default:
		t.Fatalf("what is %q?", op)
	}
}

func TestMuseumOfDamagedArchives(t *testing.T) {
	const dir = "testdata/museum"
	kinds := map[Kind]bool{}
	exhibits, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range exhibits {
		t.Run(d.Name(), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, d.Name(), "damage.txt"))
			if err != nil {
				t.Fatal(err)
			}
			e := &exhibit{mem: intact(t)}
			for op := range strings.Lines(string(text)) {
				if op = strings.TrimSpace(op); op != "" && op[0] != '#' {
					e.apply(t, op)
				}
			}
			found, sum := verify(t, e.mem, e.check)
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			named := map[string]bool{}
			for _, f := range found {
				kinds[f.Kind], named[f.Key] = true, true
				if err := enc.Encode(f); err != nil {
					t.Fatal(err)
				}
			}
			fmt.Fprintf(&got, "{\"faults\":%d,\"notes\":%d}\n", sum.Faults, sum.Notes)
			path := filepath.Join(dir, d.Name(), "expected.jsonl")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, got.Bytes()) {
				t.Errorf("verify reports\n%swant\n%s", got.Bytes(), want)
			}
			kind, _, _ := strings.Cut(d.Name(), "_")
			if kind == "fine" && sum.Faults > 0 {
				t.Errorf("%d faults", sum.Faults)
			}
			for _, key := range e.touched {
				if !named[key] && kind != "fine" {
					t.Errorf("%s is not named", key)
				}
			}
			if !slices.ContainsFunc(found, func(f Finding) bool { return string(f.Kind) == kind }) && kind != "fine" && kind != "several" {
				t.Errorf("no finding is %s", kind)
			}
			if v := e.mem.Violations(); len(v) > 0 {
				t.Error(v)
			}
		})
	}
	for _, k := range []Kind{Altered, Missing, Cut, Gap, BrokenChain, Duplicate, Foreign, Unreadable, Unknown, WrongHead, Pruned, Pending, Unread, Void, Partial} {
		if !kinds[k] && !t.Failed() {
			t.Errorf("nothing in the museum is %s", k)
		}
	}
}

// tiny is the smallest chain with a line in each of its objects.
func tiny(t testing.TB) *sinktest.Mem {
	mem := sinktest.NewMem()
	day := instant("2026-03-02T08:00:00Z")
	for i, c := range []Compression{"gzip", "zstd", "none"} {
		l := begin(t, mem, stream, day, c)
		if i == 0 {
			continue
		}
		to := day.Add(3 * 60e9 * 5)
		commit(t, l, until(l).Add(15*60e9), [][]byte{incident(i, to, "x")}, nil)
	}
	l := begin(t, mem, stream, day, "none")
	commit(t, l, until(l).Add(15*60e9), [][]byte{incident(7, day, "y")}, nil)
	return mem
}

// TestNoChangedByteIsAccepted changes every byte of every file, in several
// ways, and leaves out and adds single ones.
func TestNoChangedByteIsAccepted(t *testing.T) {
	t.Parallel()
	whole := tiny(t)
	sound(t, whole)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, key := range whole.Keys() {
		data := whole.Bytes(key)
		try := func(what string, i int, changed []byte) {
			whole.Set(key, changed)
			found, sum := verifyOnce(t, whole, Check{})
			if sum.Faults == 0 {
				t.Errorf("%s: byte %d of %d %s: accepted", key, i, len(data), what)
			}
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.Key == key }) {
				t.Errorf("%s: byte %d of %d %s: not named: %+v", key, i, len(data), what, found)
			}
		}
		for i := range data {
			if testing.Short() && rng.IntN(16) != 0 && i < len(data)-3 {
				continue
			}
			for _, mask := range []byte{1, byte(1 + rng.IntN(255))} {
				changed := slices.Clone(data)
				changed[i] ^= mask
				try(fmt.Sprintf("changed by %#x", mask), i, changed)
			}
			try("left out", i, slices.Delete(slices.Clone(data), i, i+1))
			try("added", i, slices.Insert(slices.Clone(data), i, byte(rng.IntN(256))))
			try("the first cut off", i, data[:i])
		}
		try("added at the end", len(data), append(slices.Clone(data), '\n'))
		whole.Set(key, data)
	}
	sound(t, whole)
	if v := whole.Violations(); len(v) > 0 {
		t.Error(v)
	}
}
