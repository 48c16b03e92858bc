package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
)

// wiring is what the exporter of a stream is made of, for those who look behind it.
type wiring struct {
	stream ledger.Stream
	sink   archive
	source *defender.Source
	tokens *auth.Tokens
}

// Close gives the sink back. What is committed stays.
func (w *wiring) Close() error { return w.sink.Close() }

// stream is the stream that the configuration names.
func (c *config) stream() ledger.Stream {
	return ledger.Stream{Source: string(c.Exporter.Source), Tenant: string(c.Azure.TenantID)}
}

// newExporter makes the exporter of the configured stream, and opens the archive for writing,
// which creates its directory where there is none. observe, which may be nil, is told after each
// commit. cfg must have been loaded with need{API: true}. The wiring is to be closed after the
// last run.
func (a *app) newExporter(ctx context.Context, cfg *config, log *slog.Logger, observe func(exporter.Progress)) (*exporter.Exporter, *wiring, error) {
	tokens, err := a.newTokens(cfg)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	api, err := url.Parse(string(cfg.Exporter.ApiURL))
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: fmt.Errorf("read EXPORTER_API_URL: %w", err)}
	}
	sink, err := cfg.openSink(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	w := &wiring{stream: cfg.stream(), sink: sink, tokens: tokens}
	w.source = defender.New(defender.Config{
		Origin:      &url.URL{Scheme: api.Scheme, Host: api.Host},
		Path:        strings.TrimRight(api.Path, "/") + "/api/incidents",
		Transport:   newHTTPClient(int(cfg.Exporter.Concurrency)).Transport,
		Tokens:      tokens,
		Quota:       cfg.Exporter.Quota.limits(),
		Concurrency: int(cfg.Exporter.Concurrency),
		Overlap:     cfg.Exporter.Overlap.Duration,
		MaxAnswer:   int64(cfg.Exporter.MaxAnswerBytes),
		Log:         log,
	})
	version, _ := buildVersion()
	by := ledger.By{Version: version, Client: string(cfg.Azure.ClientID)}
	chain := ledger.New(sink, w.stream, by, ledger.Compression(cfg.Exporter.Compression))
	return exporter.New(exporter.Config{
		Settle:       cfg.Exporter.Settle.Duration,
		Overlap:      cfg.Exporter.Overlap.Duration,
		DeepOverlap:  cfg.Exporter.DeepOverlap.Duration,
		DeepEvery:    cfg.Exporter.DeepEvery.Duration,
		Heartbeat:    cfg.Exporter.Heartbeat.Duration,
		RunTimeout:   cfg.Exporter.RunTimeout.Duration,
		BatchRecords: int(cfg.Exporter.BatchRecords),
		BatchBytes:   int64(cfg.Exporter.BatchBytes),
		Log:          log,
		Start:        cfg.Exporter.Start.resolve,
		Observe:      observe,
	}, w.source, chain), w, nil
}

// limits are the quota's clauses as the source takes them.
func (q quota) limits() []defender.Limit {
	limits := make([]defender.Limit, len(q))
	for i, l := range q {
		limits[i] = defender.Limit{Calls: l.calls, Per: l.per}
	}
	return limits
}
