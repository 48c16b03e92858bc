package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The laws of the map are held against a model that knows of each second by
// itself. Seconds count from epoch; claims lie within the first cells.
const cells = 200

var epoch = instant("2026-03-02T00:00:00Z")

func second(n int) Time           { return Time{epoch.Add(time.Duration(n) * time.Second)} }
func cellOf(t Time) int           { return int(t.Sub(epoch) / time.Second) }
func spanOf(from, to int) Span    { return Span{second(from), second(to)} }
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
func (a Claim) over(x int) bool   { return cellOf(a.From) <= x && x < cellOf(a.To) }
func (s Span) over(x int) bool    { return cellOf(s.From) <= x && x < cellOf(s.To) }
func show(v any) string           { text, _ := json.Marshal(v); return short.Replace(string(text)) }
func anySpan(all []Span, x int) bool {
	return slices.ContainsFunc(all, func(s Span) bool { return s.over(x) })
}
func anyClaim(all []Claim, x int) bool {
	return slices.ContainsFunc(all, func(c Claim) bool { return c.over(x) })
}

var short = strings.NewReplacer("2026-03-02T00:", "", ".0000000Z", "", `"`, "")

// vouches is the model's rule for one second: how long after the second's end,
// or, where that is what is asked, its beginning, it was asked for.
func vouches(a, b Claim, x int) bool {
	if a.Order && !b.Order {
		return false
	}
	begin, end := second(x), second(x+1)
	switch {
	case a.After == 0 && b.After == 0:
		return !a.Asked.Before(b.Asked.Time)
	case a.After > 0 && b.After > 0:
		return a.After >= b.After
	case b.After > 0: // every instant of the second was asked for that much later
		return !a.Asked.Before(end.Add(time.Duration(b.After)))
	default: // the first instant is the one of which the least is known
		return !begin.Add(time.Duration(a.After)).Before(b.Asked.Time)
	}
}

// settledAt says whether the second was asked for so long after itself.
func settledAt(c Coverage, x int, after, settle time.Duration) bool {
	for _, claim := range c {
		if claim.over(x) {
			if claim.After > 0 {
				return time.Duration(claim.After) >= after
			}
			return !claim.Asked.Before(second(x + 1).Add(after + settle))
		}
	}
	return false
}

// tidy fails if a coverage is not disjoint, ascending and merged.
func tidy(t *testing.T, c Coverage, what string) {
	t.Helper()
	for i, x := range c {
		if !x.From.Before(x.To.Time) || (x.After > 0) == !x.Asked.IsZero() || x.After < 0 {
			t.Fatalf("%s: not a claim: %s in %s", what, show(x), show(c))
		}
		if i > 0 && (x.From.Before(c[i-1].To.Time) || x.From.Equal(c[i-1].To.Time) && x.same(c[i-1])) {
			t.Fatalf("%s: out of order, or not merged: %s", what, show(c))
		}
	}
}

// tidySpans fails if stretches are not disjoint, ascending and as few as can be.
func tidySpans(t *testing.T, all []Span, what string) {
	t.Helper()
	for i, s := range all {
		if !s.From.Before(s.To.Time) || i > 0 && !s.From.After(all[i-1].To.Time) {
			t.Fatalf("%s: not in order: %s", what, show(all))
		}
	}
}

// cases draws what the laws are tried on.
type cases struct{ *rand.Rand }

func drawn(seed uint64) cases { return cases{rand.New(rand.NewPCG(seed, 17))} }

func (r cases) span() Span {
	from := r.IntN(cells)
	return spanOf(from, from+1+r.IntN(min(cells-from, 1+r.IntN(cells))))
}

// claim is any claim, with values that meet often.
func (r cases) claim() Claim {
	s := r.span()
	c := Claim{From: s.From, To: s.To, Order: r.IntN(3) == 0}
	if r.IntN(3) == 0 {
		c.After = Duration(seconds([]int{1, 10, 10, 25, 60, 60}[r.IntN(6)]))
	} else {
		c.Asked = second(r.IntN(2*cells) - cells/4)
		if r.IntN(8) == 0 {
			c.Asked.Time = c.Asked.Add(500 * time.Millisecond)
		}
		if r.IntN(4) == 0 { // equal to what some After says of its first second, or its last
			c.Asked = Time{[]Time{c.From, c.To}[r.IntN(2)].Add(seconds([]int{1, 10, 25, 60}[r.IntN(4)]))}
		}
	}
	return c
}

