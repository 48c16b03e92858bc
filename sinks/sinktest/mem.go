package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"incident-exporter/sinks"
)

// Mem is a sink in memory that counts, polices its callers and fails on
// demand. Use it directly, or through a Session for each process that a test
// plays. It keeps the contract of package sinks wherever no fault is asked
// for, and blocks on nothing but the channels of a Fault, so that it can be
// used in a synctest bubble; make it, and its sessions, inside the bubble.
// All methods may be called concurrently.
type Mem struct {
	root *Session // for calls on Mem itself; never killed

	mu         sync.Mutex
	objects    map[string][]byte // values are never changed, only replaced
	keys       []string          // of objects, in order
	inFlight   []put
	before     func(Call) Fault
	layout     func(key string) error
	violations []string
	counts     Counts
	open       map[*reader]string // what is being read, and what was left open
	sessions   int
}

type put struct {
	key  string
	data []byte
}

var _ sinks.Sink = (*Mem)(nil)

// NewMem returns an empty sink.
func NewMem() *Mem {
	m := &Mem{objects: map[string][]byte{}, open: map[*reader]string{}}
	m.root = &Session{mem: m}
	return m
}

// Get opens an object, outside of any session.
func (m *Mem) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	return m.root.Get(ctx, key)
}

// List lists objects, outside of any session.
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return m.root.List(ctx, prefix, after)
}

// Put stores an object, outside of any session.
func (m *Mem) Put(ctx context.Context, key string, data []byte) error {
	return m.root.Put(ctx, key, data)
}

// Counts are the requests made so far, failed ones included. A List is one
// request for every 1,000 objects it yields, and at least one.
type Counts struct{ Puts, Gets, Lists int }

// Counts returns the requests made so far.
func (m *Mem) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts
}

// Layout makes every key that is put a violation for which allowed returns an error.
func (m *Mem) Layout(allowed func(key string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.layout = allowed
}

// Violations are what callers did that no correct program does: a key that is
// no key, an object put where the layout has none, a reader not closed (one
// that is still open when Violations is called).
func (m *Mem) Violations() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Clone(m.violations)
	var open []string
	for r, key := range m.open {
		if !r.s.killed() {
			open = append(open, fmt.Sprintf("get %q: never closed", key))
		}
	}
	slices.Sort(open)
	return append(all, open...)
}

// Set stores data under key, whatever is there. It is no request.
func (m *Mem) Set(key string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(key, data)
}

// Delete removes what is stored under key. It is no request.
func (m *Mem) Delete(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := slices.BinarySearch(m.keys, key); ok {
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.objects, key)
	}
}

// Keys are the keys of all objects, in order.
func (m *Mem) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys)
}

// Bytes is a copy of what is stored under key, nil if there is nothing.
func (m *Mem) Bytes(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[key]
	if !ok {
		return nil
	}
	return append([]byte{}, data...)
}

// Clone is a new Mem with the same objects and nothing else of m.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	c.keys = slices.Clone(m.keys)
	for key, data := range m.objects {
		c.objects[key] = data
	}
	return c
}

// store is called with mu held.
func (m *Mem) store(key string, data []byte) {
	if i, ok := slices.BinarySearch(m.keys, key); !ok {
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.objects[key] = append([]byte{}, data...)
}

// create stores data unless something is there. It is called with mu held.
func (m *Mem) create(key string, data []byte) error {
	old, ok := m.objects[key]
	switch {
	case !ok:
		m.store(key, data)
	case !bytes.Equal(old, data):
		return sinks.ErrExists
	}
	return nil
}

// next is the first object behind after that has the prefix.
func (m *Mem) next(prefix, after string) (sinks.Object, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := slices.BinarySearch(m.keys, max(prefix, after))
	if found && m.keys[i] == after {
		i++
	}
	if i == len(m.keys) || !strings.HasPrefix(m.keys[i], prefix) {
		return sinks.Object{}, false
	}
	return sinks.Object{Key: m.keys[i], Size: int64(len(m.objects[m.keys[i]]))}, true
}

func (m *Mem) violate(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.violations = append(m.violations, fmt.Sprintf(format, args...))
}

// checkKey is the contract's sentence on keys (sinks.Reader), written down
// here a second time so that it checks the sinks' own.
func checkKey(key string) error {
	for _, c := range []byte(key) {
		if c < 0x20 || c > 0x7e || c == '\\' {
			return errors.New("not printable ASCII without backslash")
		}
	}
	if len(key) > 512 {
		return errors.New("longer than 512 bytes")
	}
	for _, element := range strings.Split(key, "/") {
		if element == "" || element == "." || element == ".." {
			return errors.New(`an element is empty, "." or ".."`)
		}
	}
	return nil
}
