package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	v := verdict{Detail: "head " + head.Head()}
	c.judgeCoverage(&v, coverageOf(head))
	return v
}

// judgeCoverage adds to a verdict what is to be said of how far a chain is.
func (c *checker) judgeCoverage(v *verdict, of coverage) {
	now, most := c.now(), c.cfg.Exporter.MaxLag
	v.Detail += ", " + of.text(now)
	var remedies []string
	warn := func(remedy string) {
		v.State = warning
		remedies = append(remedies, remedy)
	}
	if of.unfetched > 0 {
		v.Detail += fmt.Sprintf(", %s still to be fetched", plural(of.unfetched, "stretch"))
		warn("none is needed for what is unfetched: each export tries again; `incident-exporter verify` names what it is")
	}
	if len(of.partial) > 0 {
		v.Detail += ", the API's answers lack what is refused by " + strings.Join(of.partial, ", ")
		warn("none is needed if the tenant has no licence for those products; else grant the app what they ask for")
	}
	switch wrong := of.wrong(now, most); {
	case wrong == "" || !of.known():
	case of.lag(now) < -mostAhead:
		v.State = failed
		v.Detail += ", which is still to come"
		remedies = []string{"set the clocks (NTP): the next export withdraws what lies ahead; if this archive was made with another clock on purpose, point EXPORTER_SINK at another place"}
	case of.lag(now) > most.Duration:
		v.Detail += fmt.Sprintf(", more than EXPORTER_MAX_LAG allows (%s)", most)
		warn("see that `incident-exporter run` is running or that `export` is called on a schedule, and what it logs; the next export makes up for it")
	default:
		v.Detail += ": " + wrong
		warn("see what the exporter logs: the next export reads holes as long as its time allows")
	}
	v.Remedy = strings.Join(remedies, "; ")
}
