package defender

import (
	"context"
	"sync"
)

// held counts the bytes of lines that are held until their windows have been
// handed on. It is safe for concurrent use.
type held struct {
	mu    sync.Mutex
	bytes int64
	freed chan struct{} // closed when some were given back, or a window became the first
}

func (h *held) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes += n
	if n <= 0 {
		close(h.freed)
		h.freed = make(chan struct{})
	}
}

// beside is how much is held beside what the caller holds.
func (h *held) beside(own int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes - own
}

func (h *held) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = 0
}

// turn is a place in the queue of windows that are read at the same time.
type turn struct {
	parent *turn
	first  bool // guarded by held.mu
}

type turnKey struct{}

// isFirst says whether everything before it has been handed on.
func (t *turn) isFirst() bool {
	for ; t != nil; t = t.parent {
		if !t.first {
			return false
		}
	}
	return true
}

// next makes t the first of its queue.
func (h *held) next(t *turn) {
	h.mu.Lock()
	t.first = true
	h.mu.Unlock()
	h.add(0)
}

// room waits until less than limit is held. The first window never waits: the
// others wait for it to be handed on. So at most the limit and one window, and
// the answers in flight, are held.
func (h *held) room(ctx context.Context, limit int64) error {
	t, _ := ctx.Value(turnKey{}).(*turn)
	for {
		h.mu.Lock()
		if h.bytes < limit || t.isFirst() {
			h.mu.Unlock()
			return nil
		}
		freed := h.freed
		h.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
