package exporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"incident-exporter/exporter/ledger"
)

// writer is the Receiver of a pass: it stores rows as they come, keeps the map
// of what is covered, and commits both.
type writer struct {
	e *Exporter

	batch   *ledger.Batch
	entry   ledger.Entry       // what the next manifest says; its Covered is made by commit
	covered ledger.Coverage    // as it is now
	unread  []ledger.Span      // could not be read in this run: no other claim speaks for them
	oldest  time.Time          // earliest update time of a row that was served in this run
	target  time.Time          // where the newest stretch is to end
	served  []ledger.Unfetched // were tried again in this run, and served
	stop    time.Time          // when what is being read has had its time, the zero time for never
	due     time.Time          // since when a deep reading is under way, the zero time if none is
	fresh   bool               // nothing was covered when the pass began

	dirty     bool // something should not wait for the heartbeat
	failed    bool // a commit was not taken: the chain's end is not known before it is loaded again
	exhausted bool // no more may be spent on what cannot be served

	begun                    time.Duration // covered when the pass began
	versions, commits, calls int
	bytes                    int64
	waited                   time.Duration
	lost, withdrawn          int
}

// open begins to write after the chain's end as it was loaded.
func (w *writer) open() {
	head := w.e.ledger.Head()
	w.batch, w.entry, w.covered = nil, head.Entry(), head.Covered
	w.unread, w.served, w.oldest, w.due, w.stop = nil, nil, time.Time{}, time.Time{}, time.Time{}
	if due := w.covered.DeepDue(w.e.cfg.lateness()); !due.After(w.now()) {
		w.due = due
	}
	w.dirty, w.failed, w.exhausted = false, false, false
	w.fresh = len(head.Covered) == 0
	w.begun = length(head.Covered)
}

// now is the time by the API's clock, or ours where that is earlier by more
// than the tolerance or the other is not known.
func (w *writer) now() time.Time {
	own := time.Now().UTC()
	now, known := w.e.source.Now()
	if !known || now.After(own.Add(tolerance)) {
		return own
	}
	return now.UTC()
}

// Take implements Receiver.
func (w *writer) Take(ctx context.Context, rows []Row, line func(int) []byte, fresh []bool) error {
	start := w.e.ledger.Head().Start.Time
	for i := range rows {
		r := &rows[i]
		if r.At.Before(start) {
			continue // nothing before the chain's start is archived
		}
		if w.oldest.IsZero() || r.At.Before(w.oldest) {
			w.oldest = r.At
		}
		known, err := w.e.ledger.Contains(ctx, r, line(i), w.batch)
		if errors.Is(err, ledger.ErrOpenBatch) {
			if err := w.commit(ctx); err != nil {
				return err
			}
			known, err = w.e.ledger.Contains(ctx, r, line(i), nil)
		}
		if err != nil {
			return err
		}
		if known {
			continue
		}
		fresh[i] = true
		if err := w.add(ctx, r, line(i)); err != nil {
			return err
		}
	}
	return nil
}

// add puts a line into the batch, after closing it where it is full.
func (w *writer) add(ctx context.Context, r *Row, line []byte) error {
	if w.batch != nil && (w.batch.Lines() >= w.e.cfg.BatchRecords || w.batch.Bytes()+int64(len(line)) >= w.e.cfg.BatchBytes) {
		if err := w.commit(ctx); err != nil {
			return err
		}
	}
	if w.batch == nil {
		b, err := w.e.ledger.NewBatch()
		if err != nil {
			return err
		}
		w.batch = b
	}
	if err := w.batch.Add(*r, line); err != nil {
		return err
	}
	w.e.ledger.Index(r)
	return nil
}

// Shown implements Receiver. Nothing is claimed later than both clocks allow,
// nor where an empty answer says nothing: beyond the reach of the API.
func (w *writer) Shown(ctx context.Context, c ledger.Claim) error {
	own := time.Now().UTC().Add(tolerance)
	if c.Asked.After(own) {
		c.Asked.Time = own
	}
	c.Asked.Time = c.Asked.UTC().Truncate(time.Second)
	if limit := c.Asked.Add(-w.e.cfg.Settle).Truncate(time.Second); c.To.After(limit) {
		c.To.Time = limit
	}
	reach := c.Asked.Add(-w.e.source.Reach()).Truncate(time.Second)
	if !w.oldest.IsZero() && w.oldest.Before(reach) {
		reach = w.oldest.Truncate(time.Second)
	}
	if c.From.Before(reach) && !c.Order {
		beyond := span(c.From.Time, reach)
		if c.To.Before(reach) {
			beyond.To = c.To
		}
		c.From.Time = reach
		for _, s := range ledger.Subtract([]ledger.Span{beyond}, w.covered.Spans()) {
			w.name(s, "", ledger.BeyondReach)
		}
	}
	for _, s := range ledger.Subtract([]ledger.Span{{From: c.From, To: c.To}}, w.unread) {
		w.claim(ledger.Claim{From: s.From, To: s.To, Asked: c.Asked, Order: c.Order})
	}
	switch now := w.now(); {
	case w.batch == nil && now.Sub(w.e.ledger.Head().Committed.Time) >= w.e.cfg.Heartbeat,
		// What a new archive shows first should not wait for a full batch.
		w.batch != nil && w.fresh:
		w.fresh = false
		if err := w.commit(ctx); err != nil {
			return err
		}
	}
	if w.over() {
		return ErrEnough
	}
	return nil
}

