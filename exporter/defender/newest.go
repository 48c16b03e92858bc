package defender

import (
	"context"
	"time"
)

// worthProving is how many pages have to have been read for the two calls that
// prove them to pay.
const worthProving = 4

// newest is what a window that turned out too large was read for: its newer
// part, if the rows came newest first and this can be shown to be complete.
//
// Of several pages the proof (see window) asks for distinct rows that were read
// after the clock, an empty answer behind as many, and that all are still
// there. By which query a row was read does not matter to it. So the pages of
// the whole are as good as pages of the part, and if they came in another order
// than it takes them to, $skip=N is not empty.
//
// No more is kept, of all windows together, than half of what those that are
// read ahead may hold, because the older part comes before it and wants to be
// read ahead as well. nil means that it is all read again.
func (s *Source) newest(ctx context.Context, q query, p *pages, clock time.Time, tries int) (*found, error) {
	if p.known || p.unordered || q.part || !q.since.IsZero() || !q.until.IsZero() || q.to.IsZero() {
		return nil, nil
	}
	f := &found{to: q.to, asked: p.asked}
	room := s.hold()/4 - s.held.beside(p.held)
	var rows []row
	var oldest time.Time
	for _, a := range p.answers {
		if a == nil || len(a.rows) == 0 || f.held+a.pile.bytes > room {
			break
		}
		f.held += a.pile.bytes
		rows = append(rows, a.rows...)
		oldest = a.rows[len(a.rows)-1].At
	}
	// More of the oldest instant may be on the next page.
	f.from = oldest.Truncate(coarsest).Add(coarsest)
	for i := range rows {
		if !rows[i].At.Before(f.from) {
			f.rows = append(f.rows, rows[i])
		}
	}
	n := len(f.rows)
	if n < worthProving*p.top || n >= s.cfg.MaxSkip || !f.from.After(q.from) || f.twice() != "" {
		return nil, nil
	}
	q.from = f.from
	behind, err := s.list(ctx, q.without(), 1, n, tries)
	if err == nil && len(behind.rows) == 0 && !behind.more && s.ended(p.answers[0], behind, n) {
		var why reason
		if why, err = s.changed(ctx, q.without(), f.rows, clock, tries); err == nil && why == "" {
			return f, nil
		}
	}
	if oneCannot(err) {
		err = nil // whoever reads it again finds out what about
	}
	return nil, err
}
