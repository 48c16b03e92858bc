package defender

import (
	"context"
	"time"

	"incident-exporter/exporter/rawjson"
)

// Findings is what Probe has found out about the API.
type Findings struct {
	Dated      bool          // its answers have a Date
	Page       int           // largest page that was asked for or, if Capped, is served
	Capped     bool          // pages are silently shorter than asked for
	Rows       int           // of the first page
	NextLink   bool          // that page named a next one
	Newest     time.Time     // newest update time on it, the zero time if it was empty
	UpperBound string        // the operator that it takes for an upper bound of time: lt, le or "" for none
	Filtered   bool          // it was seen to leave out what was not asked for
	Resolution time.Duration // how finely it compares times, at best
	Unread     error         // why the first page could not be read whole, if smaller ones can

	Counted  bool // it says how many incidents there are in all, where that is asked
	Expanded bool // it serves incidents with their alerts, where that has to be asked; else their alerts are always there
}

// Probe asks the API, in six calls at most, for what Read would find out along
// the way: whether it answers at all, and how. What is found out is kept for
// later calls. Errors are those of Read; with one, the findings say what was
// found out before it.
func (s *Source) Probe(ctx context.Context) (f Findings, err error) {
	f.Page = s.pageSize()
	all := query{from: time.Now().UTC().Add(-s.cfg.Retention).Truncate(time.Second)}
	a, err := s.list(ctx, all, f.Page, 0, narrowAttempts)
	if err != nil && oneCannot(err) {
		// Perhaps it answers, but for what is on that page.
		nothing := query{from: time.Now().UTC().AddDate(10, 0, 0).Truncate(time.Second), bare: true}
		if b, e := s.list(ctx, nothing, 1, 0, narrowAttempts); e == nil {
			f.Unread, a, err = err, b, nil
		}
	}
	if err != nil {
		return f, err
	}
	f.dated(s)
	f.Rows, f.NextLink, f.Counted = len(a.rows), a.more, a.count >= 0
	f.Expanded = s.cfg.API.expand == "" || f.Unread == nil
	for i := range a.rows {
		if at := a.rows[i].At; at.After(f.Newest) {
			f.Newest = at
		}
	}
	if f.Rows > 0 && f.Rows < f.Page {
		behind, err := s.list(ctx, all, 1, f.Rows, narrowAttempts)
		if err != nil {
			return f, err
		}
		if f.Capped = len(behind.rows) > 0; f.Capped {
			s.capped(f.Rows)
			f.Page = f.Rows
		}
	}
	return f, s.probeFilter(ctx, &f)
}

// probeFilter asks for the rest of the second of the newest update, and, if
// that update is answered all the same, for the second after it.
func (s *Source) probeFilter(ctx context.Context, f *Findings) error {
	from := f.Newest.Add(rawjson.Tick)
	if f.Newest.IsZero() {
		from = time.Now().UTC().Truncate(time.Second)
	}
	to := ceil(from.Add(rawjson.Tick), coarsest)
	a, err := s.list(ctx, query{from: from, to: to}, min(10, f.Page), 0, narrowAttempts)
	if err == nil && len(a.rows) > 0 {
		_, err = s.list(ctx, query{from: to, to: to.Add(coarsest)}, min(10, f.Page), 0, narrowAttempts)
	}
	if err != nil {
		return err
	}
	f.UpperBound = map[bound]string{lessThan: "lt", lessOrEqual: "le", noBound: ""}[s.dialect()]
	f.Filtered, f.Resolution = !f.Newest.IsZero(), s.resolution()
	return nil
}

func (f *Findings) dated(s *Source) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	f.Dated = !s.client.warned
}
