package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/bits"

	"incident-exporter/sinks"
)

// duplicates finds versions that manifests list twice, in bounded memory: it
// remembers those whose identity falls into one of parts, a power of two that
// grows when the memory is full, and reads the manifests again for the others.
// Each line that repeats an earlier one is reported once.
type duplicates struct {
	s      Stream
	report func(m *Manifest, line int)
	limit  int // versions remembered at once
	parts  uint64
	part   uint64
	seen   map[[16]byte]struct{}
	halved []position // where each halving took place: what it forgot was looked at up to there
}

// position is that of a line in the chain.
type position struct {
	seq  uint64
	line int
}

func newDuplicates(s Stream, limit int, report func(m *Manifest, line int)) *duplicates {
	return &duplicates{s: s, report: report, limit: limit, parts: 1, seen: map[[16]byte]struct{}{}}
}

// add looks at the next manifest. It must not be a void one.
func (d *duplicates) add(m *Manifest) {
	for i, v := range m.Versions {
		h := sha256.Sum256([]byte(v.ID + "\x00" + Time{rawTime(v.Updated)}.text() + "\x00" + v.SHA256))
		id := [16]byte(h[:16])
		if d.partOf(id) != d.part {
			continue
		}
		if _, twice := d.seen[id]; twice {
			if !d.reported(id, position{m.Seq, i}) {
				d.report(m, i)
			}
			continue
		}
		d.seen[id] = struct{}{}
		if len(d.seen) > d.limit && d.part == 0 {
			d.halve(position{m.Seq, i})
		}
	}
}

func (d *duplicates) partOf(id [16]byte) uint64 { return binary.LittleEndian.Uint64(id[8:]) % d.parts }

// reported says whether the first reading has already looked at a version at
// that place: it did until the halving that forgot it, the one whose bit is
// the lowest that the version's part has set.
func (d *duplicates) reported(id [16]byte, at position) bool {
	if d.part == 0 {
		return false
	}
	until := d.halved[bits.TrailingZeros64(d.partOf(id))]
	return at.seq < until.seq || at.seq == until.seq && at.line <= until.line
}

// halve forgets every other version, so that the first part fits.
func (d *duplicates) halve(at position) {
	d.parts *= 2
	d.halved = append(d.halved, at)
	maps.DeleteFunc(d.seen, func(id [16]byte, _ struct{}) bool { return d.partOf(id) != 0 })
}

// rest looks at the parts that did not fit. A manifest that cannot be read
// has been reported.
func (d *duplicates) rest(ctx context.Context, r sinks.Reader, since uint64) error {
	for d.part++; d.part < d.parts; d.part++ {
		clear(d.seen)
		for o, err := range r.List(ctx, d.s.ManifestPrefix(), d.s.ManifestKey(since-1)) {
			if err != nil {
				return err
			}
			seq := d.s.manifestSeq(o.Key)
			if seq == 0 {
				continue
			}
			if m, err := readManifest(ctx, r, d.s, seq); err == nil && m.Void == "" {
				d.add(m)
			} else if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}
