package sinktest

import "errors"

// Op is a kind of request.
type Op string

// The three requests of the contract.
const (
	OpPut  Op = "put"
	OpGet  Op = "get"
	OpList Op = "list"
)

// Call is a request that is about to be made.
type Call struct {
	Op      Op
	N       int    // of its kind, from 1, over all sessions
	Key     string // for a List its prefix
	Session int    // 0: on Mem itself
}

// Outcome is what becomes of a request.
type Outcome int

const (
	Normal   Outcome = iota
	Failed           // without effect; the caller gets the error
	Lost             // of a Put: it takes effect, and the caller gets the error
	InFlight         // of a Put: the caller gets the error, and it takes effect when Mem.Land is called
	Cut              // of a Get: half of the object can be read, then comes the error
)

// ErrFault is the error of a Fault that names none.
var ErrFault = errors.New("injected fault")

// Fault is what Before's function wants of a request. The zero value is none.
// An Outcome that the request cannot have is Failed.
//
// With a Stall the request first waits until that is closed, its context ends
// or its session is killed. In the latter two it fails with their error, and
// a Put takes effect only if Outcome is Lost or InFlight. That is also so if
// the function itself kills the session: a process that dies just before
// its request is Failed, one that dies just after it is Lost.
type Fault struct {
	Outcome Outcome
	Err     error
	Stall   <-chan struct{}
}

// of is the fault as it concerns a kind of request.
func (f Fault) of(op Op) Fault {
	switch f.Outcome {
	case Lost, InFlight:
		if op != OpPut {
			f.Outcome = Failed
		}
	case Cut:
		if op != OpGet {
			f.Outcome = Failed
		}
	}
	return f
}

func (f Fault) err() error {
	if f.Err != nil {
		return f.Err
	}
	return ErrFault
}

// Before has f called before each request, except those with an invalid key,
// a cancelled context or a killed session. Concurrent requests call it
// concurrently. It may use Mem's own methods, except for the sink's.
func (m *Mem) Before(f func(Call) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// Land lets the Puts that are in flight take effect, in the order in which
// they were made, and returns how many stored something: as any Put they
// change nothing that is there.
func (m *Mem) Land() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored := 0
	for _, p := range m.inFlight {
		if _, taken := m.objects[p.key]; !taken {
			m.store(p.key, p.data)
			stored++
		}
	}
	m.inFlight = nil
	return stored
}

// of returns the counter of a kind of request.
func (c *Counts) of(op Op) *int {
	switch op {
	case OpPut:
		return &c.Puts
	case OpGet:
		return &c.Gets
	}
	return &c.Lists
}
