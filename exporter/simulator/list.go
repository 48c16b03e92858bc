package simulator

// row is an incident in an answer.
type row struct {
	record
	broken Malformation
	hollow bool // without the alerts that were asked for
}

// page is what a list answer shows, or an answer with one incident.
type page struct {
	rows     []row
	next     int // position of the first incident behind the page
	total    int // incidents that fit the query
	visible  int // incidents that could be asked for
	more     bool
	emptied  bool // by EmptyFirst
	poisoned bool
}

// list selects a page of the visible incidents; the caller holds the lock.
func (s *Simulator) list(q query, now ticks) page {
	b := &s.behaviour
	v := s.look(now)
	oldest, newest, _ := s.span(v, nil)
	p := page{visible: newest - oldest}
	if b.IgnoreFilter {
		q.times, q.texts = nil, nil
	}
	lo, hi, rest := s.span(v, q.times)
	order := b.Order
	if q.ordered {
		order = q.order
	}
	// The index is in the order of NewestFirst already, backwards.
	p.total = hi - lo
	at := func(i int) int32 { return v.order[hi-1-i] }
	if order != NewestFirst || len(rest)+len(q.texts) > 0 {
		matches := s.matches(v.order[lo:hi], rest, q.texts)
		s.arrange(matches, order)
		p.total = len(matches)
		at = func(i int) int32 { return matches[i] }
	}

	length := s.length(q)
	p.emptied = b.EmptyFirst && !q.marked
	if p.emptied {
		length = 0
	}
	if zero := s.zeroRow(); zero != nil && length > 1 {
		p.rows = append(p.rows, *zero)
		length--
	}
	end := p.total
	if q.wall > 0 {
		end = min(end, q.wall)
	}
	if s.beyond(q) {
		end = 0
	}
	from := min(q.skip, end)
	p.next = min(from+length, end)
	p.more = p.next < end && (length > 0 || p.emptied)
	for i := from; i < p.next; i++ {
		s.take(&p, at(i))
	}
	return p
}

// length is how many rows a page has at most.
func (s *Simulator) length(q query) int {
	b := &s.behaviour
	if b.TooManyRows {
		return len(s.world.incidents) + 1 // and that of ZeroTime
	}
	n := q.top
	if n < 0 {
		n = b.DefaultPage
	}
	if longest := b.PageCap; longest > 0 {
		if b.CapVaries {
			longest = 1 + s.rng.IntN(longest)
		}
		n = min(n, longest)
	}
	if b.ShortLinks > 0 {
		n = min(n, b.ShortLinks)
	}
	return n
}

// zeroRow is the row that ZeroTime adds, nil if there is none.
func (s *Simulator) zeroRow() *row {
	i, ok := s.world.find(s.behaviour.ZeroTime)
	if !ok || s.world.incidents[i].shown < 0 {
		return nil
	}
	return &row{record: s.world.records[s.world.incidents[i].shown], broken: zeroUpdated}
}

// matches returns the records of a part of an index that the comparisons hold
// for, in the index's order.
func (s *Simulator) matches(part []int32, times []comparison, texts []equality) []int32 {
	w := &s.world
	compare := s.behaviour.comparing()
	matches := make([]int32, 0, len(part))
next:
	for _, r := range part {
		rec := &w.records[r]
		for _, c := range times {
			if !compare.holds(c, rec.created) {
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

// take adds a visible record to a page.
func (s *Simulator) take(p *page, r int32) {
	rec := s.world.records[r]
	id := firstID + int64(rec.incident)
	p.rows = append(p.rows, row{rec, s.behaviour.Malformed[id], s.behaviour.AlertsMissing[id]})
	p.poisoned = p.poisoned || s.behaviour.Poison[id]
}
