package defender

import "time"

// An API that says how many incidents there are in all makes reading cheap: a
// closed window only shrinks, so that as many different ones as it had when
// the first page was answered are all of it. But a count that is not of the
// set, or wrong, would hide what is missing. So it is believed once it has
// been seen to be right: a window was shown complete without it, and both the
// first answer and the empty one behind the rows counted just these. Until
// then, and where there is no count or a wrong one, windows are read as if
// there were none.

// trust is what is known of the API's counts.
type trust int

const (
	untested trust = iota
	right
	wrong
)

// judge looks for what cannot be: fewer than were answered, or more than none
// where nothing was.
func (s *Source) judge(skip int, a *answer) {
	n := len(a.rows)
	if a.count >= 0 && (n > 0 && a.count < skip+n || n == 0 && skip == 0 && a.count > 0) {
		s.miscounted(a.count, skip+n)
	}
}

// miscounted stops believing counts. What has been read by them is read again.
func (s *Source) miscounted(count, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == wrong {
		return
	}
	s.log.Warn("the API counts its incidents wrongly: its counts are not used", "count", count, "rows", rows)
	if s.counts == right && (s.doubt.IsZero() || s.earliest.Before(s.doubt)) {
		s.doubt = s.earliest
	}
	s.counts = wrong
}

// ended looks at the empty answer behind n different incidents, of which first
// is the first answer. It reports whether that is the end. If more than that
// are counted, what lies behind several pages may be withheld; a single answer
// is all there is at $skip=0, so that it is the count that is wrong.
func (s *Source) ended(first, behind *answer, n int) bool {
	single := len(first.rows) == n
	if behind.count > n && single {
		s.miscounted(behind.count, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return behind.count <= n || s.counts != right
}

// complete notes what n rows that have been shown complete tell of the counts
// of their first answer and of the empty one behind them.
func (s *Source) complete(first, behind *answer, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == untested && n > 0 && first.count == n && behind.count == n {
		s.counts = right
	}
}

// size is how many incidents there were in all when an answer was given,
// false if that is not known.
func (s *Source) size(a *answer) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.count, a.count >= 0 && s.counts == right
}

// alone says whether an answer without $skip is known to hold all there is.
func (s *Source) alone(a *answer) bool {
	n, ok := s.size(a)
	return ok && n == len(a.rows) && !a.more
}

// sized says whether rows, all of them different, are all that a closed window
// held when its first page was answered. clock is a time before that. Where an
// update may have become visible since, as many rows may be others: one that
// came in for one that was passed over, when the page before it lost a row. So
// none of them may be as new as that.
func (s *Source) sized(p *pages, rows []row, clock time.Time) bool {
	if n, ok := s.size(p.answers[0]); !ok || n != len(rows) {
		return false
	}
	if s.alone(p.answers[0]) {
		return true
	}
	old := clock.Add(-s.cfg.Overlap)
	for i := range rows {
		if !rows[i].At.Before(old) {
			return false
		}
	}
	return true
}
