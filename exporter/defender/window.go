package defender

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"incident-exporter/exporter"
)

// found is a query that has been shown to be read completely, or what could
// not be read of it.
type found struct {
	from, to  time.Time
	asked     time.Time
	rows      []row
	unfetched []exporter.Stretch
	held      int64 // bytes of lines, to be given back once they are handed on
}

// segment is what is handed on.
func (f *found) segment(z *packer) *exporter.Segment {
	slices.SortFunc(f.rows, func(a, b row) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	seg := &exporter.Segment{From: f.from, To: f.to, Asked: f.asked, Unfetched: f.unfetched, Rows: make([]exporter.Row, len(f.rows))}
	for i := range f.rows {
		seg.Rows[i] = f.rows[i].Row
	}
	l := lines{z: z}
	seg.Line = func(i int) ([]byte, error) { return l.take(f.rows[i].at) }
	return seg
}

// size is how many rows were found.
func (f *found) size() int {
	if f == nil {
		return 0
	}
	return len(f.rows)
}

// twice is the id of an incident that is there twice, if any.
func (f *found) twice() string {
	seen := make(map[string]struct{}, len(f.rows))
	for i := range f.rows {
		if _, ok := seen[f.rows[i].ID]; ok {
			return f.rows[i].ID
		}
		seen[f.rows[i].ID] = struct{}{}
	}
	return ""
}

// reason says why a window could not be shown complete.
type reason string

const (
	busy     reason = "it changes while it is read"
	expiring reason = "incidents at the end of the retention vanish while it is read"
	tooFull  reason = "it holds more than can be read at once"
	broken   reason = "the API cannot serve it"
)

// failure is a window that was not shown complete, and what was seen of it.
type failure struct {
	why  reason
	rows []row
	err  error  // broken: the API's error
	id   string // broken: the incident that the error is about, if known
	mark int    // broken: calls that had succeeded when it failed

	spent bool // broken: nothing more may be spent on finding out

	density float64 // tooFull: rows a second at the newest end, if known
	newest  *found  // tooFull: the newer part, if that was shown complete
}

// fewAnswers is how many answers the check may take. Where it takes more the
// tenant is busy, and single answers are the way.
const fewAnswers = 3

// errNoBound says that the server takes no upper bound, so that no window can be closed.
var errNoBound = errors.New("the API takes no upper bound of time")

// window reads the query once. expect is how many rows it is likely to have.
//
// Where it is known how many rows there were when the first page was answered,
// as many different ones are all of it (count.go says when).
//
// A single answer of N rows, fewer than $top, is complete if $skip=N answers
// empty: it was one answer, and nothing lay behind it. That holds if the server
// has answered with more than N before: one that cuts its pages without saying
// so is taken to cut them at one length. Else its pages may be just N long, and
// what lay behind the answer may be gone from there because one of the N was
// updated: then all N have to be seen once more.
//
// Several answers are complete, in whatever order they came, if
//   - no row was read twice: N distinct ones were read;
//   - then $skip=N answers empty: by then the window holds at most N;
//   - then, asked last of all, every row read is seen to be still in the
//     window, so that by then it held at least these N.
//
// The last is seen by the check: what has been updated since before the first
// page was asked for holds none of the rows. An update may become visible
// late, so the check begins the overlap earlier. A row within a day of the end
// of the retention may vanish without an update, so it has to be seen again.
func (s *Source) window(ctx context.Context, q query, expect, top, tries int) (result *found, fail *failure, err error) {
	s.reads(q.from)
	f := q.found()
	top = min(top, s.pageSize())
	clock, _ := s.client.now() // of an answer before the first page is sent
	p := &pages{s: s, q: q, top: top, tries: tries, expect: expect}
	p.hurried = s.pace.hurried() && q.to.Sub(q.from) > s.resolution()
	defer func() {
		if result == nil {
			if fail != nil && fail.newest != nil {
				p.held -= fail.newest.held
			}
			s.held.add(-p.held)
			if fail != nil {
				for i := range fail.rows {
					fail.rows[i].at = place{} // only where they lie in time is still needed
				}
			}
		} else {
			result.held = p.held
		}
	}()
	if err := p.read(ctx); err != nil {
		return s.failed(p, err)
	}
	f.asked = p.asked
	f.rows = p.rows()
	if s.dialect() == noBound && q.bounded() {
		return nil, nil, errNoBound
	}
	if p.overflow {
		newest, err := s.newest(ctx, q, p, clock, tries)
		return nil, &failure{why: tooFull, rows: f.rows, density: p.density, newest: newest}, err
	}
	n := len(f.rows)
	if n == 0 && !p.more {
		return f, nil, nil
	}
	if f.twice() != "" {
		return nil, &failure{why: busy, rows: f.rows}, nil
	}
	if s.sized(p, f.rows, clock) {
		return f, nil, nil
	}
	// An end that is seen at the highest $skip, or behind it, is none.
	if n >= s.cfg.MaxSkip {
		return nil, &failure{why: tooFull, rows: f.rows}, nil
	}
	behind, err := s.list(ctx, q.without(), 1, n, tries)
	if err != nil {
		return s.failed(p, err)
	}
	if len(behind.rows) > 0 || behind.more {
		return nil, s.behind(ctx, q.without(), p, f.rows, tries), nil
	}
	if !s.ended(p.answers[0], behind, n) {
		return nil, &failure{why: tooFull, rows: f.rows}, nil
	}
	if len(p.answers[0].rows) == n && n < top && !p.more { // a single answer
		if there, err := s.uncut(ctx, q, f.rows, top, tries); err != nil {
			return s.failed(p, err)
		} else if !there {
			return nil, &failure{why: busy, rows: f.rows}, nil
		}
		s.complete(p.answers[0], behind, n)
		return f, nil, nil
	}
	why, err := s.changed(ctx, q.without(), f.rows, clock, tries)
	if err != nil {
		return s.failed(p, err)
	}
	if why != "" {
		return nil, &failure{why: why, rows: f.rows}, nil
	}
	s.complete(p.answers[0], behind, n)
	return f, nil, nil
}

// uncut says whether a single answer is known not to be cut, or if not, whether
// all of its rows are still there now that nothing lies behind them.
func (s *Source) uncut(ctx context.Context, q query, rows []row, top, tries int) (bool, error) {
	if s.servesMore(q, len(rows)) {
		return true, nil
	}
	again, err := s.list(ctx, q.without(), top, 0, tries)
	if err != nil {
		return false, err
	}
	there := make(map[string]time.Time, len(again.rows))
	for i := range again.rows {
		there[again.rows[i].ID] = again.rows[i].At
	}
	for i := range rows {
		if at, ok := there[rows[i].ID]; !ok || !at.Equal(rows[i].At) {
			return false, nil
		}
	}
	return true, nil
}

// behind finds out why a row lies behind the window's end: a late one came
// in, or the server's pages are shorter than it was asked for.
func (s *Source) behind(ctx context.Context, q query, p *pages, rows []row, tries int) *failure {
	first := len(p.answers[0].rows)
	if first > 0 && first < p.top {
		again, err := s.list(ctx, q, p.top, 0, tries)
		if err == nil && len(again.rows) == first {
			if more, err := s.list(ctx, q, 1, first, tries); err == nil && len(more.rows) > 0 {
				s.capped(first)
			}
		}
	}
	return &failure{why: busy, rows: rows}
}

// changed is the check, and the second look at what may vanish: the last
// things that are asked about a window. It says why the rows are not shown to
// be still there, nothing if they are.
func (s *Source) changed(ctx context.Context, q query, rows []row, clock time.Time, tries int) (reason, error) {
	edge := clock.Add(-s.cfg.Retention + 24*time.Hour)
	read := make(map[string]time.Time, len(rows))
	vanishing := map[string]bool{}
	var newest time.Time
	for i := range rows {
		r := &rows[i]
		read[r.ID] = r.At
		if r.created.IsZero() {
			return busy, nil // cannot be asked for
		}
		if r.created.After(newest) {
			newest = r.created
		}
		if r.created.Before(edge) || r.At.Before(edge) {
			vanishing[r.ID] = true
		}
	}
	if len(vanishing) > 0 {
		look := q
		if look.until.IsZero() || edge.Before(look.until) {
			look.until = ceil(edge, s.resolution())
		}
		there, err := s.look(ctx, look, (len(vanishing)+s.pageSize()-1)/s.pageSize(), tries)
		for i := range there {
			if there[i].At.Equal(read[there[i].ID]) {
				delete(vanishing, there[i].ID)
			}
		}
		if err != nil || len(vanishing) > 0 {
			return expiring, err
		}
	}
	unit := s.resolution()
	check := query{
		from:  clock.Add(-s.cfg.Overlap).Truncate(unit),
		until: newest.Truncate(coarsest).Add(coarsest), // however coarsely it compares, the newest is below
		bare:  true,
	}
	a, err := s.open(ctx, check, fewAnswers, tries)
	if err != nil || a == nil {
		return busy, err
	}
	for i := range a {
		if at, ok := read[a[i].ID]; ok && !at.Equal(a[i].At) {
			return busy, nil
		}
	}
	return "", nil
}

// look asks for so many pages of a query at once.
func (s *Source) look(ctx context.Context, q query, pages, tries int) ([]row, error) {
	answers, err := s.several(ctx, q, 0, pages, tries)
	if err != nil {
		return nil, err
	}
	return rowsOf(answers), nil
}

// several asks for so many pages from skip on, all at once.
func (s *Source) several(ctx context.Context, q query, skip, pages, tries int) ([]*answer, error) {
	answers, errs := make([]*answer, pages), make([]error, pages)
	var wg sync.WaitGroup
	top := s.pageSize()
	for n := range pages {
		wg.Go(func() {
			defer caught(&errs[n])
			answers[n], errs[n] = s.list(ctx, q, top, skip+n*top, tries)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func rowsOf(answers []*answer) (rows []row) {
	for _, a := range answers {
		rows = append(rows, a.rows...)
	}
	return rows
}

// open reads an open-ended set in at most few answers, nil if it takes more.
// Such a set only grows: D distinct incidents, and then nothing at $skip=D,
// are all of it; so is one answer that holds as many as there are.
func (s *Source) open(ctx context.Context, q query, few, tries int) ([]row, error) {
	rows, ids := []row{}, map[string]bool{}
	for n := 0; n <= few; n++ {
		a, err := s.list(ctx, q, s.pageSize(), len(ids), tries)
		if err != nil {
			return nil, err
		}
		if len(a.rows) == 0 {
			return rows, nil
		}
		if n == 0 && s.alone(a) {
			return a.rows, nil
		}
		before := len(ids)
		for i := range a.rows {
			ids[a.rows[i].ID] = true
		}
		if len(ids) == before {
			return nil, nil // the pages move
		}
		rows = append(rows, a.rows...)
	}
	return nil, nil
}

// failed sorts an error into what ends the reading and what narrows it.
func (s *Source) failed(p *pages, err error) (*found, *failure, error) {
	if !oneCannot(err) {
		return nil, nil, err
	}
	fail := &failure{why: broken, err: err, mark: s.client.succeeded(), rows: p.seen()}
	var api *APIError
	if errors.As(err, &api) {
		fail.id = api.Incident
	}
	return nil, fail, nil
}

// oneCannot says whether an error may be about one of the incidents that were
// asked for: the API fails to serve it, in time or at all, or serves what
// cannot be read.
func oneCannot(err error) bool {
	var api *APIError
	if errors.As(err, &api) {
		return api.Temporary() && api.Status != http.StatusTooManyRequests
	}
	return errors.Is(err, errSlow)
}
