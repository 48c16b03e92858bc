package defender_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// newGraph is a tenant that is read through Graph.
func newGraph(t *testing.T, opts simulator.Options, change func(*simulator.Behaviour), config func(*defender.Config)) *tenant {
	return newTenant(t, opts, change, func(c *defender.Config) {
		c.API, c.Quota = defender.Graph(), defender.Graph().Quota()
		c.Origin = &url.URL{Scheme: "https", Host: "graph.microsoft.com"}
		c.Tokens = &token{transport: c.Transport, lock: make(chan struct{}, 1), audience: simulator.DefaultGraph}
		if config != nil {
			config(c)
		}
	})
}

// wholeGraph checks that everything but the ids left out was handed on as
// Graph serves it.
func (tn *tenant) wholeGraph(g *got, but ...int64) {
	tn.t.Helper()
	for _, v := range tn.sim.Final() {
		line := g.lines[fmt.Sprint(v.ID)]
		if !slices.Contains(but, v.ID) && line != string(v.GraphLine()) && line != string(v.GraphApart()) {
			tn.t.Errorf("incident %d, updated %s: got %.80q", v.ID, v.Updated, line)
		}
	}
	if v := tn.sim.Violations(); len(v) > 0 {
		tn.t.Errorf("violations: %q", v)
	}
}

// A careless change that costs calls shows here.
func TestCallsOfGraph(t *testing.T) {
	for _, c := range []struct{ incidents, first, again int }{
		{0, 2, 1},    // the clock, an empty answer
		{40, 4, 1},   // the clock, an answer, nothing behind it, the same again: this proves the count
		{250, 9, 5},  // the clock, 5 pages and an empty one, $skip=250, the check; this proves it too
		{400, 12, 8}, // likewise
	} {
		in(t, func(t *testing.T) {
			tn := newGraph(t, simulator.Options{Incidents: c.incidents, Span: 100 * 24 * time.Hour}, nil, func(c *defender.Config) { c.Concurrency = 1 })
			time.Sleep(2 * time.Hour)
			from, to := tn.all()
			for _, want := range []int{c.first, c.again} {
				before := tn.sim.Calls().API()
				g, err := tn.read(t.Context(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				tn.wholeGraph(g)
				if n := tn.sim.Calls().API() - before; n != want {
					t.Errorf("%d incidents took %d calls, were %d", c.incidents, n, want)
				}
			}
		})
	}
}

func TestGraphQuotaDialects(t *testing.T) {
	for _, dialect := range []simulator.QuotaDialect{simulator.RetryDecimal, simulator.RetryBodyOnly} {
		in(t, func(t *testing.T) {
			// The tenant's other tools have used most of the quota: ours does not know.
			tn := newGraph(t, simulator.Options{Incidents: 1500}, func(b *simulator.Behaviour) {
				b.GraphQuota, b.QuotaDialect = []simulator.Limit{{N: 10, Per: time.Minute}}, dialect
			}, nil)
			from, to := tn.all()
			begun := time.Now()
			g, err := tn.read(t.Context(), from, to)
			if err != nil || len(g.unfetched) > 0 || len(g.lines) != 1500 {
				t.Fatalf("dialect %d: %v, %d, %v", dialect, err, len(g.lines), g.unfetched)
			}
			if took := time.Since(begun); took > 20*time.Minute {
				t.Errorf("dialect %d: took %v", dialect, took)
			}
		})
	}
}

func TestGraphQuotaIsKeptAndUsed(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 20_000, Size: 700}, func(b *simulator.Behaviour) { b.Latency = time.Second }, nil)
		from, to := tn.all()
		begun := time.Now()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.wholeGraph(g) // and no violation
		calls := tn.sim.Calls().API()
		bound := time.Duration((calls-1)/150)*time.Minute + time.Minute
		if took := time.Since(begun); took > bound*110/100 || calls > 400*115/100 {
			t.Errorf("%d calls took %v, the quota allows %v", calls, took, bound)
		}
	})
}

