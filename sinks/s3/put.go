package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"incident-exporter/sinks"
)

const (
	// lookTime is how long a put of unknown outcome is looked after, its
	// context done or not.
	lookTime = 10 * time.Second

	// vanished is how often an object may be refused as existing and then not
	// be there: a delete marker, or a put that failed after all.
	vanished = 3
)

// Put stores an object. See sinks.Sink. Errors are *Error or sinks.ErrExists.
func (s *Sink) Put(ctx context.Context, key string, data []byte) error {
	if err := checkKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	var err error
	for range vanished {
		if ctx.Err() != nil {
			return fmt.Errorf("put %q: %w", key, ctx.Err())
		}
		var stored *s3.PutObjectOutput
		if stored, err = s.put(ctx, key, data); err == nil {
			s.encrypted(stored)
			return nil
		}
		// Refused, or the answer was lost, or it never arrived: only what is
		// stored can tell. That is looked at even if ctx is done by now.
		found, looked := s.look(ctx, key, data)
		switch {
		case looked != nil && code(looked) == code(err):
			return s.failed("put", key, err)
		case looked != nil:
			return s.failed("put", key, fmt.Errorf("%w; looking whether it is stored: %w", err, looked))
		case found == same:
			return nil
		case found == other:
			return fmt.Errorf("put %q in %s: %w", key, s.cfg, sinks.ErrExists)
		case code(err) != preconditionFailed:
			return s.failed("put", key, err)
		}
	}
	return s.failed("put", key, err)
}

// put makes the request.
func (s *Sink) put(ctx context.Context, key string, data []byte) (*s3.PutObjectOutput, error) {
	sum := sha256.Sum256(data)
	in := &s3.PutObjectInput{
		Bucket: aws.String(s.cfg.Bucket), Key: s.object(key), ExpectedBucketOwner: optional(s.cfg.Owner),
		IfNoneMatch: aws.String("*"), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ContentType: aws.String(contentType(key)),
		StorageClass: types.StorageClass(s.cfg.StorageClass), ServerSideEncryption: types.ServerSideEncryption(s.cfg.Encryption),
		SSEKMSKeyId: optional(s.cfg.KMSKey),
	}
	s.cfg.lock(in, time.Now())
	return s.client.PutObject(ctx, in)
}

// encrypted warns once of a store that does not say that it encrypts as it was
// asked to: it may know nothing of it. What is stored is stored all the same.
func (s *Sink) encrypted(stored *s3.PutObjectOutput) {
	if s.cfg.Encryption == "" || s.cfg.Log == nil || string(stored.ServerSideEncryption) == s.cfg.Encryption {
		return
	}
	s.warnOnce.Do(func() {
		s.cfg.Log.Warn("the store does not confirm the encryption that it was asked for", "asked", s.cfg.Encryption, "confirmed", string(stored.ServerSideEncryption),
			"remedy", "check with the store that it encrypts, or unset EXPORTER_S3_SSE")
	})
}

// contentType is by the extension. There is no Content-Encoding: nobody who
// fetches an object is to get other bytes than the manifest's hash is of.
func contentType(key string) string {
	switch {
	case strings.HasSuffix(key, ".gz"):
		return "application/gzip"
	case strings.HasSuffix(key, ".zst"):
		return "application/zstd"
	case strings.HasSuffix(key, ".ndjson"):
		return "application/x-ndjson"
	case strings.HasSuffix(key, ".json"):
		return "application/json"
	}
	return "application/octet-stream"
}

// stored is what lies under a key.
type stored int

const (
	nothing stored = iota
	same
	other
)

// look compares what is stored with data. The bytes are compared and not a
// checksum, which not every store keeps: this is rare.
func (s *Sink) look(ctx context.Context, key string, data []byte) (stored, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	r, err := s.get(ctx, key)
	if errors.Is(err, sinks.ErrNotExist) {
		return nothing, nil
	}
	if err != nil {
		return nothing, err
	}
	defer r.Close()
	if r.size >= 0 && r.size != int64(len(data)) {
		return other, nil
	}
	buf := make([]byte, 64<<10)
	for rest := data; ; {
		n, err := r.Read(buf)
		if n > len(rest) || !bytes.Equal(buf[:n], rest[:n]) {
			return other, nil
		}
		rest = rest[n:]
		switch {
		case err == io.EOF && len(rest) == 0:
			return same, nil
		case err == io.EOF:
			return other, nil
		case err != nil:
			return nothing, err
		}
	}
}
