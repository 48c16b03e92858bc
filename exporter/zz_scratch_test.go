package exporter_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

func TestScratch(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		t.Skip()
	}
	for _, c := range []struct {
		name    string
		d       simulator.Density
		span    int
		churn   int
		order   simulator.Order
		latency time.Duration
	}{
		{"uniform", simulator.Uniform, 180, 0, 0, 100}, {"office", simulator.OfficeHours, 180, 0, 0, 100}, {"first 100", simulator.Uniform, 100, 0, 0, 100},
		{"month", simulator.DenseMonth, 180, 0, 0, 100}, {"day", simulator.NewestDay, 180, 0, 0, 100}, {"half hour", simulator.NewestHalfHour, 180, 0, 0, 100},
		{"one hour", simulator.MostInOneHour, 180, 0, 0, 100}, {"growing", simulator.Growing, 180, 0, 0, 100}, {"churn", simulator.Uniform, 180, 3, 0, 100}, {"bulky", simulator.Bulky, 180, 0, 0, 100},
		{"shuffled", simulator.Uniform, 180, 0, simulator.Shuffled, 100}, {"10s uniform", simulator.Uniform, 180, 0, 0, 10000}, {"10s one hour", simulator.MostInOneHour, 180, 0, 0, 10000}, {"10s half hour", simulator.NewestHalfHour, 180, 0, 0, 10000},
	} {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 3, Incidents: 20000, Size: 700, Span: time.Duration(c.span) * 24 * time.Hour, Density: c.d})
			quota := []defender.Limit{{Calls: 1 << 20, Per: time.Minute}}
			sim.Change(func(b *simulator.Behaviour) {
				b.ChurnPerCall, b.Latency, b.Order, b.Quota = c.churn, c.latency*time.Millisecond, c.order, nil
				if c.latency > 1000 {
					quota = []defender.Limit{{Calls: 50, Per: time.Minute}, {Calls: 1500, Per: time.Hour}}
					b.Quota = []simulator.Limit{{N: 50, Per: time.Minute}, {N: 1500, Per: time.Hour}}
				}
			})
			origin, _ := url.Parse(simulator.DefaultAudience)
			tr := simulator.Transport(sim)
			src := defender.New(defender.Config{Origin: origin, Transport: tr, Tokens: &bearer{transport: tr, lock: make(chan struct{}, 1), audience: simulator.DefaultAudience},
				Quota: quota, Concurrency: 10, MaxAnswer: 32 << 20, Log: scratchLog(c.name)})
			chain := ledger.New(sinktest.NewMem().Session(), ledger.Stream{Source: "defender", Tenant: simulator.DefaultTenant}, ledger.By{}, "gzip")
			calls, done, first := 0, time.Time{}, 0
			begun := time.Now()
			e := exporter.New(exporter.Config{Settle: time.Minute, Overlap: time.Hour, DeepOverlap: 168 * time.Hour, DeepEvery: 24 * time.Hour, Heartbeat: 15 * time.Minute, RunTimeout: 1000 * time.Hour,
				BatchRecords: 5000, BatchBytes: 16 << 20, Log: slog.New(slog.DiscardHandler), Start: func(n time.Time) time.Time { return n.Add(-180 * 24 * time.Hour) },
				Observe: func(p exporter.Progress) {
					if first == 0 && p.Versions > 0 {
						first = sim.Calls().API()
					}
					if calls == 0 && p.Holes == 0 && p.Since.Equal(p.Start) && !p.Until.Before(p.Target) {
						calls, done = sim.Calls().API(), time.Now()
					}
				}}, src, chain)
			_, err := e.Run(t.Context())
			all := sim.Calls().API()
			if err != nil {
				t.Error(err)
			}
			fmt.Printf("%-14s calls %d (%.3f) all %d first %d took %v ordered %v violations %d\n", c.name, calls, float64(calls)/200, all, first, done.Sub(begun).Round(time.Second), len(chain.Head().Covered.Ordered()), len(sim.Violations()))
			time.Sleep(2 * time.Hour)
			_, _ = e.Run(t.Context())
			for n := range 5 {
				time.Sleep(5 * time.Minute)
				b := sim.Calls().API()
				_, _ = e.Run(t.Context())
				fmt.Printf(" idle%d %d", n, sim.Calls().API()-b)
			}
			fmt.Println()
		})
	}
}

func scratchLog(name string) *slog.Logger {
	if os.Getenv("SCRATCH") == name {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}
