package ledger

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"incident-exporter/sinks/sinktest"
)

// TestIndexAgainstModel holds Know, Has and what is forgotten to a map.
func TestIndexAgainstModel(t *testing.T) {
	kept, pruned := 0, false
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		base := instant("2026-03-01T00:00:00Z")
		random := func() Row {
			r := Row{ID: strconv.Itoa(rng.IntN(2000)), At: base.Add(time.Duration(rng.IntN(400)) * time.Second)}
			r.SHA256[0], r.SHA256[15] = byte(rng.IntN(3)), byte(rng.IntN(2))
			return r
		}
		type version struct {
			id  string
			at  time.Time
			sum [32]byte
		}
		model := map[version]bool{}
		x := newIndex()
		x.from, x.loaded = base, true
		for range 40_000 {
			switch r := random(); rng.IntN(50) {
			case 0:
				from := x.from.Add(time.Duration(rng.IntN(3)) * time.Second)
				known := x.from
				if x.keep(from); x.from.Equal(known) {
					continue
				}
				for v := range model {
					if v.at.Before(x.from) {
						delete(model, v)
					}
				}
			case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
				if got, want := x.has(&r), model[version{r.ID, r.At, r.SHA256}]; got != want && !r.At.Before(x.from) {
					t.Fatalf("seed %d: has %s %s: %v, want %v", seed, r.ID, r.At, got, want)
				}
			default:
				if !r.At.Before(x.from) && !x.has(&r) {
					x.add(&r, 7, 1)
					model[version{r.ID, r.At, r.SHA256}] = true
				}
			}
		}
		n := 0
		for v := range model {
			n++
			if r := (Row{ID: v.id, At: v.at, SHA256: v.sum}); !x.has(&r) {
				t.Fatalf("seed %d: forgotten: %s %s", seed, v.id, v.at)
			}
		}
		kept, pruned = kept+n, pruned || x.from.After(base)
	}
	if kept == 0 || !pruned {
		t.Errorf("%d versions, pruned: %v: nothing was tested", kept, pruned)
	}
}

func TestIndexIsSmall(t *testing.T) {
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	base := instant("2026-03-01T00:00:00Z")
	for _, n := range []int{100_000, 300_000, 1_000_000} {
		before := live()
		x := newIndex()
		for i := range n {
			x.add(&Row{ID: strconv.Itoa(i), At: base.Add(time.Duration(i) * time.Millisecond)}, uint64(i/5000), i%5000)
		}
		per := float64(live()-before) / float64(n)
		t.Logf("%d versions: %.1f bytes each", n, per)
		if per >= 80 {
			t.Errorf("%d versions take %.1f bytes each", n, per)
		}
		// What is forgotten is given back.
		x.keep(base.Add(time.Duration(n-1000) * time.Millisecond))
		if left := live() - min(before, live()); left > 1<<20 {
			t.Errorf("%d bytes are left for 1,000 versions", left)
		}
		runtime.KeepAlive(x)
	}
}

// TestOrderAloneIsNoVersion stores a line and asks for others like it.
func TestOrderAloneIsNoVersion(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	line := func(rest string) []byte {
		return fmt.Appendf(nil, `{"incidentId":7,"lastUpdateTime":"2026-03-02T08:00:01Z",%s}`, rest)
	}
	for _, c := range []Compression{"gzip", "zstd", "none"} {
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, c)
		commit(t, l, l.Head().Window.To.Add(time.Minute), [][]byte{
			incident(3, day.Add(time.Second), "before"), line(`"a":[1,2,{"x":1.0,"y":"\u003c"}],"b":null`), incident(8, day.Add(time.Second), "after")}, nil)
		l = begin(t, mem, stream, day, c)
		if err := l.Know(t.Context(), day); err != nil {
			t.Fatal(err)
		}
		for text, known := range map[string]bool{
			`"a":[1,2,{"x":1.0,"y":"\u003c"}],"b":null`: true,
			`"b":null,"a":[1,2,{"x":1.0,"y":"\u003c"}]`: true,
			`"a":[2,{"y":"\u003c","x":1.0},1],"b":null`: true,
			`"a":[1,2,{"x":1.0,"y":"<"}],"b":null`:      false,
			`"a":[1,2,{"x":1,"y":"\u003c"}],"b":null`:   false,
			`"a":[1,1,{"x":1.0,"y":"\u003c"}],"b":null`: false,
			`"a":[1,2,{"x":1.0,"y":"\u003c"}],"c":null`: false,
		} {
			for range 2 { // the second time from memory
				r := row(t, line(text))
				if got, err := l.Has(t.Context(), &r, line(text)); got != known || err != nil {
					t.Errorf("%s: %s: %v, %v", c, text, got, err)
				}
			}
		}
	}
}
