package simulator

import (
	"cmp"
	"slices"
	"sort"
)

// page is what a list answer shows.
type page struct {
	records  []record
	created  []ticks // of the records' incidents
	broken   []Malformation
	total    int  // incidents that fit the query
	more     bool // incidents follow
	poisoned bool
}

// list selects a page of the visible incidents; the caller holds the lock.
func (s *Simulator) list(q query, now ticks) page {
	b := &s.behaviour
	top := q.top
	if top < 0 {
		top = b.DefaultPage
	}
	if b.PageCap > 0 {
		top = min(top, b.PageCap)
	}
	if b.IgnoreFilter {
		q.times, q.texts = nil, nil
	}
	lo, hi, rest := s.span(q.times, now)
	order := b.Order
	if q.ordered {
		order = q.order
	}

	var p page
	if order == NewestFirst && len(rest) == 0 && len(q.texts) == 0 {
		// The index is in this order already.
		last := hi - q.skip
		for i := last - 1; i >= max(lo, last-top); i-- {
			s.take(&p, s.world.order[i])
		}
		p.more, p.total = last-top > lo, hi-lo
		return p
	}
	matches := s.matches(lo, hi, rest, q.texts)
	s.arrange(matches, order)
	from := min(q.skip, len(matches))
	to := min(from+top, len(matches))
	for _, r := range matches[from:to] {
		s.take(&p, r)
	}
	p.more, p.total = to < len(matches), len(matches)
	return p
}

// span returns the part of the index that the comparisons of the update time
// and the retention leave, and the other comparisons.
func (s *Simulator) span(times []comparison, now ticks) (lo, hi int, rest []comparison) {
	w := &s.world
	// first is the first position in the index whose update time f holds for,
	// and with it all later ones.
	first := func(f func(ticks) bool) int {
		return sort.Search(len(w.order), func(i int) bool { return f(w.records[w.order[i]].updated) })
	}
	resolution := ticks(s.behaviour.Resolution / 100)
	lo, hi = first(func(t ticks) bool { return !s.tooOld(t, now) }), len(w.order)
	for _, c := range times {
		if c.created {
			rest = append(rest, c)
			continue
		}
		if c.op != "lt" && c.op != "le" {
			from := c
			if c.op == "eq" {
				from.op = "ge"
			}
			lo = max(lo, first(func(t ticks) bool { return from.holds(t, resolution) }))
		}
		if c.op != "gt" && c.op != "ge" {
			to := c
			if c.op == "eq" {
				to.op = "le"
			}
			hi = min(hi, first(func(t ticks) bool { return !to.holds(t, resolution) }))
		}
	}
	return lo, max(lo, hi), rest
}

// matches returns the visible records in a part of the index that the
// comparisons hold for, in the index's order.
func (s *Simulator) matches(lo, hi int, times []comparison, texts []equality) []int32 {
	w := &s.world
	resolution := ticks(s.behaviour.Resolution / 100)
	matches := make([]int32, 0, hi-lo)
next:
	for _, r := range w.order[lo:hi] {
		rec := &w.records[r]
		for _, c := range times {
			if !c.holds(w.incidents[rec.incident].created, resolution) {
				continue next
			}
		}
		for _, e := range texts {
			if !s.content.equal(rec, e) {
				continue next
			}
		}
		matches = append(matches, r)
	}
	return matches
}

// arrange puts records that are in the index's order into the answer's.
func (s *Simulator) arrange(matches []int32, order Order) {
	w := &s.world
	shuffle := func() {
		s.rng.Shuffle(len(matches), func(i, j int) { matches[i], matches[j] = matches[j], matches[i] })
	}
	switch order {
	case NewestFirst:
		slices.Reverse(matches)
	case OldestFirst:
		slices.SortFunc(matches, func(a, b int32) int {
			x, y := &w.records[a], &w.records[b]
			return cmp.Or(cmp.Compare(x.updated, y.updated), cmp.Compare(x.incident, y.incident))
		})
	case ByID:
		slices.SortFunc(matches, func(a, b int32) int {
			return cmp.Compare(w.records[a].incident, w.records[b].incident)
		})
	case UnstableTies:
		shuffle()
		slices.SortStableFunc(matches, func(a, b int32) int {
			return cmp.Compare(w.records[b].updated, w.records[a].updated)
		})
	case Shuffled:
		shuffle()
	case InGroups:
		slices.Reverse(matches)
		slices.SortStableFunc(matches, func(a, b int32) int {
			return cmp.Compare((firstID+w.records[a].incident)%2, (firstID+w.records[b].incident)%2)
		})
	}
}

// take adds a visible record to a page.
func (s *Simulator) take(p *page, r int32) {
	rec := s.world.records[r]
	id := firstID + int64(rec.incident)
	p.records = append(p.records, rec)
	p.created = append(p.created, s.world.incidents[rec.incident].created)
	p.broken = append(p.broken, s.behaviour.Malformed[id])
	p.poisoned = p.poisoned || s.behaviour.Poison[id]
}
