package defender

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"incident-exporter/exporter"
)

const (
	firstPages   = 8  // of a window while nothing is known of the tenant
	mostPages    = 84 // of a window: its two extra calls cost little
	countedAhead = 4  // windows of many pages read at once
)

// pace decides how large windows are: large ones are cheap while the tenant
// is quiet; while incidents are edited only a single answer can be shown
// complete. It is safe for concurrent use.
type pace struct {
	mu      sync.Mutex
	density float64 // rows a second, of the time read last, if known
	known   bool
	guessed bool    // from one answer only, which may be of one working day
	pages   int     // of the next window
	single  int     // windows still to be read as single answers
	penalty int     // how many it will be next time
	perRow  float64 // bytes a row is held in
	most    int     // rows of a window
}

// seen learns from the newest incidents of an open-ended answer.
func (p *pace) seen(rows []row, top int) {
	if len(rows) < top {
		return
	}
	oldest, newest := rows[0].At, rows[0].At
	for i := range rows {
		if at := rows[i].At; at.Before(oldest) {
			oldest = at
		} else if at.After(newest) {
			newest = at
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if span := newest.Sub(oldest).Seconds(); !p.known && span > 0 {
		p.density, p.known, p.guessed = float64(len(rows))/span, true, true
	}
}

// done learns from a window that was shown complete.
func (p *pace) done(q query, rows, top int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if span := q.to.Sub(q.from).Seconds(); span >= 1 && q.since.IsZero() && q.until.IsZero() {
		now := float64(rows) / span
		switch {
		case !p.known, p.guessed && rows >= top:
			p.density, p.known = now, true
		case rows == 0:
			p.density /= 4 // there may be nothing at all for long
		case rows < top:
			p.density = 0.7*p.density + 0.3*now
		default:
			p.density = 0.3*p.density + 0.7*now
		}
		p.guessed = false
	}
	if rows >= top && p.penalty == 0 {
		p.pages = mostPages
	} else if rows >= top { // it has been edited before: not at once
		if p.pages *= 3; p.pages >= mostPages {
			p.pages, p.penalty = mostPages, 0
		}
	} else if p.single > 0 {
		p.single--
	}
}

// weigh learns what the rows of an answer are held in.
func (p *pace) weigh(rows int, held int64) {
	if rows == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := float64(held) / float64(rows); p.perRow == 0 {
		p.perRow = now
	} else {
		p.perRow = 0.9*p.perRow + 0.1*now
	}
}

// busy goes over to single answers for a while, longer each time.
func (p *pace) busy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.single == 0 {
		p.penalty = min(max(32, 2*p.penalty), 1024)
		p.single = p.penalty
	}
	p.pages = 3
}

// hurried says whether windows are single answers now.
func (p *pace) hurried() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.single > 0
}

// rows is how many rows a window aims at.
func (p *pace) rows(top int, hold int64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target(top, hold)
}

func (p *pace) target(top int, hold int64) int {
	if p.single > 0 {
		return singleRows(top)
	}
	if p.pages == 0 {
		p.pages = firstPages
	}
	n := max(top, min(p.pages*top, p.most))
	if hold > 0 {
		n = min(n, max(top, int(float64(hold)*7/8/p.bytesPerRow())))
	}
	return n
}

// bytesPerRow is a guess where nothing is known.
func (p *pace) bytesPerRow() float64 {
	if p.perRow == 0 {
		return 2000
	}
	return p.perRow
}

// learn takes a density that has been seen.
func (p *pace) learn(density float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.density, p.known, p.guessed = density, true, false
}

// next plans the window that begins at from.
func (p *pace) next(from, to time.Time, top int, hold int64, unit time.Duration) (next piece) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows := p.target(top, hold)
	next = piece{query: query{from: from, to: to}}
	if !p.known || p.density <= 0 {
		return next
	}
	// Equal parts, each of the rows aimed at or a little more.
	spare := 1.1
	if p.single > 0 {
		spare = 1
	}
	left := to.Sub(from).Seconds()
	parts := math.Ceil(left * p.density / (spare * float64(rows)))
	if parts > 1 {
		end := from.Add(p.weeks(time.Duration(left / parts * float64(time.Second)))).Truncate(max(unit, time.Second))
		if !end.After(from) {
			end = from.Truncate(time.Second).Add(time.Second)
		}
		if end.Before(to) {
			next.to = end
		}
	}
	if !p.guessed {
		next.expect = int(p.density * next.to.Sub(next.from).Seconds())
	}
	return next
}

