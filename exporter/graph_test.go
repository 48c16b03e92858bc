package exporter_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/simulator"
)

// 40,000 incidents are exported through Graph while one of them changes at
// every call: the archive is exact.
func TestGraphOfFortyThousand(t *testing.T) {
	incidents := 40_000
	if testing.Short() { // under the race detector
		incidents = 4000
	}
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 8, Incidents: incidents, Span: 90 * 24 * time.Hour, Size: 600, TieShare: 0.1, Tie: 700})
		w.graph, w.top = true, 50
		w.sim.Change(func(b *simulator.Behaviour) { b.ChurnPerCall, b.Latency = 1, 100*time.Millisecond })
		p := w.process()
		for {
			got, err := w.run(p, false, 0)
			if unfinished := (*exporter.Unfinished)(nil); err != nil && !errors.As(err, &unfinished) {
				t.Fatal(err)
			}
			t.Logf("%d calls, %d versions", got.Calls, got.Versions)
			if err == nil {
				break
			}
		}
		w.end(p, true) // which holds all promises against the truth
	})
}
