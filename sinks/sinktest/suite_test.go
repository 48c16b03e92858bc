package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"incident-exporter/sinks"
)

// TestEveryClauseBites breaks each sentence of the contract on purpose and
// sees the suite find it, and that there is no clause that nothing breaks.
func TestEveryClauseBites(t *testing.T) {
	bitten := map[string]bool{}
	for name, broken := range map[string]struct {
		how    func(*faulty)
		clause string // one that must fail
	}{
		"accepts any key":           {func(f *faulty) { f.anyKey = true }, "what is no key is refused and touches nothing"},
		"hides which key is wrong":  {func(f *faulty) { f.namelessError = true }, "what is no key is refused and touches nothing"},
		"ignores a cancelled ctx":   {func(f *faulty) { f.ctxIgnored = true }, "a cancelled context stops every call before it begins"},
		"missing is empty":          {func(f *faulty) { f.missingEmpty = true }, "a missing object is ErrNotExist"},
		"overwrites":                {func(f *faulty) { f.overwrites = true }, "other bytes are ErrExists and change nothing"},
		"compares sizes only":       {func(f *faulty) { f.sizeOnly = true }, "other bytes are ErrExists and change nothing"},
		"every racer wins":          {func(f *faulty) { f.secondWins = true }, "of racing Puts of different bytes exactly one succeeds"},
		"refuses the same bytes":    {func(f *faulty) { f.sameRefused = true }, "racing Puts of the same bytes all succeed"},
		"refuses an equal rival":    {func(f *faulty) { f.sameRefused = true }, "racing Puts of two contents succeed for one content"},
		"refuses a repeated Put":    {func(f *faulty) { f.sameRefused = true }, "the same bytes again are no error"},
		"shows half an object":      {func(f *faulty) { f.torn = make(chan struct{}) }, "an object is seen whole or not at all"},
		"stops silently":            {func(f *faulty) { f.silentStop = true }, "an error ends a listing and comes last"},
		"goes on after an error":    {func(f *faulty) { f.errorGoesOn = true }, "an error ends a listing and comes last"},
		"forgets the second page":   {func(f *faulty) { f.onePage = true }, "a listing is every object once in byte order over many pages"},
		"repeats at page edges":     {func(f *faulty) { f.repeatsEdge = true }, "a listing is every object once in byte order over many pages"},
		"lists in directory order":  {func(f *faulty) { f.directoryOrder = true }, "a listing keeps to prefix and after"},
		"after is not exclusive":    {func(f *faulty) { f.afterIncluded = true }, "a listing keeps to prefix and after"},
		"prefix is a directory":     {func(f *faulty) { f.prefixIsDirectory = true }, "a listing keeps to prefix and after"},
		"a listing runs once":       {func(f *faulty) { f.listOnce = true }, "a listing can be broken off and run again"},
		"an empty listing fails":    {func(f *faulty) { f.nothingIsError = true }, "a prefix that holds nothing is no error"},
		"keeps the caller's slice":  {func(f *faulty) { f.keepsSlice = true }, "Put keeps no reference to data"},
		"one reader at a time":      {func(f *faulty) { f.closeFails = true }, "a reader can be closed halfway"},
		"refuses odd characters":    {func(f *faulty) { f.plainKeysOnly = true }, "every printable character can be in a key"},
		"drops empty objects":       {func(f *faulty) { f.emptyDropped = true }, "an object may be empty"},
		"cuts large objects":        {func(f *faulty) { f.maxSize = 16 << 20 }, "an object may be 20 MiB"},
		"a Put is not seen at once": {func(f *faulty) { f.staleListing = true }, "calls may be concurrent"},
		"a listing has wrong sizes": {func(f *faulty) { f.wrongSize = true }, "the same bytes again are no error"},
		"stores zeros":              {func(f *faulty) { f.zeroed = true }, "Put keeps no reference to data"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{objects: map[string][]byte{}}
			broken.how(f)
			if !fails(t, broken.clause, f) {
				t.Errorf("the clause %q does not notice", broken.clause)
			}
		})
		bitten[broken.clause] = true
	}
	for _, c := range clauses() {
		if !bitten[c.name] {
			t.Errorf("nothing breaks the clause %q", c.name)
		}
		if fails(t, c.name, &faulty{objects: map[string][]byte{}}) {
			t.Errorf("the clause %q fails on a sink without a fault", c.name)
		}
	}
}

