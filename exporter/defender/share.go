package defender

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// Share is what the sources of several tenants use together: calls in flight,
// memory for answers that are being read, and for what is held until its
// window is proven. A free place goes to the source that has the fewest calls
// in flight, and a source holds the less the more of them are reading. It is
// safe for concurrent use.
type Share struct {
	memory *memory
	packer *packer

	mu      sync.Mutex
	free    int
	flying  map[*client]int // calls in flight, none that is 0
	waiting []waiter        // in the order in which they came
	reading int             // sources that hold something
}

type waiter struct {
	c       *client
	granted chan struct{} // closed with the mutex held
}

// NewShare allows so many calls in flight, and answers of twice maxAnswer
// bytes to be read at once.
func NewShare(calls int, maxAnswer int64) *Share {
	return &Share{memory: newMemory(2 * maxAnswer), packer: newPacker(min(calls, runtime.GOMAXPROCS(0))), free: calls, flying: map[*client]int{}}
}

const (
	// mostHeld is what one source holds when it is alone, compressed: windows
	// large enough for their two extra calls to be cheap. leastHeld keeps them
	// worth while, however many there are.
	mostHeld, leastHeld = 23 << 17, 1 << 19

	// allHeld is what they hold together, unless there are so many that each
	// has the least.
	allHeld = 64 << 20
)

// begin notes that a source is reading. end ends that.
func (s *Share) begin() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reading--
	}
}

// hold is what one source may hold.
func (s *Share) hold() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(mostHeld, max(leastHeld, allHeld/int64(max(1, s.reading))))
}

// take waits for a place for one more call.
func (s *Share) take(ctx context.Context, c *client) error {
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
