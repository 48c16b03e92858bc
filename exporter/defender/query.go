package defender

import (
	"fmt"
	"time"

	"incident-exporter/exporter/rawjson"
)

// query is a set of incidents: those updated in [from, to) and, where they
// are set, created in [since, until). Without to it is open-ended.
type query struct {
	from, to     time.Time
	since, until time.Time

	// part: more of the same instant follows in another query, so that this
	// one covers no time.
	part bool

	// bare: without their alerts, where the API can leave them out.
	bare bool
}

// without is the query of the same incidents without their alerts.
func (q query) without() query {
	q.bare = true
	return q
}

// aligned is the query as a server of that resolution understands it, or more.
func (q query) aligned(unit time.Duration) query {
	q.from, q.since = q.from.Truncate(unit), q.since.Truncate(unit)
	if !q.to.IsZero() {
		q.to = ceil(q.to, unit)
	}
	if !q.until.IsZero() {
		q.until = ceil(q.until, unit)
	}
	return q
}

func (q query) found() *found {
	f := &found{from: q.from, to: q.to}
	if q.part {
		f.to = q.from
	}
	return f
}

// bounded says whether it has an upper bound of either time.
func (q query) bounded() bool { return !q.to.IsZero() || !q.until.IsZero() }

// bound is how the server takes upper bounds: `lt` is undocumented for this
// API, and so is `le`.
type bound int

const (
	lessThan bound = iota
	lessOrEqual
	noBound
)

// filter writes the query as $filter (OData 4.01, 11.2.6.1): only ge, lt, le
// and `and`, UTC with Z, unquoted.
func (q query) filter(names rawjson.Names, as bound) string {
	text := ""
	add := func(name, op string, t time.Time) {
		if text != "" {
			text += " and "
		}
		text += name + " " + op + " " + rawjson.FormatTime(t)
	}
	between := func(name string, from, to time.Time) {
		if !from.IsZero() {
			add(name, "ge", from)
		}
		if !to.IsZero() && as == lessThan {
			add(name, "lt", to)
		}
		if !to.IsZero() && as == lessOrEqual {
			add(name, "le", to.Add(-rawjson.Tick))
		}
	}
	between(names.Updated, q.from, q.to)
	between(names.Created, q.since, q.until)
	return text
}

func (q query) String() string {
	s := fmt.Sprintf("updated %s to %s", rawjson.FormatTime(q.from), rawjson.FormatTime(q.to))
	if !q.since.IsZero() || !q.until.IsZero() {
		s += fmt.Sprintf(", created %s to %s", rawjson.FormatTime(q.since), rawjson.FormatTime(q.until))
	}
	return s
}

func (s *Source) dialect() bound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}

// refuseBound goes on to the next way to say an upper bound, and reports
// whether there was one. Several calls may find out at the same time.
func (s *Source) refuseBound(as bound) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == as && as < noBound && !s.boundKnown {
		s.bound++
	}
	return s.bound != as
}

// acceptBound notes that the server took the bound: a later refusal has
// another cause.
func (s *Source) acceptBound(as bound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == as {
		s.boundKnown = true
	}
}

// resolutions are how coarsely a server may compare times.
var resolutions = []time.Duration{
	rawjson.Tick, time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond,
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, coarsest,
}

// coarsest is the last of them. Windows end on whole seconds, so that no
// server that compares this finely can be misunderstood at their ends.
const coarsest = time.Second

// IgnoredFilterError says that an answer holds what was not asked for.
type IgnoredFilterError struct{ Asked, Got string }

func (e *IgnoredFilterError) Error() string {
	return fmt.Sprintf("the API does not filter: asked for incidents %s, it answered with one updated %s", e.Asked, e.Got)
}

// outside looks at rows outside of what was asked for. The server compares
// more coarsely, which is learnt and lived with (such rows are kept), or it
// does not filter, and nothing that it says can be shown complete.
func (s *Source) outside(q query, a *answer) error {
	as := s.dialect()
	for i := range a.rows {
		r := &a.rows[i]
		out := func(t, from, to time.Time, unit time.Duration) bool {
			if t.IsZero() {
				return false
			}
			if as == noBound {
				to = time.Time{}
			}
			return t.Before(from.Truncate(unit)) || !to.IsZero() && !t.Before(ceil(to, unit))
		}
		fits := false
		for _, unit := range resolutions {
			if unit >= s.resolution() && !out(r.At, q.from, q.to, unit) && !out(r.created, q.since, q.until, unit) {
				s.learn(unit)
				fits = true
				break
			}
		}
		if !fits {
			return &IgnoredFilterError{q.String(), r.Updated}
		}
	}
	return nil
}

func ceil(t time.Time, unit time.Duration) time.Time {
	if f := t.Truncate(unit); !f.Equal(t) {
		return f.Add(unit)
	}
	return t
}

// resolution is the finest difference of times that the server is known to make.
func (s *Source) resolution() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unit
}

func (s *Source) learn(unit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if unit > s.unit {
		s.unit = unit
		s.log.Warn("the API compares times more coarsely than asked", "resolution", unit)
	}
}