// part is a claim over a part of another's stretch, or a little more.
func (r cases) part(of Claim) Claim {
	c := r.claim()
	from, to := cellOf(of.From), cellOf(of.To)
	from += r.IntN(to - from)
	c.From, c.To = second(from), second(from+1+r.IntN(to-from+r.IntN(2)))
	if r.IntN(3) == 0 {
		c.Asked, c.After = of.Asked, of.After
	}
	return c
}

func (r cases) claims(n int) (all []Claim) {
	for range r.IntN(n + 1) {
		all = append(all, r.claim())
	}
	return all
}

func (r cases) spans(n int) (all []Span) {
	for range r.IntN(n + 1) {
		all = append(all, r.span())
		if r.IntN(5) == 0 {
			all[len(all)-1].To = all[len(all)-1].From
		}
	}
	return all
}

// coverage is any coverage, made without what is tested: one claim after the
// other, with holes between some.
func (r cases) coverage() (c Coverage) {
	for at := r.IntN(30); at < cells; {
		x := r.claim()
		x.From = second(at)
		at = min(cells, at+1+r.IntN(1+r.IntN(cells/2)))
		x.To = second(at)
		if n := len(c); n == 0 || !c[n-1].To.Equal(x.From.Time) || !c[n-1].same(x) {
			c = append(c, x)
		}
		if r.IntN(3) == 0 {
			at += 1 + r.IntN(20)
		}
	}
	return c
}

func (r cases) lateness() Lateness {
	l := Lateness{Settle: seconds(r.IntN(4)), Overlap: seconds(10), Deep: seconds(60), Every: seconds(20)}
	switch r.IntN(8) {
	case 0:
		l.Overlap = l.Deep
	case 1:
		l.Overlap = 0
	case 2:
		l.Deep = seconds(25)
	}
	return l
}

// many runs a law on cases drawn from seeds.
func many(t *testing.T, law func(t *testing.T, r cases)) {
	t.Parallel()
	n := 4_000
	if testing.Short() {
		n = 500
	}
	for seed := range uint64(n) {
		if law(t, drawn(seed)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestAdd(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c, claims := r.coverage(), r.claims(4)
		if r.IntN(4) == 0 {
			claims = append(claims, Claim{From: second(50), To: second(50 - r.IntN(2)), Asked: second(70)}) // nothing
		}
		given := slices.Concat(c, claims)
		was := slices.Clone(c)
		got := c.Add(claims...)
		what := fmt.Sprintf("%s and %s: %s", show(was), show(claims), show(got))
		tidy(t, got, what)
		if !slices.Equal(c, was) {
			t.Errorf("%s: the receiver was changed", what)
		}
		// Which of the claims lie over a second, and where that is so without a break.
		over := func(x int) (all []int) {
			for i, g := range given {
				if g.over(x) {
					all = append(all, i)
				}
			}
			return all
		}
		for x := 0; x < cells; {
			end, here := x+1, over(x)
			for end < cells && slices.Equal(over(end), here) {
				end++
			}
			for y := x; y < end; y++ {
				i := slices.IndexFunc(got, func(c Claim) bool { return c.over(y) })
				if (i >= 0) != (len(here) > 0) {
					t.Fatalf("%s: second %d is covered: %v, want %v", what, y, i >= 0, len(here) > 0)
				}
				if i < 0 {
					continue
				}
				if !slices.ContainsFunc(here, func(g int) bool { return given[g].same(got[i]) }) {
					t.Fatalf("%s: nothing says what it says of second %d", what, y)
				}
				// None of the others says more over all of the stretch. What
				// relies on the order for more is not compared.
				for _, g := range here {
					more, less := true, true
					for z := x; z < end; z++ {
						more = more && vouches(given[g], got[i], z)
						less = less && vouches(got[i], given[g], z)
					}
					if more && !less {
						t.Fatalf("%s: second %d: %s says more", what, y, show(given[g]))
					}
				}
			}
			x = end
		}
		if again := got.Add(claims...); !reflect.DeepEqual(again, got) {
			t.Errorf("%s: once more: %s", what, show(again))
		}
		// In any order, and the coverage among them.
		r.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
		if other := Coverage(nil).Add(given...); !reflect.DeepEqual(other, got) {
			t.Errorf("%s: in another order: %s", what, show(other))
		}
	})
}

func TestWithout(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c, s := r.coverage(), r.span()
		if r.IntN(10) == 0 {
			s.To = s.From
		}
		was := slices.Clone(c)
		got := c.Without(s)
		what := fmt.Sprintf("%s without %s: %s", show(was), show(s), show(got))
		tidy(t, got, what)
		if !slices.Equal(c, was) {
			t.Errorf("%s: the receiver was changed", what)
		}
		for x := range cells {
			before := slices.IndexFunc(c, func(c Claim) bool { return c.over(x) })
			after := slices.IndexFunc(got, func(c Claim) bool { return c.over(x) })
			switch gone := before < 0 || s.over(x); {
			case gone != (after < 0):
				t.Fatalf("%s: second %d", what, x)
			case !gone && !c[before].same(got[after]):
				t.Fatalf("%s: second %d says something else", what, x)
			}
		}
	})
}

