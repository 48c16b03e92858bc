package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
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
	genesis := string(mem.Bytes(stream.ManifestKey(1)))
	for _, more := range []string{
		`"calls":1`, `"Calls":1`, `"how":{"":"","a":"x","A":"x"}`, `"how":{"a":{"how":{"b":1,"b":2}}}`, `"x":[[[[{"y":{}}]]]]`, `"x":` + strings.Repeat("[", 100),
		`"covered":[{"from":"0000-01-01T00:00:00.0000000Z","to":"9999-12-31T23:59:59.9999999Z","after":"2562047h"}]`, `"object":null`, `"latest":null`,
		`"versions":[{"id":"","updated":"","sha256":""}]`, `"read":[{}],"withdrawn":[{}],"unfetched":[{}]`,
	} {
		f.Add([]byte(strings.Replace(genesis, `,"calls":1`, `,"calls":1,`+more, 1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		written(t, data)
		// With a right sum, whatever it says: as a link of a chain it must be
		// survived, and go unreported only if it is the one that was there.
		body, _, _ := bytes.Cut(data, []byte(`,"sum":"`))
		data = summed(body)
		written(t, data)
		mem := mem.Clone()
		for _, seq := range []uint64{1, 5, 10} {
			was := mem.Bytes(stream.ManifestKey(seq))
			mem.Set(stream.ManifestKey(seq), data)
			l := New(mem.Clone(), stream, writer, "gzip")
			if err := l.Load(t.Context()); err == nil && l.Head() != nil {
				_ = l.LoadIndex(t.Context(), instant("2026-03-01T00:00:00Z"))
				for _, v := range l.Head().Versions { // whatever it lists can be asked for
					r := Row{ID: v.ID, At: rawTime(v.Updated)}
					_, _ = l.Contains(t.Context(), &r, nil, nil)
				}
			}
			if _, sum := verify(t, mem, Check{}); sum.Faults == 0 && seq != 10 && !bytes.Equal(was, data) {
				t.Errorf("accepted as manifest %d: %s", seq, data)
			}
			mem.Set(stream.ManifestKey(seq), was)
		}
	})
}

// written demands of whatever decode reads that encode writes the same.
func written(t *testing.T, data []byte) {
	t.Helper()
	m, err := decode(data)
	if err != nil {
		return
	}
	if m.Hash != hexSum(data) || m.Size != int64(len(data)) {
		t.Errorf("%q: hash %s, %d bytes", data, m.Hash, m.Size)
	}
	once, err := m.encode()
	if err != nil {
		t.Fatalf("%q cannot be written again: %v", data, err)
	}
	back, err := decode(once)
	if err != nil {
		t.Fatalf("%q is written as %q: %v", data, once, err)
	}
	if twice, err := back.encode(); err != nil || !bytes.Equal(once, twice) || back.Hash != m.Hash {
		t.Errorf("%q is written as %q, then as %q: %v", data, once, twice, err)
	}
}

// FuzzEncode writes manifests with all members, odd texts and extreme times,
// and demands that they are read as they were.
func FuzzEncode(f *testing.F) {
	odd := []string{"", "7", "SEQ", "seq", "prev", "\u017feq", "a\"b", "\\", "<&>", "\u2028\u2029", "\x00\x1f\x7f", "\ufffd", "\U0001f600", `,"sum":"` + strings.Repeat("0", 64) + "\"}\n", "how", "{}"}
	for i, text := range odd {
		f.Add(uint64(i), text, odd[(i+1)%len(odd)])
	}
	f.Fuzz(func(t *testing.T, seed uint64, a, b string) {
		r := rand.New(rand.NewPCG(seed, 23))
		texts := append(slices.Clone(odd), strings.ToValidUTF8(a, "?"), strings.ToValidUTF8(b, "?"), strings.ToUpper(strings.ToValidUTF8(a, "?")))
		text := func() string { return texts[r.IntN(len(texts))] }
		at := func() Time {
			switch r.IntN(5) {
			case 0:
				return Time{time.Date(1, 1, 1, 0, 0, 0, 100, time.UTC)}
			case 1:
				return Time{time.Date(9999, 12, 31, 23, 59, 59, 999_999_900, time.UTC)}
			case 2:
				return Time{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}
			}
			return Time{time.Unix(r.Int64N(1<<33), r.Int64N(1e7)*100).UTC()}
		}
		claims := func() (all []Claim) {
			for range r.IntN(4) {
				c := Claim{From: at(), To: at(), Order: r.IntN(2) == 0}
				if r.IntN(2) == 0 {
					c.Asked = at()
				}
				if r.IntN(2) == 0 {
					c.After = Duration(time.Duration(1+r.Int64N(1<<r.IntN(33))) * time.Second)
				}
				all = append(all, c)
			}
			return all
		}
		m := &Manifest{
			Format: Format, Stream: Stream{text(), text()}, Seq: r.Uint64(), Prev: text(), Start: at(),
			Filled: r.Uint64N(3), Read: claims(), Covered: claims(),
			Calls: int(r.Uint32()), Void: text(), Adopted: r.IntN(2) == 0, Next: text(), By: By{text(), text()}, Committed: at(),
		}
		if r.IntN(2) == 0 {
			m.Object = &Object{text(), r.Int64(), text(), r.Int()}
			m.Latest, m.Disorder = at(), at()
		}
		for range r.IntN(4) {
			m.Versions = append(m.Versions, Version{text(), text(), text()})
			m.Withdrawn = append(m.Withdrawn, Withdrawn{at(), at(), text()})
			m.Unfetched = append(m.Unfetched, Unfetched{at(), at(), text(), text(), r.Uint64()})
			m.Partial, m.Requests = append(m.Partial, text()), append(m.Requests, text())
		}
		if n := r.IntN(100); n > 0 {
			m.How = map[string]string{}
			for i := range n {
				m.How[text()+strings.Repeat("x", i%3)+fmt.Sprint(i/9)] = text()
			}
		}
		data, err := m.encode()
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", m, err)
		}
		if got, err := decode(data); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v is read as %+v: %v\n%s", m, got, err, data)
		}
	})
}

