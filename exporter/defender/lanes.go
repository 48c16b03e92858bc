package defender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/ledger"
)

// reading is one reading of a stretch: by one walk, or by several that share
// it where calls take so long that one would leave the quota unused.
type reading struct {
	s     *Source
	to    exporter.Receiver
	once  bool // one question is asked, and once
	alone bool // by one walk

	// turn is held by the lane that is not waiting for an answer: the rule, its
	// knowledge and the receiver are used by one lane at a time. It is a channel,
	// because on virtual time nothing may wait for a mutex that is held for long.
	turn  chan struct{}
	lanes []*lane // under way
	err   error   // the first of any lane
	all   sync.WaitGroup
	stop  context.CancelFunc
}

func (s *Source) reading(to exporter.Receiver) *reading {
	return &reading{s: s, to: to, turn: make(chan struct{}, 1)}
}

// lane is one walk, and the walk.World that it reads.
type lane struct {
	*reading
	ctx    context.Context
	reader *walk.Reader
	floor  time.Time     // what lies before it is another lane's
	to     time.Time     // everything from here on has been read
	span   time.Duration // that the last answer advanced it by
}

func (r *reading) lane(ctx context.Context, from, to time.Time) *lane {
	l := &lane{reading: r, ctx: ctx, floor: from, to: to}
	l.reader = &walk.Reader{
		World: l, Know: &r.s.know, Top: r.s.cfg.Top, ByID: r.s.names.Expanded != "", Oldest: r.s.oldest,
		Floor: func() time.Time { return l.floor }, Spent: r.s.narrow.spent,
	}
	return l
}

// run reads [from, to).
func (r *reading) run(ctx context.Context, from, to time.Time) error {
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	r.turn <- struct{}{}
	r.start(r.lane(ctx, from, to))
	<-r.turn
	r.all.Wait()
	return r.err
}

// start lets a lane walk, and after its own stretch take half of the longest
// rest of another, until there is none. The caller has the turn.
func (r *reading) start(l *lane) {
	r.lanes = append(r.lanes, l)
	r.all.Go(func() {
		r.turn <- struct{}{}
		defer func() { <-r.turn }()
		for l != nil {
			err := l.walk()
			r.lanes = slices.DeleteFunc(r.lanes, func(o *lane) bool { return o == l })
			if err != nil {
				if r.err == nil {
					r.err = err
				}
				r.stop()
				return
			}
			l = r.half(l.ctx)
		}
	})
}

// walk reads the lane's stretch. A panic costs this reading.
func (l *lane) walk() (err error) {
	defer caught(&err)
	return outcome(l.reader.Read(l.floor, l.to))
}

// away does something that takes long while others have the turn.
func (l *lane) away(f func()) {
	<-l.turn
	defer func() {
		l.turn <- struct{}{}
		for _, provider := range l.s.client.refusing() {
			l.reading.to.Refused(provider)
		}
	}()
	f()
}

// caught turns a panic into an error, with where it came from.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic while reading: %v\n%s", p, debug.Stack())
	}
}

// worthwhile is how many answers a rest should take that is shared: each lane
// costs one or two more.
const worthwhile = 12

// half makes a lane of the lower half of the longest rest, nil if none is worth it.
func (r *reading) half(ctx context.Context) *lane {
	if r.alone || !r.s.dialect.known() || len(r.lanes) >= r.s.client.lanes() || r.err != nil || ctx.Err() != nil {
		return nil
	}
	var longest *lane
	most := 0.0 // answers that the rest takes, if it goes on as it does
	for _, l := range r.lanes {
		if rest := l.to.Sub(l.floor); l.span > 0 && rest >= 4*time.Second && float64(rest)/float64(l.span) > most {
			longest, most = l, float64(rest)/float64(l.span)
		}
	}
	if most < worthwhile {
		return nil
	}
	middle := longest.floor.Add(longest.to.Sub(longest.floor) / 2).Truncate(time.Second)
	l := r.lane(ctx, longest.floor, middle)
	l.span, longest.floor = longest.span, middle
	return l
}

