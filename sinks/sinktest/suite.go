// Package sinktest holds every sink to the contract of package sinks, and
// has a sink in memory for the tests of those that use one.
//
// Run is the contract as a test suite: a sink that passes it keeps every
// sentence of sinks.Reader and sinks.Sink that can be seen from outside. That
// what a Put has stored survives a crash or the loss of power cannot, and is
// for each sink's own tests. Mem keeps the same contract, polices those who
// call it, and fails where a test wants it to.
package sinktest

import (
	"bytes"
	"context"
	"io"
	"testing"

	"incident-exporter/sinks"
)

// clause is a sentence of the contract and how to see that it is kept. It is
// given an empty sink of its own.
type clause struct {
	name  string
	prove func(t testing.TB, s sinks.Sink)
}

func clauses() []clause {
	return []clause{
		{"what is no key is refused and touches nothing", invalidKeys},
		{"a cancelled context stops every call before it begins", cancelled},
		{"a missing object is ErrNotExist", missing},
		{"other bytes are ErrExists and change nothing", otherBytes},
		{"of racing Puts of different bytes exactly one succeeds", racingCreators},
		{"racing Puts of the same bytes all succeed", racingSame},
		{"racing Puts of two contents succeed for one content", racingTwo},
		{"an object is seen whole or not at all", wholeOrNothing},
		{"an error ends a listing and comes last", listError},
		{"a listing is every object once in byte order over many pages", listPages},
		{"a listing keeps to prefix and after", listModel},
		{"a listing can be broken off and run again", listBreak},
		{"a prefix that holds nothing is no error", listNothing},
		{"Put keeps no reference to data", putKeepsNothing},
		{"a reader can be closed halfway", closeHalfway},
		{"the same bytes again are no error", sameBytes},
		{"every printable character can be in a key", oddKeys},
		{"an object may be empty", emptyObject},
		{"an object may be 20 MiB", largeObject},
		{"calls may be concurrent", concurrent},
	}
}

// Run proves, one subtest a clause, that the sinks that open returns keep the
// contract. Each call of open must return an empty one; what it needs to be
// rid of it again is for open to register with its t. name says which
// implementation it is, so that a log shows what was really tested.
func Run(t *testing.T, name string, open func(t *testing.T) sinks.Sink) {
	t.Run(name, func(t *testing.T) {
		for _, c := range clauses() {
			t.Run(c.name, func(t *testing.T) {
				s := open(t)
				t.Logf("implementation: %s (%T)", name, s)
				c.prove(t, s)
			})
		}
	})
}

// many is more than two pages of 1,000, with -short more than one.
func many() int {
	if testing.Short() {
		return 1100
	}
	return 2500
}

func mustPut(t testing.TB, s sinks.Sink, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, data); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

// wantObject proves that the object is exactly data, by Get and by List.
func wantObject(t testing.TB, s sinks.Sink, key string, data []byte) {
	t.Helper()
	got, err := get(t.Context(), s, key)
	if err != nil {
		t.Errorf("get %q: %v", key, err)
		return
	}
	if !bytes.Equal(got, data) {
		t.Errorf("get %q: %d bytes %.40q, want %d bytes %.40q", key, len(got), got, len(data), data)
	}
	for o, err := range s.List(t.Context(), key, "") {
		if err != nil {
			t.Errorf("list %q: %v", key, err)
			return
		}
		if o.Key == key {
			if o.Size != int64(len(data)) {
				t.Errorf("list %q: size %d, want %d", key, o.Size, len(data))
			}
			return
		}
	}
	t.Errorf("list %q: the object is not listed", key)
}

// get reads an object to its end.
func get(ctx context.Context, s sinks.Reader, key string) (data []byte, err error) {
	r, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := r.Close(); err == nil {
			err = e
		}
	}()
	return io.ReadAll(r)
}

// list returns the keys of a listing up to its error.
func list(ctx context.Context, s sinks.Reader, prefix, after string) (keys []string, err error) {
	for o, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}
