package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks"
)

// index knows the versions of the chain from some update time on, twelve bytes
// each: five of the hash of id and update time, seven of the line's hash. It
// is an open hash table in parts, so that growing takes little at once.
type index struct {
	loaded  bool
	from    time.Time // everything in the chain from here on is known
	pending bool      // rows of the open batch are among them
	parts   [256]part
}

// entry is one version. An entry of zeros is a free place: a version's key is never all zeros.
type entry [12]byte

const keyBytes = 5

type part struct {
	used  int
	table []entry
}

// fingerprint is the entry of a version, and the part that it belongs to.
func fingerprint(id string, at time.Time, line [32]byte) (e entry, in byte) {
	text := make([]byte, 8, 64)
	binary.LittleEndian.PutUint64(text, uint64(at.Unix()*1e7+int64(at.Nanosecond()/100)))
	sum := sha256.Sum256(append(text, id...))
	copy(e[:keyBytes], sum[:])
	copy(e[keyBytes:], line[:])
	if [keyBytes]byte(e[:keyBytes]) == [keyBytes]byte{} {
		e[0] = 1
	}
	return e, sum[31]
}

func (p *part) slot(e *entry) int {
	return int(uint64(binary.LittleEndian.Uint32(e[:4])) * uint64(len(p.table)) >> 32)
}

// look says whether the part has the entry, and whether it has another of the same key.
func (p *part) look(e *entry) (same, key bool) {
	if len(p.table) == 0 {
		return false, false
	}
	for i := p.slot(e); p.table[i] != (entry{}); i = (i + 1) % len(p.table) {
		if p.table[i] == *e {
			return true, true
		}
		if [keyBytes]byte(p.table[i][:keyBytes]) == [keyBytes]byte(e[:keyBytes]) {
			key = true
		}
	}
	return false, key
}

func (p *part) add(e entry) {
	if 8*(p.used+1) > 7*len(p.table) {
		old := p.table
		p.table = make([]entry, len(old)+len(old)/16+8)
		p.used = 0
		for _, o := range old {
			if o != (entry{}) {
				p.add(o)
			}
		}
	}
	i := p.slot(&e)
	for p.table[i] != (entry{}) {
		i = (i + 1) % len(p.table)
	}
	p.table[i] = e
	p.used++
}

func (x *index) has(r *Row) bool {
	e, in := fingerprint(r.ID, r.At, r.SHA256)
	same, _ := x.parts[in].look(&e)
	return same
}

func (x *index) add(r *Row) {
	e, in := fingerprint(r.ID, r.At, r.SHA256)
	if same, _ := x.parts[in].look(&e); !same {
		x.parts[in].add(e)
	}
}

func (x *index) addManifest(m *Manifest) {
	for _, v := range m.Versions {
		r := Row{ID: v.ID, At: rawTime(v.Updated)}
		if _, err := hex.Decode(r.SHA256[:], []byte(v.SHA256)); err == nil {
			x.add(&r)
		}
	}
}

// LoadIndex makes sure that every version in the chain that was updated at
// from or later is known to Contains. It walks back to the first manifest
// whose Latest is before from, and keeps what it has learnt.
func (l *Ledger) LoadIndex(ctx context.Context, from time.Time) error {
	x := l.index
	if x.loaded && !from.Before(x.from) {
		return nil
	}
	old, was := x.from, x.loaded
	x.from, x.loaded = from, true
	err := l.walk(ctx, func(m *Manifest) (more bool, err error) {
		if m.Seq == 1 {
			x.from = time.Time{} // all of the chain is known
		}
		if m.Latest.Before(from) {
			return false, nil
		}
		x.addManifest(m)
		return true, nil
	})
	if err != nil {
		x.from, x.loaded = old, was
	}
	return err
}

// leastDepth is how far back from the latest line a row loads the index at least.
const leastDepth = time.Hour

// loadFor loads the index for a row. Rows come newest first, and each further
// back would walk along the chain once more: so it goes twice as far back from
// the latest line as the row needs.
func (l *Ledger) loadFor(ctx context.Context, at time.Time) error {
	if x := l.index; l.head == nil || x.loaded && !at.Before(x.from) {
		return nil
	}
	if depth := l.head.Latest.Sub(at); depth >= 0 {
		at = at.Add(-max(depth, leastDepth))
	}
	return l.LoadIndex(ctx, at)
}

// ErrOpenBatch says that a row may only differ in order from a line of the open
// batch, which can be compared once it is committed.
var ErrOpenBatch = errors.New("the open batch has another line of this incident and time")

// Contains says whether the chain, or the open batch b, which may be nil, has
// the version already: the same id, update time and line, or a line that
// differs from the stored one only in the order of members or elements. It
// loads the index as far as the row needs. ErrOpenBatch: commit b, and ask again.
func (l *Ledger) Contains(ctx context.Context, r *Row, line []byte, b *Batch) (bool, error) {
	if err := l.loadFor(ctx, r.At); err != nil {
		return false, err
	}
	e, in := fingerprint(r.ID, r.At, r.SHA256)
	same, key := l.index.parts[in].look(&e)
	if same || !key {
		return same, nil
	}
	// Another line of the incident at that time, which is rare.
	if b != nil {
		for i := range b.rows {
			if b.rows[i].ID == r.ID && b.rows[i].At.Equal(r.At) {
				return false, ErrOpenBatch
			}
		}
	}
	known := false
	err := l.walk(ctx, func(m *Manifest) (more bool, err error) {
		for i, v := range m.Versions {
			if v.ID != r.ID || !rawTime(v.Updated).Equal(r.At) || m.Object == nil {
				continue
			}
			stored, err := l.storedLine(ctx, m, i)
			if refused := (*Refusal)(nil); errors.As(err, &refused) {
				// It cannot be compared with what is damaged or gone, which verify
				// names. At worst the same in another order is stored as well.
				continue
			}
			if err != nil {
				return false, err
			}
			known = known || rawjson.Same(line, stored)
		}
		return !known && !m.Latest.Before(r.At), nil
	})
	if err == nil && known {
		l.index.add(r) // by this spelling as well from now on
	}
	return known, err
}

// Index records that the row is in the open batch.
func (l *Ledger) Index(r *Row) {
	l.index.pending = true
	l.index.add(r)
}

var errFound = errors.New("found")

// storedLine reads one line of a manifest's object.
func (l *Ledger) storedLine(ctx context.Context, m *Manifest, line int) (stored []byte, err error) {
	damaged := func(err error) error {
		return &Refusal{
			Text:   fmt.Sprintf("get %q: line %d is not what manifest %d says", m.Object.Key, line+1, m.Seq),
			Remedy: "run verify, and restore the object from a copy of the archive",
			Err:    err,
		}
	}
	f, err := l.sink.Get(ctx, m.Object.Key)
	if errors.Is(err, sinks.ErrNotExist) {
		return nil, damaged(err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, n := newCounter(f), 0
	err = lines(in, compressionOf(m.Object.Key), func(text []byte) error {
		if n++; n <= line {
			return nil
		}
		stored = append([]byte(nil), text...)
		return errFound
	})
	if in.err != nil {
		return nil, fmt.Errorf("get %q: %w", m.Object.Key, in.err)
	}
	if sum := sha256.Sum256(stored); err != errFound || hex.EncodeToString(sum[:]) != m.Versions[line].SHA256 {
		return nil, damaged(err)
	}
	return stored, nil
}
