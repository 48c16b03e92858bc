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

// A probe says what the API does, in few calls, and stores nothing.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		options simulator.Options
		change  func(*simulator.Behaviour)
		config  func(*defender.Config)
		calls   int // at most
		want    defender.Findings
	}{
		"defender": {simulator.Options{Incidents: 300}, nil, nil, 2,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"all on one page": {simulator.Options{Incidents: 30}, nil, nil, 3,
			defender.Findings{Dated: true, Asked: 100, Rows: 30, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"graph": {simulator.Options{Incidents: 300, Size: 3000}, nil, ofGraph, 2,
			defender.Findings{Dated: true, Asked: 50, Rows: 50, NextLink: true, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"nothing": {simulator.Options{}, nil, nil, 1,
			defender.Findings{Dated: true, Asked: 100, UpperBound: "lt", Expanded: true}},
		"short pages": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.PageCap = 40 }, nil, 2,
			defender.Findings{Dated: true, Asked: 100, Rows: 40, Capped: true, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"short pages, oldest first": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.PageCap, b.Order = 40, simulator.OldestFirst }, nil, 3,
			defender.Findings{Dated: true, Asked: 100, Rows: 40, Capped: true, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.OtherOrder}},
		"by id": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.Order = simulator.ByID }, nil, 2,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.OtherOrder}},
		"all in one second": {simulator.Options{Incidents: 100, Tie: 100}, nil, nil, 2,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true}},
		"no Date": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.NoDate = true }, nil, 2,
			defender.Findings{Asked: 100, Rows: 100, UpperBound: "lt", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"le only": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.UpperBound = simulator.LeOnly }, nil, 3,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, UpperBound: "le", FilterTried: true, Filtered: true, Expanded: true, Order: defender.NewestFirst}},
		"no upper bound": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.UpperBound = simulator.NoUpperBound }, nil, 5,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, Expanded: true, Order: defender.NewestFirst}},
		"filter ignored": {simulator.Options{Incidents: 300}, func(b *simulator.Behaviour) { b.IgnoreFilter = true }, nil, 2,
			defender.Findings{Dated: true, Asked: 100, Rows: 100, UpperBound: "lt", FilterTried: true, Expanded: true, Order: defender.NewestFirst}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, test.options, test.change, test.config)
				time.Sleep(time.Minute)
				got, err := tn.source.Probe(t.Context())
				if err != nil || got != test.want {
					t.Errorf("found %+v, %v, want %+v", got, err, test.want)
				}
				if n := tn.sim.Calls().API(); n > test.calls {
					t.Errorf("%d calls, want %d", n, test.calls)
				}
				for _, v := range tn.sim.Violations() {
					if !strings.HasPrefix(v, "option: ") { // an operator that is not taken
						t.Errorf("violation: %s", v)
					}
				}
			})
		})
	}
}

// A probe tells which upper bound is taken, as reading does.
func TestProbeOfUpperBounds(t *testing.T) {
	refuses := func(words ...string) func(string) bool {
		return func(filter string) bool {
			for _, word := range words {
				if strings.Contains(filter, word) {
					return false
				}
			}
			return true
		}
	}
	for want, takes := range map[string]func(string) bool{
		"lt":           refuses(" le ", " gt ", "not"),
		"le":           refuses(" lt "),
		"gt, reversed": refuses(" lt ", " le ", "not"),
		"not ge":       refuses(" lt ", " le ", " gt "),
		"":             refuses(" lt ", " le ", " gt ", "not"),
	} {
		in(t, func(t *testing.T) {
			s := &server{rows: many(940), takes: takes}
			source, _, _ := s.source(nil)
			found, err := source.Probe(t.Context())
			most := 4
			if want == "" {
				most = 5 // four were refused
			}
			if err != nil || found.UpperBound != want || found.Rows != 100 || len(s.asked()) > most {
				t.Errorf("%q: %+v, %v, %d calls", want, found, err, len(s.asked()))
			}
		})
	}
}

// What cannot be served on the first page is no failure of the API, and an API
// that serves nothing is.
func TestProbeOfWhatCannotBeServed(t *testing.T) {
	for name, test := range map[string]struct {
		config func(*defender.Config)
		change func(*simulator.Behaviour, int64)
		unread string
		rows   int
		lacks  int
	}{
		"poison": {nil, func(b *simulator.Behaviour, id int64) { b.Poison = map[int64]bool{id: true} }, "status 500", 0, 0},
		"malformed": {nil, func(b *simulator.Behaviour, id int64) {
			b.Malformed = map[int64]simulator.Malformation{id: simulator.WithoutID}
		}, "unreadable answer", 19, 0},
		"unexpandable": {ofGraph, func(b *simulator.Behaviour, id int64) { b.Unexpandable = map[int64]bool{id: true} }, "status 500", 0, 0},
		"no alerts":    {ofGraph, func(b *simulator.Behaviour, id int64) { b.AlertsMissing = map[int64]bool{id: true} }, "", 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 20, Size: 3000}, nil, test.config)
				id := tn.sim.RandomIDs(1)[0]
				tn.sim.Change(func(b *simulator.Behaviour) { test.change(b, id) })
				found, err := tn.source.Probe(t.Context())
				if err != nil || found.Rows != test.rows || found.Lacking != test.lacks || found.UpperBound != "lt" {
					t.Errorf("found %+v, %v", found, err)
				}
				if (found.Unread == nil) != (test.unread == "") || found.Unread != nil && !strings.Contains(found.Unread.Error(), test.unread) {
					t.Errorf("unread because of %v, want %q", found.Unread, test.unread)
				}
			})
		})
	}
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 20}, func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasPrefix(r.URL.Path, "/api/") {
					return simulator.Error503
				}
				return simulator.NoFault
			}
		}, nil)
		var api *defender.APIError
		if _, err := tn.source.Probe(t.Context()); !errors.As(err, &api) || api.Status != http.StatusServiceUnavailable {
			t.Errorf("an API that is down: %v", err)
		}
	})
}