func TestHoles(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c := r.coverage()
		from, to := r.IntN(cells), r.IntN(cells)
		got := c.Holes(second(from).Time, second(to).Time)
		what := fmt.Sprintf("holes of %s from %d to %d: %s", show(c), from, to, show(got))
		tidySpans(t, got, what)
		for x := range cells {
			if want := from <= x && x < to && !anyClaim(c, x); anySpan(got, x) != want {
				t.Fatalf("%s: second %d: want %v", what, x, want)
			}
		}
	})
}

func TestUnsettled(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c, after, settle := r.coverage(), seconds([]int{0, 1, 10, 25, 60}[r.IntN(5)]), seconds(r.IntN(4))
		var since time.Time
		if r.IntN(2) == 0 {
			since = second(r.IntN(2 * cells)).Time
		}
		was := slices.Clone(c)
		got := c.Unsettled(after, settle, since)
		what := fmt.Sprintf("%s unsettled %s and %s after, since %s: %s", show(c), after, settle, show(since), show(got))
		tidySpans(t, got, what)
		for _, s := range got {
			if !s.From.Equal(s.From.Truncate(time.Second)) || !s.To.Equal(s.To.Truncate(time.Second)) {
				t.Errorf("%s: not whole seconds", what)
			}
		}
		if !slices.Equal(c, was) {
			t.Errorf("%s: the receiver was changed", what)
		}
		for x := range cells {
			want := anyClaim(c, x) && !settledAt(c, x, after, settle)
			if i := slices.IndexFunc(c, func(c Claim) bool { return c.over(x) }); i >= 0 && !since.IsZero() {
				// What was asked for since then is left out, whichever way the claim says it.
				asked := c[i].Asked.Time
				if c[i].After > 0 {
					asked = second(x).Add(time.Duration(c[i].After) + settle)
				}
				want = want && asked.Before(since)
			}
			if anySpan(got, x) != want {
				t.Fatalf("%s: second %d: want %v", what, x, want)
			}
		}
	})
}

func TestAged(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c, l := r.coverage(), r.lateness()
		var due time.Time
		if r.IntN(2) == 0 {
			due = second(r.IntN(2*cells) - cells/4).Time
		}
		was := slices.Clone(c)
		got := c.Aged(l, due)
		what := fmt.Sprintf("%s aged by %v, due %s: %s", show(c), l, show(due), show(got))
		tidy(t, got, what)
		if !slices.Equal(c, was) {
			t.Errorf("%s: the receiver was changed", what)
		}
		for x := range cells {
			i := slices.IndexFunc(c, func(c Claim) bool { return c.over(x) })
			j := slices.IndexFunc(got, func(c Claim) bool { return c.over(x) })
			if (i < 0) != (j < 0) {
				t.Fatalf("%s: second %d: covered before: %v, then: %v", what, x, i >= 0, j >= 0)
			}
			if i >= 0 && !vouches(c[i], got[j], x) {
				t.Fatalf("%s: second %d: nothing vouches for it", what, x)
			}
			for _, after := range []time.Duration{l.Overlap, l.Deep} {
				if before, then := settledAt(c, x, after, l.Settle), settledAt(got, x, after, l.Settle); after > 0 && before != then {
					t.Fatalf("%s: second %d was settled after %s: %v, is: %v", what, x, after, before, then)
				}
			}
		}
		if fault := follows(&Manifest{Covered: c}, nil, nil, got, nil); fault != "" {
			t.Errorf("%s: %s", what, fault)
		}
		// A deep reading goes on where it was.
		if !due.IsZero() {
			left := Subtract(got.Unsettled(l.Deep, l.Settle, due), c.Unsettled(l.Deep, l.Settle, due))
			if len(left) > 0 {
				t.Errorf("%s: a deep reading begins again with %s", what, show(left))
			}
		}
	})
}

