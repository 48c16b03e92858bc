package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"incident-exporter/exporter/rawjson"
	"incident-exporter/sinks"
)

// index knows the versions of the chain from some instant on, some 50 bytes
// each: an open hash table of positions in entries, keyed by (id, update time).
type index struct {
	from    time.Time // everything in the chain from here on is known; zero Time with loaded false: nothing
	loaded  bool
	seed    maphash.Seed
	entries []entry
	table   []uint32 // position in entries plus one
	pending uint64   // entries of this manifest, 0 for none, are not committed yet
	pruned  int      // entries left after the last prune
}

type entry struct {
	at   int64 // ticks
	id   uint64
	sum  [16]byte // the first half of the line's SHA-256
	seq  uint32
	line uint32
}

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

func (x *index) reset() {
	*x = index{seed: x.seed}
}

func ticks(t time.Time) int64 { return t.Unix()*1e7 + int64(t.Nanosecond()/100) }

func (x *index) slot(id uint64, at int64) uint64 {
	h := id ^ uint64(at)*0x9e3779b97f4a7c15
	h ^= h >> 32
	return h * 0xd6e8feb86659fd93
}

func (x *index) put(e entry) {
	if 4*(len(x.entries)+1) > 3*len(x.table) {
		x.grow(max(64, 2*len(x.table)))
	}
	x.entries = append(x.entries, e)
	x.link(len(x.entries))
}

func (x *index) link(position int) {
	e := &x.entries[position-1]
	mask := uint64(len(x.table) - 1)
	i := x.slot(e.id, e.at) >> 16 & mask
	for x.table[i] != 0 {
		i = (i + 1) & mask
	}
	x.table[i] = uint32(position)
}

func (x *index) grow(size int) {
	x.table = make([]uint32, size)
	for i := range x.entries {
		x.link(i + 1)
	}
}

// each calls f with every entry of the incident at that time until it returns true.
func (x *index) each(id string, at time.Time, f func(*entry) bool) bool {
	if len(x.table) == 0 {
		return false
	}
	h, t := maphash.String(x.seed, id), ticks(at)
	mask := uint64(len(x.table) - 1)
	for i := x.slot(h, t) >> 16 & mask; x.table[i] != 0; i = (i + 1) & mask {
		if e := &x.entries[x.table[i]-1]; e.id == h && e.at == t && f(e) {
			return true
		}
	}
	return false
}

func (x *index) has(r *Row) bool {
	return x.each(r.ID, r.At, func(e *entry) bool { return e.sum == [16]byte(r.SHA256[:16]) })
}

func (x *index) add(r *Row, seq uint64, line int) {
	x.put(entry{ticks(r.At), maphash.String(x.seed, r.ID), [16]byte(r.SHA256[:16]), uint32(seq), uint32(line)})
}

func (x *index) addManifest(m *Manifest) {
	for i, v := range m.Versions {
		if at := rawTime(v.Updated); !at.Before(x.from) {
			r := Row{ID: v.ID, At: at}
			if _, err := hex.Decode(r.SHA256[:], []byte(v.SHA256)); err == nil {
				x.add(&r, m.Seq, i)
			}
		}
	}
}

// keep drops what was updated before from, once that is worth the work.
func (x *index) keep(from time.Time) {
	if len(x.entries) < 2*x.pruned+4096 || x.pending != 0 {
		return
	}
	kept, limit := x.entries[:0], ticks(from)
	for _, e := range x.entries {
		if e.at >= limit {
			kept = append(kept, e)
		}
	}
	if cap(kept) > 4*len(kept)+4096 {
		kept = append(make([]entry, 0, 2*len(kept)), kept...)
	}
	x.entries, x.pruned, x.from = kept, len(kept), from
	size := 64
	for 3*size < 8*len(kept) {
		size *= 2
	}
	x.grow(size)
}

func (x *index) confirm(seq uint64) {
	if x.pending == seq {
		x.pending = 0
	}
}

// forgetPending drops what was noted for a manifest that was not committed.
func (x *index) forgetPending() {
	if x.pending != 0 {
		x.reset()
	}
}

// Know makes sure that every version in the chain that was updated at from or
// later is known, and lets those before it be forgotten. It walks back while
// the newest update time in the chain is not before from. It must be called
// before a read that begins at from.
func (l *Ledger) Know(ctx context.Context, from time.Time) error {
	x := l.index
	if x.loaded && !from.Before(x.from) {
		x.keep(from)
		return nil
	}
	if x.pending != 0 {
		return errors.New("versions asked for while a batch is open")
	}
	x.reset()
	x.from, x.loaded = from, true
	err := l.walk(ctx, func(m *Manifest) bool {
		if m.newest().Before(from) {
			return false
		}
		x.addManifest(m)
		return true
	})
	if err != nil {
		x.reset()
	}
	return err
}

// Has says whether the chain, or the open batch, has the version already: the
// same id, update time and line, or a line that differs from the stored one
// only in the order of members or elements. Know must cover its update time.
func (l *Ledger) Has(ctx context.Context, r *Row, line []byte) (bool, error) {
	var others []entry
	if l.index.each(r.ID, r.At, func(e *entry) bool {
		others = append(others, *e)
		return e.sum == [16]byte(r.SHA256[:16])
	}) {
		return true, nil
	}
	for _, e := range others {
		if uint64(e.seq) > l.head.Seq {
			continue // of the open batch, so read a moment ago: it has changed
		}
		stored, err := l.storedLine(ctx, uint64(e.seq), int(e.line), r.ID)
		var damaged *Refusal
		if errors.As(err, &damaged) {
			// It cannot be compared with what is damaged or gone, which verify
			// names. At worst the same in another order is stored as well.
			continue
		}
		if err != nil {
			return false, err
		}
		if rawjson.Same(line, stored) {
			// Known by this spelling as well from now on.
			l.index.add(r, uint64(e.seq), int(e.line))
			return true, nil
		}
	}
	return false, nil
}

// Note records that the row is in the open batch.
func (l *Ledger) Note(r *Row, line int) {
	l.index.pending = l.head.Seq + 1
	l.index.add(r, l.index.pending, line)
}

var errFound = errors.New("found")

// storedLine reads one line of the archive, nil if it is another incident's
// (the index knows ids by their hash).
func (l *Ledger) storedLine(ctx context.Context, seq uint64, line int, id string) (stored []byte, err error) {
	m, err := readManifest(ctx, l.sink, l.stream, seq)
	if err != nil {
		return nil, refuse(l.stream, err)
	}
	if line >= len(m.Versions) || m.Versions[line].ID != id {
		return nil, nil
	}
	damaged := func(err error) error {
		return &Refusal{
			Text:   fmt.Sprintf("get %q: line %d is not what manifest %d says", m.Object.Key, line+1, seq),
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
