package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks"
)

// ErrRival says that another writer was first. What was not committed is
// thrown away; Load the chain again and go on from its new end.
var ErrRival = errors.New("another writer was first")

// Ledger writes one stream's chain. It is not for concurrent use; several
// Ledgers of one stream, in one process or many, are safe.
type Ledger struct {
	sink     sinks.Sink
	stream   Stream
	by       By
	compress Compression // of the objects after the next one

	head  *Manifest // nil: no chain yet
	first uint64    // the chain's first manifest that is still there
	start time.Time // where that begins, the zero time until it is asked for
	index *index
	z     compressors
}

// New returns a Ledger that has looked at nothing yet.
func New(sink sinks.Sink, stream Stream, by By, compress Compression) *Ledger {
	return &Ledger{sink: sink, stream: stream, by: by, compress: compress, index: newIndex()}
}

// Load finds the chain's end. It is called before each pass over the stream,
// and after ErrRival; it forgets what has not been committed. A *Refusal says
// why the chain cannot be gone on with.
func (l *Ledger) Load(ctx context.Context) error {
	l.index.forgetPending()
	return l.load(ctx)
}

// Head is the newest manifest, nil where there is no chain yet. It must not be changed.
func (l *Ledger) Head() *Manifest { return l.head }

// Start is where the chain begins: nothing before it is read. Of a chain that
// has been pruned it is the earliest instant that is still to be read again.
func (l *Ledger) Start(ctx context.Context) (time.Time, error) {
	if l.start.IsZero() {
		m, err := readManifest(ctx, l.sink, l.stream, l.first)
		if err != nil {
			return time.Time{}, refuse(l.stream, err)
		}
		l.start = m.Window.From.Time
	}
	return l.start, nil
}

// Begin writes the first manifest. It is the one that has no data object: its
// own create-only Put decides between rivals (ErrRival).
func (l *Ledger) Begin(ctx context.Context, start, deepSettled, now time.Time, calls int) error {
	m := &Manifest{
		Format: Format, Stream: l.stream, Seq: 1,
		Window:  Window{Time{start}, Time{start}},
		Settled: Time{start}, DeepSettled: Time{deepSettled},
		Calls: calls, Next: l.stream.dataKey(2, start, l.compress),
		By: l.by, Committed: Time{now},
	}
	l.first, l.start = 1, start
	return l.put(ctx, m)
}

// Claim is what a commit says beside its lines. Whoever makes it has read
// what it claims.
type Claim struct {
	To          time.Time // everything updated before it is archived; not before the head's
	Settled     time.Time
	DeepSettled time.Time
	Deep        *Deep
	Unfetched   []Stretch // all that are open; Since 0 is one that this manifest names first
	Fetched     []Stretch // those closed here
	Calls       int
	Requests    []string
	Now         time.Time
}

// Carry is the claim that changes nothing.
func (m *Manifest) Carry() Claim {
	return Claim{
		To: m.Window.To.Time, Settled: m.Settled.Time, DeepSettled: m.DeepSettled.Time,
		Deep: m.Deep, Unfetched: slices.Clone(m.Unfetched),
	}
}

// NewBatch begins the object that Commit stores next. One batch is open at a time.
func (l *Ledger) NewBatch() (*Batch, error) {
	return l.z.batch(compressionOf(l.head.Next))
}

// Rest gives back what takes memory only while batches are made: between
// passes, of which a process may have thousands. No batch may be open.
func (l *Ledger) Rest() { l.z = compressors{} }

// Commit appends the batch and the claim to the chain.
//
// First the data object is put at the key that the head names: whoever holds
// it may write the manifest, nobody else. If that fails nothing has changed,
// or the object lies there without its manifest ("pending"), and the next
// pass adopts it. Then its manifest is put: that is the commit. If that fails
// the object is pending in the same way. ErrRival in either step means that
// another writer's object or manifest is there; after any error Load.
func (l *Ledger) Commit(ctx context.Context, b *Batch, c Claim) error {
	if err := b.out.Close(); err != nil {
		return fmt.Errorf("compress %q: %w", l.head.Next, err)
	}
	data := b.buf.Bytes()
	if err := l.sink.Put(ctx, l.head.Next, data); err != nil {
		return rival(err)
	}
	m := l.follow(c)
	m.Object = &Object{l.head.Next, int64(len(data)), hexSum(data), len(b.rows)}
	m.Versions = b.versions()
	for _, r := range b.rows {
		if r.How != "" {
			if m.How == nil {
				m.How = map[string]string{}
			}
			m.How[r.ID] = r.How
		}
	}
	m.advance(b.rows)
	if err := l.put(ctx, m); err != nil {
		return err
	}
	l.index.confirm(m.Seq)
	return nil
}

// follow is the manifest after the head.
func (l *Ledger) follow(c Claim) *Manifest {
	m := &Manifest{
		Format: Format, Stream: l.stream, Seq: l.head.Seq + 1, Prev: l.head.Hash,
		Window: Window{l.head.Window.To, Time{c.To}}, Newest: l.head.Newest,
		Settled: Time{c.Settled}, DeepSettled: Time{c.DeepSettled}, Deep: c.Deep,
		Unfetched: slices.Clone(c.Unfetched), Fetched: c.Fetched,
		Calls: c.Calls, Requests: c.Requests,
		Next: l.stream.dataKey(l.head.Seq+2, c.To, l.compress),
		By:   l.by, Committed: Time{c.Now},
	}
	for i := range m.Unfetched {
		if m.Unfetched[i].Since == 0 {
			m.Unfetched[i].Since = m.Seq
		}
	}
	return m
}