// fails runs one clause apart from t and says whether it failed.
func fails(t *testing.T, name string, s sinks.Sink) bool {
	i := slices.IndexFunc(clauses(), func(c clause) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no clause %q", name)
	}
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		clauses()[i].prove(r, s)
	}()
	<-done
	return r.failed
}

// recorder is a testing.TB whose failures are not the test's.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(string, ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// faulty is a small sink that keeps the contract but for the flags that are set.
type faulty struct {
	anyKey, namelessError, ctxIgnored, missingEmpty, overwrites, sizeOnly, secondWins, sameRefused,
	silentStop, errorGoesOn, onePage, repeatsEdge, directoryOrder, afterIncluded, prefixIsDirectory, listOnce,
	nothingIsError, keepsSlice, closeFails, plainKeysOnly, emptyDropped, staleListing, wrongSize, zeroed bool
	maxSize int
	torn    chan struct{} // closed when half an object has been read

	mu      sync.Mutex
	objects map[string][]byte
	newest  string
}

func (f *faulty) check(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil && !f.anyKey {
		if f.namelessError {
			return err
		}
		return fmt.Errorf("%q: %w", key, err)
	}
	if f.plainKeysOnly && strings.ContainsAny(key, "?+% ") {
		return errors.New("odd")
	}
	if f.ctxIgnored {
		return nil
	}
	return ctx.Err()
}

func (f *faulty) Put(ctx context.Context, key string, data []byte) error {
	if err := f.check(ctx, key); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.objects[key]
	same := bytes.Equal(old, data) || f.sizeOnly && len(old) == len(data)
	switch {
	case ok && same && f.sameRefused, ok && !same && !f.overwrites && !f.secondWins:
		return sinks.ErrExists
	case ok && !f.overwrites, len(data) == 0 && f.emptyDropped:
		return nil
	}
	if f.torn != nil {
		f.objects[key] = data[:len(data)/2]
		f.mu.Unlock()
		<-f.torn
		f.mu.Lock()
	}
	if f.maxSize > 0 && len(data) > f.maxSize {
		data = data[:f.maxSize]
	}
	if !f.keepsSlice {
		data = slices.Clone(data)
	}
	if f.zeroed {
		clear(data)
	}
	f.objects[key], f.newest = data, key
	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := f.check(ctx, key); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.objects[key]
	if !ok && !f.missingEmpty {
		return nil, sinks.ErrNotExist
	}
	if ok && f.torn != nil {
		select {
		case <-f.torn:
		default:
			close(f.torn)
		}
	}
	return &faultyReader{Reader: bytes.NewReader(data), fails: f.closeFails}, nil
}

type faultyReader struct {
	*bytes.Reader
	fails bool
}

func (r *faultyReader) Close() error {
	if r.fails && r.Len() > 0 {
		return errors.New("not read to the end")
	}
	return nil
}

func (f *faulty) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	ran := false
	return func(yield func(sinks.Object, error) bool) {
		if ran && f.listOnce {
			return
		}
		ran = true
		keys, sizes := f.snapshot()
		n := 0
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) || key < after || key == after && !f.afterIncluded {
				continue
			}
			if f.prefixIsDirectory && !strings.HasPrefix(key, strings.TrimSuffix(prefix, "/")+"/") {
				continue
			}
			if err := f.check(ctx, key); err != nil && (f.silentStop || !yield(sinks.Object{}, err) || !f.errorGoesOn) {
				return
			}
			if !yield(sinks.Object{Key: key, Size: sizes[key]}, nil) {
				return
			}
			n++
			if n == 1000 && f.onePage || n == 1000 && f.repeatsEdge && !yield(sinks.Object{Key: key, Size: sizes[key]}, nil) {
				return
			}
		}
		if err := f.check(ctx, "key"); err != nil && !f.silentStop || n == 0 && f.nothingIsError {
			yield(sinks.Object{}, errors.Join(err, errors.New("nothing there")))
		}
	}
}

func (f *faulty) snapshot() (keys []string, sizes map[string]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sizes = map[string]int64{}
	for key, data := range f.objects {
		if sizes[key] = int64(len(data)); f.wrongSize {
			sizes[key]++
		}
	}
	if f.staleListing {
		delete(sizes, f.newest)
	}
	keys = slices.Sorted(maps.Keys(sizes))
	if f.directoryOrder {
		slices.SortFunc(keys, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	}
	return keys, sizes
}
