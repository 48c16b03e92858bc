package exporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"incident-exporter/exporter/ledger"
)

const (
	// share is the part of a run's time that a deep reading may take: new time
	// must not wait for it.
	share = 6

	// mostAudited is how many calls a pass makes at the most until one of them
	// has audited something.
	mostAudited = 8

	// mostRetried is how many calls a pass spends on what could not be fetched.
	mostRetried = 8

	// seldomly is how many manifests pass until a stretch is read in pieces again.
	seldomly = 12

	// distrust is how long an order is not used that was contradicted.
	distrust = 7 * 24 * time.Hour

	// firstDay is what a new archive reads before all else.
	firstDay = 24 * time.Hour

	// tolerance is how far the server's clock may be ahead of ours before
	// nothing is claimed on its word.
	tolerance = 5 * time.Minute
)

// pass is one pass over the stream: what to read, and in which order.
type pass struct {
	writer
	start time.Time // of the chain: nothing is read before it
}

func (p *pass) run(ctx context.Context) error {
	e := p.e
	if err := e.ledger.Load(ctx); err != nil {
		return err
	}
	if e.ledger.Head() == nil {
		if e.cfg.Begin != nil {
			if err := e.cfg.Begin(ctx); err != nil {
				return err
			}
		}
		if err := p.begin(ctx); err != nil {
			return err
		}
	}
	if err := p.adopt(ctx); err != nil {
		return err
	}
	if !e.told {
		// By our own clock, until the API's is known.
		if err := p.spent(ctx, time.Now()); err != nil {
			return err
		}
		e.told = true
	}
	p.open()
	head := e.ledger.Head()
	p.start = head.Start.Time
	_, known := e.source.Now()
	now := p.now()
	oldest := later(p.start, now.Add(-e.source.Reach()))
	e.source.Begin(now.Sub(head.Disorder.Time) < distrust, oldest)
	if e.cfg.Observe != nil {
		e.cfg.Observe(p.progress())
	}
	err := p.read(ctx, known)
	if err != nil && !p.failed {
		// What has been read up to here stays true: keep it. If this fails,
		// nothing has changed or the object is pending.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if e := p.finish(ctx); e != nil && !errors.Is(e, ledger.ErrRival) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// begin starts a chain where the configuration says.
func (p *pass) begin(ctx context.Context) error {
	e := p.e
	if err := e.source.Clock(ctx); err != nil {
		return err
	}
	now := p.now()
	start := e.cfg.Start(now).UTC().Truncate(time.Second)
	if start.After(now) {
		return &ledger.Refusal{
			Text:   fmt.Sprintf("the archive is to begin at %s, but by the API's clock it is %s", start.Format(time.RFC3339), now.Format(time.RFC3339)),
			Remedy: "set EXPORTER_START to a time in the past",
		}
	}
	p.drain()
	if err := e.ledger.Begin(ctx, start, now, e.usage.Calls); err != nil {
		return err
	}
	e.usage = Usage{}
	e.cfg.Log.Info("new archive", "start", start)
	return nil
}

// adopt takes what lies where the next object belongs, until nothing does.
func (p *pass) adopt(ctx context.Context) error {
	for {
		found, err := p.e.ledger.Adopt(ctx, p.now())
		if err != nil || !found {
			return err
		}
		m := p.e.ledger.Head()
		p.commits++
		p.versions += len(m.Versions)
		p.bytes += m.Object.Bytes
		p.e.cfg.Log.Info("adopted an object without a manifest", "key", m.Object.Key, "lines", m.Object.Lines, "void", m.Void)
	}
}

// spent tells the source of the calls that the chain records, at least those
// of the last hour before now, which is a time of the clock that wrote them.
func (p *pass) spent(ctx context.Context, now time.Time) error {
	head := p.e.ledger.Head()
	if now.Before(head.Committed.Time) {
		now = head.Committed.Time
	}
	calls, err := p.e.ledger.Calls(ctx, now.Add(-time.Hour))
	if err != nil {
		return err
	}
	own, shifted := time.Now(), map[time.Time]int{}
	for at, n := range calls {
		// Commits are written down a second too early at most.
		if at = own.Add(at.Sub(now) + time.Second); at.After(own) {
			at = own
		}
		shifted[at] += n
	}
	p.e.source.Spent(shifted)
	return nil
}

// read reads what is due, in order of importance. known says that the API's
// clock was known before.
func (p *pass) read(ctx context.Context, known bool) error {
	if err := p.ahead(); err != nil {
		return err
	}
	if err := p.newest(ctx); err != nil {
		return err
	}
	if now, ok := p.e.source.Now(); !known && ok && time.Since(now) > time.Minute {
		// The API's clock is behind ours: what the chain records is newer than
		// it seemed.
		if err := p.spent(ctx, now); err != nil {
			return err
		}
	}
	if err := p.retry(ctx); err != nil {
		return err
	}
	for again := true; again; {
		before := length(p.covered)
		left, err := p.backfill(ctx)
		if err != nil {
			return err
		}
		if err := p.deep(ctx); err != nil {
			return err
		}
		if again = left && !p.exhausted && length(p.covered) != before; again {
			// What is left has its turn again, until there is too little time.
			if end, _ := ctx.Deadline(); time.Until(end) < time.Minute {
				return errors.Join(p.finish(ctx), &Unfinished{context.DeadlineExceeded})
			}
			continue
		}
		if again, err = p.audit(ctx); err != nil {
			return err
		}
	}
	return p.finish(ctx)
}

// ahead withdraws claims about a time that is still to come: a clock was wrong
// when they were made.
func (p *pass) ahead() error {
	limit := time.Now().Add(tolerance)
	if until := p.covered.Until(); until.After(limit) {
		s := span(limit.UTC().Truncate(time.Second), until)
		p.e.cfg.Log.Warn("coverage that lies in the future is withdrawn", "from", s.From.Time, "to", s.To.Time)
		p.withdraw(s, "claimed ahead of time: the clock that it was claimed by was wrong")
	}
	return nil
}

// newest reads the newest time together with what is unsettled beside it, then
// the rest of the unsettled.
func (p *pass) newest(ctx context.Context) error {
	l := p.e.cfg.lateness()
	unsettled := p.covered.Unsettled(l.Overlap, l.Settle, time.Time{})
	for range 2 {
		// Without a Date so far it is our own clock. What is then claimed is not
		// later than the API's clock allows, and what is missing is read at once.
		target := p.now().Add(-l.Settle).Truncate(time.Second)
		until := p.covered.Until()
		from, again := until, false
		if from.IsZero() {
			from = later(p.start, target.Add(-firstDay))
		}
		if n := len(unsettled); n > 0 && unsettled[n-1].To.Equal(until) {
			from = unsettled[n-1].From.Time
			unsettled = unsettled[:n-1]
			again = !until.Before(target)
		}
		to := later(target, until)
		if to.Sub(until) <= 2*time.Second && !from.Before(until) {
			break
		}
		p.target = to
		if err := p.stretch(ctx, Reading{Span: span(from, to), Again: again, Long: true}); err != nil {
			return err
		}
	}
	for _, s := range slices.Backward(unsettled) {
		if err := p.stretch(ctx, Reading{Span: s, Again: true}); err != nil {
			return err
		}
	}
	return nil
}

// stretch reads one stretch. One that ends early in good order is not an error.
func (p *pass) stretch(ctx context.Context, r Reading) error {
	if r.From.Before(p.start) {
		r.From.Time = p.start
	}
	if !r.From.Before(r.To.Time) {
		return nil
	}
	err := p.e.source.Read(ctx, r, &p.writer)
	if errors.Is(err, ErrEnough) {
		p.exhausted = p.exhausted || !p.over()
		return nil
	}
	return err
}

// retry asks once for what could not be fetched, oldest try first: what fails
// again goes to the end of the list. What is served is an ordinary hole again,
// and so is, now and then, what is not: in pieces it may be.
func (p *pass) retry(ctx context.Context) error {
	tried := 0
	for _, u := range slices.Clone(p.entry.Unfetched) {
		if u.Error == ledger.BeyondReach || u.Since == 0 {
			continue // it is asked for no more, or was a moment ago
		}
		if tried++; tried > mostRetried {
			return nil
		}
		s := span(u.From.Time, u.To.Time)
		p.unread = ledger.Subtract(p.unread, []ledger.Span{s})
		served, _, err := p.e.source.Once(ctx, s, false, &p.writer)
		if err != nil {
			return err
		}
		// One second that could not be read in pieces takes many calls to try again.
		seldom := (p.e.ledger.Head().Seq+u.Since)%seldomly == 0
		p.retried(u, seldom || served && s.To.Sub(s.From.Time) > time.Second)
	}
	return nil
}

// backfill reads the holes, newest first, none of them for more than half of
// the time that is left, and says whether any is left.
func (p *pass) backfill(ctx context.Context) (left bool, err error) {
	defer func() { p.stop = time.Time{} }()
	for {
		holes := p.holes()
		if len(holes) == 0 || p.exhausted {
			return len(holes) > 0, nil
		}
		end, _ := ctx.Deadline()
		p.stop = time.Now().Add(time.Until(end) / 2)
		if err := p.stretch(ctx, Reading{Span: holes[len(holes)-1], Long: true}); err != nil {
			return true, err
		}
		if p.over() || slices.EqualFunc(holes, p.holes(), ledger.Span.Equal) {
			return true, nil
		}
	}
}

// holes are what is not covered and may be asked for.
func (p *pass) holes() []ledger.Span {
	var named []ledger.Span
	for _, u := range p.entry.Unfetched {
		named = append(named, ledger.Span{From: u.From, To: u.To})
	}
	return ledger.Subtract(p.covered.Holes(p.start, later(p.target, p.covered.Until())), named)
}

// deep reads again, when that is due, all that may still come late. What it has
// read is in the chain, so that the next pass goes on from there.
func (p *pass) deep(ctx context.Context) error {
	l := p.e.cfg.lateness()
	due := p.covered.DeepDue(l)
	if p.due = (time.Time{}); due.IsZero() || p.now().Before(due) || p.exhausted {
		return nil
	}
	p.due = due
	p.stop = time.Now().Add(p.e.cfg.RunTimeout / share)
	defer func() { p.stop = time.Time{} }()
	all := p.covered.Unsettled(l.Deep, l.Settle, due)
	// The first second of all comes last: it says when this was done.
	if len(all) == 0 {
		return nil
	}
	mark := all[0]
	mark.To.Time = mark.From.Add(time.Second)
	all = append([]ledger.Span{mark}, ledger.Subtract(all, []ledger.Span{mark})...)
	for _, s := range slices.Backward(all) {
		if err := p.stretch(ctx, Reading{Span: s, Again: true, Long: true}); err != nil {
			return err
		}
		if p.over() || p.exhausted {
			p.e.cfg.Log.Info("deep reading continues in the next run")
			return nil
		}
	}
	p.due = time.Time{}
	return p.commit(ctx)
}

// audit asks once for the oldest stretch that was read by the API's order, in
// the piece that one answer has shown it in. It says whether that has
// contradicted the order, so that there are holes again.
func (p *pass) audit(ctx context.Context) (contradicted bool, err error) {
	ordered := p.covered.Ordered()
	if len(ordered) == 0 {
		p.e.audits = nil
		return false, nil
	}
	p.e.audits = ledger.Within(p.e.audits, ordered)
	if len(p.e.audits) == 0 {
		if err := p.flush(ctx); err != nil {
			return false, err
		}
		pieces, err := p.e.ledger.OrderedReads(ctx, ordered[0].From)
		if err != nil {
			return false, err
		}
		if p.e.audits = ledger.Within(pieces, ordered); len(p.e.audits) == 0 {
			p.e.audits = ordered[:1] // by another manifest: it is halved until it fits
		}
	}
	for range mostAudited {
		if len(p.e.audits) == 0 {
			break
		}
		next := p.e.audits[0]
		rest := p.e.audits[1:]
		served, whole, err := p.e.source.Once(ctx, next, true, &p.writer)
		if err != nil || p.e.audits == nil {
			return err == nil, err
		}
		if p.e.audits = rest; !served {
			p.e.audits = append(p.e.audits, next)
			break
		}
		length := next.To.Sub(next.From.Time)
		if whole {
			break
		}
		if length <= time.Second {
			return false, p.stretch(ctx, Reading{Span: next, Again: true}) // in pieces
		}
		// It has more rows now, or no longer answer has been seen: its halves have fewer.
		middle := next.From.Add(length / 2).Truncate(time.Second)
		p.e.audits = append([]ledger.Span{span(next.From.Time, middle), span(middle, next.To.Time)}, p.e.audits...)
	}
	return false, nil
}

func span(from, to time.Time) ledger.Span {
	return ledger.Span{From: ledger.Time{Time: from}, To: ledger.Time{Time: to}}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
