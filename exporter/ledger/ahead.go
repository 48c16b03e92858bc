package ledger

import (
	"bytes"
	"context"
	"io"
	"iter"
	"sync"

	"incident-exporter/sinks"
)

const (
	// aheadBytes bounds what is fetched and not yet asked for.
	aheadBytes = 16 << 20

	// aheadLargest is the largest object that is fetched ahead: larger ones
	// are read from the sink as a stream.
	aheadLargest = 2 << 20
)

// ahead reads an archive whose objects are asked for in the order in which
// they are listed: it fetches those that a listing is about to yield, several
// at once. What was not fetched, or not well, is read when it is asked for,
// so that no answer depends on it. It is for one goroutine.
type ahead struct {
	sinks.Reader
	width int

	// The fetchers stay: a new goroutine for each object would have to grow the
	// stack that a request takes each time.
	work    chan *fetch
	running sync.WaitGroup
	fetches map[string]*fetch
	bytes   int64 // of fetches
}

type fetch struct {
	ctx  context.Context
	key  string
	size int64
	done chan struct{}
	stop context.CancelFunc
	data []byte
	err  error
}

func newAhead(r sinks.Reader, width int) *ahead {
	a := &ahead{Reader: r, width: width, work: make(chan *fetch, 2*(queued*width+1)), fetches: map[string]*fetch{}}
	for range width {
		a.running.Go(func() {
			for f := range a.work {
				if f.err = f.ctx.Err(); f.err == nil {
					f.data, f.err = readAll(f.ctx, r, f.key, aheadLargest)
				}
				close(f.done)
			}
		})
	}
	return a
}

// queued is how many objects wait for their turn for each that can be fetched
// at once: one that takes long must not keep the others from being asked for.
const queued = 4

// List yields what the sink lists, up to queued·width objects behind it.
func (a *ahead) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		type item struct {
			o   sinks.Object
			err error
		}
		var queue []item
		defer func() {
			for _, i := range queue {
				a.forget(i.o.Key)
			}
		}()
		pull, stop := iter.Pull2(a.Reader.List(ctx, prefix, after))
		defer stop()
		for more := true; ; {
			for more && len(queue) <= queued*a.width {
				o, err, ok := pull()
				if !ok {
					more = false
					break
				}
				if queue = append(queue, item{o, err}); err != nil {
					more = false
					break
				}
				a.begin(ctx, o)
			}
			if len(queue) == 0 {
				return
			}
			next := queue[0]
			queue = queue[1:]
			if !yield(next.o, next.err) || next.err != nil {
				a.forget(next.o.Key)
				return
			}
		}
	}
}

func (a *ahead) begin(ctx context.Context, o sinks.Object) {
	if o.Size > aheadLargest || a.bytes+o.Size > aheadBytes || a.fetches[o.Key] != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	f := &fetch{ctx: ctx, key: o.Key, size: o.Size, done: make(chan struct{}), stop: stop}
	select {
	case a.work <- f:
		a.fetches[o.Key] = f
		a.bytes += o.Size
	default: // no room: it is read when it is asked for
		stop()
	}
}

func (a *ahead) forget(key string) {
	if f := a.fetches[key]; f != nil {
		f.stop()
		delete(a.fetches, key)
		a.bytes -= f.size
	}
}

// Get gives out what was fetched, once.
func (a *ahead) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	f := a.fetches[key]
	if f == nil {
		return a.Reader.Get(ctx, key)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a.forget(key)
	if f.err != nil {
		return a.Reader.Get(ctx, key)
	}
	return io.NopCloser(bytes.NewReader(f.data)), nil
}

// stop ends the fetches that nobody asked for, and waits for them.
func (a *ahead) stop() {
	for key := range a.fetches {
		a.forget(key)
	}
	close(a.work)
	a.running.Wait()
}
