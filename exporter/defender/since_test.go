package defender_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

func TestSince(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 90, Span: time.Hour}, nil, nil)
		now := tn.sim.Now()
		seg, err := tn.source.Since(t.Context(), now.Add(-2*time.Hour))
		if err != nil || seg == nil || len(seg.Rows) != 90 || tn.sim.Calls().API() != 2 {
			t.Fatalf("%v, %v, %d calls", seg, err, tn.sim.Calls().API())
		}
		if seg.To.After(now) || seg.Asked.After(now) {
			t.Errorf("to %v, asked %v, at %v", seg.To, seg.Asked, now)
		}
		if seg, err = tn.source.Since(t.Context(), now.Add(time.Second)); err != nil || len(seg.Rows) != 0 || tn.sim.Calls().API() != 3 {
			t.Errorf("nothing new: %v, %v, %d calls", seg, err, tn.sim.Calls().API())
		}
		tn.sim.Bulk(90)
		for range 20 {
			tn.sim.Create()
		}
		if seg, err = tn.source.Since(t.Context(), now.Add(-2*time.Hour)); err != nil || seg != nil {
			t.Errorf("110 in one answer: %v, %v", seg, err)
		}
	})
}

// An answer cut short, and behind it what cannot be served: no error, windows
// are to find out.
func TestSinceWithPoisonBehindIt(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 90, Span: time.Hour}, func(b *simulator.Behaviour) { b.PageCap = 20 }, nil)
		now := tn.sim.Now()
		truth := tn.sim.Final()
		slices.SortFunc(truth, func(a, b simulator.Version) int { return strings.Compare(b.Updated, a.Updated) })
		tn.sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{truth[20].ID: true} })
		if seg, err := tn.source.Since(t.Context(), now.Add(-2*time.Hour)); err != nil || seg != nil {
			t.Errorf("%v, %v", seg, err)
		}
	})
}

// Where the quota ends before it is known whether the API answers at all, that
// is the error, and not the one that led there.
func TestSinceOutOfQuota(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 90, Span: time.Hour}, nil, func(c *defender.Config) {
			c.Quota = []defender.Limit{{Calls: 5, Per: 10 * time.Hour}} // as often as a call is tried
		})
		now := tn.sim.Now()
		id := tn.sim.RandomIDs(1)[0]
		tn.sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{id: true} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		seg, err := tn.source.Since(ctx, now.Add(-2*time.Hour))
		if limited := (*defender.LimitedError)(nil); seg != nil || !errors.As(err, &limited) {
			t.Errorf("%v, %v", seg, err)
		}
	})
}