// TestAgedExamples shows which neighbours become one claim. Each second here is
// asked for as said: settle 3s, overlap 10s, deep 60s.
func TestAgedExamples(t *testing.T) {
	l := Lateness{Settle: seconds(3), Overlap: seconds(10), Deep: seconds(60), Every: seconds(20)}
	asked := func(from, to, asked int) Claim {
		return Claim{From: second(from), To: second(to), Asked: second(asked)}
	}
	after := func(from, to, after int) Claim {
		return Claim{From: second(from), To: second(to), After: Duration(seconds(after))}
	}
	order := func(c Claim) Claim { c.Order = true; return c }
	for name, c := range map[string]struct {
		c    Coverage
		due  int
		want Coverage
	}{
		"nothing":                        {nil, 0, nil},
		"just read":                      {Coverage{asked(50, 100, 103)}, 0, Coverage{asked(50, 51, 103), after(51, 90, 10), asked(90, 100, 103)}},
		"long ago":                       {Coverage{asked(50, 100, 163)}, 0, Coverage{after(50, 100, 60)}},
		"two seconds less":               {Coverage{asked(50, 100, 161)}, 0, Coverage{after(50, 98, 60), asked(98, 99, 161), after(99, 100, 10)}},
		"all of it":                      {Coverage{asked(0, 100, 103)}, 0, Coverage{after(0, 40, 60), asked(40, 41, 103), after(41, 90, 10), asked(90, 100, 103)}},
		"the first second stays":         {Coverage{after(0, 40, 60), asked(40, 41, 103), after(41, 90, 10), asked(90, 110, 113)}, 0, Coverage{after(0, 40, 60), asked(40, 41, 103), after(41, 100, 10), asked(100, 110, 113)}},
		"at about one time":              {Coverage{asked(90, 95, 103), asked(95, 100, 106)}, 0, Coverage{asked(90, 100, 103)}},
		"at about one time, downwards":   {Coverage{asked(93, 95, 106), asked(95, 100, 103)}, 0, Coverage{asked(93, 100, 103)}},
		"at two times":                   {Coverage{asked(90, 95, 103), asked(95, 100, 107)}, 0, Coverage{asked(90, 95, 103), asked(95, 100, 107)}},
		"one by the order":               {Coverage{order(asked(90, 95, 103)), asked(95, 100, 103)}, 0, Coverage{order(asked(90, 95, 103)), asked(95, 100, 103)}},
		"with a hole":                    {Coverage{asked(90, 95, 103), asked(96, 100, 103)}, 0, Coverage{asked(90, 95, 103), asked(96, 100, 103)}},
		"aged before":                    {Coverage{after(0, 90, 10), asked(90, 100, 150)}, 0, Coverage{after(0, 100, 10)}},
		"aged differently":               {Coverage{after(0, 90, 25), asked(90, 100, 150)}, 0, Coverage{after(0, 90, 25), after(90, 100, 10)}},
		"a deep reading, begun":          {Coverage{after(40, 70, 10), asked(70, 100, 103)}, 95, Coverage{after(40, 70, 10), asked(70, 82, 103), after(82, 90, 10), asked(90, 100, 103)}},
		"a deep reading, going on":       {Coverage{after(40, 60, 10), asked(60, 70, 109), asked(70, 82, 103), after(82, 95, 10), asked(95, 106, 109)}, 95, Coverage{after(40, 60, 10), asked(60, 82, 103), after(82, 96, 10), asked(96, 106, 109)}},
		"a deep reading, at its end":     {Coverage{asked(40, 60, 120), asked(60, 82, 103), after(82, 106, 10), asked(106, 117, 120)}, 95, Coverage{after(40, 57, 60), asked(57, 82, 103), after(82, 107, 10), asked(107, 117, 120)}},
		"a deep reading, ended":          {Coverage{after(40, 57, 60), asked(57, 82, 103), after(82, 107, 10), asked(107, 117, 120)}, 0, Coverage{after(40, 57, 60), asked(57, 58, 103), after(58, 107, 10), asked(107, 117, 120)}},
		"read before the deep reading":   {Coverage{asked(85, 90, 94), asked(90, 95, 96)}, 95, Coverage{asked(85, 90, 94), asked(90, 95, 96)}},
		"what was asked for at the time": {Coverage{asked(80, 100, 95)}, 95, Coverage{asked(80, 100, 95)}},
		"just before the time":           {Coverage{asked(79, 100, 94)}, 95, Coverage{asked(79, 80, 94), after(80, 81, 10), asked(81, 100, 94)}},
		"only what is new":               {Coverage{asked(82, 100, 105)}, 95, Coverage{asked(82, 83, 105), after(83, 92, 10), asked(92, 100, 105)}},
	} {
		var due time.Time
		if c.due > 0 {
			due = second(c.due).Time
		}
		if got := c.c.Aged(l, due); !slices.Equal(got, c.want) {
			t.Errorf("%s: %s, want %s", name, show(got), show(c.want))
		}
	}
}