// over says whether what is being read has had its time.
func (w *writer) over() bool { return !w.stop.IsZero() && time.Now().After(w.stop) }

// claim enters a claim into the map and the next manifest.
func (w *writer) claim(c ledger.Claim) {
	s := ledger.Span{From: c.From, To: c.To}
	until := w.e.ledger.Head().Covered.Until()
	for _, hole := range ledger.Subtract([]ledger.Span{s}, w.covered.Spans()) {
		w.dirty = w.dirty || until.IsZero() || hole.From.Before(until) // the first of all, or a hole is filled
	}
	audited := !c.Order && len(ledger.Within([]ledger.Span{s}, w.covered.Ordered())) > 0
	w.covered = w.covered.Add(c)
	w.dirty = w.dirty || audited || !w.due.IsZero()
	w.entry.Unfetched = without(w.entry.Unfetched, s)
	// Neighbours that were asked for in one second are one; what was read by
	// order stays as it was shown, for the audit.
	for i := range w.entry.Read {
		r := &w.entry.Read[i]
		if r.Order || c.Order || !r.Asked.Equal(c.Asked.Time) {
			continue
		}
		if r.From.Equal(c.To.Time) {
			r.From = c.From
			return
		}
		if r.To.Equal(c.From.Time) {
			r.To = c.To
			return
		}
	}
	w.entry.Read = append(w.entry.Read, c)
}

// without returns the stretches less one that has been read.
func without(all []ledger.Unfetched, s ledger.Span) []ledger.Unfetched {
	var out []ledger.Unfetched
	for _, u := range all {
		for _, rest := range ledger.Subtract([]ledger.Span{{From: u.From, To: u.To}}, []ledger.Span{s}) {
			part := u
			part.From, part.To = rest.From, rest.To
			out = append(out, part)
		}
	}
	return out
}

// Unread implements Receiver. What was covered of it is withdrawn.
func (w *writer) Unread(_ context.Context, s ledger.Span, id string, why error) error {
	start := w.e.ledger.Head().Start
	if s.From.Before(start.Time) {
		s.From = start
	}
	if !s.From.Before(s.To.Time) {
		return nil
	}
	w.unread = append(w.unread, s)
	w.withdraw(s, "unreadable")
	w.name(s, id, fmt.Sprintf("%.500s", why))
	return nil
}

// withdraw takes back what is claimed of a stretch.
func (w *writer) withdraw(s ledger.Span, why string) {
	committed := w.e.ledger.Head().Covered
	for _, x := range w.entry.Withdrawn {
		committed = committed.Without(ledger.Span{From: x.From, To: x.To})
	}
	for _, c := range ledger.Subtract([]ledger.Span{s}, ledger.Subtract([]ledger.Span{s}, committed.Spans())) {
		w.entry.Withdrawn = append(w.entry.Withdrawn, ledger.Withdrawn{From: c.From, To: c.To, Why: why})
		w.withdrawn++
		w.dirty = true
	}
	w.covered = w.covered.Without(s)
	var reads []ledger.Claim
	for _, r := range w.entry.Read {
		for _, rest := range ledger.Subtract([]ledger.Span{{From: r.From, To: r.To}}, []ledger.Span{s}) {
			r.From, r.To = rest.From, rest.To
			reads = append(reads, r)
		}
	}
	w.entry.Read = reads
}

// name says why a hole is one, unless that is said already.
func (w *writer) name(s ledger.Span, id, why string) {
	for _, u := range w.entry.Unfetched {
		if !s.From.Before(u.From.Time) && !s.To.After(u.To.Time) {
			return
		}
	}
	n := ledger.Unfetched{From: s.From, To: s.To, ID: id, Error: why}
	for _, u := range w.served {
		if !s.From.Before(u.From.Time) && !s.To.After(u.To.Time) {
			n.Since = u.Since // it was tried again, in vain
		}
	}
	if last := len(w.entry.Unfetched) - 1; last >= 0 && id == "" {
		// A stretch that is read downwards is named once, not a second at a time.
		if u := &w.entry.Unfetched[last]; u.From.Equal(s.To.Time) && u.Error == why && u.ID == "" && u.Since == 0 {
			u.From = s.From
			w.dirty = true
			return
		}
	}
	w.entry.Unfetched = append(w.entry.Unfetched, n)
	w.dirty = true
}