// TestTimesThatCannotBeReadAreNotWritten: better no manifest than one that
// ends the chain.
func TestTimesThatCannotBeReadAreNotWritten(t *testing.T) {
	for _, year := range []int{-1, 10_000, 100_000} {
		at := Time{time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
		if data, err := (&Manifest{Format: Format, Committed: at}).encode(); err == nil {
			t.Errorf("year %d is written as %s", year, data)
		}
	}
	// In another zone, and finer than a tick, they are the same instants.
	at := time.Date(2026, 3, 2, 1, 0, 0, 123_456_789, time.FixedZone("", 3600))
	if text, err := json.Marshal(Time{at}); string(text) != `"2026-03-02T00:00:00.1234567Z"` || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	for _, text := range []string{
		`"2026-03-02T00:00:00Z"`, `"2026-03-02T00:00:00.123456Z"`, `"2026-03-02T00:00:00.12345678Z"`, `"2026-03-02T00:00:00,1234567Z"`, `"2026-03-02T00:00:00.1234567"`,
		`"2026-03-02T00:00:00.1234567z"`, `"2026-03-02t00:00:00.1234567Z"`, `"2026-03-02 00:00:00.1234567Z"`, `"2026-03-02T00:00:00.1234567+00:00"`, `"2026-03-02T1:00:00.12345678Z"`,
		`"2026-03-02T24:00:00.1234567Z"`, `"2026-02-29T00:00:00.1234567Z"`, `"2026-03-02T00:00:60.1234567Z"`, `"+2026-03-02T00:00:00.123456Z"`, `""`, `null`, `0`, `{}`,
	} {
		var at Time
		if err := json.Unmarshal([]byte(text), &at); err == nil {
			t.Errorf("%s is read as %v", text, at.Time)
		}
	}
}

// TestMembers: names that two readers would read differently are refused,
// however many there are. Ids are none.
func TestMembers(t *testing.T) {
	names := func(n int) string {
		text := ""
		for i := range n {
			text += fmt.Sprintf(`"a%d":%d,`, i, i)
		}
		return text
	}
	for text, ok := range map[string]bool{
		`{}`: true, `{"a":1,"b_2":{"a":[{"a":1},{"a":2}]},"":0}`: true, `{"how":{"A":"","a":"","é":"","\u0041b":""}}`: true,
		`{"a":1,"a":1}`: false, `{"a":1,"b":2,"\u0061":3}`: false, `{"b":{"a":1,"a":2}}`: false, `{"b":[0,{"a":1,"a":2}]}`: false,
		`{"A":1}`: false, `{"b":[[{"aB":1}]]}`: false, `{"é":1}`: false, `{"\u017feq":1}`: false, `{"\u212a":1}`: false, `{"a b":1}`: false, `{"a-b":1}`: false,
		`{"how":{"a":"","a":""}}`: false, `{"how":{"a":{"how":1,"B":2}}}`: false, `{"how":{"A":"","\u0041":""}}`: false,
		`{` + names(64) + `"z":1}`: true, `{` + names(500) + `"z":1}`: true, `{` + names(63) + `"a0":1}`: false, `{` + names(64) + `"a0":1}`: false, `{` + names(64) + `"a63":1}`: false,
		`{` + names(65) + `"a64":1}`: false, `{` + names(500) + `"a0":1}`: false, `{` + names(500) + `"a499":1}`: false, `{` + names(500) + `"a250":1}`: false,
	} {
		if err := members([]byte(text)); (err == nil) != ok {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

// TestNestingWithoutEnd: what would take all of the stack is refused.
func TestNestingWithoutEnd(t *testing.T) {
	n := 8 << 20
	for _, c := range []struct{ open, close string }{{"[", "]"}, {`{"x":`, "}"}} {
		for _, closed := range []bool{true, false} {
			body := `{"format":1,"x":` + strings.Repeat(c.open, n)
			if closed {
				body += strings.Repeat(c.close, n)
			}
			if _, err := decode(summed([]byte(body))); !errors.Is(err, ErrFormat) {
				t.Errorf("%.20q, closed %v: %v", body, closed, err)
			}
		}
	}
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
	covered := l.Head().Covered
	mem.Set(l.Head().Next, data)
	l = begin(t, mem, stream, day, c) // a new process, which knows nothing yet
	adopt(t, l, day.Add(2*time.Minute))
	m := l.Head()
	if m.Adopted == (m.Void != "") || m.Void != "" && len(m.Versions) > 0 || len(m.Read) > 0 || !slices.Equal(m.Covered, covered) {
		t.Errorf("neither adopted nor void, or more than that: %+v", m)
	}
	l = begin(t, mem, stream, day, c)
	if has, err := l.Contains(t.Context(), &Row{ID: "1", At: day, SHA256: sum256(known)}, known, nil); !has || err != nil {
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
		"as many lines as there may be":           {many[:maxLines], ""},
		"one line more":                           {many, "more than 50000 lines"},
		"a line of the chain":                     {[][]byte{known, incident(2, day, "x")}, "in the chain already"},
		"a line of the chain, behind a later one": {[][]byte{incident(2, day.Add(time.Second), "x"), known}, "in the chain already"},
		"a line twice":                            {[][]byte{incident(3, day, "x"), incident(2, day, "x"), incident(3, day, "x")}, "in the chain already"},
		"in any order":                            {[][]byte{incident(3, day, "x"), incident(2, day.Add(time.Second), "x"), incident(2, day, "x")}, ""},
		"two lines of a version":                  {[][]byte{incident(3, day, "x"), incident(3, day, "y")}, ""},
		"whitespace":                              {[][]byte{[]byte(`{"incidentId": 2,"lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "whitespace"},
		"no incident":                             {[][]byte{[]byte(`{"error":"<html>"}`)}, "not an incident"},
		"no JSON":                                 {[][]byte{[]byte(`x`)}, "invalid JSON"},
		"an id that is no text":                   {[][]byte{[]byte(`{"incidentId":"` + "\xff" + `","lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "not an incident"},
		"an id without end":                       {[][]byte{[]byte(`{"incidentId":"` + strings.Repeat("x", 1<<20) + `","lastUpdateTime":"2026-03-02T08:00:00Z"}`)}, "not an incident"},
		"a time without end":                      {[][]byte{[]byte(`{"incidentId":2,"lastUpdateTime":"2026-03-02T08:00:00.` + strings.Repeat("0", 1<<20) + `Z"}`)}, "not an incident"},
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
