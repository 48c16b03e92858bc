package walk

import (
	"errors"
	"time"
)

// ErrNoBound is the error of a question with an upper bound to a server that
// takes none in any form.
var ErrNoBound = errors.New("the API takes no upper bound of time")

// errNoWay says why such a server cannot be read.
var errNoWay = errors.New("the API takes no upper bound of time, and has no order by which what lies behind can be told")

// open reads [from, to), and all that is newer, from a server that takes no
// upper bound: everything from from on, page by page. In order of update time
// that set only grows at its front, so that nothing unread moves away from
// behind a row that is known. Each page therefore begins with a known row;
// where it does not, rows have gone, and a page before it is asked for again.
// Nothing is shown before the order is told apart, by whichever page.
func (r *Reader) open(from, to time.Time) error {
	known := map[version]bool{}
	var asked, end time.Time // everything from end on has been shown
	top := r.Top
	for skip, back := 0, 0; ; {
		a, err := r.ask(Question{From: from, Top: top, Skip: skip})
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			if top > 1 {
				top = max(1, top/10)
				continue
			}
			if end.IsZero() {
				end = to
			}
			// The neighbours name it: it is not newer than what was read, and what
			// follows says how old it may be.
			next, err := r.behind(from, skip+1)
			if err != nil {
				return err
			}
			if next.IsZero() || !next.Before(end) {
				next = later(from, end.Add(-time.Second))
			}
			if next.Before(end) {
				if err := r.World.Unread(next, end, unserved.ID, unserved); err != nil {
					return err
				}
			}
			end, skip, top = next, skip+1, r.Top
			continue
		}
		if err != nil {
			return err
		}
		if end.IsZero() {
			asked, end = a.Asked, later(to, a.Asked.Truncate(time.Second))
			if r.whole(a) {
				return r.World.Shown(from, end, asked, false)
			}
		}
		if a.Partial != nil || !a.inOrder() {
			why := errNoWay
			if a.Partial != nil {
				why = a.Partial
			}
			return r.World.Unread(from, end, "", why)
		}
		if skip > 0 && len(known) > 0 && !known[version{a.in[0].ID, a.in[0].Updated.UnixNano()}] {
			if back++; back > mostSteps {
				return r.World.Unread(from, end, "", errNoWay)
			}
			skip = max(0, skip-r.Top/2)
			continue
		}
		back = 0
		for _, row := range a.in {
			known[version{row.ID, row.Updated.UnixNano()}] = true
		}
		begin := later(a.oldest().Add(time.Second), from)
		position := skip + len(a.Rows)
		last := skip > 0 && r.whole(a) && position%round != 0
		if last {
			begin = from
		}
		if r.orderly() && begin.Before(end) {
			if err := r.World.Shown(begin, end, asked, true); err != nil {
				return err
			}
			end = begin
		}
		switch {
		case last && from.Before(end) && r.Oldest.Before(from) && !r.Oldest.IsZero():
			from = r.Oldest // what lies further back may tell the order apart
		case last && from.Before(end):
			return r.World.Unread(from, end, "", errNoWay)
		case last || !from.Before(end):
			return nil
		case position-1 == skip && top > 1:
			return r.World.Unread(from, end, "", errNoWay) // an end that may be none
		}
		if skip = position - 1; top == 1 {
			skip = position
		}
	}
}

// behind is the second after that of the first row that can be served from a
// position on, the zero time if there is none.
func (r *Reader) behind(from time.Time, skip int) (time.Time, error) {
	for n := range mostSteps {
		a, err := r.ask(Question{From: from, Top: 1, Skip: skip + n})
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			continue
		}
		if err != nil || len(a.in) == 0 {
			return time.Time{}, err
		}
		return a.newest(), nil
	}
	return time.Time{}, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
