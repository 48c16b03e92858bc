package ledger

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks/sinktest"
)

func FuzzManifest(f *testing.F) {
	mem := intact(f)
	for seq := uint64(1); seq <= 10; seq++ {
		f.Add(mem.Bytes(stream.ManifestKey(seq)))
	}
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"sum":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err == nil {
			if again, err := m.encode(); err != nil || m.Hash == "" {
				t.Errorf("%q cannot be written again: %v, %q", data, err, again)
			}
		}
		// With a right sum, whatever it says: as a link of a chain it must be
		// survived, and go unreported only if it is the one that was there.
		body, _, _ := bytes.Cut(data, []byte(`,"sum":"`))
		data = fmt.Appendf(nil, "%s,\"sum\":\"%s\"}\n", body, hexSum(body))
		mem := mem.Clone()
		for _, seq := range []uint64{1, 5, 10} {
			was := mem.Bytes(stream.ManifestKey(seq))
			mem.Set(stream.ManifestKey(seq), data)
			l := New(mem.Clone(), stream, writer, "gzip")
			if err := l.Load(t.Context()); err == nil && l.Head() != nil {
				_ = l.Know(t.Context(), instant("2026-03-01T00:00:00Z"))
			}
			if _, sum := verify(t, mem, Check{}); sum.Faults == 0 && seq != 10 && !bytes.Equal(was, data) {
				t.Errorf("accepted as manifest %d: %s", seq, data)
			}
			mem.Set(stream.ManifestKey(seq), was)
		}
	})
}

// FuzzAdopt leaves any bytes at the next key, as they are or packed.
func FuzzAdopt(f *testing.F) {
	day := instant("2026-03-02T08:00:00Z")
	known := incident(1, day, "known")
	good := append(incident(2, day.Add(time.Second), "x"), '\n')
	for i, c := range []Compression{"gzip", "zstd", "none"} {
		f.Add(byte(i), false, pack(f, c, [][]byte{incident(2, day, "x"), incident(3, day, "y")}))
		f.Add(byte(i), true, good)
		f.Add(byte(i), true, append(good[:len(good):len(good)], good...))
		f.Add(byte(i), true, append(known[:len(known):len(known)], '\n'))
		f.Add(byte(i), false, []byte{})
		f.Add(byte(i), true, []byte{})
		f.Add(byte(i), true, []byte("\n"))
		f.Add(byte(i), true, []byte(`{"incidentId":"`+"\xff"+`","lastUpdateTime":"2026-03-02T08:00:00Z"}`+"\n"))
		f.Add(byte(i), true, []byte(`{"incidentId":"`+strings.Repeat("9", 300)+`","lastUpdateTime":"2026-03-02T08:00:00Z"}`+"\n"))
		f.Add(byte(i), true, []byte(`{"incidentId":7,"lastUpdateTime":"0001-01-01T00:00:00+23:59"}`+"\n"))
		f.Add(byte(i), true, []byte(`{"incidentId":7,"lastUpdateTime":"9999-12-31T23:59:59.99999999-23:59"}`+"\n"))
		f.Add(byte(i), true, []byte(`{"incidentId":"\u2028\ud800<","lastUpdateTime":"2026-03-02T08:00:00\u005a"}`+"\n"))
	}
	f.Fuzz(func(t *testing.T, kind byte, packed bool, data []byte) {
		c := []Compression{"gzip", "zstd", "none"}[kind%3]
		if packed {
			text := bytes.TrimSuffix(data, []byte{'\n'})
			data = pack(t, c, bytes.Split(text, []byte{'\n'}))
		}
		adoptAny(t, c, data, known)
	})
}

// adoptAny demands that the object is adopted or void, that the archive is
// sound, that no line is there twice, and that the chain goes on. It returns
// the manifest.
func adoptAny(t testing.TB, c Compression, data, known []byte) *Manifest {
	t.Helper()
	day := instant("2026-03-02T08:00:00Z")
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, c)
	commit(t, l, day.Add(time.Minute), [][]byte{known}, nil)
	mem.Set(l.Head().Next, data)
	adopt(t, l, day.Add(2*time.Minute))
	m := l.Head()
	if m.Adopted == (m.Void != "") || m.Void != "" && len(m.Versions) > 0 || m.Window.To.After(m.Window.From.Time) {
		t.Errorf("neither adopted nor void, or more than that: %+v", m)
	}
	l = begin(t, mem, stream, day, c)
	if err := l.Know(t.Context(), day); err != nil {
		t.Error(err)
	}
	if has, err := l.Has(t.Context(), &Row{ID: "1", At: day, SHA256: sum256(known)}, known); !has || err != nil {
		t.Errorf("what was known is forgotten: %v", err)
	}
	commit(t, l, day.Add(time.Hour), [][]byte{incident(9, day.Add(30*time.Minute), "goes on")}, nil)
	sum := sound(t, mem)
	if want := int64(2 + len(m.Versions)); sum.Versions != want {
		t.Errorf("%d versions, want %d", sum.Versions, want)
	}
	if v := mem.Violations(); len(v) > 0 {
		t.Error(v)
	}
	return m
}