// TestAgedIsFew: of one recent reading there are four claims at the most.
func TestAgedIsFew(t *testing.T) {
	most := map[bool]int{}
	many(t, func(t *testing.T, r cases) {
		s := r.span()
		c := Coverage{{From: s.From, To: s.To, Asked: second(cellOf(s.To) + r.IntN(150)), Order: r.IntN(2) == 0}}
		var due time.Time
		if r.IntN(2) == 0 {
			due = second(r.IntN(2*cells) - cells/4).Time
		}
		got := c.Aged(r.lateness(), due)
		if len(got) > 4 {
			t.Errorf("%s, due %s: %s", show(c), show(due), show(got))
		}
		most[due.IsZero()] = max(most[due.IsZero()], len(got))
	})
	if most[true] != 4 || most[false] != 4 {
		t.Errorf("at most %v: nothing was tried", most)
	}
}

func TestDeepDue(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c, l := r.coverage(), r.lateness()
		var want time.Time
		for x := range cells {
			if i := slices.IndexFunc(c, func(c Claim) bool { return c.over(x) }); i >= 0 && !settledAt(c, x, l.Deep, l.Settle) {
				if want = c[i].Asked.Add(l.Every); c[i].After > 0 {
					want = c[i].From.Add(time.Duration(c[i].After) + l.Settle + l.Every)
				}
				break
			}
		}
		if got := c.DeepDue(l); !got.Equal(want) {
			t.Errorf("%s, %v: due %s, want %s", show(c), l, got, want)
		}
	})
}

func TestOrdered(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c := r.coverage()
		got := c.Ordered()
		tidySpans(t, got, show(c))
		for x := range cells {
			want := slices.ContainsFunc(c, func(c Claim) bool { return c.Order && c.over(x) })
			if anySpan(got, x) != want {
				t.Fatalf("%s: ordered %s, second %d: want %v", show(c), show(got), x, want)
			}
		}
	})
}

func TestJoinedAndSubtract(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		a, b := r.spans(8), r.spans(8)
		if r.IntN(4) == 0 {
			a = append(a, spanOf(20, 10))
			b = append(b, spanOf(30, 20))
		}
		wasA, wasB := slices.Clone(a), slices.Clone(b)
		joined, less := Joined(a), Subtract(a, b)
		tidySpans(t, joined, "joined")
		tidySpans(t, less, "subtracted")
		for x := range cells {
			if anySpan(joined, x) != anySpan(a, x) {
				t.Fatalf("%s joined: %s: second %d", show(a), show(joined), x)
			}
			if anySpan(less, x) != (anySpan(a, x) && !anySpan(b, x)) {
				t.Fatalf("%s less %s: %s: second %d", show(a), show(b), show(less), x)
			}
		}
		if !slices.Equal(a, wasA) || !slices.Equal(b, wasB) {
			t.Error("what was given is changed")
		}
	})
}

func TestSinceAndUntil(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		c := r.coverage()
		if r.IntN(10) == 0 {
			c = nil
		}
		var since, until time.Time
		for x := cells - 1; x >= 0; x-- {
			switch covered := anyClaim(c, x); {
			case covered && until.IsZero():
				since, until = second(x).Time, second(x+1).Time
			case covered:
				since = second(x).Time
			}
			if !until.IsZero() && !anyClaim(c, x) {
				break
			}
		}
		if !c.Since().Equal(since) || !c.Until().Equal(until) {
			t.Errorf("%s: %s to %s, want %s to %s", show(c), c.Since(), c.Until(), since, until)
		}
	})
}

