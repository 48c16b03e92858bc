package simulator

import (
	"fmt"
	"time"
)

// tick is the update time of a change made now: later than after, never
// earlier than the update time before it, and ahead of now by 3.4 ms at most
// for the first change of an instant and 100 ns more for each further one.
func (s *Simulator) tick(now, after ticks) ticks {
	w := &s.world
	t := now
	switch {
	case now > w.last:
		if s.rng.IntN(2) == 0 {
			t = now.databaseTick()
		}
	case w.last > after && s.rng.IntN(4) == 0:
		t = w.last // a tie
	default:
		t = w.last + 1
	}
	w.last = t
	return t
}

// due is when a version made now becomes visible.
func (s *Simulator) due(now ticks) ticks {
	late := ticks(s.behaviour.LateBy / 100)
	if late <= 0 || s.rng.IntN(2) == 0 {
		return now
	}
	return now + 1 + ticks(s.rng.Int64N(int64(late)))
}

// begin brings the world up to the present.
func (s *Simulator) begin() ticks {
	now := s.now()
	s.world.settle(now)
	return now
}

// renew returns an incident's next version, with a new update time.
func (s *Simulator) renew(now ticks, i int32) record {
	r := s.world.next(i)
	r.rev++
	r.updated = s.tick(now, r.updated)
	return r
}

// churn updates n random incidents, or fewer where some are gone.
func (s *Simulator) churn(now ticks, n int) {
	w := &s.world
	if len(w.incidents) == 0 {
		return
	}
	for range n {
		if i := int32(s.rng.IntN(len(w.incidents))); !w.incidents[i].gone {
			r := s.renew(now, i)
			w.add(now, s.due(now), r)
		}
	}
}

// create adds an incident, which is not visible yet, and returns its first
// version.
func (s *Simulator) create(now ticks) record {
	w := &s.world
	t := s.tick(now, 0)
	r := record{incident: int32(len(w.incidents)), redirect: -1, created: t, updated: t}
	w.incidents = append(w.incidents, incident{shown: -1})
	return r
}

// Create adds an incident and returns its first version.
func (s *Simulator) Create() Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	r := s.create(now)
	return s.version(s.world.add(now, s.due(now), r)[0])
}

// CreateLate adds an incident that becomes visible by so much later than its
// creation time, and returns its first version.
func (s *Simulator) CreateLate(by time.Duration) Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	r := s.create(now)
	return s.version(s.world.add(now, now+ticks(by/100), r)[0])
}

// Update gives the incident a new version with a new update time.
func (s *Simulator) Update(id int64) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	i, ok := s.world.find(id)
	if !ok {
		return Version{}, fmt.Errorf("update incident %d: not there", id)
	}
	r := s.renew(now, i)
	return s.version(s.world.add(now, s.due(now), r)[0]), nil
}

// UpdateLate does what Update does, but the version becomes visible by so much
// later than its update time. The API serves what it replaces until then. An
// update that becomes visible in the meantime keeps it from ever being visible.
func (s *Simulator) UpdateLate(id int64, by time.Duration) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	i, ok := s.world.find(id)
	if !ok {
		return Version{}, fmt.Errorf("update incident %d late: not there", id)
	}
	r := s.renew(now, i)
	return s.version(s.world.add(now, now+ticks(by/100), r)[0]), nil
}

// Vanish deletes the incident: neither lists nor its id lead to it any more.
// Versions that were still late never become visible.
func (s *Simulator) Vanish(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	i, ok := s.world.find(id)
	if !ok {
		return fmt.Errorf("delete incident %d: not there", id)
	}
	s.world.vanish(now, i)
	return nil
}

// Bulk updates n random incidents (all, if there are fewer) in one identical
// tick.
func (s *Simulator) Bulk(n int) []Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	w := &s.world
	w.last = max(w.last, now) + 1
	some := s.some(n)
	recs := make([]record, len(some))
	for k, i := range some {
		recs[k] = w.next(i)
		recs[k].rev++
		recs[k].updated = w.last
	}
	var added []int32
	if s.behaviour.LateBy <= 0 {
		added = w.add(now, now, recs...)
	} else {
		for _, r := range recs {
			added = append(added, w.add(now, s.due(now), r)...)
		}
	}
	versions := make([]Version, len(added))
	for k, r := range added {
		versions[k] = s.version(r)
	}
	return versions
}

// Merge merges one incident into another: the one becomes Redirected and
// loses its alerts and tags, the other is updated and gains an alert.
func (s *Simulator) Merge(from, into int64) (source, target Version, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	w := &s.world
	i, ok := w.find(from)
	j, found := w.find(into)
	if !ok || !found || i == j {
		return source, target, fmt.Errorf("merge incident %d into %d: not two incidents", from, into)
	}
	a, b := w.next(i), w.next(j)
	a.redirect = j
	a.rev++
	a.updated = s.tick(now, max(a.updated, b.updated))
	b.merged++
	b.rev++
	b.updated = a.updated
	added := w.add(now, s.due(now), a, b)
	return s.version(added[0]), s.version(added[1]), nil
}

// AlertChange changes the incident's content without moving its update time.
// It is visible at once, or when the version that it changes is.
func (s *Simulator) AlertChange(id int64) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.amend(id, "change an alert of", func(r *record) { r.alerts++ })
}

// Recreate changes the incident's creation time by up to a day, to one that is
// not after its update time, which does not move. The change is visible when
// one of AlertChange would be.
func (s *Simulator) Recreate(id int64) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.amend(id, "recreate", func(r *record) {
		by := 1 + ticks(s.rng.Int64N(int64(utcDay)))
		if s.rng.IntN(2) == 0 || r.created+by > r.updated {
			by = -by
		}
		r.created += by
	})
}

// amend makes a version of an incident at its old update time.
func (s *Simulator) amend(id int64, what string, change func(*record)) (Version, error) {
	now := s.begin()
	i, ok := s.world.find(id)
	if !ok {
		return Version{}, fmt.Errorf("%s incident %d: not there", what, id)
	}
	r := s.world.next(i)
	change(&r)
	return s.version(s.world.add(now, s.world.soonest(now, i), r)[0]), nil
}
