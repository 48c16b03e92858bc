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
			if unserved.Refused {
				return r.World.Unread(from, end, "", unserved)
			}
			if top > 2 { // with the row that is known
				top = max(2, top/10)
				continue
			}
			at := skip
			if len(known) > 0 {
				at++
			}
			row, position, err := r.behind(from, at)
			if err != nil {
				return err
			}
			if end.IsZero() {
				end = to
			}
			if row == nil {
				return r.World.Unread(from, end, unserved.ID, unserved)
			}
			// Its neighbours name what was stepped over: it is not newer than what
			// was read, and not older than the row behind it.
			if next := later(from, row.Updated.Truncate(time.Second)); position > at && next.Before(end) {
				if err := r.World.Unread(next, end, unserved.ID, unserved); err != nil {
					return err
				}
				end = next
			}
			known[version{row.ID, row.Updated.UnixNano()}] = true
			skip, top = position, r.Top
			continue
		}
		if err != nil {
			return err
		}
		if asked.IsZero() {
			asked = a.Asked
		}
		if end.IsZero() {
			end = later(to, a.Asked.Truncate(time.Second))
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
		case position-1 == skip:
			return r.World.Unread(from, end, "", errNoWay) // an end that may be none
		}
		skip = position - 1
	}
}

// behind is the first row that can be served from a position on, nil if there
// is none, and its position.
func (r *Reader) behind(from time.Time, skip int) (*Row, int, error) {
	for n := range mostSteps {
		a, err := r.ask(Question{From: from, Top: 1, Skip: skip + n})
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			continue
		}
		if err != nil || len(a.in) == 0 {
			return nil, 0, err
		}
		return &a.in[0], skip + n, nil
	}
	return nil, 0, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