// What is answered in part is kept, asked for once more, and said in the
// manifest: with the incidents, and with the request.
func TestGraphInPart(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 120}, func(b *simulator.Behaviour) { b.PartialRate = 1 }, func(c *defender.Config) { c.Concurrency = 1 })
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil || len(g.unfetched) > 0 {
			t.Fatal(err, g.unfetched)
		}
		tn.wholeGraph(g)
		const how = `partial: 199 - "Microsoft/Microsoft Defender for Identity/504/10000"`
		for id := range g.lines {
			if g.how[id] != how {
				t.Fatalf("incident %s was read %q", id, g.how[id])
			}
		}
		if u := tn.source.Usage(); !strings.HasSuffix(u.Requests[0], ", "+how) {
			t.Errorf("requests %q", u.Requests)
		}
		if !strings.Contains(tn.log.String(), "in part") {
			t.Error("nothing was logged")
		}
		// Where a whole answer is to be had it is taken.
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.PartialRate = 0
			b.Fail = func(_ *http.Request, n int) simulator.Fault {
				tn.sim.Change(func(b *simulator.Behaviour) { b.PartialRate = float64(n % 2) })
				return simulator.NoFault
			}
		})
		if g, err = tn.read(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		for id, how := range g.how {
			if how != "" {
				t.Errorf("incident %s was read %q", id, how)
			}
		}
	})
}

// seen notes the headers of calls of the API.
type seen struct {
	next http.RoundTripper
	mu   sync.Mutex
	ids  []string
	bad  []string
}

func (s *seen) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/v1.0/") {
		s.mu.Lock()
		s.ids = append(s.ids, r.Header.Get("client-request-id"))
		if r.Header.Get("Prefer") != "include-unknown-enum-members" || strings.Contains(r.URL.RawQuery, "orderby") {
			s.bad = append(s.bad, r.URL.String())
		}
		s.mu.Unlock()
	}
	return s.next.RoundTrip(r)
}

func TestGraphHeaders(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &seen{}
		tn := newGraph(t, simulator.Options{Incidents: 200}, func(b *simulator.Behaviour) {
			b.FailRate, b.FailKinds = 0.3, []simulator.Fault{simulator.Error504, simulator.Error503, simulator.CutBody}
		}, func(c *defender.Config) { s.next, c.Transport = c.Transport, s })
		from, to := tn.all()
		if _, err := tn.read(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		slices.Sort(s.ids)
		if n := len(slices.Compact(slices.Clone(s.ids))); n != tn.sim.Calls().API() || n < 8 {
			t.Errorf("%d ids for %d attempts", n, tn.sim.Calls().API())
		}
		for _, id := range s.ids {
			if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
				t.Fatalf("client-request-id %q", id)
			}
		}
		if u := tn.source.Usage(); len(s.bad) > 0 || len(u.Requests) == 0 {
			t.Errorf("bad calls %q, requests %q", s.bad, u.Requests)
		}
	})
}

func TestGraphErrorsSayWhatTheyCan(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 10}, nil, func(c *defender.Config) { c.Top = 51 })
		from, to := tn.all()
		_, err := tn.read(t.Context(), from, to)
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != 400 || api.Code != "" || api.RequestID == "" || !strings.Contains(api.Message, "limit of '50' for Top") {
			t.Errorf("too long a page: %+v", err)
		}
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if r.Method == http.MethodGet {
					return simulator.Error504
				}
				return simulator.NoFault
			}
		})
		err = tn.source.Clock(t.Context())
		if !errors.As(err, &api) || api.Status != 504 || api.Code != "UnknownError" || api.Message != "" || !api.Temporary() {
			t.Errorf("504: %+v", err)
		}
	})
}

// Incidents whose alerts cannot be expanded are fetched by their ids, or, where
// that fails as well, together with their alerts apart.
func TestUnexpandable(t *testing.T) {
	for _, byID := range []bool{false, true} {
		for _, kind := range []simulator.Count{simulator.CountRight, simulator.NoCount} {
			in(t, func(t *testing.T) {
				tn := newGraph(t, simulator.Options{Incidents: 700, Seed: 5, Size: 6000}, func(b *simulator.Behaviour) { b.Count = kind }, nil)
				ids := tn.sim.RandomIDs(4)
				tn.sim.Change(func(b *simulator.Behaviour) {
					b.Unexpandable, b.UnexpandableByID = map[int64]bool{}, byID
					for _, id := range ids {
						b.Unexpandable[id] = true
					}
				})
				from, to := tn.all()
				g, err := tn.read(t.Context(), from, to)
				if err != nil || len(g.unfetched) > 0 {
					t.Fatal(err, g.unfetched)
				}
				tn.wholeGraph(g)
				want := "by-id"
				if byID {
					want = "by-id, alerts apart"
				}
				for _, id := range ids {
					if how := g.how[fmt.Sprint(id)]; how != want {
						t.Errorf("incident %d was read %q, want %q", id, how, want)
					}
				}
				if n := tn.sim.Calls().API(); n > 14+4*60 {
					t.Errorf("%d calls", n)
				}
			})
		}
	}
}

