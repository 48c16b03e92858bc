package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
	"incident-exporter/sinks/s3"
)

// archive is a sink that is open.
type archive interface {
	sinks.Sink
	Close() error
}

// reader is one that is open for reading.
type reader interface {
	sinks.Reader
	Close() error
}

// openSink opens the configured archive for writing.
func (c *config) openSink(ctx context.Context, log *slog.Logger) (archive, error) {
	if c.Exporter.Sink.bucket == "" {
		return local.Open(c.Exporter.Sink.dir)
	}
	s, err := s3.Open(ctx, c.s3(log))
	return s, settingError(err)
}

// s3 is the configuration of the bucket.
func (c *config) s3(log *slog.Logger) s3.Config {
	return s3.Config{
		Bucket: c.Exporter.Sink.bucket, Prefix: c.Exporter.Sink.prefix, PathStyle: bool(c.S3.PathStyle), Owner: string(c.S3.BucketOwner),
		StorageClass: string(c.S3.StorageClass), Encryption: string(c.S3.SSE), KMSKey: string(c.S3.KMSKey),
		LockMode: strings.ToUpper(string(c.S3.LockMode)), LockFor: time.Duration(c.S3.LockDays) * 24 * time.Hour, LegalHold: bool(c.S3.LegalHold),
		WhenRequired: c.S3.Checksum == "when_required", Log: log,
	}
}

// settingError gives an error that is the configuration's its exit code.
func settingError(err error) error {
	var store *s3.Error
	if errors.As(err, &store) && store.Setting {
		return &exitError{exitUsage, err, store.Remedy}
	}
	return err
}

// openReader opens the configured archive for a command that only reads: nothing is written and
// no setting of the API is needed.
func (a *app) openReader(ctx context.Context) (reader, sinkURL, error) {
	cfg, err := a.config(need{Domain: true})
	if err != nil {
		return nil, sinkURL{}, err
	}
	r, err := cfg.openReader(ctx)
	return r, cfg.Exporter.Sink, err
}

// openReader opens the configured archive for reading.
func (c *config) openReader(ctx context.Context) (reader, error) {
	sink := c.Exporter.Sink
	if sink.bucket != "" {
		r, err := s3.OpenReader(ctx, c.s3(nil))
		return r, settingError(err)
	}
	r, err := local.OpenReader(sink.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = noArchive(sink)
	}
	return r, err
}

// ahead is how many objects are fetched at once by who reads them in order: of a bucket many, as the
// way there and back takes longer than to look at one.
func (s sinkURL) ahead() int {
	if s.bucket == "" {
		return 0
	}
	return 32
}

func noArchive(sink sinkURL) error {
	return &exitError{exitFailed, fmt.Errorf("no archive there: %s", sink), "set EXPORTER_SINK to where the archive is; `incident-exporter export` begins one"}
}

// eachManifest calls each for the manifests of all streams, from number since on. It is an error
// if there is no stream.
func eachManifest(ctx context.Context, r sinks.Reader, sink sinkURL, since uint64, each func(ledger.Stream, *ledger.Manifest) error) error {
	none := true
	for s, err := range ledger.Streams(ctx, r) {
		if err != nil {
			return err
		}
		none = false
		for m, err := range ledger.Manifests(ctx, r, s, since, sink.ahead()) {
			if err == nil {
				err = each(s, m)
			}
			if err != nil {
				return readFailed(err)
			}
		}
	}
	if none {
		return noArchive(sink)
	}
	return nil
}

// readFailed gives an error about the archive its remedy.
func readFailed(err error) error {
	var refusal *ledger.Refusal
	if errors.As(err, &refusal) {
		return &exitError{exitFailed, refusal, refusal.Remedy}
	}
	var store *s3.Error
	if errors.As(err, &store) && store.Remedy != "" {
		return &exitError{exitFailed, err, store.Remedy}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &exitError{exitFailed, err, "run `incident-exporter verify`: it says all that is wrong with the archive"}
}

// printJSON prints one object a line.
func (a *app) printJSON(object any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
