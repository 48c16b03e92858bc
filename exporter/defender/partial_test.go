package defender_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/simulator"
)

// What is answered in part is stored and not claimed; when it is whole it is.
func TestAnswersInPart(t *testing.T) {
	for name, change := range map[string]func(*simulator.Behaviour){
		"all rows":     func(b *simulator.Behaviour) { b.PartialRate = 1 },
		"half of them": func(b *simulator.Behaviour) { b.PartialRate, b.PartialDrops = 1, 0.5 },
		"none of them": func(b *simulator.Behaviour) { b.PartialRate, b.PartialDrops = 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 120}, change, ofGraph)
				time.Sleep(2 * time.Minute)
				to := tn.newest()
				n, err := tn.read(tn.from, to)
				if err != nil {
					t.Fatal(err)
				}
				if len(tn.archive.claims) > 0 || len(tn.archive.unread) == 0 || n > 20 {
					t.Fatalf("claims %v, unread %v, %d calls", tn.archive.claims, tn.archive.unread, n)
				}
				tn.kept(to)
				for _, u := range tn.archive.unread {
					if !strings.Contains(u.why.Error(), "Microsoft Defender for Identity/504") {
						t.Errorf("unread because of %v", u.why)
					}
				}
				if got := len(tn.archive.lines); name == "all rows" && got != 120 || name == "half of them" && got < 30 {
					t.Errorf("%d stored", got)
				}
				for id, how := range tn.archive.how {
					if !strings.HasPrefix(how, "partial: ") || !strings.Contains(how, "504") {
						t.Fatalf("incident %s was read %q", id, how)
					}
				}
				if u := tn.source.Usage(); !strings.Contains(u.Requests[0], "504") {
					t.Errorf("requests %q", u.Requests)
				}
				// Later it is whole.
				tn.sim.Change(func(b *simulator.Behaviour) { b.PartialRate = 0 })
				tn.archive.unread = nil
				tn.source.Begin(false, tn.from)
				if _, err := tn.read(tn.from, to); err != nil {
					t.Fatal(err)
				}
				tn.kept(to)
				tn.seconds(0)
				if missing := tn.missing(to); len(missing) > 0 {
					t.Errorf("%d are missing", len(missing))
				}
			})
		})
	}
}

// A provider that refuses will not answer: what the others say is all there is.
func TestProvidersThatRefuse(t *testing.T) {
	for _, code := range []string{"401", "403"} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 120}, func(b *simulator.Behaviour) {
				b.PartialRate = 1
				b.PartialWarning = `199 - "Microsoft/Microsoft Defender for IoT/` + code + `/16"`
			}, ofGraph)
			tn.all()
			tn.seconds(0)
			if len(tn.missing(tn.newest())) > 0 || len(tn.archive.claims) == 0 {
				t.Error("not claimed")
			}
			if r := tn.archive.refused; len(r) == 0 || r[0] != "Microsoft/Microsoft Defender for IoT/"+code {
				t.Errorf("refused: %q", r)
			}
		})
	}
	// One that refuses and one that fails: in part.
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 20}, func(b *simulator.Behaviour) {
			b.PartialRate = 1
			b.PartialWarning = `199 - "Microsoft/Microsoft Defender for IoT/403/16", 199 - "Microsoft/Microsoft Sentinel/503/9"`
		}, ofGraph)
		tn.all()
		if len(tn.archive.claims) > 0 {
			t.Errorf("claims %v", tn.archive.claims)
		}
	})
}

// An answer by id that is one in part is stored, and its second is not claimed:
// whether the list lacks its alerts, or cannot be served with it.
func TestByIDInPart(t *testing.T) {
	for _, listed := range []bool{true, false} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 60, Seed: 4, Size: 6000}, nil, ofGraph)
			ids := map[int64]bool{}
			for _, id := range tn.sim.RandomIDs(3) {
				ids[id] = true
			}
			tn.sim.Change(func(b *simulator.Behaviour) {
				if listed {
					b.AlertsMissing = ids
				} else {
					b.Unexpandable = ids
				}
				b.Fail = func(r *http.Request, _ int) simulator.Fault {
					one := !strings.HasSuffix(r.URL.Path, "/incidents")
					tn.sim.Change(func(b *simulator.Behaviour) { b.PartialRate = map[bool]float64{true: 1}[one] })
					return simulator.NoFault
				}
			})
			time.Sleep(2 * time.Minute)
			to := tn.newest()
			if _, err := tn.read(tn.from, to); err != nil {
				t.Fatal(err)
			}
			tn.kept(to)
			inPart := 0
			for id, how := range tn.archive.how {
				if !strings.HasPrefix(how, "by-id, partial") {
					continue
				}
				inPart++
				named := false
				for _, u := range tn.archive.unread {
					named = named || u.id == id && strings.Contains(u.why.Error(), "504")
				}
				if !named {
					t.Errorf("incident %s is not named in %v", id, tn.archive.unread)
				}
			}
			if inPart == 0 {
				t.Error("nothing was read by id")
			}
		})
	}
}