// A server that compares coarsely lists what lies outside of the stretch.
func TestUnexpandableOfACoarseServer(t *testing.T) {
	for seed := range uint64(20) {
		in(t, func(t *testing.T) {
			tn := newGraph(t, simulator.Options{Incidents: 20, Seed: seed, Span: time.Hour}, func(b *simulator.Behaviour) { b.Resolution = time.Second }, nil)
			ids := tn.sim.RandomIDs(20)
			tn.sim.Change(func(b *simulator.Behaviour) {
				b.Unexpandable = map[int64]bool{}
				for _, id := range ids {
					b.Unexpandable[id] = true
				}
			})
			time.Sleep(2 * time.Minute)
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil || len(g.unfetched) > 0 {
				t.Fatal(err, g.unfetched)
			}
			tn.wholeGraph(g)
		})
	}
}

// An incident is merged into one whose alerts are being read apart.
func TestAlertsApartOfAnIncidentThatChanges(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 20, Seed: 5, Size: 6000}, nil, nil)
		ids := tn.sim.RandomIDs(2)
		var once sync.Once
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Unexpandable, b.UnexpandableByID = map[int64]bool{ids[0]: true}, true
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasSuffix(r.URL.Path, "/alerts") {
					once.Do(func() { _, _, _ = tn.sim.Merge(ids[1], ids[0]) })
				}
				return simulator.NoFault
			}
		})
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		for id, line := range g.lines {
			if !slices.ContainsFunc(tn.sim.Truth(), func(v simulator.Version) bool {
				return line == string(v.GraphLine()) || line == string(v.GraphApart())
			}) {
				t.Errorf("incident %s was never like this: %.300s", id, line)
			}
		}
	})
}

// An incident that cannot be had at all costs its own entry.
func TestPoisonOfGraphIsNamed(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 300, Seed: 6}, nil, nil)
		ids := tn.sim.RandomIDs(2)
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Unexpandable, b.UnexpandableByID = map[int64]bool{ids[0]: true}, true
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasSuffix(r.URL.Path, fmt.Sprintf("/%d/alerts", ids[0])) {
					return simulator.Error500
				}
				return simulator.NoFault
			}
			b.Poison, b.PoisonByID = map[int64]bool{ids[1]: true}, true
		})
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.wholeGraph(g, ids...)
		if len(g.unfetched) != 2 || !slices.ContainsFunc([]int{0, 1}, func(i int) bool { return g.unfetched[i].ID == fmt.Sprint(ids[0]) }) {
			t.Errorf("unfetched: %+v", g.unfetched)
		}
	})
}

// Lists that end at the highest $skip without a word, 900 incidents within a
// second: no count, or one, tells the end from the wall.
func TestSkipWall(t *testing.T) {
	for _, kind := range []simulator.Count{simulator.CountRight, simulator.NoCount, simulator.CountOfPage} {
		for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
			in(t, func(t *testing.T) {
				tn := newGraph(t, simulator.Options{Incidents: 1300, Tie: 900, Span: 20 * 24 * time.Hour}, func(b *simulator.Behaviour) {
					b.Count, b.SkipWall, b.NoNextLink, b.Order = kind, 500, true, order
				}, nil)
				time.Sleep(2 * time.Hour)
				from, to := tn.all()
				g, err := tn.read(t.Context(), from, to)
				if err != nil || len(g.unfetched) > 0 {
					t.Fatal(err, g.unfetched)
				}
				tn.wholeGraph(g)
			})
		}
	}
}

// Whatever is counted, and however short the pages are, nothing is lost.
func TestCounts(t *testing.T) {
	for _, kind := range []simulator.Count{simulator.CountRight, simulator.NoCount, simulator.CountOfPage, simulator.CountShort, simulator.CountLong} {
		for _, cap := range []int{0, 7} {
			for _, churn := range []int{0, 1} {
				in(t, func(t *testing.T) {
					tn := newGraph(t, simulator.Options{Seed: uint64(kind), Incidents: 400, Span: 20 * 24 * time.Hour}, func(b *simulator.Behaviour) {
						b.Count, b.PageCap, b.NoNextLink, b.ChurnPerCall, b.Order = kind, cap, true, churn, simulator.UnstableTies
					}, nil)
					time.Sleep(2 * time.Hour)
					from, to := tn.all()
					g, err := tn.read(t.Context(), from, to)
					if err != nil || len(g.unfetched) > 0 {
						t.Fatal(err, g.unfetched)
					}
					// Read anew what was doubted, as a run does.
					if doubt, ok := tn.source.Doubt(); ok {
						again, err := tn.read(t.Context(), doubt, to)
						if err != nil {
							t.Fatal(err)
						}
						for id, line := range again.lines {
							g.lines[id] = line
						}
					}
					for _, v := range tn.sim.Final() {
						at, _ := time.Parse(time.RFC3339Nano, v.Updated)
						if at.Before(to) && g.lines[fmt.Sprint(v.ID)] != string(v.GraphLine()) {
							t.Errorf("count %d, cap %d, churn %d: incident %d, updated %s, is missing", kind, cap, churn, v.ID, v.Updated)
						}
					}
				})
			}
		}
	}
}

