package exporter

import (
	"context"
	"time"

	"incident-exporter/exporter/ledger"
)

// coarsest is how far outside of its stretch a row may lie.
const coarsest = time.Second

// know makes the ledger know what it has from there on, for a read that begins
// there. The open batch is committed first: what it holds must be known as well.
func (p *pass) know(ctx context.Context, from time.Time) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	p.onward = false
	return p.e.ledger.Know(ctx, from.Add(-coarsest))
}

// take puts what is new of a segment into batches, and claims what the
// segment shows. fresh says that the segment goes on where the chain ends.
func (p *pass) take(ctx context.Context, seg *Segment, fresh bool) error {
	for i := range seg.Rows {
		r := &seg.Rows[i]
		if fresh && !r.At.Before(p.target) {
			continue // after the window: the next pass reads it
		}
		line, err := seg.Line(i)
		if err != nil {
			return err
		}
		known, err := p.e.ledger.Has(ctx, r, line)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := p.add(ctx, r, line, fresh); err != nil {
			return err
		}
	}
	if fresh && seg.To.After(p.claim.To) {
		p.claim.To = seg.To
	}
	// An instant is settled once it has been read by a request sent later than
	// the overlap after it.
	asked := seg.Asked
	if !p.asked.IsZero() && p.asked.Before(asked) {
		asked = p.asked
	}
	if p.asked = (time.Time{}); !seg.From.Before(seg.To) {
		p.asked = asked // a part of an instant: the last one stands for all
	}
	settle := func(settled *time.Time, overlap time.Duration) {
		if settled.Before(seg.From) {
			return // not adjacent: something before it is still to be read
		}
		to := asked.Add(-overlap)
		if to.After(seg.To) {
			to = seg.To
		}
		*settled = later(*settled, to)
	}
	settle(&p.claim.Settled, p.e.cfg.Overlap)
	settle(&p.claim.DeepSettled, p.e.cfg.DeepOverlap)
	p.unfetched(seg)
	if fresh && p.batch == nil && seg.To.Before(p.target) {
		return p.keepUp(ctx)
	}
	return nil
}

// unfetched adds what could not be read, unless it is known already.
func (p *pass) unfetched(seg *Segment) {
next:
	for _, n := range seg.Unfetched {
		for _, o := range p.claim.Unfetched {
			if !n.From.Before(o.From.Time) && !n.To.After(o.To.Time) {
				continue next
			}
		}
		p.claim.Unfetched = append(p.claim.Unfetched, ledger.Stretch{
			From: ledger.Time{Time: n.From}, To: ledger.Time{Time: n.To}, ID: n.ID, Error: n.Error,
		})
		p.dirty = true
	}
}

// keepUp commits progress over time that holds nothing new, now and then.
func (p *pass) keepUp(ctx context.Context) error {
	if now, ok := p.e.source.Now(); ok && now.Sub(p.e.ledger.Head().Committed.Time) >= p.e.cfg.Heartbeat {
		return p.commit(ctx, p.claim.To)
	}
	return nil
}

// add puts a line into the batch, after closing the batch where it must be.
func (p *pass) add(ctx context.Context, r *Row, line []byte, fresh bool) error {
	own := fresh && !r.At.Before(p.e.ledger.Head().Window.To.Time)
	if p.batch != nil && (!p.batch.Takes(r) || p.batch.Lines() >= p.e.cfg.BatchRecords ||
		p.batch.Bytes()+int64(len(line)) >= p.e.cfg.BatchBytes) {
		// Closed by size it covers what lies before the first line left over.
		to := p.claim.To
		if own {
			to = later(to, r.At)
		}
		if err := p.commit(ctx, to); err != nil {
			return err
		}
	}
	if own {
		if err := p.midnight(ctx, r.At); err != nil {
			return err
		}
	}
	if p.batch == nil {
		b, err := p.e.ledger.NewBatch()
		if err != nil {
			return err
		}
		p.batch = b
	}
	if err := p.batch.Add(*r, line); err != nil {
		return err
	}
	p.e.ledger.Note(r, p.batch.Lines()-1)
	if own {
		p.own++
	}
	return nil
}

// midnight moves the end of the chain to the day of the next line: a window
// that has lines of its own lies within one UTC day.
func (p *pass) midnight(ctx context.Context, at time.Time) error {
	day := at.UTC().Truncate(24 * time.Hour)
	for p.e.ledger.Head().Window.To.Before(day) {
		if err := p.commit(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// flush commits the batch if there is one.
func (p *pass) flush(ctx context.Context) error {
	if p.batch == nil {
		return nil
	}
	return p.commit(ctx, p.claim.To)
}

// finish commits what should not wait for the next pass.
func (p *pass) finish(ctx context.Context) error {
	head := p.e.ledger.Head()
	now, _ := p.e.source.Now()
	beat := p.e.cfg.Heartbeat
	due := p.claim.To.After(head.Window.To.Time) &&
		(now.Sub(head.Committed.Time) >= beat || p.claim.To.Sub(head.Window.To.Time) >= beat)
	// What has been read again would else be read again by every run.
	settled := p.claim.Settled.Sub(head.Settled.Time) >= beat
	if p.batch == nil && !p.dirty && !due && !settled {
		return nil
	}
	return p.commit(ctx, p.claim.To)
}

// commit commits the batch, or an empty one, as covering up to to. If the
// batch has lines of its own and to lies in a later day than they do, the
// rest of the time is committed with an empty one.
func (p *pass) commit(ctx context.Context, to time.Time) error {
	e := p.e
	head := e.ledger.Head()
	rest := to
	if p.own > 0 {
		if end := head.Window.To.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour); to.After(end) {
			to = end
		}
	}
	b := p.batch
	if b == nil {
		var err error
		if b, err = e.ledger.NewBatch(); err != nil {
			return err
		}
	}
	p.drain()
	c := p.claim
	c.To = to
	if c.Settled.After(to) {
		c.Settled = to
	}
	if c.DeepSettled.After(to) {
		c.DeepSettled = to
	}
	c.Calls, c.Requests = e.usage.Calls, e.usage.Requests[:min(len(e.usage.Requests), 32)]
	c.Now, _ = e.source.Now()
	lines := b.Lines()
	// Rival, or an error of the sink: nothing has changed, or the object is
	// pending; the next pass, or the next round of this one, adopts it.
	if err := e.ledger.Commit(ctx, b, c); err != nil {
		p.batch, p.own, p.failed = nil, 0, true
		return err
	}
	p.batch, p.own, p.dirty = nil, 0, false
	p.claim.Fetched = nil
	p.claim.Unfetched = append([]ledger.Stretch(nil), e.ledger.Head().Unfetched...)
	p.claim.To = later(p.claim.To, to)
	e.usage = Usage{}
	p.commits++
	p.versions += lines
	m := e.ledger.Head()
	p.bytes += m.Object.Bytes
	attrs := []any{"head", m.Head(), "covered", m.Window.To.Time, "lines", lines, "bytes", m.Object.Bytes, "calls", m.Calls}
	if len(m.Requests) > 0 { // the first of those that the manifest names, so that each leads to the other
		attrs = append(attrs, "request", m.Requests[0])
	}
	e.cfg.Log.Info("committed", attrs...)
	if e.cfg.Observe != nil {
		e.cfg.Observe(p.progress())
	}
	if rest.After(to) {
		return p.commit(ctx, rest)
	}
	if p.onward { // what lies behind is not asked for again
		return e.ledger.Know(ctx, to.Add(-coarsest))
	}
	return nil
}
