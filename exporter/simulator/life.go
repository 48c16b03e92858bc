package simulator

import (
	"fmt"
	"sort"
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

// update gives an incident its next version.
func (s *Simulator) update(now ticks, i int32) int32 {
	r := s.world.next(i)
	r.rev++
	r.updated = s.tick(now, r.updated)
	return s.world.add(now, s.due(now), r)[0]
}

// churn updates n random incidents.
func (s *Simulator) churn(now ticks, n int) {
	if len(s.world.incidents) == 0 {
		return
	}
	for range n {
		s.update(now, int32(s.rng.IntN(len(s.world.incidents))))
	}
}

// Create adds an incident and returns its first version.
func (s *Simulator) Create() Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	w := &s.world
	t := s.tick(now, 0)
	r := record{incident: int32(len(w.incidents)), redirect: -1, updated: t}
	w.incidents = append(w.incidents, incident{created: t, shown: -1})
	return s.version(w.add(now, s.due(now), r)[0])
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
	return s.version(s.update(now, i)), nil
}

// Bulk updates n random incidents (all, if there are fewer) in one identical
// tick.
func (s *Simulator) Bulk(n int) []Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.begin()
	w := &s.world
	w.last = max(w.last, now) + 1
	some := s.sample(0, len(w.incidents), n)
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
	now := s.begin()
	i, ok := s.world.find(id)
	if !ok {
		return Version{}, fmt.Errorf("change an alert of incident %d: not there", id)
	}
	r := s.world.next(i)
	r.alerts++
	return s.version(s.world.add(now, s.world.soonest(now, i), r)[0]), nil
}

// RandomIDs returns n different random incidents (all, if there are fewer).
func (s *Simulator) RandomIDs(n int) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ids(s.sample(0, len(s.world.incidents), n))
}

// RecentIDs returns n different random incidents out of those whose visible
// update time is less than within ago (all of them, if there are fewer).
func (s *Simulator) RecentIDs(n int, within time.Duration) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.world
	since := s.begin() - ticks(within/100)
	first := sort.Search(len(w.order), func(i int) bool { return w.records[w.order[i]].updated > since })
	some := s.sample(first, len(w.order), n)
	for k, at := range some {
		some[k] = w.records[w.order[at]].incident
	}
	return ids(some)
}

func ids(incidents []int32) []int64 {
	out := make([]int64, len(incidents))
	for k, i := range incidents {
		out[k] = firstID + int64(i)
	}
	return out
}

// sample draws n different numbers from [lo, hi).
func (s *Simulator) sample(lo, hi, n int) []int32 {
	n = max(0, min(n, hi-lo))
	if n*4 > hi-lo {
		all := s.rng.Perm(hi - lo)
		out := make([]int32, n)
		for k := range out {
			out[k] = int32(lo + all[k])
		}
		return out
	}
	out := make([]int32, 0, n)
	seen := make(map[int32]bool, n)
	for len(out) < n {
		if i := int32(lo + s.rng.IntN(hi-lo)); !seen[i] {
			seen[i] = true
			out = append(out, i)
		}
	}
	return out
}