func TestVouches(t *testing.T) {
	held, chained := 0, 0
	many(t, func(t *testing.T, r cases) {
		a := r.claim()
		b := r.part(a)
		c := r.part(b)
		want := true
		for x := range cells + 2 {
			want = want && (!b.over(x) || a.over(x) && vouches(a, b, x))
		}
		if a.Vouches(b) != want {
			t.Errorf("%s vouches for %s: %v, want %v", show(a), show(b), !want, want)
		}
		if want {
			held++
		}
		if !a.Vouches(a) {
			t.Errorf("%s does not vouch for itself", show(a))
		}
		if a.Vouches(b) && b.Vouches(c) {
			if chained++; !a.Vouches(c) {
				t.Errorf("%s vouches for %s, that for %s", show(a), show(b), show(c))
			}
		}
	})
	if held == 0 || chained == 0 {
		t.Errorf("%d and %d cases: nothing was tried", held, chained)
	}
}

func TestDuration(t *testing.T) {
	for d, text := range map[time.Duration]string{
		time.Second: `"1s"`, 90 * time.Second: `"90s"`, time.Minute: `"1m"`, 90 * time.Minute: `"90m"`, time.Hour: `"1h"`,
		168 * time.Hour: `"168h"`, time.Hour + time.Second: `"3601s"`, 2562047 * time.Hour: `"2562047h"`,
	} {
		got, err := json.Marshal(Duration(d))
		if err != nil || string(got) != text {
			t.Errorf("%v: %s, %v", d, got, err)
		}
		var back Duration
		if err := json.Unmarshal([]byte(text), &back); err != nil || time.Duration(back) != d {
			t.Errorf("%s: %v, %v", text, time.Duration(back), err)
		}
	}
	for _, text := range []string{
		`"0s"`, `"0h"`, `"-1h"`, `""`, `"h"`, `"1"`, `1`, `null`, `"1h30m"`, `"60m"`, `"3600s"`, `"1.5h"`, `"0.5s"`, `"500ms"`, `"+1h"`, `"01h"`, `" 1h"`, `"1H"`, `"2562048h"`, `"9999999999999h"`,
	} {
		var d Duration
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s is read as %v", text, time.Duration(d))
		}
	}
	if text, err := json.Marshal(Duration(1500 * time.Millisecond)); err == nil {
		t.Errorf("a second and a half is written as %s", text)
	}
	many(t, func(t *testing.T, r cases) {
		d := Duration(seconds(1 + r.IntN(1<<r.IntN(30))))
		text, err := json.Marshal(d)
		var back Duration
		if err != nil || json.Unmarshal(text, &back) != nil || back != d {
			t.Errorf("%v: %s, %v, %v", time.Duration(d), text, time.Duration(back), err)
		}
	})
}

