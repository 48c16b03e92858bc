package walk

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// piece is a part of one second: what was created in [since, until), either of
// which may be the zero time, for no bound.
type piece struct{ since, until time.Time }

const (
	// mostPieces bounds the questions about one second.
	mostPieces = 400

	// mostSteps bounds how far $skip is used within a piece, and mostLinks how
	// far links are followed.
	mostSteps, mostLinks = 300, 1000

	// round is what a limit of $skip is a multiple of.
	round = 50

	// longAgo is how long before an update nothing is looked for that cannot be
	// served: Microsoft keeps nothing for longer than half of that.
	longAgo = 400 * 24 * time.Hour
)

var (
	errTooMany   = errors.New("it holds more incidents than update and creation times tell apart")
	errManyParts = errors.New("it takes too many questions to be read at once")
)

// second reads one second that does not fit one answer, or cannot be served as
// a whole: in pieces by creation time, and those that are one second of
// creation by $skip. first is an answer about all of it, or cause says why
// there is none; with neither it is asked for.
func (r *Reader) second(s time.Time, first *answered, cause *Unserved) error {
	end := s.Add(time.Second)
	var asked time.Time
	var trouble error
	id := ""
	fail := func(why error, about string) {
		if trouble == nil {
			trouble, id = why, about
		}
	}
	note := func(at time.Time) {
		if asked.IsZero() || !at.IsZero() && at.Before(asked) {
			asked = at
		}
	}
	agenda := []piece{{}}
	for n := 0; len(agenda) > 0; n++ {
		p := agenda[len(agenda)-1]
		agenda = agenda[:len(agenda)-1]
		if n == mostPieces {
			fail(errManyParts, "")
			break
		}
		q := Question{From: s, To: end, Since: p.since, Until: p.until, Top: r.Top}
		a, unserved := first, cause
		if first, cause = nil, nil; a == nil && unserved == nil {
			var err error
			a, err = r.ask(q)
			if errors.Is(err, ErrSpent) {
				return errors.Join(r.World.Unread(s, end, id, errManyParts), err)
			}
			if err != nil && !errors.As(err, &unserved) {
				return err
			}
		}
		var parts []piece
		switch {
		case unserved != nil && unserved.Refused:
			q.Since, q.Until, agenda = time.Time{}, time.Time{}, nil // nor can be asked for
		case unserved != nil:
			at, ok, about, why, err := r.World.Singly(q)
			if err != nil {
				return err
			}
			if ok {
				note(at)
				if why != nil {
					fail(why, about)
				}
				continue
			}
			if r.ByID {
				parts = p.halves(s)
				break
			}
			// One that cannot be served, among others as a rule: they are stored,
			// position by position, and it is stepped over.
			at, why, about, err = r.sweeps(q)
			if errors.Is(err, ErrSpent) {
				return errors.Join(r.World.Unread(s, end, id, unserved), err)
			}
			if err != nil {
				return err
			}
			if why == errTooMany {
				parts = p.halves(s) // positions tell nothing
				break
			}
			note(at)
			if why != nil {
				fail(why, about)
			}
			continue
		case a.Partial != nil:
			fail(a.Partial, "")
			continue
		default:
			note(a.Asked)
			if r.whole(a) {
				continue
			}
			if a.astray {
				// Creation times tell nothing apart here.
				q.Since, q.Until, agenda = time.Time{}, time.Time{}, nil
			} else {
				parts = p.split(a.Rows) // also those that a bound takes in which it should not
			}
			if parts == nil {
				if len(a.Rows) == 0 {
					parts = p.halves(s) // a link that says nothing of where they are
				}
				if done, err := r.linked(a, parts != nil); err != nil {
					return err
				} else if done {
					continue
				}
			}
		}
		if parts != nil {
			agenda = append(agenda, parts...)
			continue
		}
		sweptAt, why, about, err := r.sweeps(q)
		if errors.Is(err, ErrSpent) {
			return errors.Join(r.World.Unread(s, end, id, errManyParts), err)
		}
		if err != nil {
			return err
		}
		note(sweptAt)
		if why != nil {
			fail(why, about)
		}
	}
	if trouble != nil {
		return r.World.Unread(s, end, id, trouble)
	}
	return r.World.Shown(s, end, asked, false)
}

// split divides a piece where the rows that were seen of it were created: nil
// if it is one second of creation already.
func (p piece) split(rows []Row) []piece {
	var times []time.Time
	for _, row := range rows {
		at := row.Created.Truncate(time.Second)
		if !row.Created.IsZero() && !at.Before(p.since) && (p.until.IsZero() || at.Before(p.until)) {
			times = append(times, at)
		}
	}
	if len(times) == 0 {
		return nil
	}
	slices.SortFunc(times, time.Time.Compare)
	first, last := times[0], times[len(times)-1]
	if first.Equal(last) {
		next := first.Add(time.Second)
		if p.since.Equal(first) && p.until.Equal(next) {
			return nil
		}
		var parts []piece
		if !p.since.Equal(first) {
			parts = append(parts, piece{p.since, first})
		}
		if !p.until.Equal(next) {
			parts = append(parts, piece{next, p.until})
		}
		return append(parts, piece{first, next})
	}
	middle := times[len(times)/2]
	if middle.Equal(first) {
		middle = first.Add(time.Second)
	}
	return []piece{{p.since, middle}, {middle, p.until}}
}

