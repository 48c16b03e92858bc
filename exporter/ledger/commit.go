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
	index *index
	z     compressors
}

// New returns a Ledger that has looked at nothing yet.
func New(sink sinks.Sink, stream Stream, by By, compress Compression) *Ledger {
	return &Ledger{sink: sink, stream: stream, by: by, compress: compress, index: &index{}}
}

// Load finds the chain's end. It is called before each pass over the stream,
// and after ErrRival; it forgets what has not been committed. A *Refusal says
// why the chain cannot be gone on with.
func (l *Ledger) Load(ctx context.Context) error {
	if l.index.pending {
		l.index = &index{} // it has rows that were not committed
	}
	return l.load(ctx)
}

// Head is the newest manifest, nil where there is no chain yet. It must not be changed.
func (l *Ledger) Head() *Manifest { return l.head }

// Begin writes the first manifest. It is the one that has no data object: its
// own create-only Put decides between rivals (ErrRival). Nothing before start,
// which is cut to a whole second, will be read.
func (l *Ledger) Begin(ctx context.Context, start, now time.Time, calls int) error {
	m := &Manifest{
		Format: Format, Stream: l.stream, Seq: 1, Start: Time{start.UTC().Truncate(time.Second)},
		Calls: calls, Next: l.stream.dataKey(2, now, l.compress),
		By: l.by, Committed: Time{now},
	}
	l.first = 1
	return l.put(ctx, m)
}

// Entry is what a manifest says beside its lines. Whoever makes it has read
// what it claims. Covered is checked against the head before it is written.
type Entry struct {
	Read      []Claim
	Withdrawn []Withdrawn
	Covered   Coverage
	Unfetched []Unfetched // all that are open; Since 0 is one that this manifest names first
	Disorder  time.Time
	Partial   []string
	Calls     int
	Requests  []string
	Now       time.Time // by the clock that Committed is to have; never written as earlier than the head's
}

// Entry is the entry that changes nothing.
func (m *Manifest) Entry() Entry {
	return Entry{Covered: m.Covered, Unfetched: slices.Clone(m.Unfetched), Disorder: m.Disorder.Time, Partial: m.Partial}
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
func (l *Ledger) Commit(ctx context.Context, b *Batch, e Entry) error {
	if fault := follows(l.head, e.Withdrawn, e.Read, e.Covered, e.Unfetched); fault != "" {
		return fmt.Errorf("commit manifest %d: %s", l.head.Seq+1, fault)
	}
	if err := b.out.Close(); err != nil {
		return fmt.Errorf("compress %q: %w", l.head.Next, err)
	}
	data := b.buf.Bytes()
	if err := l.sink.Put(ctx, l.head.Next, data); err != nil {
		return rival(err)
	}
	m := l.follow(e)
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
	l.index.pending = false
	return nil
}

// follow is the manifest after the head.
func (l *Ledger) follow(e Entry) *Manifest {
	now := e.Now.UTC().Truncate(rawjson.Tick)
	if now.Before(l.head.Committed.Time) {
		now = l.head.Committed.Time
	}
	m := &Manifest{
		Format: Format, Stream: l.stream, Seq: l.head.Seq + 1, Prev: l.head.Hash, Start: l.head.Start,
		Latest: l.head.Latest, Filled: l.head.Filled,
		Read: e.Read, Withdrawn: e.Withdrawn, Covered: e.Covered, Unfetched: slices.Clone(e.Unfetched),
		Disorder: Time{e.Disorder}, Partial: e.Partial,
		Calls: e.Calls, Requests: e.Requests,
		Next: l.stream.dataKey(l.head.Seq+2, now, l.compress),
		By:   l.by, Committed: Time{now},
	}
	for i := range m.Unfetched {
		if m.Unfetched[i].Since == 0 {
			m.Unfetched[i].Since = m.Seq
		}
	}
	return m
}

// planted is how much later than its commit an adopted line's update time may
// be before Latest leaves it out: a planted line must not move it for good.
// What Latest leaves out may be stored again, so this is more than the clock of
// any writer that adopts is behind. One off by hours still gets tokens.
const planted = 24 * time.Hour

// advance moves Latest and Filled over the rows.
func (m *Manifest) advance(rows []Row) {
	for i := range rows {
		at := rows[i].At
		if m.Adopted && at.After(m.Committed.Add(planted)) {
			continue
		}
		if at.After(m.Latest.Time) {
			m.Latest = Time{at}
		}
	}
	if len(rows) > 0 {
		m.Filled = m.Seq
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
	e := l.head.Entry()
	e.Now = now
	m := l.follow(e)
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
	earliest := b.rows[0].At
	for _, r := range b.rows {
		if r.At.Before(earliest) {
			earliest = r.At
		}
	}
	if err := l.LoadIndex(ctx, earliest); err != nil {
		return nil, nil, nil, err
	}
	own := map[Version]bool{}
	for i, v := range b.versions() {
		if own[v] || l.index.has(&b.rows[i]) {
			return nil, object, fmt.Errorf("incident %s, updated %s, is in the chain already", v.ID, v.Updated), nil
		}
		own[v] = true
	}
	return b.rows, object, nil, nil
}

// Calls yields how many API calls the chain records and when they were
// committed, newest first, back to since.
func (l *Ledger) Calls(ctx context.Context, since time.Time) (map[time.Time]int, error) {
	calls := map[time.Time]int{}
	err := l.walk(ctx, func(m *Manifest) (bool, error) {
		if m.Committed.Before(since) {
			return false, nil
		}
		calls[m.Committed.Time] += m.Calls
		return true, nil
	})
	return calls, err
}

// walk goes from the head back for as long as visit wants more.
func (l *Ledger) walk(ctx context.Context, visit func(*Manifest) (more bool, err error)) error {
	for m := l.head; m != nil; {
		if more, err := visit(m); err != nil || !more || m.Seq <= l.first {
			return err
		}
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