// More alerts than an answer holds, announced by a link, by a number, or not at all.
func TestAlertsThatAreCut(t *testing.T) {
	for name, change := range map[string]func(*simulator.Behaviour){
		"by a link":   func(b *simulator.Behaviour) { b.AlertsPerExpand = 3 },
		"by a number": func(b *simulator.Behaviour) { b.AlertsPerExpand, b.AlertsCount = 3, true },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 120, Seed: 4, Size: 12_000}, change, ofGraph)
				n := tn.all()
				tn.seconds(0)
				apart := 0
				for _, how := range tn.archive.how {
					if strings.Contains(how, "alerts apart") {
						apart++
					}
				}
				if len(tn.missing(tn.newest())) > 0 || apart == 0 {
					t.Errorf("%d apart, %d missing", apart, len(tn.missing(tn.newest())))
				}
				t.Logf("%d apart in %d calls", apart, n)
			})
		})
	}
}

// Alerts that are missing in the list are asked for by id, once, and what the
// API serves then is what it has.
func TestAlertsThatAreMissing(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 60, Seed: 4, Size: 6000}, nil, ofGraph)
		ids := tn.sim.RandomIDs(2)
		tn.sim.Change(func(b *simulator.Behaviour) { b.AlertsMissing = map[int64]bool{ids[0]: true, ids[1]: true} })
		n := tn.all()
		tn.seconds(0)
		if missing := tn.missing(tn.newest()); len(missing) > 0 || n > 12 {
			t.Errorf("%d missing after %d calls", len(missing), n)
		}
	})
	in(t, func(t *testing.T) {
		// By id they are not there either: so it is.
		s := &server{graph: true, rows: []incident{{id: "7", updated: begun.Add(time.Minute), created: begun, members: `,"alerts":null`}}}
		s.bend = func(w http.ResponseWriter, r *http.Request, _ []incident) bool {
			if strings.HasSuffix(r.URL.Path, "/7") {
				fmt.Fprint(w, s.rows[0].json(true))
				return true
			}
			return false
		}
		source, a, _ := s.source(nil)
		if err := s.read(t, source, a); err != nil {
			t.Fatal(err)
		}
		s.kept(t, a)
		if len(a.unread) > 0 || len(s.asked()) > 12 {
			t.Errorf("unread %v, asked %q", a.unread, s.asked())
		}
	})
}

// Alerts that cannot be had: the incident is unread by its id, and no line
// without them is stored.
func TestAlertsThatCannotBeHad(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 60, Seed: 4, Size: 12_000}, func(b *simulator.Behaviour) {
			b.AlertsPerExpand = 3
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasSuffix(r.URL.Path, "/alerts") {
					return simulator.Error500
				}
				return simulator.NoFault
			}
		}, ofGraph)
		time.Sleep(2 * time.Minute)
		to := tn.newest()
		if _, err := tn.read(tn.from, to); err != nil {
			t.Fatal(err)
		}
		tn.kept(to)
		missing := tn.missing(to)
		if len(missing) == 0 || len(missing) == 60 {
			t.Fatalf("%d missing", len(missing))
		}
		for _, v := range missing {
			id := fmt.Sprint(v.ID)
			named := false
			for _, u := range tn.archive.unread {
				named = named || u.id == id && strings.Contains(u.why.Error(), "link to more") && strings.Contains(u.why.Error(), "500")
			}
			if !named || len(tn.archive.lines[id]) > 0 {
				t.Errorf("incident %s: named %v, %d lines stored", id, named, len(tn.archive.lines[id]))
			}
		}
	})
}

