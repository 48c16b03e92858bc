package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks"
)

// health is how one stream is. The members are fixed by the contract.
type health struct {
	Source string   `json:"source"`
	Tenant string   `json:"tenant"`
	Name   string   `json:"name"`          // as configured, "" if it has none
	Since  string   `json:"covered_since"` // "" if nothing is covered, or it cannot be read
	Until  string   `json:"covered_until"`
	Holes  int      `json:"holes"`       // stretches before covered_until that are not covered
	Lag    *float64 `json:"lag_seconds"` // of covered_until, by this machine's clock; null as above
	OK     bool     `json:"ok"`
	Why    string   `json:"why,omitempty"` // it is not

	coverage
}

func (a *app) healthCommand() *cobra.Command {
	var (
		asJSON, configured bool
		maxLag             string
	)
	command := &cobra.Command{
		Use:   "health",
		Short: "Exits with 0 if every stream is covered to within --max-lag, from the archive alone",
		Long: "Looks at the newest manifest of every stream in the archive, a few requests each, and compares what it covers with\n" +
			"this machine's clock. A tenant that is configured and has no archive yet lags as well. Streams of other parts of the\n" +
			"tenants (EXPORTER_SHARD) are left out. A tenant that is not configured any more lags for good:\n" +
			"--configured looks at those that are configured, and at nothing else.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(need{Domain: true})
			if err != nil {
				return err
			}
			most := cfg.Exporter.MaxLag
			if maxLag != "" {
				if err := most.UnmarshalText([]byte(maxLag)); err != nil {
					return &exitError{exitUsage, fmt.Errorf("--max-lag %w", err), ""}
				}
			}
			r, err := cfg.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }() // read only
			all, err := cfg.health(cmd.Context(), r, most, configured)
			if err != nil {
				return err
			}
			if asJSON {
				for _, h := range all {
					if err := a.printJSON(h); err != nil {
						return err
					}
				}
			} else {
				a.printHealth(all)
			}
			for _, h := range all {
				if !h.OK {
					return &exitError{code: exitFailed}
				}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a stream: source, tenant, name, covered_since, covered_until, holes, lag_seconds, ok")
	command.Flags().StringVar(&maxLag, "max-lag", "", "how far behind now a stream may be covered, such as 45m (default EXPORTER_MAX_LAG)")
	command.Flags().BoolVar(&configured, "configured", false, "only the tenants that are configured")
	return command
}

// health looks at every stream there is or should be; at those that are configured only, if onlyThose
// says so. It is an error if there is none at all.
func (c *config) health(ctx context.Context, r sinks.Reader, most duration, onlyThose bool) ([]health, error) {
	var streams []ledger.Stream
	wanted := map[ledger.Stream]bool{} // false: another part's
	names := map[ledger.Stream]string{}
	if c.Azure.TenantID != "" && !c.Azure.TenantID.domain() || len(c.Exporter.Tenants) > 0 || c.Exporter.TenantsFile != "" {
		listed, _, err := c.tenants()
		if err != nil {
			return nil, err
		}
		for _, t := range listed {
			wanted[t.stream()], names[t.stream()] = c.shard.has(t.id), t.name
			if c.shard.has(t.id) {
				streams = append(streams, t.stream())
			}
		}
	}
	if onlyThose && len(wanted) == 0 {
		return nil, &exitError{exitUsage, errors.New("--configured: no tenant is configured"), "set AZURE_TENANT_ID or EXPORTER_TENANTS"}
	}
	archived := false
	if !onlyThose {
		for s, err := range ledger.Streams(ctx, r) {
			if err != nil {
				return nil, readFailed(err)
			}
			archived = true
			if _, known := wanted[s]; !known {
				streams = append(streams, s)
			}
		}
		if !archived {
			return nil, noArchive(c.Exporter.Sink)
		}
	}
	all := make([]health, len(streams))
	var looking sync.WaitGroup
	places := make(chan struct{}, max(1, c.Exporter.Sink.ahead()))
	for i, s := range streams {
		places <- struct{}{}
		looking.Go(func() {
			defer func() { <-places }()
			all[i] = healthOf(ctx, r, s, most)
			all[i].Name = names[s]
		})
	}
	looking.Wait()
	return all, nil
}

// healthOf looks at one stream.
func healthOf(ctx context.Context, r sinks.Reader, s ledger.Stream, most duration) health {
	h := health{Source: s.Source, Tenant: s.Tenant}
	m, err := ledger.Head(ctx, r, s)
	switch {
	case err != nil:
		h.Why = err.Error()
		return h
	case m == nil:
		h.Why = "it is configured, and has no archive yet"
		return h
	}
	now := time.Now()
	h.coverage = coverageOf(m)
	h.Why = h.wrong(now, most)
	h.OK, h.Since, h.Until, h.Holes = h.Why == "", timeText(h.since), timeText(h.until), h.holes
	if h.known() {
		lag := math.Round(h.lag(now).Seconds())
		h.Lag = &lag
	}
	return h
}

func (a *app) printHealth(all []health) {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	defer func() { _ = table.Flush() }()
	for _, h := range all {
		verdict, text := "ok", h.Why
		if !h.OK {
			verdict = "LAGS"
		}
		if h.known() {
			text = h.text(time.Now())
			if h.Why != "" {
				text += ": " + h.Why
			}
		}
		name := h.Source + "/" + h.Tenant
		if h.Name != "" {
			name += " " + h.Name
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", verdict, name, text)
	}
}
