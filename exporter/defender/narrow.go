package defender

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/rawjson"
)

// piece is a part of a query that is read on its own.
type piece struct {
	query
	expect int // rows
}

// emit takes what was found, in order of time.
type emit func(*found) error

// narrowing bounds what is spent in one Read on what the API cannot serve.
type narrowing struct {
	mu      sync.Mutex
	windows int
	until   time.Time
}

const (
	narrowWindows = 64
	narrowTime    = 10 * time.Minute
	// patience is how often a window that changes is read again at its finest.
	patience = 4
)

// spend takes one window of the budget.
func (n *narrowing) spend() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.windows++
	return n.windows <= narrowWindows && (n.until.IsZero() || time.Now().Before(n.until))
}

// begin starts the budget's time and says whether it is the first failure.
func (n *narrowing) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.until.IsZero() {
		return false
	}
	n.until = time.Now().Add(narrowTime)
	return true
}

// stretch reads a piece completely: as one window, or, where that fails, in
// pieces along what was seen of it.
func (s *Source) stretch(ctx context.Context, p piece, top int, n *narrowing, narrowed bool, hand emit) error {
	tries := attempts
	if narrowed {
		tries = narrowAttempts
	}
	deeper := func(ctx context.Context, p piece, hand emit) error {
		return s.stretch(ctx, p, top, n, narrowed, hand)
	}
	for again := 0; ; again++ {
		// The resolution may have been learnt since the piece was cut.
		p.query = p.aligned(s.resolution())
		f, fail, err := s.window(ctx, p.query, p.expect, top, tries)
		if err != nil {
			return err
		}
		if fail == nil {
			s.pace.done(p.query, len(f.rows), s.pageSize())
			return hand(f)
		}
		s.log.Debug("not complete", "stretch", p.query, "why", string(fail.why), "rows", len(fail.rows), "proven", fail.newest.size(), "error", fail.err)
		var pieces []piece
		switch fail.why {
		case busy, expiring:
			if len(fail.rows) >= s.pageSize() {
				if fail.why == busy {
					s.pace.busy()
				}
			} else if again < patience {
				continue // a late one came in, most likely
			}
			pieces = s.split(p.query, fail.rows, singleRows(s.pageSize()))
		case tooFull:
			newest := fail.newest
			if newest != nil {
				p.to, p.expect = newest.from, 0
			}
			plan, ok := s.replan(p.query, fail.density)
			if !ok && newest != nil {
				plan, ok = once(p), true
			}
			if ok {
				s.splits.Add(1)
				if err := s.ordered(ctx, 0, plan, deeper, hand); err != nil || newest == nil {
					return err
				}
				return hand(newest)
			}
			pieces = s.split(p.query, fail.rows, s.pace.rows(s.pageSize(), 0))
		case broken:
			if n.begin() {
				if err := s.down(ctx, fail.err); err != nil {
					return err
				}
			}
			narrowed = true
			if top > 1 && errors.Is(fail.err, rawjson.ErrTooLarge) && len(fail.rows) <= 1 {
				return s.stretch(ctx, piece{p.query, 1}, 1, n, true, hand)
			}
			if fail.spent = !n.spend(); !fail.spent {
				rows, few := s.bare(ctx, p.query, fail)
				if few {
					break
				}
				pieces = s.split(p.query, rows, max(1, len(rows)/4))
				if len(pieces) == 0 {
					pieces = s.halve(p.query)
				}
			}
		}
		if len(pieces) == 0 {
			if fail.why != broken && again < patience {
				continue
			}
			f, err := s.unfetched(ctx, p.query, fail)
			if err != nil {
				return err
			}
			return hand(f)
		}
		s.splits.Add(1)
		return s.ordered(ctx, cap(s.client.flight), once(pieces...), deeper, hand)
	}
}

// once gives out each piece.
func once(pieces ...piece) func() (piece, bool) {
	return func() (piece, bool) {
		if len(pieces) == 0 {
			return piece{}, false
		}
		next := pieces[0]
		pieces = pieces[1:]
		return next, true
	}
}

// fewByID is how many incidents are fetched by their ids rather than in
// narrower windows.
const fewByID = 2

// bare looks at what cannot be read as it is served without alerts, where the
// API can leave them out: it shows where the incidents lie, and whether they
// are so few that they may be fetched by their ids.
func (s *Source) bare(ctx context.Context, q query, fail *failure) (rows []row, few bool) {
	if s.cfg.API.expand == "" || q.bare || len(fail.rows) > mostByID {
		return fail.rows, false
	}
	a, err := s.list(ctx, q.without(), s.pageSize(), 0, narrowAttempts)
	if err != nil || len(a.rows) == 0 {
		return fail.rows, false
	}
	return a.rows, len(a.rows) <= fewByID && !a.more
}

// replan plans a query anew that is too large, for the density that has just
// been seen at its newest end. ok is false where that leaves it as it is.
func (s *Source) replan(q query, density float64) (plan func() (piece, bool), ok bool) {
	if density == 0 || q.part {
		return nil, false
	}
	s.pace.learn(density)
	rest := s.planned(q.from, q.to)
	first, _ := rest()
	given := false
	return func() (piece, bool) {
		if !given {
			given = true
			return first, true
		}
		return rest()
	}, first.to.Before(q.to)
}

