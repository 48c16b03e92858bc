package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks/sinktest"
)

// size is what the index takes in bytes, and how many versions it has.
func (x *index) size() (bytes, versions int) {
	for i := range x.parts {
		bytes += len(x.parts[i].table) * int(unsafe.Sizeof(entry{}))
		versions += x.parts[i].used
	}
	return bytes, versions
}

// TestIndexAgainstModel holds the index to a map.
func TestIndexAgainstModel(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		base := instant("2026-03-01T00:00:00Z")
		random := func() Row {
			r := Row{ID: strconv.Itoa(rng.IntN(2000)), At: base.Add(time.Duration(rng.IntN(400)) * time.Second)}
			r.SHA256[0], r.SHA256[6] = byte(rng.IntN(3)), byte(rng.IntN(2))
			return r
		}
		type key struct {
			id string
			at time.Time
		}
		model := map[key]map[[32]byte]bool{}
		x := &index{}
		n := 0
		for range 40_000 {
			r := random()
			k := key{r.ID, r.At}
			if rng.IntN(3) > 0 {
				if x.add(&r); model[k] == nil {
					model[k] = map[[32]byte]bool{}
				}
				if !model[k][r.SHA256] {
					model[k][r.SHA256], n = true, n+1
				}
			}
			r = random()
			k = key{r.ID, r.At}
			e, in := fingerprint(r.ID, r.At, r.SHA256)
			same, any := x.parts[in].look(&e)
			if want := model[k][r.SHA256]; same != want || x.has(&r) != want {
				t.Fatalf("seed %d: has %s %s %x: %v, want %v", seed, r.ID, r.At, r.SHA256[:7], same, want)
			}
			if any != (len(model[k]) > 0) {
				t.Fatalf("seed %d: has another line of %s %s: %v, want %v", seed, r.ID, r.At, any, !any)
			}
		}
		for k, lines := range model {
			for sum := range lines {
				if !x.has(&Row{ID: k.id, At: k.at, SHA256: sum}) {
					t.Fatalf("seed %d: forgotten: %v", seed, k)
				}
			}
		}
		if _, versions := x.size(); versions != n {
			t.Errorf("seed %d: %d versions, want %d", seed, versions, n)
		}
	}
}

// TestIndexIsSmall: twelve bytes a version, and at no size much more.
func TestIndexIsSmall(t *testing.T) {
	base := instant("2026-03-01T00:00:00Z")
	x := &index{}
	for i := range 200_000 {
		r := Row{ID: strconv.Itoa(i), At: base.Add(time.Duration(i) * time.Millisecond), SHA256: sum256([]byte(strconv.Itoa(i)))}
		x.add(&r)
		if n := i + 1; n >= 50_000 && n%1000 == 0 {
			bytes, versions := x.size()
			per := float64(bytes) / float64(n)
			if versions != n || per >= 15 || per < 12 {
				t.Errorf("%d versions of %d take %.1f bytes each", versions, n, per)
			}
			if n%50_000 == 0 {
				t.Logf("%d versions: %.1f bytes each", n, per)
			}
		}
	}
	for i := range 200_000 {
		if r := (Row{ID: strconv.Itoa(i), At: base.Add(time.Duration(i) * time.Millisecond), SHA256: sum256([]byte(strconv.Itoa(i)))}); !x.has(&r) {
			t.Fatalf("forgotten: %d", i)
		}
	}
}

// variants of a line, and whether they are the same but for the order.
var variants = map[string]bool{
	`"a":[1,2,{"x":1.0,"y":"\u003c"}],"b":null`: true,
	`"b":null,"a":[1,2,{"x":1.0,"y":"\u003c"}]`: true,
	`"a":[2,{"y":"\u003c","x":1.0},1],"b":null`: true,
	`"a":[1,2,{"x":1.0,"y":"<"}],"b":null`:      false,
	`"a":[1,2,{"x":1,"y":"\u003c"}],"b":null`:   false,
	`"a":[1,1,{"x":1.0,"y":"\u003c"}],"b":null`: false,
	`"a":[1,2,{"x":1.0,"y":"\u003c"}],"c":null`: false,
}

