package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"incident-exporter/sinks/sinktest"
)

func minutesOf(from, to int) Span {
	day := instant("2026-03-01T22:00:00Z")
	return Span{Time{day.Add(time.Duration(from) * time.Minute)}, Time{day.Add(time.Duration(to) * time.Minute)}}
}

// TestOrderedReads asks which answers first showed an instant of the intact chain.
func TestOrderedReads(t *testing.T) {
	mem := intact(t)
	for _, c := range []struct {
		at   int
		want []Span
	}{
		{0, []Span{minutesOf(0, 30)}}, {29, []Span{minutesOf(0, 30)}}, {30, []Span{minutesOf(0, 45)}}, {50, []Span{minutesOf(15, 60)}},
		{60, []Span{minutesOf(30, 95), minutesOf(96, 120)}}, {119, []Span{minutesOf(30, 95), minutesOf(96, 120)}},
		{95, []Span{minutesOf(90, 95), minutesOf(96, 150)}}, // which was a hole until then
		{155, nil}, // not by the order
	} {
		l := begin(t, mem, stream, time.Time{}, "gzip")
		got, err := l.OrderedReads(t.Context(), minutesOf(c.at, c.at).From)
		if err != nil || !slices.EqualFunc(got, c.want, Span.Equal) {
			t.Errorf("minute %d: %s, %v, want %s", c.at, show(got), err, show(c.want))
		}
	}
	l := begin(t, mem, stream, time.Time{}, "gzip")
	mem.Before(func(c sinktest.Call) sinktest.Fault { return sinktest.Fault{Outcome: sinktest.Failed} })
	if _, err := l.OrderedReads(t.Context(), minutesOf(0, 0).From); !errors.Is(err, sinktest.ErrFault) {
		t.Errorf("%v", err)
	}
	mem.Before(nil)
	mem.Delete(stream.ManifestKey(5))
	var refusal *Refusal
	if _, err := l.OrderedReads(t.Context(), minutesOf(0, 0).From); !errors.As(err, &refusal) || refusal.Remedy == "" {
		t.Errorf("%v", err)
	}
}

func TestWithin(t *testing.T) {
	many(t, func(t *testing.T, r cases) {
		spans, others := r.spans(4), r.spans(6)
		got := Within(spans, others)
		for x := range cells {
			if anySpan(got, x) != (anySpan(spans, x) && anySpan(others, x)) {
				t.Fatalf("%s within %s: %s: second %d", show(spans), show(others), show(got), x)
			}
		}
		for _, s := range got { // none is joined from two
			if !slices.ContainsFunc(spans, func(o Span) bool { return !s.From.Before(o.From.Time) && !s.To.After(o.To.Time) }) {
				t.Fatalf("%s within %s: %s", show(spans), show(others), show(got))
			}
		}
	})
}

// TestUnnamedHoles: what nothing names, and whether it is the first backfill.
func TestUnnamedHoles(t *testing.T) {
	asked := func(from, to int) Claim { return Claim{From: second(from), To: second(to), Asked: second(cells)} }
	open := func(from, to int, why string) Unfetched {
		return Unfetched{From: second(from), To: second(to), Error: why}
	}
	for name, c := range map[string]struct {
		covered   Coverage
		unfetched []Unfetched
		want      []Span
		backfill  bool
		open      int
	}{
		"nothing is covered":           {nil, nil, nil, false, 0},
		"all is":                       {Coverage{asked(10, 100)}, nil, nil, false, 0},
		"a new archive":                {Coverage{asked(90, 100)}, nil, []Span{spanOf(10, 90)}, true, 0},
		"some of it":                   {Coverage{asked(40, 60), asked(90, 100)}, nil, []Span{spanOf(10, 40), spanOf(60, 90)}, true, 0},
		"a hole later on":              {Coverage{asked(10, 60), asked(90, 100)}, nil, []Span{spanOf(60, 90)}, false, 0},
		"one that is named":            {Coverage{asked(10, 60), asked(90, 100)}, []Unfetched{open(60, 90, "500")}, nil, false, 1},
		"named in part":                {Coverage{asked(10, 60), asked(90, 100)}, []Unfetched{open(70, 71, "500"), open(80, 81, "500")}, []Span{spanOf(60, 70), spanOf(71, 80), spanOf(81, 90)}, false, 2},
		"beyond reach":                 {Coverage{asked(60, 100)}, []Unfetched{open(10, 60, BeyondReach)}, nil, false, 0},
		"up to the reach":              {Coverage{asked(60, 100)}, []Unfetched{open(10, 30, BeyondReach)}, []Span{spanOf(30, 60)}, true, 0},
		"a hole later than the reach":  {Coverage{asked(30, 60), asked(90, 100)}, []Unfetched{open(10, 30, BeyondReach)}, []Span{spanOf(60, 90)}, false, 0},
		"beyond reach and one besides": {Coverage{asked(60, 80), asked(81, 100)}, []Unfetched{open(10, 60, BeyondReach), open(80, 81, "500")}, nil, false, 1},
	} {
		m := &Manifest{Start: second(10), Covered: c.covered, Unfetched: c.unfetched}
		if got := m.Unnamed(); !slices.EqualFunc(got, c.want, Span.Equal) {
			t.Errorf("%s: %s, want %s", name, show(got), show(c.want))
		}
		if got := m.FirstBackfill(); got != c.backfill {
			t.Errorf("%s: first backfill: %v", name, got)
		}
		if got := m.OpenStretches(); got != c.open {
			t.Errorf("%s: %d open stretches, want %d", name, got, c.open)
		}
	}
}
