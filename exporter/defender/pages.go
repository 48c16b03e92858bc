package defender

import (
	"context"
	"sync"
	"time"
)

// pages reads the answers of a query, several at once where many are
// expected, until one is not full.
type pages struct {
	s      *Source
	q      query
	top    int
	tries  int
	expect int // rows

	// hurried: the tenant is being edited, so that only a single answer can be
	// shown complete.
	hurried bool

	mu       sync.Mutex
	answers  []*answer // by page
	partial  []row     // of answers that broke off
	arrived  int
	next     int // page to ask for next
	end      int // page that was not full, -1 while unknown
	asked    time.Time
	more     bool  // the page that ended it had a nextLink
	held     int64 // bytes of lines, compressed
	overflow bool
	density  float64 // rows a second at the newest end, as far as it was seen

	size  int  // rows when the first page was answered
	known bool // size is

	foreseen  int // the page that expect was concluded from
	unordered bool
	err       error
}

// rows are the rows of all answers, seen those of broken ones as well.
func (p *pages) rows() (rows []row) {
	for _, a := range p.answers {
		if a != nil {
			rows = append(rows, a.rows...)
		}
	}
	return rows
}

func (p *pages) seen() []row { return append(p.rows(), p.partial...) }

func (p *pages) read(ctx context.Context) error {
	p.end = -1
	// The first page alone: it may be all, or show that this is too much.
	first, ok := p.take()
	if !ok || !p.bring(ctx, first) {
		return p.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var ask func()
	ask = func() {
		for {
			page, ok := p.take()
			if !ok {
				return
			}
			wg.Go(func() {
				if p.bring(ctx, page) {
					ask() // for what this answer says is there
				} else {
					cancel()
				}
			})
		}
	}
	ask()
	wg.Wait()
	return p.err
}

// bring asks for a page and takes its answer in.
func (p *pages) bring(ctx context.Context, page int) bool {
	a, err := p.ask(ctx, page)
	return p.answered(page, a, err)
}

func (p *pages) ask(ctx context.Context, page int) (a *answer, err error) {
	a = &answer{}
	defer caught(&err)
	if err := p.s.held.room(ctx, p.s.hold()/2); err != nil {
		return a, err
	}
	return p.s.list(ctx, p.q, p.top, page*p.top, p.tries)
}

// take gives out the next page. Pages that are surely there are read several
// at once; behind them, where each page may be the last, only once all before
// have answered. No more are out than there may be calls in flight. Who brings
// an answer asks for what can be asked for with it.
func (p *pages) take() (page int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	page = p.next
	if p.hurried && page > 0 && p.end < 0 && p.err == nil && !(p.known && p.size <= p.top) {
		p.overflow = true // the answer was full: the next ones would be for nothing
	}
	ended := p.err != nil || p.end >= 0 || p.overflow || p.known && page > 0 && page*p.top >= p.size
	if ended || page-p.arrived >= cap(p.s.client.flight) || page > p.sure() && p.arrived < page {
		return 0, false
	}
	if page > 0 && (4*p.held > 5*p.s.hold() || page*p.top > p.s.cfg.MaxSkip) {
		p.overflow = true
		return 0, false
	}
	p.next++
	return page, true
}

// sure is the last page that is surely there: what was foreseen from a page is
// the more certain the less is left behind it.
func (p *pages) sure() int {
	if p.known {
		return (p.size - 1) / p.top
	}
	left := (p.expect-p.top/2)/p.top - 1 - p.foreseen
	return p.foreseen + left - left/16
}

// answered takes a page in, and reports whether to go on.
func (p *pages) answered(page int, a *answer, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.err == nil {
			p.err = err
			p.partial = append(p.partial, a.rows...)
		}
		return false
	}
	for len(p.answers) <= page {
		p.answers = append(p.answers, nil)
	}
	p.answers[page] = a
	p.arrived++
	p.held += a.pile.bytes
	p.s.held.add(a.pile.bytes)
	p.s.pace.weigh(len(a.rows), a.pile.bytes)
	if page == 0 {
		p.size, p.known = p.s.size(a)
	}
	if p.known {
		p.measure(page)
	} else {
		p.foresee(page, a.rows)
	}
	if p.asked.IsZero() || a.asked.Before(p.asked) {
		p.asked = a.asked
	}
	if len(a.rows) < p.top && (p.end < 0 || page < p.end) {
		p.end, p.more = page, a.more
	}
	return true
}

// measure gives up a window of which the first page says that it is too large.
func (p *pages) measure(page int) {
	if page > 0 {
		return
	}
	p.expect = p.size
	if float64(p.size) <= p.s.roomFor() {
		return
	}
	p.overflow = true
	if span := p.q.to.Sub(p.q.from).Seconds(); !p.q.to.IsZero() && p.q.since.IsZero() && p.q.until.IsZero() && span >= 1 {
		p.density = float64(p.size) / span
	}
}

// foresee concludes from the newest rows, where those come first, how many
// there are. A window that would take too many is given up once that is seen,
// and no more pages are asked for at once than are likely to be there.
func (p *pages) foresee(page int, rows []row) {
	if p.q.to.IsZero() || !p.q.since.IsZero() || !p.q.until.IsZero() || len(rows) < p.top || page < p.foreseen || p.unordered {
		return
	}
	for i := 1; i < len(rows); i++ {
		if rows[i].At.After(rows[i-1].At) {
			p.unordered = true
			return
		}
	}
	span := p.q.to.Sub(rows[len(rows)-1].At).Seconds()
	if span < 1 {
		return
	}
	p.foreseen = page
	seen := (page + 1) * p.top
	p.density = float64(seen) / span
	n, room := p.density*p.q.to.Sub(p.q.from).Seconds(), p.s.roomFor()
	switch {
	case page == 0 && n > 2*room, page >= firstPages && n > 1.1*room:
		p.overflow = true
	case page == 0 && p.expect == 0:
		p.expect = int(n / 2) // a page may be of one working day
	case page > 0:
		p.expect = int(n)
	}
}