// singleRows is how many rows a window aims at that is to fit one answer.
func singleRows(top int) int { return max(1, top*85/100) }

// split cuts a query where the rows that were seen of it are, into pieces of
// about target rows; an instant that is too full, by creation time. Nothing
// is returned where there is nothing to tell pieces apart by.
func (s *Source) split(q query, rows []row, target int) []piece {
	unit := s.resolution()
	if q.to.Sub(q.from) > unit {
		return cut(rows, target, unit, q.from, q.to, func(r *row) time.Time { return r.At }, func(from, to time.Time, last bool) query {
			q := q
			q.from, q.to, q.part = from, to, q.part && last
			return q
		})
	}
	return cut(rows, target, unit, q.since, q.until, func(r *row) time.Time { return r.created }, func(since, until time.Time, last bool) query {
		q := q
		q.since, q.until, q.part = since, until, q.part || !last
		return q
	})
}

func cut(rows []row, target int, unit time.Duration, from, to time.Time, at func(*row) time.Time, sub func(from, to time.Time, last bool) query) []piece {
	var times []time.Time
	for i := range rows {
		t := at(&rows[i]).Truncate(unit)
		if t.IsZero() {
			return nil
		}
		if !t.Before(from) && (to.IsZero() || t.Before(to)) {
			times = append(times, t)
		}
	}
	if len(times) == 0 {
		return nil
	}
	slices.SortFunc(times, time.Time.Compare)
	first, last := times[0], times[len(times)-1]
	var cuts []time.Time
	add := func(t time.Time) {
		if t.After(from) && (to.IsZero() || t.Before(to)) && (len(cuts) == 0 || t.After(cuts[len(cuts)-1])) {
			cuts = append(cuts, t)
		}
	}
	if first.Equal(last) {
		add(first)
		add(first.Add(unit))
	} else {
		size := 0
		for i := 0; i < len(times); {
			j := i
			for j < len(times) && times[j].Equal(times[i]) {
				j++
			}
			if size > 0 && size+j-i > target {
				add(times[i])
				size = 0
			}
			if size += j - i; size > target {
				add(times[i].Add(unit))
				size = 0
			}
			i = j
		}
		if len(cuts) == 0 {
			middle := times[len(times)/2]
			if middle.Equal(first) {
				middle = first.Add(unit)
			}
			add(middle)
		}
	}
	if len(cuts) == 0 {
		return nil
	}
	var pieces []piece
	for i := range len(cuts) + 1 {
		a, b := from, to
		if i > 0 {
			a = cuts[i-1]
		}
		if i < len(cuts) {
			b = cuts[i]
		}
		n := 0
		for _, t := range times {
			if !t.Before(a) && (b.IsZero() || t.Before(b)) {
				n++
			}
		}
		pieces = append(pieces, piece{sub(a, b, i == len(cuts)), n})
	}
	return pieces
}

// halve cuts a query of which nothing was seen: what cannot be served is in
// one half. It cuts no finer than a server may compare: where no row was seen
// it is not known how finely it does.
func (s *Source) halve(q query) []piece {
	unit := coarsest
	middle := q.from.Add(q.to.Sub(q.from) / 2).Truncate(unit)
	if !middle.After(q.from) || !middle.Before(q.to) {
		return nil
	}
	left, right := q, q
	left.to, left.part, right.from = middle, false, middle
	return []piece{{left, 0}, {right, 0}}
}

// unfetched is what is handed on for a query that cannot be read. Where its
// incidents can be listed without their alerts they are fetched by their ids.
// Else, where it is known which incident it is about, that is, and if nothing
// else is in the query it has been read after all.
func (s *Source) unfetched(ctx context.Context, q query, fail *failure) (*found, error) {
	f := q.found()
	text := string(fail.why)
	if fail.err != nil {
		text = fail.err.Error()
	}
	if fail.why == broken && s.cfg.API.expand != "" && !q.bare && !fail.spent {
		if found, err := s.singly(ctx, q); err != nil || found != nil {
			return found, err
		}
	}
	if fail.id != "" {
		a, err := s.entity(ctx, fail.id)
		switch {
		case err == nil && !a.rows[0].At.Before(q.from) && a.rows[0].At.Before(q.to):
			behind, err := s.list(ctx, q, 1, 1, narrowAttempts)
			if err != nil || len(behind.rows) > 0 {
				break
			}
			// Only if it has not been updated meanwhile was it still in the set
			// that had nothing behind its first row.
			if still, err := s.entity(ctx, fail.id); err == nil && still.rows[0].At.Equal(a.rows[0].At) {
				f.asked, f.rows = a.asked, a.rows
				return f, nil
			}
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			text += "; by id: " + err.Error()
		}
	}
	if fail.why == broken && s.client.succeeded() <= fail.mark {
		if err := s.down(ctx, fail.err); err != nil {
			return nil, err
		}
	}
	f.asked, _ = s.client.now()
	q = q.aligned(coarsest) // what was asked for may have been more than it says
	f.unfetched = []exporter.Stretch{s.stretchOf(q, fail.id, text)}
	return f, nil
}
