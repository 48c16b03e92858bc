package defender_test

import (
	"fmt"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// A server that compares more coarsely than it is asked to fails for more than
// it is asked for: what is named as unfetched has to cover all of that.
func TestWhatIsUnfetchedCoversWhatIsMissing(t *testing.T) {
	for _, unit := range []time.Duration{0, time.Millisecond, time.Second} {
		for seed := range uint64(4) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Seed: seed, Incidents: 60, Span: time.Hour, Tie: 15}, func(b *simulator.Behaviour) {
					b.Resolution = unit
				}, nil)
				time.Sleep(time.Minute)
				tn.sim.Bulk(12)
				first := tn.sim.RecentIDs(1, time.Second)
				time.Sleep(500 * time.Microsecond)
				tn.sim.Bulk(3)
				tn.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{first[0]: true}, true })
				time.Sleep(2 * time.Minute)
				from, to := tn.all()
				g, err := tn.read(t.Context(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range tn.sim.Final() {
					at, _ := time.Parse(time.RFC3339Nano, v.Updated)
					named := false
					for _, u := range g.unfetched {
						named = named || !at.Before(u.From) && at.Before(u.To)
					}
					if g.lines[fmt.Sprint(v.ID)] == "" && !named {
						t.Errorf("resolution %v, seed %d: incident %d, updated %s, is neither there nor named in %v", unit, seed, v.ID, v.Updated, g.unfetched)
					}
				}
			})
		}
	}
}