// weeks is span as whole weeks where that is about as long, or where little is
// known: what a part of a week holds says little of the rest of it, because
// people work by the week.
func (p *pace) weeks(span time.Duration) time.Duration {
	const week = 7 * 24 * time.Hour
	if p.guessed && span > week/2 {
		return span.Round(week)
	} else if whole := span.Truncate(week); span-whole <= span/8 {
		return whole
	}
	return span
}

// Read implements exporter.Source.
func (s *Source) Read(ctx context.Context, from, to time.Time, again bool, hand func(*exporter.Segment) error) error {
	if !from.Before(to) {
		return nil
	}
	if again {
		ctx = context.WithValue(ctx, againKey{}, true)
	}
	if _, ok := s.client.now(); !ok {
		if err := s.Clock(ctx); err != nil {
			return err
		}
	}
	defer s.cfg.Share.begin()()
	s.held.reset() // a reading that was cut off did not give back what it held
	n := &narrowing{}
	at := from
	give := func(f *found) error {
		seg := f.segment(s.packer)
		// The first window may begin, and the last end, off the resolution.
		if at = seg.To; seg.To.After(to) {
			seg.To = to
		}
		err := hand(seg)
		s.held.add(-f.held)
		return err
	}
	err := s.ordered(ctx, 0, s.planned(from.Truncate(s.resolution()), ceil(to, s.resolution())), func(ctx context.Context, p piece, hand emit) error {
		return s.stretch(ctx, p, s.cfg.Top, n, false, hand)
	}, give)
	if errors.Is(err, errNoBound) {
		return s.openEnded(ctx, at, to, hand)
	}
	return err
}

// planned gives out windows, each planned by what is known when it is.
func (s *Source) planned(from, to time.Time) func() (piece, bool) {
	return func() (piece, bool) {
		if !from.Before(to) {
			return piece{}, false
		}
		p := s.pace.next(from, to, s.pageSize(), s.hold(), s.resolution())
		from = p.to
		return p, true
	}
}

// ordered reads pieces, several at once, and hands on what was found of them
// in their order. width 0 means as many as the pace allows.
func (s *Source) ordered(ctx context.Context, width int, next func() (piece, bool), read func(context.Context, piece, emit) error, hand emit) error {
	ctx, cancel := context.WithCancel(ctx)
	type slot struct {
		out  chan *found
		err  error
		turn *turn
	}
	var (
		queue []*slot
		wg    sync.WaitGroup
	)
	parent, _ := ctx.Value(turnKey{}).(*turn)
	defer wg.Wait()
	defer cancel()
	for more := true; ; {
		for more && len(queue) < s.width(width) {
			p, ok := next()
			if !ok {
				more = false
				break
			}
			sl := &slot{out: make(chan *found, 1), turn: &turn{parent: parent, first: len(queue) == 0}}
			queue = append(queue, sl)
			ctx := context.WithValue(ctx, turnKey{}, sl.turn)
			wg.Go(func() {
				defer close(sl.out)
				defer caught(&sl.err)
				sl.err = read(ctx, p, func(f *found) error {
					select {
					case sl.out <- f:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			})
		}
		if len(queue) == 0 {
			return nil
		}
		f, ok := <-queue[0].out
		if ok {
			if err := hand(f); err != nil {
				return err
			}
			continue
		}
		if err := queue[0].err; err != nil {
			return err
		}
		if queue = queue[1:]; len(queue) > 0 {
			s.held.next(queue[0].turn)
		}
	}
}

// caught turns a panic of a goroutine into an error: it costs the run, not the
// process.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

func (s *Source) width(width int) int {
	if width > 0 {
		return width
	}
	s.pace.mu.Lock()
	defer s.pace.mu.Unlock()
	switch {
	case s.pace.single > 0:
		return cap(s.client.flight)
	case s.pace.pages <= firstPages:
		return 1
	}
	return countedAhead
}

// roomFor is how many rows a window can have.
func (s *Source) roomFor() float64 {
	s.pace.mu.Lock()
	defer s.pace.mu.Unlock()
	return min(float64(s.cfg.MaxSkip), 1.25*float64(s.hold())/s.pace.bytesPerRow())
}