// Ask implements walk.World. While it waits for the answer others have the turn.
func (l *lane) Ask(q walk.Question) (*walk.Answer, error) {
	for next := l.half(l.ctx); next != nil; next = l.half(l.ctx) {
		l.start(next)
	}
	p, err := l.fetch(q)
	defer p.release()
	var unserved *walk.Unserved
	if err != nil && !errors.As(err, &unserved) {
		return nil, err
	}
	fresh := make([]bool, len(p.rows))
	if !q.Measure && (err == nil || p.bad != nil) {
		rows := make([]exporter.Row, len(p.rows))
		for i := range p.rows {
			rows[i] = p.rows[i].Row
		}
		if err := l.reading.to.Take(l.ctx, rows, func(i int) []byte { return p.lines[i] }, fresh); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	a := &walk.Answer{Rows: make([]walk.Row, len(p.rows)), More: p.more, Asked: p.asked}
	for i := range p.rows {
		r := &p.rows[i]
		a.Rows[i] = walk.Row{ID: r.ID, Updated: r.At, Created: r.created, New: fresh[i]}
	}
	if p.partial != "" {
		a.Partial = errors.New(p.partial)
	}
	return a, nil
}

// fetch gets an answer while others have the turn. What the answer lacks of an
// incident is asked for apart.
func (l *lane) fetch(q walk.Question) (p *page, err error) {
	var lacking []lack
	l.away(func() {
		if p, err = l.served(q); (err == nil || p.bad != nil) && !q.Measure {
			var failed error
			if lacking, failed = l.s.complete(l.ctx, p); failed != nil {
				err = failed
			}
		}
	})
	for _, i := range lacking {
		at := i.at.Truncate(time.Second)
		if e := l.Unread(at, at.Add(time.Second), i.id, i.why); e != nil {
			return p, e
		}
	}
	return p, err
}

// served asks a question, as often as this run has patience.
func (l *lane) served(q walk.Question) (*page, error) {
	s := l.s
	tries, _ := s.narrow.tries()
	if l.once {
		tries = 1
	}
	p, err := s.list(l.ctx, q, false, tries)
	switch {
	case (q.Skip > 0 || !q.Since.IsZero() || !q.Until.IsZero()) && isStatus(err, http.StatusBadRequest):
		return p, &walk.Unserved{Err: err, Refused: true}
	case err == nil || !oneCannot(err):
		return p, err
	}
	if !l.once && s.narrow.fails(s.client.succeeded()) {
		if down := s.down(l.ctx, err); down != nil {
			return p, down
		}
	}
	return p, unserved(err, p)
}

// unserved is what the rule is told of a question that failed.
func unserved(err error, p *page) *walk.Unserved {
	u := &walk.Unserved{Err: err}
	var api *APIError
	if errors.As(err, &api) {
		u.ID = api.Incident
		if tooLarge(api.Err) {
			u.Fit = max(1, len(p.rows)*3/4)
		}
	}
	return u
}

// Shown implements walk.World.
func (l *lane) Shown(from, to, asked time.Time, order bool) error {
	if from.Before(l.to) && !from.Before(l.floor) {
		l.to, l.span = from, max(l.to.Sub(from), l.span/4) // one that ends a walk may show little
	}
	return l.reading.to.Shown(l.ctx, ledger.Claim{From: ledger.Time{Time: from}, To: ledger.Time{Time: to}, Asked: ledger.Time{Time: asked}, Order: order})
}

// Unread implements walk.World. Nothing is unread unless another call succeeded
// after the one that failed.
func (l *lane) Unread(from, to time.Time, id string, why error) error {
	if _, mark := l.s.narrow.tries(); l.s.client.succeeded() <= mark {
		if err := l.s.down(l.ctx, why); err != nil {
			return err
		}
	}
	l.s.log.Warn("a stretch cannot be read; later runs try again", "from", from, "to", to, "incident", id, "error", why)
	return l.reading.to.Unread(l.ctx, ledger.Span{From: ledger.Time{Time: from}, To: ledger.Time{Time: to}}, id, why)
}

// Disordered implements walk.World.
func (l *lane) Disordered() error {
	l.s.log.Warn("the API's order is not that of update time: it is not relied on")
	return l.reading.to.Disordered(l.ctx)
}
