package main

import (
	"context"
	"log/slog"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
)

// wiring is what the exporter of a stream is made of, for those who look behind it.
type wiring struct {
	api    api
	source *defender.Source
	tokens *auth.Tokens
	chain  *ledger.Ledger // nil if nothing is exported; it belongs to the pass under way
}

// wire makes the exporter of a tenant's stream into sink. begin is asked before a new chain is begun,
// observe is told after each commit.
func (p *passes) wire(t tenant, sink archive, log *slog.Logger, begin func(context.Context) error, observe func(exporter.Progress)) (*exporter.Exporter, *wiring, error) {
	cfg := p.cfg
	a, err := cfg.api(t.source)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	w, err := p.wireSource(t, a, log)
	if err != nil {
		return nil, nil, err
	}
	version, _ := buildVersion()
	by := ledger.By{Version: version, Client: string(cfg.Azure.ClientID)}
	w.chain = ledger.New(sink, t.stream(), by, ledger.Compression(cfg.Exporter.Compression))
	return exporter.New(exporter.Config{
		Settle:       cfg.Exporter.Settle.Duration,
		Overlap:      cfg.Exporter.Overlap.Duration,
		DeepOverlap:  cfg.Exporter.DeepOverlap.Duration,
		DeepEvery:    cfg.Exporter.DeepEvery.Duration,
		Heartbeat:    cfg.Exporter.Heartbeat.Duration,
		RunTimeout:   cfg.Exporter.RunTimeout.Duration,
		BatchRecords: int(cfg.Exporter.BatchRecords),
		BatchBytes:   p.batchBytes(),
		Log:          log,
		Start:        cfg.Exporter.Start.resolve,
		Begin:        begin,
		Observe:      observe,
	}, w.source, w.chain), w, nil
}

// batchBytes is EXPORTER_BATCH_BYTES, or less where so many tenants are read at
// once that their open batches would fill the memory.
func (p *passes) batchBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(int64(p.cfg.Exporter.BatchBytes), max(leastBatch, openBatches/int64(max(1, len(p.cfg.own(p.listed))))))
}

const (
	openBatches = 100 << 20 // what the open batches of all tenants have together, before compression
	leastBatch  = 1 << 20   // the least that a batch may have, however many tenants there are
)

// wireSource makes what reads a tenant's incidents from an API.
func (p *passes) wireSource(t tenant, a api, log *slog.Logger) (*wiring, error) {
	cfg := p.cfg
	credential, err := p.credential(a.audience)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	w := &wiring{api: a, tokens: auth.NewTokens(credential, t.id)}
	served := defender.Defender()
	if a.source == "graph" {
		served = defender.Graph()
	}
	w.source = defender.New(defender.Config{
		API:         served,
		Origin:      a.origin,
		Path:        a.path + served.Path(),
		Transport:   p.metrics.transport(t.source, p.transport),
		Tokens:      w.tokens,
		Quota:       a.quota.limits(),
		Concurrency: int(cfg.Exporter.Concurrency),
		MaxAnswer:   int64(cfg.Exporter.MaxAnswerBytes),
		Share:       p.share,
		Log:         log,
	})
	return w, nil
}

// credential is the one that gets tokens for an audience, of whichever tenant.
func (p *passes) credential(audience string) (auth.Credential, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.credentials[audience]; c != nil {
		return c, nil
	}
	c, err := p.cfg.credential(audience)
	if err != nil {
		return nil, err
	}
	if p.credentials == nil {
		p.credentials = map[string]auth.Credential{}
	}
	p.credentials[audience] = c
	return c, nil
}

// limits are the quota's clauses as the source takes them.
func (q quota) limits() []defender.Limit {
	limits := make([]defender.Limit, len(q))
	for i, l := range q {
		limits[i] = defender.Limit{Calls: l.calls, Per: l.per}
	}
	return limits
}
