package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"iter"
	"strings"

	"incident-exporter/sinks"
)

// Streams yields the streams that the archive holds manifests of.
func Streams(ctx context.Context, r sinks.Reader) iter.Seq2[Stream, error] {
	return func(yield func(Stream, error) bool) {
		after := ""
		for {
			found := false
			for o, err := range r.List(ctx, manifestRoot, after) {
				if err != nil {
					yield(Stream{}, err)
					return
				}
				s, ok := streamOf(o.Key)
				if !ok {
					continue
				}
				if !yield(s, nil) {
					return
				}
				// The first key that could not be the stream's: 0 comes after the slash.
				found, after = true, strings.TrimSuffix(s.ManifestPrefix(), "/")+"0"
				break
			}
			if !found {
				return
			}
		}
	}
}

// Stranger is the key of something that lies where there is no chain, "" if
// nothing does: an archive that began there would never verify.
func Stranger(ctx context.Context, r sinks.Reader) (key string, err error) {
	for o, err := range r.List(ctx, "", "") {
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(o.Key, private) {
			continue
		}
		key = o.Key
		break
	}
	if key == "" {
		return "", nil
	}
	for _, err := range Streams(ctx, r) {
		return "", err // somebody else has begun one meanwhile
	}
	return key, nil
}

// Manifests yields a stream's manifests in order from since on. It trusts
// what it reads no further than each manifest's own sum; Verify does more.
// Of a reader that is far away it reads width of them at once, ahead of their
// turn; 0 or 1 for none.
func Manifests(ctx context.Context, r sinks.Reader, s Stream, since uint64, width int) iter.Seq2[*Manifest, error] {
	return func(yield func(*Manifest, error) bool) {
		if width > 1 {
			a := newAhead(r, width)
			defer a.stop()
			r = a
		}
		after := ""
		if since > 1 {
			after = s.ManifestKey(since - 1)
		}
		for o, err := range r.List(ctx, s.ManifestPrefix(), after) {
			if err != nil {
				yield(nil, err)
				return
			}
			seq := s.manifestSeq(o.Key)
			if seq == 0 {
				continue
			}
			m, err := readManifest(ctx, r, s, seq)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Head returns a stream's newest manifest, nil if it has none.
func Head(ctx context.Context, r sinks.Reader, s Stream) (*Manifest, error) {
	_, last, err := findHead(ctx, r, s, 0)
	if err != nil || last == 0 {
		return nil, err
	}
	return readManifest(ctx, r, s, last)
}

// Lines yields the lines of a manifest's data object with their versions. A
// line is valid until the next one; one that is not what the manifest says
// ends the sequence with an error.
func Lines(ctx context.Context, r sinks.Reader, m *Manifest, each func(i int, v Version, line []byte) error) error {
	if m.Object == nil || len(m.Versions) == 0 {
		return nil
	}
	f, err := r.Get(ctx, m.Object.Key)
	if err != nil {
		return err
	}
	defer f.Close()
	i := 0
	return lines(f, compressionOf(m.Object.Key), func(line []byte) error {
		sum := sha256.Sum256(line)
		if i >= len(m.Versions) || hex.EncodeToString(sum[:]) != m.Versions[i].SHA256 {
			return &Refusal{
				Text:   "get \"" + m.Object.Key + "\": its lines are not what the manifest says",
				Remedy: "run verify, and restore the object from a copy of the archive",
			}
		}
		i++
		return each(i-1, m.Versions[i-1], line)
	})
}

// counter hashes and counts what is read through it, and keeps the reader's
// own error apart from what a decompressor makes of it.
type counter struct {
	r     io.Reader
	h     hash.Hash
	bytes int64
	err   error
}

func newCounter(r io.Reader) *counter { return &counter{r: r, h: sha256.New()} }

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	c.bytes += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

func (c *counter) sum() string { return hex.EncodeToString(c.h.Sum(nil)) }