// TestFollowsExamples has claims for which one reading vouches in part, and
// another for the rest.
func TestFollowsExamples(t *testing.T) {
	asked := func(from, to, asked int) Claim {
		return Claim{From: second(from), To: second(to), Asked: second(asked)}
	}
	after := func(from, to, after int) Claim {
		return Claim{From: second(from), To: second(to), After: Duration(seconds(after))}
	}
	for name, c := range map[string]struct {
		before  Coverage
		read    []Claim
		covered Coverage
		ok      bool
	}{
		"a time up to where it is long enough after": {Coverage{asked(0, 50, 60)}, []Claim{asked(40, 100, 200)}, Coverage{after(0, 100, 20)}, true},
		"and a second more":                          {Coverage{asked(0, 50, 60)}, []Claim{asked(41, 100, 200)}, Coverage{after(0, 100, 20)}, false},
		"so long after from where it is that time":   {Coverage{after(0, 100, 10)}, []Claim{asked(0, 20, 200)}, Coverage{asked(0, 100, 30)}, true},
		"and a second earlier":                       {Coverage{after(0, 100, 10)}, []Claim{asked(0, 19, 200)}, Coverage{asked(0, 100, 30)}, false},
		"one by two":                                 {Coverage{asked(0, 50, 60)}, []Claim{asked(50, 100, 120)}, Coverage{asked(0, 100, 60)}, true},
		"one by the later of two":                    {Coverage{asked(0, 50, 60)}, []Claim{asked(50, 100, 120)}, Coverage{asked(0, 100, 61)}, false},
	} {
		if got := follows(&Manifest{Covered: c.before}, nil, c.read, c.covered, nil); (got == "") != c.ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestFollows lets claims follow, or not, and asks the model.
func TestFollows(t *testing.T) {
	accepted, refused := 0, map[string]int{}
	many(t, func(t *testing.T, r cases) {
		p := &Manifest{Covered: r.coverage()}
		var withdrawn []Withdrawn
		for range r.IntN(3) {
			s := r.span()
			withdrawn = append(withdrawn, Withdrawn{s.From, s.To, "x"})
		}
		read := slices.DeleteFunc(r.claims(3), func(c Claim) bool { return c.After > 0 })
		covered := following(p.Covered, withdrawn, read)
		if r.IntN(2) == 0 {
			covered = covered.Aged(r.lateness(), time.Time{})
		}
		// One claim in half of the cases says something else.
		if n := len(covered); n > 0 && r.IntN(2) == 0 {
			i := r.IntN(n)
			x := &covered[i]
			switch r.IntN(5) {
			case 0:
				x.Order = !x.Order
			case 1:
				*x = Claim{From: x.From, To: x.To, Asked: r.claim().Asked, Order: x.Order}
				if x.Asked.IsZero() {
					x.Asked = second(cells)
				}
			case 2:
				*x = Claim{From: x.From, To: x.To, After: Duration(seconds(1 + r.IntN(60))), Order: x.Order}
			case 3:
				x.To = second(min(cellOf(x.To), cellOf(x.From)+1+r.IntN(cells)))
				if i+1 == n {
					x.To = second(cellOf(x.To) + 1)
				}
			case 4:
				covered = covered.Without(r.span())
			}
		}
		want := true
		for x := range cells + 2 {
			var vouching []Claim
			for _, c := range p.Covered {
				if c.over(x) && !slices.ContainsFunc(withdrawn, func(w Withdrawn) bool { return Span{w.From, w.To}.over(x) }) {
					vouching = append(vouching, c)
				}
			}
			for _, c := range read {
				if c.over(x) {
					vouching = append(vouching, c)
				}
			}
			i := slices.IndexFunc(covered, func(c Claim) bool { return c.over(x) })
			want = want && (i >= 0) == (len(vouching) > 0) && (i < 0 || slices.ContainsFunc(vouching, func(c Claim) bool { return vouches(c, covered[i], x) }))
		}
		got := follows(p, withdrawn, read, covered, nil)
		if (got == "") != want {
			t.Errorf("after %s, withdrawn %s, read %s: %s: %q, want accepted: %v", show(p.Covered), show(withdrawn), show(read), show(covered), got, want)
		}
		if want {
			accepted++
		} else {
			refused[strings.Fields(got)[0]]++
		}
	})
	if accepted == 0 || refused["covered"] == 0 || refused["nothing"] == 0 {
		t.Errorf("%d accepted, refused %v: nothing was tried", accepted, refused)
	}
}

// TestHistoriesFollow: whatever is read, withdrawn and aged, in whatever order
// answers come, each manifest follows from the one before, and what is claimed
// of a second was asked for in one single reading since it was last withdrawn.
func TestHistoriesFollow(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		l := r.lateness()
		p := &Manifest{}
		reads := make([][]Claim, cells) // of each second, since it was withdrawn
		for now := 20; now < 2*cells; now += 1 + r.IntN(40) {
			var withdrawn []Withdrawn
			if r.IntN(4) == 0 {
				s := r.span()
				withdrawn = append(withdrawn, Withdrawn{s.From, s.To, "x"})
				for x := range cells {
					if s.over(x) {
						reads[x] = nil
					}
				}
			}
			var read []Claim
			for range r.IntN(4) {
				s := r.span()
				if to := second(now); s.To.After(to.Time) {
					s.To = to
				}
				if s.From.Before(s.To.Time) {
					read = append(read, Claim{From: s.From, To: s.To, Asked: second(now - r.IntN(15)), Order: r.IntN(3) == 0})
				}
			}
			for _, c := range read {
				for x := range cells {
					if c.over(x) {
						reads[x] = append(reads[x], c)
					}
				}
			}
			var due time.Time
			if r.IntN(2) == 0 {
				due = p.Covered.DeepDue(l)
			}
			covered := following(p.Covered, withdrawn, read)
			if r.IntN(4) > 0 {
				covered = covered.Aged(l, due)
			}
			if fault := follows(p, withdrawn, read, covered, nil); fault != "" {
				t.Fatalf("after %s, withdrawn %s, read %s: %s: %s", show(p.Covered), show(withdrawn), show(read), show(covered), fault)
			}
			for x := range cells {
				i := slices.IndexFunc(covered, func(c Claim) bool { return c.over(x) })
				if (i >= 0) != (len(reads[x]) > 0) || i >= 0 && !slices.ContainsFunc(reads[x], func(c Claim) bool { return vouches(c, covered[i], x) }) {
					t.Fatalf("second %d of %s: it was read as %s", x, show(covered), show(reads[x]))
				}
			}
			p = &Manifest{Covered: covered}
		}
	})
}

