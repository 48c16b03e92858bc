package simulator

import "sort"

// view is the state that one list answer shows.
type view struct {
	order []int32 // visible records, as in the index
	at    ticks   // the moment that it is the state of
}

// moment is the one whose state an answer shows: the present, or with a lagging
// replica half of the time an earlier one.
func (s *Simulator) moment(now ticks) ticks {
	lag := ticks(s.behaviour.ReplicaLag / 100)
	if lag <= 0 || s.rng.IntN(2) == 0 {
		return now
	}
	return min(now, max(now-lag, s.world.began))
}

// look draws the view that a list answer shows.
func (s *Simulator) look(now ticks) view {
	v := view{s.world.order, s.moment(now)}
	if v.at < now {
		v.order = s.world.past(v.at)
	}
	return v
}

// past is the index as it was at a moment. It costs time in proportion to the
// number of versions.
func (w *world) past(at ticks) []int32 {
	order := make([]int32, 0, len(w.order))
	for _, r := range w.order {
		if w.records[r].from <= at {
			order = append(order, r)
		}
	}
	var replaced []int32
	for r := range w.records {
		if rec := &w.records[r]; rec.until != 0 && rec.visible(at) {
			replaced = append(replaced, int32(r))
		}
	}
	return w.insert(order, replaced)
}

// visible reports whether a version was shown at a moment.
func (r *record) visible(at ticks) bool {
	return r.from != 0 && r.from <= at && (r.until == 0 || r.until > at)
}

// shownAt is the version of an incident that was visible at a moment, or -1.
func (w *world) shownAt(incident int32, at ticks) int32 {
	for r := range w.records {
		if rec := &w.records[r]; rec.incident == incident && rec.visible(at) {
			return int32(r)
		}
	}
	return -1
}

// span returns the part of the view's index that the comparisons of the update
// time and the retention leave, and the other comparisons.
func (s *Simulator) span(v view, times []comparison) (lo, hi int, rest []comparison) {
	w := &s.world
	// first is the first position in the index whose update time f holds for,
	// and with it all later ones.
	first := func(f func(ticks) bool) int {
		return sort.Search(len(v.order), func(i int) bool { return f(w.records[v.order[i]].updated) })
	}
	compare := s.behaviour.comparing()
	lo, hi = first(func(t ticks) bool { return !s.tooOld(t, v.at) }), len(v.order)
	for _, c := range times {
		if c.created {
			rest = append(rest, c)
			continue
		}
		from, to := c, c
		if c.op == "eq" {
			from, to = c.as("ge"), c.as("le")
		}
		if c.op != "lt" && c.op != "le" {
			lo = max(lo, first(func(t ticks) bool { return compare.holds(from, t) }))
		}
		if c.op != "gt" && c.op != "ge" {
			hi = min(hi, first(func(t ticks) bool { return !compare.holds(to, t) }))
		}
	}
	return lo, max(lo, hi), rest
}
