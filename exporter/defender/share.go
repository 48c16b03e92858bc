package defender

import (
	"context"
	"slices"
	"sync"
)

// Share is what the sources of several tenants use together: calls in flight,
// and memory for answers. A free place goes to the source that has the fewest
// calls in flight. It is safe for concurrent use.
type Share struct {
	memory *memory

	mu      sync.Mutex
	free    int
	flying  map[*client]int // calls in flight, none that is 0
	waiting []waiter        // in the order in which they came
}

type waiter struct {
	c       *client
	granted chan struct{} // closed with the mutex held
}

// NewShare allows so many calls in flight, and answers of maxAnswer bytes to be
// read at once.
func NewShare(calls int, maxAnswer int64) *Share {
	return &Share{memory: newMemory(maxAnswer), free: calls, flying: map[*client]int{}}
}

// take waits for a place for one more call. There is always one on a nil Share.
func (s *Share) take(ctx context.Context, c *client) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.flying[c]++
		s.mu.Unlock()
		return nil
	}
	w := waiter{c, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-w.granted: // at the same moment: another one may have it
		s.give(c)
	default:
		s.waiting = slices.DeleteFunc(s.waiting, func(o waiter) bool { return o.granted == w.granted })
	}
	return ctx.Err()
}

// done gives the place of a call to the next.
func (s *Share) done(c *client) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give(c)
}

// give is called with the mutex held.
func (s *Share) give(c *client) {
	if s.flying[c]--; s.flying[c] == 0 {
		delete(s.flying, c)
	}
	if len(s.waiting) == 0 {
		s.free++
		return
	}
	next := 0
	for i, w := range s.waiting {
		if s.flying[w.c] < s.flying[s.waiting[next].c] {
			next = i
		}
	}
	w := s.waiting[next]
	s.waiting = slices.Delete(s.waiting, next, next+1)
	s.flying[w.c]++
	close(w.granted)
}
