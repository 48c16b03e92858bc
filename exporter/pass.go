package exporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"incident-exporter/exporter/ledger"
)

// deepShare is the part of a run's time that a deep pass may take: new
// windows must not wait for it.
const deepShare = 6

// pass is one pass over the stream.
type pass struct {
	e     *Exporter
	begun time.Time

	batch *ledger.Batch
	own   int          // lines of the batch that are in its window
	claim ledger.Claim // what may be said once the batch is committed
	start time.Time    // of the chain: nothing is read before it
	dirty bool         // the claim says something that should not wait

	// failed: a commit was not taken, so that the chain's end is not known
	// before it is loaded again.
	failed bool

	asked time.Time // the earliest of the parts of an instant

	// onward: what is being read is new and handed on in order, so that the
	// versions before the chain's end need not be known any more.
	onward bool

	from, target             time.Time
	versions, commits, calls int

	bytes       int64
	waited      time.Duration
	split, lost int
}

func (p *pass) run(ctx context.Context) error {
	e := p.e
	p.batch, p.own, p.dirty, p.failed, p.onward = nil, 0, false, false, false
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
	var err error
	if p.start, err = e.ledger.Start(ctx); err != nil {
		return err
	}
	if e.cfg.Observe != nil {
		e.cfg.Observe(p.progress())
	}
	head := e.ledger.Head()
	p.claim = head.Carry()
	if p.from.IsZero() {
		p.from = head.Window.To.Time
	}
	err = p.read(ctx)
	if err != nil && !p.failed {
		// What has been read up to here was read completely: keep it. If this
		// fails, nothing has changed or the object is pending.
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
	now, _ := e.source.Now()
	start := e.cfg.Start(now).UTC().Truncate(time.Second)
	if start.After(now) {
		return &ledger.Refusal{
			Text:   fmt.Sprintf("the archive is to begin at %s, but by the API's clock it is %s", start.Format(time.RFC3339), now.Format(time.RFC3339)),
			Remedy: "set EXPORTER_START to a time in the past",
		}
	}
	deep := now.Add(-e.cfg.DeepOverlap)
	if start.Before(deep) {
		deep = start
	}
	p.drain()
	if err := e.ledger.Begin(ctx, start, deep, now, e.usage.Calls); err != nil {
		return err
	}
	e.usage = Usage{}
	e.cfg.Log.Info("new archive", "start", start)
	return nil
}

// adopt takes what lies where the next object belongs, until nothing does.
func (p *pass) adopt(ctx context.Context) error {
	for {
		now, ok := p.e.source.Now()
		if !ok {
			now = time.Now()
		}
		found, err := p.e.ledger.Adopt(ctx, now)
		if err != nil || !found {
			return err
		}
		m := p.e.ledger.Head()
		p.commits++
		p.versions += len(m.Versions)
		p.bytes += m.Object.Bytes
		p.e.cfg.Log.Info("adopted an object that had no manifest", "key", m.Object.Key, "lines", m.Object.Lines, "void", m.Void)
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

// read is what a pass reads, in order of importance.
func (p *pass) read(ctx context.Context) error {
	e := p.e
	head := e.ledger.Head()
	began, settled := head.Window.To.Time, head.Settled.Time
	_, known := e.source.Now()
	first := !known // call of this process

	seg, err := e.source.Since(ctx, settled)
	if err != nil {
		return err
	}
	now, _ := e.source.Now()
	if first && time.Since(now) > time.Minute {
		// The API's clock is behind ours: what the chain records is newer than
		// it seemed.
		if err := p.spent(ctx, now); err != nil {
			return err
		}
	}
	if now.Add(2 * time.Second).Before(began) {
		return &ledger.Refusal{
			Text: fmt.Sprintf("the archive covers everything before %s, but by the API's clock it is only %s",
				began.Format(time.RFC3339), now.Format(time.RFC3339)),
			Remedy: "if the API sends no Date, set this machine's clock; else wait, and if the archive came from elsewhere, start a new one",
		}
	}
	if seg != nil {
		now = seg.To
	}
	to := now.Add(-e.cfg.Settle).Truncate(time.Second)
	if to.Before(began) {
		to = began
	}
	p.target = to
	if seg != nil {
		// New and old in one answer.
		seg.To = to
		if err := p.know(ctx, settled); err != nil {
			return err
		}
		if err := p.take(ctx, seg, true); err != nil {
			return err
		}
	} else {
		if err := p.know(ctx, began); err != nil {
			return err
		}
		p.onward = true
		if err := e.source.Read(ctx, began, to, false, func(s *Segment) error { return p.take(ctx, s, true) }); err != nil {
			return err
		}
		if err := p.again(ctx, settled, began, nil); err != nil {
			return err
		}
	}
	if err := p.retry(ctx); err != nil {
		return err
	}
	if err := p.deep(ctx); err != nil {
		return err
	}
	if doubt, ok := e.source.Doubt(); ok && doubt.Before(p.claim.Settled) {
		// Read again from there, by this process or by the next one.
		p.claim.Settled, p.dirty = later(doubt, p.start), true
	}
	return p.finish(ctx)
}

// again reads a stretch that has been read before.
func (p *pass) again(ctx context.Context, from, to time.Time, each func(*Segment) error) error {
	if from = later(from, p.start); !from.Before(to) {
		return nil
	}
	if err := p.know(ctx, from); err != nil {
		return err
	}
	return p.e.source.Read(ctx, from, to, true, func(s *Segment) error {
		if err := p.take(ctx, s, false); err != nil || each == nil {
			return err
		}
		return each(s)
	})
}

// mostRetried is how many unfetched stretches a pass tries again.
const mostRetried = 16

// retry reads again what could not be fetched. What is still not to be had of
// it stays open under the number that named it first.
func (p *pass) retry(ctx context.Context) error {
	open := p.e.ledger.Head().Unfetched
	end := time.Now().Add(p.e.cfg.RunTimeout / deepShare)
	for i := range min(len(open), mostRetried) {
		// Another part of them in each run, and not for longer than what comes
		// after can wait.
		u := open[(p.begun.Unix()/60+int64(i))%int64(len(open))]
		if time.Now().After(end) {
			return nil
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		at := p.find(u)
		if at < 0 {
			continue
		}
		var left []ledger.Stretch
		err := p.again(ctx, u.From.Time, u.To.Time, func(s *Segment) error {
			for _, n := range s.Unfetched {
				left = append(left, ledger.Stretch{From: ledger.Time{Time: n.From}, To: ledger.Time{Time: n.To}, ID: n.ID, Error: n.Error, Since: u.Since})
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(left) == 1 && left[0].From.Equal(u.From.Time) && left[0].To.Equal(u.To.Time) {
			continue
		}
		at = p.find(u)
		p.claim.Unfetched = append(append(p.claim.Unfetched[:at:at], left...), p.claim.Unfetched[at+1:]...)
		p.claim.Fetched = append(p.claim.Fetched, u)
		p.dirty = true
	}
	return nil
}

func (p *pass) find(u ledger.Stretch) int {
	for i, o := range p.claim.Unfetched {
		if o.From.Equal(u.From.Time) && o.To.Equal(u.To.Time) && o.ID == u.ID {
			return i
		}
	}
	return -1
}

var errEnough = errors.New("enough for this pass")

// deep reads again from deep_settled on, when that is due, and keeps its
// progress in the chain.
func (p *pass) deep(ctx context.Context) error {
	e := p.e
	end := time.Now().Add(e.cfg.RunTimeout / deepShare)
	for {
		now, _ := e.source.Now()
		if p.claim.Deep == nil {
			last := p.claim.DeepSettled.Add(e.cfg.DeepOverlap)
			if now.Before(last.Add(e.cfg.DeepEvery)) {
				return nil
			}
			from := later(p.claim.DeepSettled, p.start)
			p.claim.Deep = &ledger.Deep{Since: ledger.Time{Time: now}, To: ledger.Time{Time: from}}
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		begun := p.claim.Deep.To.Time
		reached := e.ledger.Head().Window.To.Time
		if p.claim.To.After(reached) {
			reached = p.claim.To
		}
		err := p.again(ctx, p.claim.Deep.To.Time, reached, func(s *Segment) error {
			p.claim.Deep = &ledger.Deep{Since: p.claim.Deep.Since, To: ledger.Time{Time: later(s.To, p.claim.Deep.To.Time)}}
			p.dirty = true
			if time.Now().After(end) && p.claim.Deep.To.After(begun) {
				return errEnough // not in the middle of an instant, which would be begun anew
			}
			return nil
		})
		switch {
		case errors.Is(err, errEnough) && p.claim.Deep.To.Before(reached):
			e.cfg.Log.Info("deep pass goes on in the next run", "to", p.claim.Deep.To.Time)
			return nil
		case err != nil && !errors.Is(err, errEnough):
			return err
		}
		done := p.claim.Deep.Since.Add(-e.cfg.DeepOverlap)
		p.claim.DeepSettled, p.claim.Deep = later(p.claim.DeepSettled, done), nil
		if err := p.commit(ctx, p.claim.To); err != nil {
			return err
		}
		if time.Now().After(end) {
			return nil
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *pass) drain() {
	u := p.e.source.Usage()
	p.calls += u.Calls
	p.waited += u.Waited
	p.split += u.Split
	p.e.usage.Calls += u.Calls
	p.e.usage.Requests = append(p.e.usage.Requests, u.Requests...)
}

func (p *pass) progress() Progress {
	p.drain()
	out := Progress{
		From: p.from, Target: p.target, Versions: p.versions, Commits: p.commits,
		Bytes: p.bytes, Calls: p.calls, Waited: p.waited, Split: p.split, Lost: p.lost, Left: p.e.source.Left(),
	}
	if m := p.e.ledger.Head(); m != nil {
		out.Head, out.Seq, out.Covered, out.Unfetched = m.Head(), m.Seq, m.Window.To.Time, len(m.Unfetched)
	}
	return out
}
