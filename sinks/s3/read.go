package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"incident-exporter/sinks"
)

// Get opens an object. See sinks.Reader. A connection that breaks while it is
// read is made again, for the rest of the same object; at its end what was
// read is held against the length and the SHA-256 that the store says it has.
func (r *Reader) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	b, err := r.get(ctx, key)
	if err != nil {
		return nil, r.failed("get", key, err)
	}
	return b, nil
}

// get returns sinks.ErrNotExist, or the error as the SDK has it.
func (r *Reader) get(ctx context.Context, key string) (*body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &body{ctx: ctx, r: r, key: key, size: -1, hash: sha256.New()}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// body is an object that is being read.
type body struct {
	ctx  context.Context
	r    *Reader
	key  string
	size int64  // -1: not said
	etag string // of the object that was begun with
	sum  string // SHA-256 in base64, "" where the store keeps none
	hash hash.Hash

	from   io.ReadCloser
	read   int64
	broken int // connections that broke without a byte between them
	err    error
}

// open asks for the object, or for the rest of it.
func (b *body) open() error {
	in := &s3.GetObjectInput{
		Bucket: aws.String(b.r.cfg.Bucket), Key: b.r.object(b.key), ExpectedBucketOwner: optional(b.r.cfg.Owner),
		ChecksumMode: types.ChecksumModeEnabled,
	}
	if b.read > 0 {
		in.Range, in.IfMatch, in.ChecksumMode = aws.String(fmt.Sprintf("bytes=%d-", b.read)), optional(b.etag), ""
	}
	out, err := b.r.client.GetObject(b.ctx, in)
	if code(err) == noSuchKey {
		return sinks.ErrNotExist
	}
	if err != nil {
		return err
	}
	b.from = out.Body
	if b.read > 0 {
		return nil
	}
	if out.ContentLength != nil {
		b.size = *out.ContentLength
	}
	if out.ChecksumType != types.ChecksumTypeComposite {
		b.sum = aws.ToString(out.ChecksumSHA256)
	}
	b.etag = aws.ToString(out.ETag)
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	for {
		n, err := b.from.Read(p)
		b.hash.Write(p[:n])
		if b.read += int64(n); n > 0 {
			b.broken = 0
		}
		switch {
		case err == io.EOF && b.size >= 0 && b.read < b.size:
			err = io.ErrUnexpectedEOF
		case err == io.EOF:
			err = b.whole()
		}
		if err == nil || err == io.EOF {
			b.err = err
			return n, err
		}
		if err = b.again(err); err != nil {
			b.err = b.r.failed("read", b.key, err)
			return n, b.err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// again goes on where a connection broke, unless it is of no use.
func (b *body) again(cause error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if b.broken++; b.broken >= attempts || b.etag == "" || b.size < 0 || b.read >= b.size {
		return cause
	}
	b.from.Close()
	if err := b.open(); err != nil {
		b.from = io.NopCloser(bytes.NewReader(nil))
		return fmt.Errorf("%w; reading on: %w", cause, err)
	}
	return nil
}

// errDamaged is an object that is not what the store says that it is.
var errDamaged = errors.New("what was read is not what the store says it has")

// whole is EOF if all that was read is what it should be.
func (b *body) whole() error {
	if b.size >= 0 && b.read != b.size {
		return fmt.Errorf("%w: %d bytes of %d", errDamaged, b.read, b.size)
	}
	if b.sum != "" && b.sum != base64.StdEncoding.EncodeToString(b.hash.Sum(nil)) {
		return fmt.Errorf("%w: its SHA-256 differs", errDamaged)
	}
	return io.EOF
}

func (b *body) Close() error { return b.from.Close() }

// List lists objects. See sinks.Reader. A page is of 1,000, and the next one
// is asked for when it is needed.
func (r *Reader) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		fail := func(err error) { yield(sinks.Object{}, r.failed("list", prefix, err)) }
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		in := &s3.ListObjectsV2Input{
			Bucket: aws.String(r.cfg.Bucket), Prefix: r.object(prefix), ExpectedBucketOwner: optional(r.cfg.Owner),
		}
		if after != "" {
			in.StartAfter = r.object(after)
		}
		last := ""
		for {
			out, err := r.client.ListObjectsV2(ctx, in)
			if err != nil {
				fail(err)
				return
			}
			for _, o := range out.Contents {
				key := r.key(aws.ToString(o.Key))
				if key <= last && last != "" {
					fail(fmt.Errorf("%w: %q is listed after %q", errDamaged, key, last))
					return
				}
				last = key
				switch {
				case after != "" && key <= after:
					continue // the store knows no start-after
				case strings.HasPrefix(key, reserved), strings.HasSuffix(key, "/"), key == "":
					continue // ours, or what a console shows as a folder
				}
				if !yield(sinks.Object{Key: key, Size: aws.ToInt64(o.Size)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if aws.ToString(out.NextContinuationToken) == "" {
				fail(fmt.Errorf("%w: a page that is not the last has no continuation token", errDamaged))
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}
