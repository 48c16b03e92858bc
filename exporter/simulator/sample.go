package simulator

import (
	"sort"
	"time"
)

// RandomIDs returns n different random incidents (all, if there are fewer).
func (s *Simulator) RandomIDs(n int) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ids(s.some(n))
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

// some draws n different incidents that are there (all, if there are fewer).
func (s *Simulator) some(n int) []int32 {
	w := &s.world
	if w.vanished == 0 {
		return s.sample(0, len(w.incidents), n)
	}
	there := make([]int32, 0, len(w.incidents)-w.vanished)
	for i := range w.incidents {
		if !w.incidents[i].gone {
			there = append(there, int32(i))
		}
	}
	drawn := s.sample(0, len(there), n)
	for k, at := range drawn {
		drawn[k] = there[at]
	}
	return drawn
}
