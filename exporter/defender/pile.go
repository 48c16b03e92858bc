package defender

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// packer compresses what is held in memory. It is safe for concurrent use.
type packer struct {
	in  *zstd.Encoder
	out *zstd.Decoder
}

func newPacker(concurrency int) *packer {
	// Neither can fail: the options are right, and there is no stream.
	in, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(concurrency),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(2*chunk), zstd.WithLowerEncoderMem(true))
	out, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(concurrency), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(1<<40))
	return &packer{in, out}
}

// pile holds the lines of one answer until their window is proven, compressed
// so that windows can be large: a window's size is what keeps its two extra
// calls cheap.
type pile struct {
	open   []byte // lines not yet compressed
	sealed []sealed
	left   []int32 // lines of each that have not been taken
	bytes  int64   // held by sealed
}

// sealed is one chunk.
type sealed struct {
	text   []byte // nil where all lines have been taken
	packed bool
}

const (
	// chunk is how much is compressed at once: small enough to be decompressed
	// for one line, large enough to compress well.
	chunk = 128 << 10

	// A chunk smaller than this is held as it is: what the few lines of a
	// quiet tenant take is not worth an encoder's work.
	smallest = 16 << 10
)

// place is where a line lies.
type place struct {
	pile   *pile
	chunk  int32
	offset int32
	size   int32
}

// added notes that the last size bytes of open are a line.
func (p *pile) added(size int, z *packer, scratch *[]byte) place {
	at := place{p, int32(len(p.sealed)), int32(len(p.open) - size), int32(size)}
	if len(p.left) == len(p.sealed) {
		p.left = append(p.left, 0)
	}
	p.left[len(p.sealed)]++
	if len(p.open) >= chunk {
		p.seal(z, scratch)
	}
	return at
}

func (p *pile) seal(z *packer, scratch *[]byte) {
	if len(p.open) == 0 {
		return
	}
	text, packed := p.open, len(p.open) >= smallest
	if packed {
		*scratch = z.in.EncodeAll(text, (*scratch)[:0])
		text = *scratch
	}
	p.sealed = append(p.sealed, sealed{append(make([]byte, 0, len(text)), text...), packed})
	p.bytes += int64(len(text))
	p.open = p.open[:0]
}

// lines takes lines back, each once, and lets go of what has been taken.
type lines struct {
	z      *packer
	recent [4]struct {
		pile  *pile
		chunk int32
		text  []byte
	}
	turn int
}

func (l *lines) take(at place) ([]byte, error) {
	held := at.pile.sealed[at.chunk]
	if !held.packed {
		return l.taken(at, held.text), nil
	}
	for i := range l.recent {
		if r := &l.recent[i]; r.pile == at.pile && r.chunk == at.chunk {
			return l.taken(at, r.text), nil
		}
	}
	l.turn = (l.turn + 1) % len(l.recent)
	r := &l.recent[l.turn]
	text, err := l.z.out.DecodeAll(held.text, r.text[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress what was held in memory: %w", err)
	}
	r.pile, r.chunk, r.text = at.pile, at.chunk, text
	return l.taken(at, text), nil
}

func (l *lines) taken(at place, text []byte) []byte {
	if at.pile.left[at.chunk]--; at.pile.left[at.chunk] == 0 {
		at.pile.sealed[at.chunk].text = nil
	}
	return text[at.offset : at.offset+at.size]
}
