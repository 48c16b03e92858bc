package ledger

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"incident-exporter/exporter/rawjson"
)

// gzipLevel is the level at which klauspost/compress is about as small as
// gzip -6 in a fraction of its time (make bench prints both).
const gzipLevel = 5

// maxLines is the most lines that a data object may have, so that its
// manifest stays readable. EXPORTER_BATCH_RECORDS is held to the same.
const maxLines = 50_000

// Row is one incident version on its way into the archive.
type Row struct {
	ID      string
	Updated string    // last update time as served
	At      time.Time // the same as an instant
	SHA256  [32]byte  // of the line
	How     string    // empty, or how it was read if not from a list
}

// Batch is a data object in the making.
type Batch struct {
	rows  []Row
	bytes int64 // before compression
	buf   *bytes.Buffer
	out   io.WriteCloser
}

// compressors are used again for one batch after the other.
type compressors struct {
	buf  bytes.Buffer
	gzip *gzip.Writer
	zstd *zstd.Encoder
}

// batch begins a data object.
func (z *compressors) batch(c Compression) (b *Batch, err error) {
	z.buf.Reset()
	b = &Batch{buf: &z.buf}
	switch c {
	case "none":
		b.out = plain{b.buf}
	case "zstd":
		if z.zstd == nil {
			if z.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true)); err != nil {
				return nil, err
			}
		}
		z.zstd.Reset(b.buf)
		b.out = z.zstd
	default:
		if z.gzip == nil {
			if z.gzip, err = gzip.NewWriterLevel(nil, gzipLevel); err != nil {
				return nil, err
			}
		}
		z.gzip.Reset(b.buf)
		b.out = z.gzip
	}
	return b, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// Lines and Bytes are what the batch holds so far, before compression.
func (b *Batch) Lines() int   { return len(b.rows) }
func (b *Batch) Bytes() int64 { return b.bytes }

// Add appends a line.
func (b *Batch) Add(r Row, line []byte) error {
	b.rows = append(b.rows, r)
	b.bytes += int64(len(line)) + 1
	if _, err := b.out.Write(line); err != nil {
		return err
	}
	_, err := b.out.Write([]byte{'\n'})
	return err
}

// versions lists the lines.
func (b *Batch) versions() []Version {
	out := make([]Version, len(b.rows))
	for i, r := range b.rows {
		out[i] = Version{r.ID, r.Updated, hex.EncodeToString(r.SHA256[:])}
	}
	return out
}

var errLineTooLong = errors.New("line longer than any incident may be")

// maxWindow bounds the memory that reading a zstd object takes; ours have a
// window of at most 8 MiB.
const maxWindow = 64 << 20

// lines calls each with every line of a data object, in order.
func lines(r io.Reader, c Compression, each func(line []byte) error) error {
	switch c {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	}
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			if len(long) > 1<<30 {
				return errLineTooLong
			}
			long = append(long, part...)
			continue
		case err == io.EOF && len(part)+len(long) == 0:
			return nil
		case err == io.EOF:
			return errors.New("last line without its newline")
		case err != nil:
			return err
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line = long
		}
		if err := each(line[:len(line)-1]); err != nil {
			return err
		}
		long = long[:0]
	}
}

// rowOf reads what a stored line says of itself.
func rowOf(line []byte, names rawjson.Names, sum [32]byte) (Row, error) {
	in, err := rawjson.Line(line, names)
	if err != nil {
		return Row{}, err
	}
	at, err := rawjson.ParseTime(in.Updated)
	return Row{ID: in.ID, Updated: in.Updated, At: at, SHA256: sum}, err
}