// advance moves Newest over the rows.
func (m *Manifest) advance(rows []Row) {
	for _, r := range rows {
		if m.Newest == nil || r.At.After(m.Newest.Time) {
			m.Newest = &Time{r.At}
		}
	}
}

// put stores a manifest, which becomes the head.
func (l *Ledger) put(ctx context.Context, m *Manifest) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := l.sink.Put(ctx, l.stream.ManifestKey(m.Seq), data); err != nil {
		return rival(err)
	}
	l.head = m
	return nil
}

func rival(err error) error {
	if errors.Is(err, sinks.ErrExists) {
		return fmt.Errorf("%w: %w", ErrRival, err)
	}
	return err
}

// Adopt looks at the key that the head names. Whatever lies there without a
// manifest was put by a rival, or by a process that died between its two
// Puts. It is recorded, not believed: its manifest lists its versions and
// claims no coverage, because the dead writer may have known of stretches
// that it could not fetch, stopped in the middle of a tie, or held only lines
// read again. What is no batch is recorded as void, with its hash and why.
// It reports whether there was something. ErrRival: somebody else recorded it.
func (l *Ledger) Adopt(ctx context.Context, now time.Time) (bool, error) {
	key := l.head.Next
	f, err := l.sink.Get(ctx, key)
	if errors.Is(err, sinks.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	rows, object, bad, err := l.examine(ctx, f, key)
	if err != nil {
		// It is there, and cannot be read now: nothing can be said about it.
		return false, fmt.Errorf("get %q: %w", key, err)
	}
	c := l.head.Carry()
	c.Now = now
	m := l.follow(c)
	m.Object = object
	if bad != nil {
		m.Void, object.Lines = fmt.Sprintf("%.300s", bad), 0
	} else {
		b := Batch{rows: rows}
		m.Adopted, m.Versions = true, b.versions()
		m.advance(rows)
	}
	if err := l.put(ctx, m); err != nil {
		return true, err
	}
	if bad == nil {
		l.index.addManifest(m)
	}
	return true, nil
}

// examine reads an object of unknown origin whole. bad says why it is no batch.
func (l *Ledger) examine(ctx context.Context, f io.Reader, key string) (rows []Row, object *Object, bad, err error) {
	stored := newCounter(f)
	b := Batch{}
	bad = lines(stored, compressionOf(key), func(line []byte) error {
		row, err := rowOf(line, l.stream.Names(), sha256.Sum256(line))
		if err != nil {
			return fmt.Errorf("line %d: %w", len(b.rows)+1, err)
		}
		if len(b.rows) == maxLines {
			return fmt.Errorf("it has more than %d lines", maxLines)
		}
		if !b.Takes(&row) {
			return fmt.Errorf("line %d: incident %s is out of order", len(b.rows)+1, row.ID)
		}
		b.rows = append(b.rows, row)
		return nil
	})
	if _, err := io.Copy(io.Discard, stored); err != nil {
		return nil, nil, nil, err
	}
	if stored.err != nil {
		return nil, nil, nil, stored.err
	}
	object = &Object{key, stored.bytes, stored.sum(), len(b.rows)}
	if bad != nil || len(b.rows) == 0 {
		return b.rows, object, bad, nil
	}
	// A line that the chain has already would be there twice.
	if err := l.Know(ctx, b.rows[0].At); err != nil {
		return nil, nil, nil, err
	}
	for _, r := range b.rows {
		if l.index.has(&r) {
			return nil, object, fmt.Errorf("incident %s, updated %s, is in the chain already", r.ID, r.Updated), nil
		}
	}
	return b.rows, object, nil, nil
}

// Calls yields how many API calls the chain records and when they were
// committed, newest first, back to since.
func (l *Ledger) Calls(ctx context.Context, since time.Time) (map[time.Time]int, error) {
	calls := map[time.Time]int{}
	err := l.walk(ctx, func(m *Manifest) bool {
		if m.Committed.Before(since) {
			return false
		}
		calls[m.Committed.Time] += m.Calls
		return true
	})
	return calls, err
}

// walk goes from the head back for as long as more says so.
func (l *Ledger) walk(ctx context.Context, more func(*Manifest) bool) error {
	for m := l.head; m != nil && more(m) && m.Seq > l.first; {
		prev, err := readManifest(ctx, l.sink, l.stream, m.Seq-1)
		if err != nil {
			return refuse(l.stream, err)
		}
		if prev.Hash != m.Prev {
			return &Refusal{
				Text:   fmt.Sprintf("the chain of %s is broken between manifests %d and %d", l.stream, prev.Seq, m.Seq),
				Remedy: "run verify, and restore what it names from a copy of the archive",
			}
		}
		m = prev
	}
	return nil
}

// rawTime is rawjson's reading of a stored time, which was checked when it was stored.
func rawTime(s string) time.Time {
	t, _ := rawjson.ParseTime(s)
	return t
}
