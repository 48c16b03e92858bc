package sinktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"incident-exporter/sinks"
)

// ErrKilled is what every call of a killed session returns.
var ErrKilled = errors.New("process is dead")

// listPage is how many objects one request of a List brings, as with S3.
const listPage = 1000

// Session is Mem as one process sees it. Once it is killed nothing that the
// process still does has any effect.
type Session struct {
	mem  *Mem
	id   int
	dead chan struct{} // nil: cannot be killed
	once sync.Once
}

var _ sinks.Sink = (*Session)(nil)

// Session begins the next process; they are numbered from 1.
func (m *Mem) Session() *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions++
	return &Session{mem: m, id: m.sessions, dead: make(chan struct{})}
}

// Kill ends the process: calls that are stalled return, and every later call
// and every read of an open object fails with ErrKilled. It may be called
// from Before's function, and again.
func (s *Session) Kill() {
	if s.dead != nil {
		s.once.Do(func() { close(s.dead) })
	}
}

func (s *Session) killed() bool {
	select {
	case <-s.dead:
		return true
	default:
		return false
	}
}

// begin counts a request, asks for its fault and waits if that says so. An
// error means that the request has no effect, save what outcome says.
func (s *Session) begin(ctx context.Context, op Op, key string) (f Fault, err error) {
	if s.killed() {
		return Fault{Outcome: Failed}, ErrKilled
	}
	if err := ctx.Err(); err != nil {
		return Fault{Outcome: Failed}, err
	}
	m := s.mem
	m.mu.Lock()
	before := m.before
	call := Call{Op: op, Key: key, Session: s.id}
	n := m.counts.of(op)
	*n++
	call.N = *n
	m.mu.Unlock()
	if before != nil {
		f = before(call).of(op)
	}
	if f.Stall != nil {
		select {
		case <-f.Stall:
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.dead:
		}
	}
	if s.killed() {
		err = ErrKilled
	}
	if err != nil && f.Outcome == Normal {
		f.Outcome = Failed // an honest sink that was stopped has stored nothing
	}
	if err == nil && f.Outcome != Normal && f.Outcome != Cut {
		err = f.err()
	}
	return f, err
}

// Put stores an object, subject to Mem.Before.
func (s *Session) Put(ctx context.Context, key string, data []byte) error {
	m := s.mem
	if err := checkKey(key); err != nil {
		m.violate("put %q: %v", key, err)
		return fmt.Errorf("put %q: %w", key, err)
	}
	f, err := s.begin(ctx, OpPut, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.layout != nil && err != ErrKilled {
		if err := m.layout(key); err != nil {
			m.violations = append(m.violations, fmt.Sprintf("put %q: %v", key, err))
		}
	}
	switch f.Outcome {
	case Lost:
		// Refused without the caller hearing of it, if something else is there.
		_ = m.create(key, data)
	case InFlight:
		m.inFlight = append(m.inFlight, put{key, slices.Clone(data)})
	case Normal:
		err = m.create(key, data)
	}
	if err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

// Get opens an object, subject to Mem.Before.
func (s *Session) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	m := s.mem
	if err := checkKey(key); err != nil {
		m.violate("get %q: %v", key, err)
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	f, err := s.begin(ctx, OpGet, key)
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("get %q: %w", key, sinks.ErrNotExist)
	}
	r := &reader{s: s, rest: data, end: io.EOF}
	if f.Outcome == Cut {
		r.rest, r.end = data[:len(data)/2], fmt.Errorf("read %q: %w", key, f.err())
	}
	m.open[r] = key
	return r, nil
}

// List lists objects, subject to Mem.Before at each page.
func (s *Session) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		last := after
		for n := 0; ; n++ {
			err := ctx.Err()
			if s.killed() {
				err = ErrKilled
			}
			if n%listPage == 0 && err == nil {
				_, err = s.begin(ctx, OpList, prefix)
			}
			if err != nil {
				yield(sinks.Object{}, fmt.Errorf("list %q: %w", prefix, err))
				return
			}
			o, ok := s.mem.next(prefix, last)
			if !ok || !yield(o, nil) {
				return
			}
			last = o.Key
		}
	}
}

// reader reads one object. Like any reader it is for one goroutine at a time.
type reader struct {
	s    *Session
	rest []byte
	end  error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.s.killed() {
		return 0, ErrKilled
	}
	if len(r.rest) == 0 {
		return 0, r.end
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error {
	r.s.mem.mu.Lock()
	defer r.s.mem.mu.Unlock()
	delete(r.s.mem.open, r)
	return nil
}