func variant(rest string) []byte {
	return fmt.Appendf(nil, `{"incidentId":7,"lastUpdateTime":"2026-03-02T08:00:01Z",%s}`, rest)
}

const ofVariants = `"a":[1,2,{"x":1.0,"y":"\u003c"}],"b":null`

// TestOrderAloneIsNoVersion stores a line and asks for others like it.
func TestOrderAloneIsNoVersion(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	for _, c := range []Compression{"gzip", "zstd", "none"} {
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, c)
		commit(t, l, until(l).Add(time.Minute), [][]byte{
			incident(3, day.Add(time.Second), "before"), variant(ofVariants), incident(8, day.Add(time.Second), "after")}, nil)
		commit(t, l, until(l).Add(time.Minute), [][]byte{incident(7, day.Add(90*time.Second), "later")}, nil)
		l = begin(t, mem, stream, day, c)
		for text, known := range variants {
			for i := range 2 { // the second time what is known is known from memory
				before := mem.Counts().Gets
				r := row(t, variant(text))
				if got, err := l.Contains(t.Context(), &r, variant(text), nil); got != known || err != nil {
					t.Errorf("%s: %s: %v, %v", c, text, got, err)
				}
				if gets := mem.Counts().Gets - before; i == 1 && known && gets > 0 {
					t.Errorf("%s: %s: %d requests for what is known", c, text, gets)
				}
			}
		}
		// Of two stored lines of the version it may be like either, in any manifest.
		commit(t, l, until(l).Add(time.Minute), [][]byte{variant(`"a":[],"z":1`), variant(`"a":[],"z":2`)}, nil)
		l = begin(t, mem, stream, day, c)
		for _, text := range []string{`"z":1,"a":[]`, `"z":2,"a":[]`, `"b":null,"a":[1,2,{"x":1.0,"y":"\u003c"}]`} {
			r := row(t, variant(text))
			if got, err := l.Contains(t.Context(), &r, variant(text), nil); !got || err != nil {
				t.Errorf("%s: %s: %v, %v", c, text, got, err)
			}
		}
		if v := mem.Violations(); len(v) > 0 {
			t.Error(v)
		}
	}
}

// TestOpenBatch: what lies in the open batch is known by its bytes, and cannot
// be compared before it is committed.
func TestOpenBatch(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, "gzip")
	b, err := l.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(line []byte, known bool, want error) {
		t.Helper()
		r := row(t, line)
		if got, err := l.Contains(t.Context(), &r, line, b); got != known || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, want %v, %v", line, got, err, known, want)
		}
	}
	first := variant(ofVariants)
	ask(first, false, nil)
	r := row(t, first)
	if err := b.Add(r, first); err != nil {
		t.Fatal(err)
	}
	l.Index(&r)
	ask(first, true, nil)
	ask(incident(8, r.At, "x"), false, nil)                    // another incident at that time
	ask(incident(7, r.At.Add(time.Second), "x"), false, nil)   // another time of that incident
	ask(incident(77, r.At.Add(-time.Second), "x"), false, nil) // further back than was loaded
	ask(first, true, nil)
	for text := range variants {
		if text != ofVariants {
			ask(variant(text), false, ErrOpenBatch)
		}
	}
	e := l.Head().Entry()
	e.Now = day.Add(time.Minute)
	if err := l.Commit(t.Context(), b, e); err != nil {
		t.Fatal(err)
	}
	b, err = l.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	for text, known := range variants {
		ask(variant(text), known, nil)
	}
	// One of the chain, while another line of it is in the open batch.
	changed := variant(`"changed":true`)
	ask(changed, false, nil)
	r = row(t, changed)
	if err := b.Add(r, changed); err != nil {
		t.Fatal(err)
	}
	l.Index(&r)
	ask(first, true, nil)
	ask(changed, true, nil)
	ask(variant(`"other":true`), false, ErrOpenBatch)
	// What was not committed is forgotten.
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b = nil
	ask(changed, false, nil)
	ask(first, true, nil)
	sound(t, mem)
}

// loads counts the manifests that are read meanwhile.
func loads(mem *sinktest.Mem, f func()) int {
	before := mem.Counts().Gets
	f()
	return mem.Counts().Gets - before
}

