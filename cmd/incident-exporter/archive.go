package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks/local"
)

// openReader opens the configured archive for a command that only reads: nothing is written and
// no setting of the API is needed.
func (a *app) openReader() (*local.Reader, sinkURL, error) {
	cfg, err := a.config(need{Domain: true})
	if err != nil {
		return nil, sinkURL{}, err
	}
	sink := cfg.Exporter.Sink
	r, err := local.OpenReader(sink.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = noArchive(sink)
	}
	return r, sink, err
}

func noArchive(sink sinkURL) error {
	return &exitError{exitFailed, fmt.Errorf("no archive there: %s", sink), "set EXPORTER_SINK to where the archive is; `incident-exporter export` begins one"}
}

// eachManifest calls each for the manifests of all streams, from number since on. It is an error
// if there is no stream.
func eachManifest(ctx context.Context, r *local.Reader, sink sinkURL, since uint64, each func(ledger.Stream, *ledger.Manifest) error) error {
	none := true
	for s, err := range ledger.Streams(ctx, r) {
		if err != nil {
			return err
		}
		none = false
		for m, err := range ledger.Manifests(ctx, r, s, since) {
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
