package defender_test

import (
	"fmt"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// What a segment covers has been handed on with it or before it, however many
// incidents share an instant: whoever stops there goes on from there.
func TestWhatIsCoveredHasBeenHandedOn(t *testing.T) {
	for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 600, Tie: 250, TieShare: 0.9}, func(b *simulator.Behaviour) { b.Order = order },
				func(c *defender.Config) { c.Top, c.MaxSkip = 20, 60 })
			from, to := tn.all()
			truth, parts := tn.sim.Final(), 0
			lines := map[string]bool{}
			err := tn.source.Read(t.Context(), from, to, false, func(s *exporter.Segment) error {
				for _, r := range s.Rows {
					lines[r.ID] = true
				}
				if s.To.Equal(s.From) {
					parts++
				}
				for _, v := range truth {
					if at, _ := time.Parse(time.RFC3339Nano, v.Updated); at.Before(s.To) && !at.Before(from) && !lines[fmt.Sprint(v.ID)] {
						return fmt.Errorf("incident %d, updated %s, has not been handed on with what ends at %v", v.ID, v.Updated, s.To)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if parts == 0 {
				t.Error("no instant was read in parts")
			}
		})
	}
}
