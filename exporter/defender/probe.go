package defender

import (
	"context"
	"errors"
	"time"

	"incident-exporter/exporter/defender/internal/walk"
)

// Findings is what Probe has found out about the API.
type Findings struct {
	Dated    bool  // its answers have a Date
	Asked    int   // rows that the first answer was asked for
	Rows     int   // of the first answer
	Capped   bool  // answers are shorter than asked for
	NextLink bool  // the first answer has a link to more
	Unread   error // why the first answer could not be read whole, if others can

	UpperBound  string // how it takes an upper bound of time: lt, le, "gt, reversed", "not ge", or "" for none
	Filtered    bool   // it left out what was not asked for
	FilterTried bool   // there was something to try that on

	Expanded bool // its incidents have their alerts, or alerts need not be asked for
	Lacking  int  // incidents of the first answer of which some alerts are missing

	Order Order // of the first answer
}

// Order is the order in which an answer has its incidents.
type Order string

const (
	UnknownOrder Order = ""      // it shows none
	NewestFirst  Order = "desc"  // by update time, the newest first
	OtherOrder   Order = "other" // it is not NewestFirst
)

// probeCalls is how many questions Probe asks at most. An API that takes no
// upper bound gets one more, because four were refused before.
const probeCalls = 4

// Probe asks the API what Read would find out along the way: whether it answers
// at all, and how. Errors are those of Read; with one, the findings say what
// was found out before it.
func (s *Source) Probe(ctx context.Context) (f Findings, err error) {
	defer func() { f.Dated = s.dated() }()
	s.dialect.reset()
	now := time.Now().UTC()
	if theirs, known := s.Now(); known {
		now = theirs.UTC()
	}
	// A day more, because the clocks may differ.
	all := walk.Question{From: now.Add(-s.cfg.Retention).Truncate(time.Second), To: now.Add(24 * time.Hour).Truncate(time.Second), Top: s.cfg.Top}
	f.Asked = all.Top
	p, err := s.ask(ctx, all, false)
	defer func() { p.release() }()
	if errors.Is(err, walk.ErrNoBound) {
		all.To = time.Time{}
		p, err = s.ask(ctx, all, false)
	}
	calls := 1 + int(s.dialect.now())
	if err != nil && oneCannot(err) {
		f.Unread, err = err, nil
		if p.bad == nil {
			// Perhaps it answers, but for what is in that answer.
			calls++
			b, down := s.ask(ctx, nothing(), true)
			if b.release(); down != nil && !errors.Is(down, walk.ErrNoBound) {
				return f, f.Unread
			}
		}
	}
	if err != nil {
		return f, err
	}
	f.UpperBound = boundNames[s.dialect.now()]
	f.first(s, p)
	if len(p.rows) == 0 || calls >= probeCalls {
		return f, nil
	}
	return f, s.probeFilter(ctx, all, p, &f, calls)
}

// ask asks a question, and once more if it fails for no lasting reason. An
// upper bound that is refused is not asked for again.
func (s *Source) ask(ctx context.Context, q walk.Question, bare bool) (*page, error) {
	p, err := s.list(ctx, q, bare, 1)
	if err == nil || p.bad != nil || errors.Is(err, walk.ErrNoBound) || isStatus(err, 400) || cannot(ctx, err) != nil {
		return p, err
	}
	p.release()
	return s.list(ctx, q, bare, 1)
}

// first notes what the first answer shows.
func (f *Findings) first(s *Source, p *page) {
	f.Rows, f.NextLink = len(p.rows), p.more != ""
	f.Expanded = s.names.Expanded == "" || len(p.rows) > 0
	seconds := make([]time.Time, len(p.rows))
	descends, several := true, false
	for i := range p.rows {
		if r := &p.rows[i]; r.lacks != "" {
			f.Lacking++
			f.Expanded = f.Expanded && !r.absent
		}
		seconds[i] = p.rows[i].At.Truncate(time.Second)
		if i > 0 {
			descends = descends && !seconds[i].After(seconds[i-1])
			several = several || !seconds[i].Equal(seconds[i-1])
		}
	}
	switch {
	case !descends:
		f.Order = OtherOrder
	case several:
		f.Order = NewestFirst
	}
}

// probeFilter asks for what is older than all of the first answer: a filter
// that is ignored shows the newest all the same, and where the first answer
// was a short one, rows show that it was cut. Only $skip shows that where the
// rows are in another order.
func (s *Source) probeFilter(ctx context.Context, all walk.Question, first *page, f *Findings, calls int) error {
	q := all
	q.To = first.rows[0].At.Truncate(time.Second)
	for i := range first.rows {
		if at := first.rows[i].At.Truncate(time.Second); at.Before(q.To) {
			q.To = at
		}
	}
	if f.UpperBound == "" || !q.From.Before(q.To) {
		q = nothing() // instead
		if f.UpperBound == "" {
			q.To = time.Time{}
		}
	}
	q.Top = min(10, q.Top)
	p, err := s.ask(ctx, q, true)
	defer func() { p.release() }()
	if err != nil {
		return err
	}
	f.Filtered, f.FilterTried = true, true
	for i := range p.rows {
		at := p.rows[i].At
		f.Filtered = f.Filtered && !at.Before(q.From) && (q.To.IsZero() || !at.After(q.To))
	}
	short := f.Unread == nil && f.Rows < f.Asked
	if f.Capped = short && f.Filtered && len(p.rows) > 0; f.Capped || !short || calls+1 >= probeCalls {
		return nil
	}
	all.Top, all.Skip = 1, f.Rows
	behind, err := s.ask(ctx, all, true)
	defer func() { behind.release() }()
	f.Capped = err == nil && len(behind.rows) > 0
	return err
}

// nothing asks for what is updated long after now.
func nothing() walk.Question {
	from := time.Now().UTC().AddDate(10, 0, 0).Truncate(time.Second)
	return walk.Question{From: from, To: from.Add(time.Hour), Top: 10}
}

func (s *Source) dated() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return !s.client.warned
}
