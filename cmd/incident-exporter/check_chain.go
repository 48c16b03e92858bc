package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"incident-exporter/exporter/ledger"
)

// chain looks at a tenant's chain as the beginning of an export does: whether it can be gone on with,
// or begun, and how far it is. Nothing is written.
func (c *checker) chain(ctx context.Context, sink archive, t tenant) verdict {
	chain := ledger.New(sink, t.stream(), ledger.By{}, ledger.Compression(c.cfg.Exporter.Compression))
	err := chain.Load(ctx)
	if err == nil && chain.Head() == nil {
		s := &streamPasses{p: c.p, tenant: t}
		if err = s.begin(ctx, sink); err == nil {
			start := c.cfg.Exporter.Start.resolve(c.now()).UTC().Truncate(time.Second)
			return verdict{Detail: "no chain yet: the first export begins it at " + start.Format(time.RFC3339)}
		}
	}
	if err != nil {
		v := verdict{State: failed}
		if v.Detail, v.Remedy = c.p.explain(ctx, nil, err); v.Remedy == "" {
			var exit *exitError
			if errors.As(readFailed(err), &exit) {
				v.Remedy = exit.remedy
			}
		}
		return v
	}
	head := chain.Head()
	covered, now := head.Window.To.UTC(), c.now()
	lag := now.Sub(covered).Round(time.Second)
	v := verdict{Detail: fmt.Sprintf("head %s, covered until %s, %s ago", head.Head(), covered.Format(time.RFC3339), lag)}
	if n := len(head.Unfetched); n > 0 {
		v.State, v.Remedy = warning, "none is needed: each export tries again; `incident-exporter verify` names what it is"
		v.Detail += fmt.Sprintf(", %d stretches or incidents are still to be fetched", n)
	}
	switch allowed := c.cfg.Exporter.MaxLag.Duration; {
	case lag < -2*time.Second:
		// The export refuses by the API's clock.
		v.State, v.Remedy = failed, "set the clocks (NTP), or point EXPORTER_SINK at another place if this archive was made with another clock"
		v.Detail = fmt.Sprintf("head %s, covered until %s, which is still to come", head.Head(), covered.Format(time.RFC3339))
	case lag > allowed:
		v.State, v.Remedy = warning, "see that `incident-exporter run` is running or that `export` is called on a schedule, and what it logs; the next export makes up for it"
		v.Detail += fmt.Sprintf(", more than EXPORTER_MAX_LAG allows (%s)", c.cfg.Exporter.MaxLag)
	}
	return v
}
