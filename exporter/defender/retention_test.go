package defender_test

import (
	"fmt"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// At the end of the retention incidents vanish without an update, and what
// lies behind them moves up: pages that are read meanwhile miss some.
func TestWhatVanishesTakesNothingWithIt(t *testing.T) {
	for seed := range uint64(5) {
		in(t, func(t *testing.T) {
			const retention = 30 * time.Hour
			tn := newTenant(t, simulator.Options{Seed: seed, Incidents: 20_000, Span: retention, Size: 700}, func(b *simulator.Behaviour) {
				b.Quota, b.Order, b.Retention, b.Latency = nil, simulator.OldestFirst, retention, 10*time.Second
			}, func(c *defender.Config) { c.Retention, c.Top, c.Overlap, c.Quota = retention, 20, time.Minute, nil })
			now := tn.sim.Now()
			type covered struct{ from, to, when time.Time }
			var segments []covered
			lines := map[string]bool{}
			err := tn.source.Read(t.Context(), now.Add(-retention), now.Add(20*time.Minute-retention), false, func(s *exporter.Segment) error {
				segments = append(segments, covered{s.From, s.To, tn.sim.Now()})
				for _, r := range s.Rows {
					lines[r.ID] = true
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			// Whatever was still there when its stretch was handed on has to be in it.
			for _, v := range tn.sim.Truth() {
				at, _ := time.Parse(time.RFC3339Nano, v.Updated)
				for _, s := range segments {
					if !at.Before(s.from) && at.Before(s.to) && at.Add(retention).After(s.when) && !lines[fmt.Sprint(v.ID)] {
						t.Fatalf("seed %d: incident %d, updated %s, is missing though it was there at %v", seed, v.ID, v.Updated, s.when)
					}
				}
			}
		})
	}
}