// TestWhatIsNoBatchIsVoid has objects that a writer of ours would not leave.
func TestWhatIsNoBatchIsVoid(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	known := incident(1, day, "known")
	many := make([][]byte, maxLines+1)
	for i := range many {
		many[i] = incident(100_000+i, day, "x")
	}
	for name, c := range map[string]struct {
		lines [][]byte
		void  string
	}{
		"as many lines as there may be": {many[:maxLines], ""},
		"one line more":                 {many, "more than 50000 lines"},
		"a line of the chain":           {[][]byte{known, incident(2, day, "x")}, "in the chain already"},
		"out of order":                  {[][]byte{incident(3, day, "x"), incident(2, day, "x")}, "out of order"},
		"twice":                         {[][]byte{incident(3, day, "x"), incident(3, day, "y")}, "out of order"},
		"whitespace":                    {[][]byte{[]byte(`{"incidentId": 2,"lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "whitespace"},
		"no incident":                   {[][]byte{[]byte(`{"error":"<html>"}`)}, "not an incident"},
		"no JSON":                       {[][]byte{[]byte(`x`)}, "invalid JSON"},
		"an id that is no text":         {[][]byte{[]byte(`{"incidentId":"` + "\xff" + `","lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "not an incident"},
		"an id without end":             {[][]byte{[]byte(`{"incidentId":"` + strings.Repeat("x", 1<<20) + `","lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "not an incident"},
		"a time without end":            {[][]byte{[]byte(`{"incidentId":2,"lastUpdateTime":"2026-03-02T08:00:00.` + strings.Repeat("0", 1<<20) + `Z"}`)}, "not an incident"},
	} {
		if testing.Short() && len(c.lines) == maxLines {
			continue
		}
		m := adoptAny(t, "gzip", pack(t, "gzip", c.lines), known)
		if (m.Void == "") != (c.void == "") || !strings.Contains(m.Void, c.void) {
			t.Errorf("%s: void %q, want %q", name, m.Void, c.void)
		}
		if c.void == "" && len(m.Versions) != len(c.lines) {
			t.Errorf("%s: %d versions", name, len(m.Versions))
		}
	}
	for name, data := range map[string][]byte{"no gzip": []byte("x"), "nothing": {}, "cut": pack(t, "gzip", many[:9])[:40], "more behind it": append(pack(t, "gzip", many[:2]), "x"...)} {
		if m := adoptAny(t, "gzip", data, known); m.Void == "" {
			t.Errorf("%s: adopted", name)
		}
	}
}

// TestAdoptLeavesAloneWhatItCannotRead: nothing can be said about it now.
func TestAdoptLeavesAloneWhatItCannotRead(t *testing.T) {
	for _, outcome := range []sinktest.Outcome{sinktest.Failed, sinktest.Cut} {
		mem := intact(t)
		l := begin(t, mem, stream, time.Time{}, "gzip")
		next := l.Head().Next
		mem.Set(next, pack(t, "gzip", [][]byte{incident(50, instant("2026-03-02T00:50:00Z"), "x")}))
		mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Key == next {
				return sinktest.Fault{Outcome: outcome}
			}
			return sinktest.Fault{}
		})
		if found, err := l.Adopt(t.Context(), instant("2026-03-02T02:00:00Z")); found || err == nil || l.Head().Seq != 10 {
			t.Errorf("%v, %v, head %d", found, err, l.Head().Seq)
		}
		mem.Before(nil)
		adopt(t, l, instant("2026-03-02T02:00:00Z"))
		if !l.Head().Adopted || len(l.Head().Versions) != 1 {
			t.Errorf("head %+v", l.Head())
		}
		sound(t, mem)
	}
}

func FuzzParseKept(f *testing.F) {
	good := "42:" + strings.Repeat("0a", 32)
	of := " defender/5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"
	for _, bad := range []string{"", "42", ":", good[1:] + "0", "0:" + good[3:], "-1:" + good[3:], "042:" + good[3:], good + "0", good + of + " x", good + " defender", good + " x/y"} {
		f.Add(bad)
		if _, err := ParseKept(bad); err == nil {
			f.Errorf("%q is taken for a head", bad)
		}
	}
	f.Add(good)
	f.Add(good + of)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKept(s)
		if err != nil {
			return
		}
		again := fmt.Sprintf("%d:%s", k.Seq, k.Hash)
		if k.Stream != (Stream{}) {
			again += " " + k.Stream.String()
		}
		if again != strings.Join(strings.Fields(s), " ") {
			t.Errorf("%q is read as %q", s, again)
		}
	})
}