// Incidents whose alerts cannot be expanded are fetched by their ids, or,
// where that fails as well, together with their alerts apart.
func TestUnexpandable(t *testing.T) {
	for _, byID := range []bool{false, true} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 700, Seed: 5, Size: 6000}, nil, ofGraph)
			ids := tn.sim.RandomIDs(4)
			tn.sim.Change(func(b *simulator.Behaviour) {
				b.Unexpandable, b.UnexpandableByID = map[int64]bool{}, byID
				for _, id := range ids {
					b.Unexpandable[id] = true
				}
			})
			n := tn.all()
			tn.seconds(0)
			want := map[bool]string{false: "by-id", true: "by-id, alerts apart"}[byID]
			for _, id := range ids {
				if how := tn.archive.how[fmt.Sprint(id)]; how != want {
					t.Errorf("incident %d was read %q, want %q", id, how, want)
				}
			}
			t.Logf("by id too %v: %d calls", byID, n)
			if n > 20+4*60 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// An incident is merged into one whose alerts are being read apart.
func TestAlertsApartOfAnIncidentThatChanges(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 20, Seed: 5, Size: 6000}, nil, ofGraph)
		ids := tn.sim.RandomIDs(2)
		merged := false
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Unexpandable, b.UnexpandableByID = map[int64]bool{ids[0]: true}, true
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasSuffix(r.URL.Path, "/alerts") && !merged {
					merged = true
					_, _, _ = tn.sim.Merge(ids[1], ids[0])
				}
				return simulator.NoFault
			}
		})
		time.Sleep(2 * time.Minute)
		if _, err := tn.read(tn.from, tn.newest()); err != nil {
			t.Fatal(err)
		}
		served := map[string]bool{}
		for _, v := range tn.sim.Truth() {
			served[string(v.GraphLine())], served[string(v.GraphApart())] = true, true
		}
		for id, lines := range tn.archive.lines {
			for line := range lines {
				if !served[line] {
					t.Errorf("incident %s was never like this: %.300s", id, line)
				}
			}
		}
	})
}

// A byte order mark before every body.
func TestByteOrderMark(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 130, Seed: 5, Size: 6000}, nil, ofGraph)
		id := tn.sim.RandomIDs(1)[0]
		if err := tn.source.Clock(t.Context()); err != nil { // with a token: its answer has none
			t.Fatal(err)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.BOM, b.Unexpandable = true, map[int64]bool{id: true} })
		tn.all()
		tn.seconds(0)
	})
	in(t, func(t *testing.T) {
		s := &server{bend: func(w http.ResponseWriter, _ *http.Request, _ []incident) bool {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "\ufeff"+`{"error":{"code":"Forbidden","message":"made up"}}`)
			return true
		}}
		source, _, _ := s.source(nil)
		if err := source.Clock(t.Context()); err == nil || !strings.Contains(err.Error(), "Forbidden, made up") {
			t.Errorf("%v", err)
		}
	})
}

// More rows than were asked for are not an answer.
func TestTooManyRows(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 1000}, func(b *simulator.Behaviour) { b.TooManyRows = true }, nil)
		n := tn.all()
		tn.seconds(0)
		if n > 60 {
			t.Errorf("%d calls", n)
		}
	})
	in(t, func(t *testing.T) {
		// 32 MiB of small ones: reading stops at the first too many.
		s := &server{}
		row := incident{id: "7", updated: begun.Add(time.Minute), created: begun}.json(false)
		var served atomic.Int64
		s.bend = func(w http.ResponseWriter, r *http.Request, _ []incident) bool {
			if r.URL.Query().Get("$top") == "1" {
				return false
			}
			n, _ := fmt.Fprint(w, `{"value":[`+row)
			for range 300_000 {
				m, err := fmt.Fprint(w, ","+row)
				if n += m; err != nil {
					break
				}
			}
			served.Store(max(served.Load(), int64(n)))
			return true
		}
		source, a, _ := s.source(nil)
		time.Sleep(time.Hour)
		if err := source.Read(t.Context(), exporter.Reading{Span: span(begun.Add(time.Minute), begun.Add(time.Minute+time.Second))}, a); err != nil {
			t.Log(err)
		}
		synctest.Wait()
		if n := served.Load(); len(a.lines) > 0 || n == 0 || n > 1<<20 {
			t.Errorf("%d stored, %d bytes read", len(a.lines), n)
		}
	})
}
