package defender_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// TestProbe: what the API is like is found out in six calls at most, none of them a violation.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		incidents int
		change    func(*simulator.Behaviour)
		want      defender.Findings // but for Newest
		calls     int
	}{
		"as documented": {250, nil, defender.Findings{Dated: true, Page: 100, Rows: 100, UpperBound: "lt", Filtered: true, Resolution: 100}, 2},
		"few":           {30, nil, defender.Findings{Dated: true, Page: 100, Rows: 30, UpperBound: "lt", Filtered: true, Resolution: 100}, 3},
		"none":          {0, nil, defender.Findings{Dated: true, Page: 100, UpperBound: "lt", Resolution: 100}, 2},
		"le": {250, func(b *simulator.Behaviour) { b.UpperBound = simulator.LeOnly },
			defender.Findings{Dated: true, Page: 100, Rows: 100, UpperBound: "le", Filtered: true, Resolution: 100}, 3},
		"no bound, coarse, capped": {250, func(b *simulator.Behaviour) {
			b.UpperBound, b.PageCap, b.NextLink, b.Resolution = simulator.NoUpperBound, 40, true, time.Second
		}, defender.Findings{Dated: true, Page: 40, Capped: true, Rows: 40, NextLink: true, Filtered: true, Resolution: time.Second}, 6},
		"no date": {250, func(b *simulator.Behaviour) { b.NoDate = true },
			defender.Findings{Page: 100, Rows: 100, UpperBound: "lt", Filtered: true, Resolution: 100}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: test.incidents, Span: 100 * 24 * time.Hour}, test.change, nil)
				got, err := tn.source.Probe(t.Context())
				if err != nil || got.Newest.IsZero() != (test.incidents == 0) {
					t.Fatalf("%+v, %v", got, err)
				}
				got.Newest = time.Time{}
				if test.want.Resolution == time.Second && got.Resolution > 100 {
					got.Resolution = time.Second // as coarse as the newest update shows
				}
				test.want.Expanded = true
				if got != test.want || tn.sim.Calls().API() != test.calls {
					t.Errorf("%+v in %d calls, want %+v in %d", got, tn.sim.Calls().API(), test.want, test.calls)
				}
				if v := tn.sim.Violations(); len(v) > 0 {
					t.Errorf("violations: %q", v)
				}
			})
		})
	}
}

// TestProbeFails as reading would.
func TestProbeFails(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 1}, func(b *simulator.Behaviour) { b.IgnoreFilter = true }, nil)
		var ignored *defender.IgnoredFilterError
		if _, err := tn.source.Probe(t.Context()); !errors.As(err, &ignored) {
			t.Errorf("filters ignored: %v", err)
		}
		tn = newTenant(t, simulator.Options{Incidents: 1}, func(b *simulator.Behaviour) { b.Roles = nil }, nil)
		var api *defender.APIError
		if _, err := tn.source.Probe(t.Context()); !errors.As(err, &api) || api.Status != http.StatusForbidden {
			t.Errorf("no role: %v", err)
		}
	})
}

// TestProbeOfAPoisonedPage: the API answers, but for one page.
func TestProbeOfAPoisonedPage(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 60}, nil, nil)
		id := tn.sim.RandomIDs(1)[0]
		tn.sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{id: true} })
		got, err := tn.source.Probe(t.Context())
		if err != nil || got.Unread == nil || !strings.Contains(got.Unread.Error(), "status 500") || got.UpperBound != "lt" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestProbeOfGraph: whether it counts, and serves incidents with their alerts.
func TestProbeOfGraph(t *testing.T) {
	for name, test := range map[string]struct {
		change            func(*simulator.Behaviour)
		counted, expanded bool
	}{
		"as documented": {nil, true, true},
		"no count":      {func(b *simulator.Behaviour) { b.Count = simulator.NoCount }, false, true},
		"unexpandable":  {nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newGraph(t, simulator.Options{Incidents: 40}, test.change, nil)
				if !test.expanded {
					id := tn.sim.RandomIDs(1)[0]
					tn.sim.Change(func(b *simulator.Behaviour) { b.Unexpandable = map[int64]bool{id: true} })
				}
				got, err := tn.source.Probe(t.Context())
				if err != nil || got.Counted != test.counted || got.Expanded != test.expanded || got.UpperBound != "lt" {
					t.Errorf("%+v, %v", got, err)
				}
				if v := tn.sim.Violations(); len(v) > 0 {
					t.Errorf("violations: %q", v)
				}
			})
		})
	}
}