// retried moves what is left of a stretch to the end of the list, or, if it was
// served, takes its name away: then it is a hole that is read like another.
func (w *writer) retried(u ledger.Unfetched, served bool) {
	s := span(u.From.Time, u.To.Time)
	w.entry.Unfetched = without(w.entry.Unfetched, s)
	switch {
	case len(ledger.Subtract([]ledger.Span{s}, w.covered.Spans())) == 0:
	case served:
		w.served = append(w.served, u)
	default:
		w.entry.Unfetched = append(w.entry.Unfetched, u)
	}
}

// Disordered implements Receiver.
func (w *writer) Disordered(context.Context) error {
	for _, s := range w.covered.Ordered() {
		w.withdraw(s, "the API's order was contradicted")
	}
	w.entry.Disorder, w.dirty = w.now(), true
	w.e.audits = nil
	return nil
}

// Refused implements Receiver.
func (w *writer) Refused(provider string) {
	if !slices.Contains(w.entry.Partial, provider) {
		w.entry.Partial = append(slices.Clone(w.entry.Partial), provider)
		w.dirty = true
	}
}

// flush commits the batch if there is one.
func (w *writer) flush(ctx context.Context) error {
	if w.batch == nil {
		return nil
	}
	return w.commit(ctx)
}

// finish commits what should not wait for the next pass.
func (w *writer) finish(ctx context.Context) error {
	beat := w.now().Sub(w.e.ledger.Head().Committed.Time) >= w.e.cfg.Heartbeat && len(w.entry.Read) > 0
	if w.batch == nil && !w.dirty && !beat {
		return nil
	}
	return w.commit(ctx)
}

// commit commits the batch, or an empty one, with all that has been shown.
func (w *writer) commit(ctx context.Context) error {
	e := w.e
	b := w.batch
	if b == nil {
		var err error
		if b, err = e.ledger.NewBatch(); err != nil {
			return err
		}
	}
	w.drain()
	w.covered = w.covered.Aged(e.cfg.lateness(), w.due)
	entry := w.entry
	entry.Covered = w.covered
	entry.Calls, entry.Requests = e.usage.Calls, e.usage.Requests[:min(len(e.usage.Requests), 32)]
	entry.Now = w.now()
	lines := b.Lines()
	// Rival, or an error of the sink: nothing has changed, or the object is
	// pending; the next pass, or the next round of this one, adopts it.
	w.batch = nil
	if err := e.ledger.Commit(ctx, b, entry); err != nil {
		w.failed = true
		return err
	}
	m := e.ledger.Head()
	w.entry, w.dirty = m.Entry(), false
	e.usage = Usage{}
	w.commits++
	w.versions += lines
	w.bytes += m.Object.Bytes
	attrs := []any{"head", m.Head(), "since", w.covered.Since(), "until", w.covered.Until(), "lines", lines, "bytes", m.Object.Bytes, "calls", m.Calls}
	if len(m.Requests) > 0 { // the first of those that the manifest names, so that each leads to the other
		attrs = append(attrs, "request", m.Requests[0])
	}
	e.cfg.Log.Info("committed", attrs...)
	if e.cfg.Observe != nil {
		e.cfg.Observe(w.progress())
	}
	return nil
}

func (w *writer) drain() {
	u := w.e.source.Usage()
	w.calls += u.Calls
	w.waited += u.Waited
	w.e.usage.Calls += u.Calls
	w.e.usage.Requests = append(w.e.usage.Requests, u.Requests...)
}

func (w *writer) progress() Progress {
	w.drain()
	out := Progress{
		Target: w.target, Done: length(w.covered), Begun: w.begun, Versions: w.versions, Commits: w.commits,
		Bytes: w.bytes, Calls: w.calls, Waited: w.waited, Lost: w.lost, Left: w.e.source.Left(), Withdrawn: w.withdrawn,
	}
	if m := w.e.ledger.Head(); m != nil {
		out.Head, out.Seq, out.Start, out.Unfetched = m.Head(), m.Seq, m.Start.Time, m.OpenStretches()
		out.Since, out.Until = m.Covered.Since(), m.Covered.Until()
		out.Holes = len(m.Covered.Holes(m.Start.Time, out.Until))
		out.First = m.FirstBackfill()
	}
	return out
}

func length(c ledger.Coverage) (all time.Duration) {
	for _, x := range c {
		all += x.To.Sub(x.From.Time)
	}
	return all
}
