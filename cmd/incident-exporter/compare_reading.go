package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/mapping"
	"incident-exporter/exporter/rawjson"
)

// sideReading is the exporter.Receiver of one reading of one side: it parses rows as they come, each
// once, and keeps a map of what was shown complete. It stores no line.
type sideReading struct {
	c        *sideBySide
	side     int
	from, to time.Time // what take wants to have
	parse    func([]byte, mapping.Members) (*mapping.Record, error)
	members  mapping.Members
	take     func(id string, v seenState, r *mapping.Record)

	seen    map[[16]byte]struct{} // of the hashes of lines, which hold id and update time
	covered ledger.Coverage
	unread  []ledger.Span
	taken   int
}

var _ exporter.Receiver = (*sideReading)(nil)

// Errors of stretches that a reading has come to no end with.
var (
	errGaveUp  = errors.New("too many calls failed: the reading was given up")
	errUnshown = errors.New("no answer shows that it is complete")
)

// pass reads one side from its newest end down, until all of it was shown complete or could not be
// read. What take gets lies in the interval, and is in no order.
func (c *sideBySide) pass(ctx context.Context, side int, from, to time.Time, members mapping.Members, take func(id string, v seenState, r *mapping.Record)) error {
	source := c.sides[side].source
	r := &sideReading{
		c: c, side: side, from: from, to: to, parse: mapping.Defender, members: members, take: take, seen: map[[16]byte]struct{}{},
	}
	if side == graphSide {
		r.parse = mapping.Graph
	}
	now, _ := source.Now() // clock has asked
	source.Begin(c.disorder[side], now.Add(-source.Reach()).Truncate(time.Second))
	begin, end := from.Truncate(time.Second), to.Truncate(time.Second)
	if end.Before(to) {
		end = end.Add(time.Second)
	}
	left := func() []ledger.Span { return ledger.Subtract(r.covered.Holes(begin, end), r.unread) }
	for rest := left(); len(rest) > 0; {
		disorder := c.disorder[side]
		err := source.Read(ctx, exporter.Reading{Span: rest[len(rest)-1], Again: true}, r)
		if err != nil && !errors.Is(err, exporter.ErrEnough) {
			return c.failed(ctx, side, err)
		}
		before := rest
		rest = left()
		why := error(nil)
		switch {
		case err != nil:
			why = errGaveUp
		case slices.EqualFunc(before, rest, ledger.Span.Equal) && disorder == c.disorder[side]:
			why = errUnshown
		default:
			continue
		}
		for _, s := range rest {
			_ = r.Unread(ctx, s, "", why) // never fails
		}
		return nil
	}
	return nil
}

// Take implements exporter.Receiver.
func (r *sideReading) Take(_ context.Context, rows []exporter.Row, line func(int) []byte, fresh []bool) error {
	for i := range rows {
		row := &rows[i]
		key := [16]byte(row.SHA256[:16])
		if _, seen := r.seen[key]; seen {
			continue
		}
		r.seen[key], fresh[i] = struct{}{}, true
		if row.At.Before(r.from) || !row.At.Before(r.to) {
			continue // asked for to whole seconds, or moved while it was served
		}
		record, err := r.parse(line(i), r.members)
		if err != nil {
			r.c.unfetched[r.side] = append(r.c.unfetched[r.side], ledger.Unfetched{
				From: ledger.Time{Time: row.At}, To: ledger.Time{Time: row.At.Add(rawjson.Tick)}, ID: row.ID, Error: err.Error(),
			})
			continue
		}
		r.take(row.ID, seenState{row.At, row.Updated, record.Sum()}, record)
		r.taken++
	}
	return nil
}

// Shown implements exporter.Receiver.
func (r *sideReading) Shown(_ context.Context, claim ledger.Claim) error {
	r.covered = r.covered.Add(claim)
	r.c.p.line.compared(sideNames[r.side], r.taken, claim.From.Time)
	return nil
}

// Unread implements exporter.Receiver.
func (r *sideReading) Unread(_ context.Context, s ledger.Span, id string, why error) error {
	r.covered = r.covered.Without(s)
	r.unread = append(r.unread, s)
	r.c.unfetched[r.side] = append(r.c.unfetched[r.side], ledger.Unfetched{From: s.From, To: s.To, ID: id, Error: why.Error()})
	return nil
}

// Disordered implements exporter.Receiver.
func (r *sideReading) Disordered(context.Context) error {
	for _, s := range r.covered.Ordered() {
		r.covered = r.covered.Without(s)
	}
	r.c.disorder[r.side] = true
	return nil
}

// Refused implements exporter.Receiver.
func (r *sideReading) Refused(provider string) {
	r.c.p.log.Warn("a provider refuses to serve what it has: it is not compared", "source", sideNames[r.side], "tenant", r.c.tenant.id, "provider", provider)
}