// TestIndexGoesBackByLatest: no further than to the first manifest whose latest
// line was updated before what is asked for.
func TestIndexGoesBackByLatest(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	at := func(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, "gzip")
	// Manifests 2 to 11: their latest lines are of minutes 0, 10, … 90; in 8,
	// at minute 60, there is one of minute 5 as well, which became visible late.
	for i := range 10 {
		lines := [][]byte{incident(100+i, at(10*i), "x")}
		if i == 6 {
			lines = append(lines, incident(50, at(5), "late"))
		}
		commit(t, l, at(10*i+1), lines, nil)
	}
	commit(t, l, at(95), nil, nil) // 12 has none
	if got := l.Head(); !got.Latest.Equal(at(90)) || got.Filled != 11 {
		t.Errorf("latest %s, filled %d", got.Latest.text(), got.Filled)
	}
	late := row(t, incident(50, at(5), "late"))
	for _, c := range []struct{ from, gets int }{
		{91, 0}, // nothing is so late, as the head itself says
		{90, 2}, // 11 and 10, whose latest is minute 80
		{80, 3}, {75, 3}, {60, 5}, {5, 10}, {0, 11},
	} {
		l := begin(t, mem, stream, day, "gzip")
		if got := loads(mem, func() {
			if err := l.LoadIndex(t.Context(), at(c.from)); err != nil {
				t.Fatal(err)
			}
		}); got != c.gets {
			t.Errorf("from minute %d: %d manifests were read, want %d", c.from, got, c.gets)
		}
		if got := loads(mem, func() {
			for _, from := range []int{c.from, c.from + 1, 1000} {
				if err := l.LoadIndex(t.Context(), at(from)); err != nil {
					t.Fatal(err)
				}
			}
		}); got != 0 {
			t.Errorf("from minute %d again: %d manifests were read", c.from, got)
		}
		for i := range 10 {
			r := row(t, incident(100+i, at(10*i), "x"))
			if got, want := l.index.has(&r), 10*i >= c.from; want && !got {
				t.Errorf("from minute %d: knows minute %d: %v", c.from, 10*i, got)
			}
		}
		if !l.index.has(&late) && c.from <= 5 {
			t.Errorf("from minute %d: does not know what came late", c.from)
		}
	}
	// Further back later on, and what was learnt is kept; asking does it as well.
	l = begin(t, mem, stream, day, "gzip")
	for _, from := range []int{91, 70, 90, 40, 0} {
		if err := l.LoadIndex(t.Context(), at(from)); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if r := row(t, incident(100+i, at(10*i), "x")); 10*i >= from && !l.index.has(&r) {
				t.Errorf("from minute %d: minute %d was forgotten", from, 10*i)
			}
		}
	}
	l = begin(t, mem, stream, day, "gzip")
	for _, minute := range []int{90, 30, 60, 0} {
		line := incident(100+minute/10, at(minute), "x")
		r := row(t, line)
		if got, err := l.Contains(t.Context(), &r, line, nil); !got || err != nil {
			t.Errorf("minute %d: %v, %v", minute, got, err)
		}
	}
	if got, err := l.Contains(t.Context(), &late, incident(50, at(5), "late"), nil); !got || err != nil {
		t.Errorf("what came late: %v, %v", got, err)
	}
}

