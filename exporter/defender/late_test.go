package defender_test

import (
	"fmt"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// Updates that were made before the first page was asked for become visible
// while pages are read: the check has to look for them further back.
func TestLateUpdatesTakeNothingWithThem(t *testing.T) {
	for seed := range uint64(12) {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Seed: seed, Incidents: 300, Span: 20 * 24 * time.Hour}, func(b *simulator.Behaviour) {
				b.LateBy, b.Latency = 10*time.Minute, time.Minute
			}, func(c *defender.Config) { c.Top = 50 })
			time.Sleep(3 * time.Hour)
			for _, id := range tn.sim.RandomIDs(40) {
				_, _ = tn.sim.Update(id)
			}
			time.Sleep(2 * time.Minute)
			to := tn.sim.Now().Add(-time.Hour)
			g, err := tn.read(t.Context(), to.Add(-30*24*time.Hour), to)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range tn.sim.Final() {
				if at, _ := time.Parse(time.RFC3339Nano, v.Updated); at.Before(to) && g.lines[fmt.Sprint(v.ID)] == "" {
					t.Fatalf("seed %d: incident %d, updated %s, is missing", seed, v.ID, v.Updated)
				}
			}
		})
	}
}