// halves divides a piece of which nothing was seen: nil if it is one second of
// creation, or lies where nothing is to be expected. s is the second of update.
func (p piece) halves(s time.Time) []piece {
	at := func(t time.Time) []piece { return []piece{{p.since, t}, {t, p.until}} }
	switch {
	case p.until.IsZero():
		// What was created before it was updated, and what was not.
		if end := s.Add(time.Second); p.since.Before(end) {
			return at(end)
		}
		return nil
	case p.since.IsZero():
		back := max(time.Hour, 4*s.Sub(p.until))
		if back > longAgo {
			return nil
		}
		return at(s.Add(-back))
	case p.until.Sub(p.since) > time.Second:
		return at(p.since.Add(p.until.Sub(p.since) / 2).Truncate(time.Second))
	}
	return nil
}

// version is what a sweep knows a row by.
type version struct {
	id string
	at int64
}

// sweeps reads a question by $skip, twice: it is believed if both bring the
// same rows, each of them once. why says why it is not.
func (r *Reader) sweeps(q Question) (asked time.Time, why error, id string, err error) {
	asked, first, why, id, err := r.sweep(q)
	if err != nil || why != nil {
		return asked, why, id, err
	}
	_, second, why, id, err := r.sweep(q)
	if err != nil || why != nil {
		return asked, why, id, err
	}
	if !maps.Equal(first, second) {
		return asked, errTooMany, "", nil
	}
	return asked, nil, "", nil
}

func (r *Reader) sweep(q Question) (asked time.Time, rows map[version]bool, why error, id string, err error) {
	rows = map[version]bool{}
	var trouble error
	top := r.Top
	last, unread := 0, 0 // rows of the last answer, and incidents that were stepped over
	for n := 0; ; n++ {
		if n == mostSteps {
			return asked, rows, errTooMany, "", nil
		}
		q.Top, q.Skip = top, len(rows)+unread
		a, err := r.ask(q)
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			if unserved.Refused {
				return asked, rows, errTooMany, "", nil
			}
			if top > 1 {
				top = max(1, top/10)
				continue
			}
			// One incident: over it, if it can be had by its id or not.
			_, listed, _, why, err := r.World.Singly(q)
			if err != nil {
				return asked, rows, nil, "", err
			}
			fetched := listed && why == nil
			if !fetched && unserved.ID != "" {
				if fetched, err = r.World.Fetch(unserved.ID); err != nil {
					return asked, rows, nil, "", err
				}
			}
			if !fetched && trouble == nil {
				trouble, id = unserved, unserved.ID
			}
			unread++
			top = r.Top
			continue
		}
		if err != nil {
			return asked, rows, nil, "", err
		}
		if asked.IsZero() {
			asked = a.Asked
		}
		if a.Partial != nil {
			return asked, rows, a.Partial, "", nil
		}
		if len(a.Rows) == 0 && a.More != "" {
			return asked, rows, errTooMany, "", nil // not the end
		}
		if len(a.Rows) == 0 {
			break
		}
		for _, row := range a.Rows { // also those that a bound takes in which it should not
			v := version{row.ID, row.Updated.UnixNano()}
			if rows[v] {
				return asked, rows, errTooMany, "", nil // positions moved
			}
			rows[v] = true
		}
		last = len(a.Rows)
	}
	// Before a limit of $skip that answers empty lies a full answer.
	if trouble == nil && top > 1 && last >= min(top, max(r.Know.Longest, 2)) {
		return asked, rows, errTooMany, "", nil
	}
	return asked, rows, trouble, id, nil
}

// linked follows the link of an answer that has one, and says whether that has
// shown all of what the answer was asked for: followed twice to their end, the
// links bring the same rows, each of them once. Where the question can be divided
// the first answer with rows has to be the last: two answers may be of two
// moments, and what moved between these is missed, the second time as the first.
func (r *Reader) linked(a *answered, divisible bool) (bool, error) {
	if _, one := a.second(); a.More == "" || a.Partial != nil || !one && len(a.Rows) > 0 {
		return false, nil // spans tell more, sooner
	}
	first, err := r.follow(a, divisible)
	if err != nil || first == nil {
		return false, err
	}
	b, err := r.ask(a.Question)
	if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	second, err := r.follow(b, divisible)
	return err == nil && second != nil && maps.Equal(first, second), err
}

// follow returns the rows of an answer and of all behind its links, nil if one
// of them is there twice, if they have to come in one answer and do not, or if
// the links have no end.
func (r *Reader) follow(a *answered, divisible bool) (map[version]bool, error) {
	rows, q := map[version]bool{}, a.Question
	for n := 0; ; n++ {
		for _, row := range a.in {
			v := version{row.ID, row.Updated.UnixNano()}
			if rows[v] {
				return nil, nil
			}
			rows[v] = true
		}
		if a.Partial != nil || n == mostLinks || divisible && len(rows) > 0 && a.More != "" {
			return nil, nil
		}
		if q.Next = a.More; q.Next == "" {
			if !r.whole(a) {
				return nil, nil // it may be cut where it says nothing
			}
			return rows, nil
		}
		var err error
		a, err = r.ask(q)
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