// TestPassesKeepTheMapSmall makes the passes of two weeks, every five minutes,
// whose deep readings end early again and again: each goes on where it was,
// the map stays small, and no pass reads more of the newest time for it.
func TestPassesKeepTheMapSmall(t *testing.T) {
	t.Parallel()
	l := Lateness{Settle: time.Minute, Overlap: time.Hour, Deep: 168 * time.Hour, Every: 24 * time.Hour}
	for name, c := range map[string]struct {
		piece time.Duration // of a deep reading, in one pass
		age   time.Duration // of the chain's start
	}{
		"in one pass": {1000 * time.Hour, 30 * 24 * time.Hour}, "in ten": {17 * time.Hour, 30 * 24 * time.Hour},
		"in a hundred": {100 * time.Minute, 30 * 24 * time.Hour}, "begun now": {17 * time.Hour, time.Hour},
	} {
		start := epoch.Add(-c.age)
		p := &Manifest{}
		most, rounds, deepRead := 0, 0, time.Duration(0)
		var round time.Time // when the deep reading became due that is being made
		for now := epoch; now.Before(epoch.Add(14 * 24 * time.Hour)); now = now.Add(5 * time.Minute) {
			var read []Claim
			claim := func(s Span) { read = append(read, Claim{From: s.From, To: s.To, Asked: Time{now}}) }
			unsettled := append(p.Covered.Holes(start, now.Add(-l.Settle)), p.Covered.Unsettled(l.Overlap, l.Settle, time.Time{})...)
			newest := Joined(unsettled)
			if len(newest) != 1 {
				t.Fatalf("%s, %s: to read: %s", name, now, show(newest))
			}
			if at := newest[0].From.Time; len(p.Covered) > 0 && now.Sub(at) > l.Overlap+2*l.Settle+5*time.Minute {
				t.Fatalf("%s, %s: it begins at %s", name, now, at)
			}
			claim(newest[0])
			due := p.Covered.DeepDue(l)
			if due.IsZero() || now.Before(due) {
				due = time.Time{}
			} else {
				if !due.Equal(round) {
					rounds, round = rounds+1, due
				}
				left := p.Covered.Unsettled(l.Deep, l.Settle, due)
				for i, rest := len(left)-1, c.piece; i >= 0 && rest > 0; i-- { // the newest first
					s := left[i]
					if s.To.Sub(s.From.Time) > rest {
						s.From = Time{s.To.Add(-rest)}
					}
					claim(s)
					rest -= s.To.Sub(s.From.Time)
					deepRead += s.To.Sub(s.From.Time)
				}
			}
			covered := p.Covered.Add(read...).Aged(l, due)
			if fault := follows(p, nil, read, covered, nil); fault != "" {
				t.Fatalf("%s, %s: %s", name, now, fault)
			}
			most = max(most, len(covered))
			p = &Manifest{Covered: covered}
		}
		if most > 7 {
			t.Errorf("%s: %d claims", name, most)
		}
		// A reading begins a day after the one before began, and reads what is not settled deeply once.
		if rounds != 13 {
			t.Errorf("%s: %d deep readings in 14 days", name, rounds)
		}
		if limit := time.Duration(rounds) * (l.Deep + l.Every + 2*l.Overlap); deepRead > limit {
			t.Errorf("%s: they read %s, more than %s", name, deepRead, limit)
		}
		end := epoch.Add(14*24*time.Hour - l.Deep - 2*l.Every)
		if left := p.Covered.Unsettled(l.Deep, l.Settle, time.Time{}); len(left) == 0 || left[0].From.Before(end) {
			t.Errorf("%s: not settled deeply: %s", name, show(left))
		}
		t.Logf("%s: %d claims at the most, %d deep readings, %s in all: %s", name, most, rounds, deepRead, show(p.Covered))
	}
}