// TestIndexAfterAFault: what could not be loaded is loaded the next time.
func TestIndexAfterAFault(t *testing.T) {
	mem := intact(t)
	l := begin(t, mem, stream, time.Time{}, "gzip")
	from := instant("2026-03-01T22:00:00Z")
	line := incident(1, instant("2026-03-01T22:01:00Z"), "first")
	r := row(t, line)
	mem.Before(func(c sinktest.Call) sinktest.Fault {
		if c.Key == stream.ManifestKey(4) {
			return sinktest.Fault{Outcome: sinktest.Failed}
		}
		return sinktest.Fault{}
	})
	for range 2 {
		if err := l.LoadIndex(t.Context(), from); !errors.Is(err, sinktest.ErrFault) {
			t.Errorf("loaded: %v", err)
		}
		if got, err := l.Contains(t.Context(), &r, line, nil); got || !errors.Is(err, sinktest.ErrFault) {
			t.Errorf("%v, %v", got, err)
		}
	}
	mem.Before(nil)
	if got, err := l.Contains(t.Context(), &r, line, nil); !got || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestComparingWithWhatIsDamaged: a line that cannot be compared is another one.
func TestComparingWithWhatIsDamaged(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	reordered := variant(`"b":null,"a":[1,2,{"x":1.0,"y":"\u003c"}]`)
	for name, damage := range map[string]func(mem *sinktest.Mem, key string){
		"gone":    func(mem *sinktest.Mem, key string) { mem.Delete(key) },
		"cut":     func(mem *sinktest.Mem, key string) { mem.Set(key, mem.Bytes(key)[:40]) },
		"another": func(mem *sinktest.Mem, key string) { mem.Set(key, pack(t, "gzip", [][]byte{reordered})) },
		"no object": func(mem *sinktest.Mem, key string) {
			m := manifestOf(t, mem, stream, 2)
			m.Object = nil
			write(t, mem, stream, 2, m)
		},
	} {
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, "gzip")
		commit(t, l, day.Add(time.Minute), [][]byte{variant(ofVariants)}, nil)
		damage(mem, l.Head().Object.Key)
		l = begin(t, mem, stream, day, "gzip")
		r := row(t, reordered)
		if got, err := l.Contains(t.Context(), &r, reordered, nil); got || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		r = row(t, variant(ofVariants)) // by its bytes it is known
		if got, err := l.Contains(t.Context(), &r, variant(ofVariants), nil); !got || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	// What cannot be read now is an error.
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, "gzip")
	commit(t, l, day.Add(time.Minute), [][]byte{variant(ofVariants)}, nil)
	for _, outcome := range []sinktest.Outcome{sinktest.Failed, sinktest.Cut} {
		mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Key == l.Head().Object.Key {
				return sinktest.Fault{Outcome: outcome}
			}
			return sinktest.Fault{}
		})
		r := row(t, reordered)
		if got, err := l.Contains(t.Context(), &r, reordered, nil); got || !errors.Is(err, sinktest.ErrFault) {
			t.Errorf("%v, %v", got, err)
		}
	}
	mem.Before(nil)
	r := row(t, reordered)
	if got, err := l.Contains(t.Context(), &r, reordered, nil); !got || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPlantedTimeDoesNotMoveLatest: whoever may write an object must not make
// every run read the whole chain, nor hide from one what it has.
func TestPlantedTimeDoesNotMoveLatest(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	for name, c := range map[string]struct {
		late  time.Duration // after the commit
		moves bool
	}{
		"as late as may be": {planted, true}, "a tick too late": {planted + rawjson.Tick, false}, "far in the future": {50 * 365 * 24 * time.Hour, false},
	} {
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, "gzip")
		commit(t, l, day.Add(10*time.Minute), [][]byte{incident(1, day, "x")}, nil)
		now := day.Add(11 * time.Minute)
		planted := incident(2, now.Add(c.late), "planted")
		mem.Set(l.Head().Next, pack(t, "gzip", [][]byte{planted, incident(3, day.Add(time.Minute), "y")}))
		adopt(t, l, now)
		want := day.Add(time.Minute)
		if c.moves {
			want = now.Add(c.late)
		}
		m := l.Head()
		if !m.Adopted || !m.Latest.Equal(want) || m.Filled != 3 || len(m.Versions) != 2 {
			t.Errorf("%s: latest %s, want %s; %+v", name, m.Latest.text(), want, m)
		}
		// As it goes on, the planted line is nothing special.
		for i := range 5 {
			commit(t, l, until(l).Add(10*time.Hour), [][]byte{incident(10+i, until(l).Add(time.Hour), "x")}, nil)
		}
		if got, want := l.Head().Latest, until(l).Add(-9*time.Hour); !got.Equal(want) {
			t.Errorf("%s: latest %s, want %s", name, got.text(), want)
		}
		l = begin(t, mem, stream, day, "gzip")
		if got := loads(mem, func() {
			if err := l.LoadIndex(t.Context(), until(l)); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("%s: %d manifests are read for what is new", name, got)
		}
		if err := l.LoadIndex(t.Context(), day); err != nil {
			t.Fatal(err)
		}
		for _, line := range [][]byte{planted, incident(3, day.Add(time.Minute), "y"), incident(1, day, "x")} {
			if r := row(t, line); !l.index.has(&r) {
				t.Errorf("%s: %s is not known", name, line)
			}
		}
		sound(t, mem)
	}
	// A line of our own reading moves it, whenever it was updated.
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, "gzip")
	far := day.Add(50 * 365 * 24 * time.Hour)
	commit(t, l, day.Add(10*time.Minute), [][]byte{incident(1, far, "x")}, nil)
	if !l.Head().Latest.Equal(far) {
		t.Errorf("latest %s", l.Head().Latest.text())
	}
	sound(t, mem)
}