// Rows leave a window of several pages while it is read, by a count that is
// known to be right.
func TestRowsThatLeaveACountedWindow(t *testing.T) {
	for seed := range uint64(8) {
		in(t, func(t *testing.T) {
			tn := newGraph(t, simulator.Options{Seed: seed, Incidents: 300, Span: 20 * 24 * time.Hour, Size: 700}, nil, func(c *defender.Config) { c.Concurrency = 1 })
			time.Sleep(2 * time.Hour)
			from, to := tn.all()
			if _, err := tn.read(t.Context(), from, to); err != nil {
				t.Fatal(err)
			}
			tn.sim.Change(func(b *simulator.Behaviour) { b.ChurnPerCall = 1 })
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range tn.sim.Final() {
				if at, _ := time.Parse(time.RFC3339Nano, v.Updated); at.Before(to) && g.lines[fmt.Sprint(v.ID)] != string(v.GraphLine()) {
					t.Errorf("incident %d, updated %s, is missing", v.ID, v.Updated)
				}
			}
		})
	}
}

// A count that turns out to be wrong after it has been believed: what was read
// by it is doubted.
func TestCountThatTurnsWrong(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 30, Span: time.Hour}, nil, nil)
		time.Sleep(time.Hour)
		from, to := tn.all()
		if _, err := tn.read(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		if d, ok := tn.source.Doubt(); ok {
			t.Fatal("doubted:", d)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.Count = simulator.CountShort })
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.wholeGraph(g)
		if d, ok := tn.source.Doubt(); !ok || d.After(from) {
			t.Errorf("doubted: %v, %v", d, ok)
		}
	})
}

// While a window is read one of the rows that were read leaves it, so that
// another moves up and is passed over; and one that was late comes in. There
// are as many different ones as were counted, and they are not all.
func TestLateOneIsNoReplacement(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 5, Span: 24 * time.Hour}, nil, func(c *defender.Config) { c.Concurrency = 1 })
		now := tn.sim.Now()
		if seg, err := tn.source.Since(t.Context(), now.Add(-48*time.Hour)); err != nil || len(seg.Rows) != 5 {
			t.Fatal(seg, err) // the count is right
		}
		create := func(n int) (last simulator.Version) {
			for range n {
				time.Sleep(time.Second)
				last = tn.sim.Create()
			}
			return last
		}
		begin := tn.sim.Now()
		create(40)
		tn.sim.Change(func(b *simulator.Behaviour) { b.LateBy = 30 * time.Minute })
		var late simulator.Version
		for late.VisibleFrom.Before(tn.sim.Now().Add(10 * time.Minute)) {
			late = create(1)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.LateBy = 0 })
		newest := create(60)
		time.Sleep(late.VisibleFrom.Sub(tn.sim.Now()) - 5*time.Second)
		to := tn.sim.Now().Add(-time.Minute).Truncate(time.Second)
		var once atomic.Bool
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if r.URL.Query().Get("$skip") == "50" && once.CompareAndSwap(false, true) {
					time.Sleep(6 * time.Second)
					_, _ = tn.sim.Update(newest.ID)
				}
				return simulator.NoFault
			}
		})
		g, err := tn.read(t.Context(), begin, to)
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		for _, v := range tn.sim.Final() {
			at, _ := time.Parse(time.RFC3339Nano, v.Updated)
			if !at.Before(begin) && at.Before(to) && v.VisibleFrom.Before(to) && g.lines[fmt.Sprint(v.ID)] == "" {
				lost++
				t.Errorf("incident %d, updated %s, is missing", v.ID, v.Updated)
			}
		}
		if len(g.lines) < 100 {
			t.Errorf("%d read, %d lost", len(g.lines), lost)
		}
	})
}

// Annotations are kept where they are served, and the context of an answer by
// id is not.
func TestGraphAnnotations(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newGraph(t, simulator.Options{Incidents: 60, Seed: 4}, func(b *simulator.Behaviour) { b.Pretty = true }, nil)
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.wholeGraph(g)
		n := 0
		for _, line := range g.lines {
			var top map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &top); err != nil || top["@odata.context"] != nil {
				t.Fatalf("%v: %.200s", err, line)
			}
			if top["alerts@odata.context"] != nil {
				n++
			}
		}
		if n == 0 {
			t.Error("no annotation")
		}
	})
}