// TestIndexKnowsWhatRivalsCommit: a ledger that lives on knows after Load what
// another one has committed meanwhile, in the chain or to be adopted.
func TestIndexKnowsWhatRivalsCommit(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	mem := sinktest.NewMem()
	a := begin(t, mem, stream, day, "gzip")
	commit(t, a, day.Add(time.Minute), [][]byte{incident(1, day, "of a")}, nil)
	b := begin(t, mem, stream, day, "gzip")
	has := func(l *Ledger, line []byte) bool {
		t.Helper()
		r := row(t, line)
		got, err := l.Contains(t.Context(), &r, line, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ofB := incident(2, day.Add(time.Second), "of b")
	if has(a, ofB) || has(b, ofB) {
		t.Error("it is known before it is there")
	}
	commit(t, b, day.Add(2*time.Minute), [][]byte{ofB}, nil)
	// What a has in its open batch now is lost to the race.
	lost := incident(3, day.Add(2*time.Second), "of a, lost")
	batch, err := a.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	r := row(t, lost)
	if err := batch.Add(r, lost); err != nil {
		t.Fatal(err)
	}
	a.Index(&r)
	e := a.Head().Entry()
	e.Now = day.Add(3 * time.Minute)
	if err := a.Commit(t.Context(), batch, e); !errors.Is(err, ErrRival) {
		t.Fatalf("committed: %v", err)
	}
	if err := a.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !has(a, ofB) || has(a, lost) || !has(a, incident(1, day, "of a")) {
		t.Error("after the race a does not know what is in the chain, or knows what is not")
	}
	// b dies between its two Puts; a adopts, and knows the lines at once.
	left := incident(4, day.Add(3*time.Second), "of b, left behind")
	mem.Set(a.Head().Next, pack(t, "gzip", [][]byte{left}))
	adopt(t, a, day.Add(4*time.Minute))
	if !has(a, left) {
		t.Error("what was adopted is not known")
	}
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !has(b, left) || !has(b, ofB) || has(b, lost) {
		t.Error("b does not know what a has recorded")
	}
	// Nothing has changed: what is known is not read again.
	if got := loads(mem, func() {
		if err := b.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		has(b, left)
	}); got != 0 {
		t.Errorf("%d manifests were read again", got)
	}
	sound(t, mem)
}

// TestIndexIsLoadedInFewWalks: rows come newest first, each further back than
// the one before, into a chain whose every manifest has a late line.
func TestIndexIsLoadedInFewWalks(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day.Add(-180*24*time.Hour), "gzip")
	const manifests, rows = 20, 2000
	var oldest []byte
	for i := range manifests {
		oldest = incident(i, day.Add(-time.Duration(i*9)*24*time.Hour), "old")
		commit(t, l, until(l), [][]byte{incident(100+i, day.Add(time.Duration(i)*time.Second), "late"), oldest}, nil)
	}
	l = begin(t, mem, stream, day, "gzip")
	gets := loads(mem, func() {
		for i := range rows {
			line := incident(1000+i, day.Add(-time.Duration(i)*(180*24*time.Hour/rows)), "new")
			r := row(t, line)
			if known, err := l.Contains(t.Context(), &r, line, nil); known || err != nil {
				t.Fatalf("%s: %v, %v", line, known, err)
			}
		}
		r := row(t, oldest)
		if known, err := l.Contains(t.Context(), &r, oldest, nil); !known || err != nil {
			t.Fatalf("%s: %v, %v", oldest, known, err)
		}
	})
	t.Logf("%d manifests were read for %d rows", gets, rows)
	if gets > 15*manifests {
		t.Errorf("%d manifests were read for %d rows", gets, rows)
	}
}
