package defender_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// token asks the simulator for a token each time it needs another one.
type token struct {
	transport http.RoundTripper
	lock      chan struct{}
	audience  string // DefaultAudience if empty
	value     string
}

func (s *token) Token(ctx context.Context, stale string) (string, error) {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	if s.value != "" && s.value != stale {
		return s.value, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID},
		"client_secret": {simulator.DefaultSecret}, "scope": {cmp.Or(s.audience, simulator.DefaultAudience) + "/.default"},
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.fabrikam.example/"+simulator.DefaultTenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	s.value = answer.Value
	return s.value, err
}

// tenant is a simulated tenant and a Source that reads it.
type tenant struct {
	t      *testing.T
	sim    *simulator.Simulator
	source *defender.Source
	log    bytes.Buffer
}

func newTenant(t *testing.T, opts simulator.Options, change func(*simulator.Behaviour), config func(*defender.Config)) *tenant {
	if opts.Span == 0 {
		opts.Span = 150 * 24 * time.Hour
	}
	sim := simulator.New(opts)
	if change != nil {
		sim.Change(change)
	}
	tn := &tenant{t: t, sim: sim}
	transport := simulator.Transport(sim)
	cfg := defender.Config{
		Origin: &url.URL{Scheme: "https", Host: "api.security.microsoft.com"}, Transport: transport,
		Tokens: &token{transport: transport, lock: make(chan struct{}, 1)}, Concurrency: 10,
		Quota:   []defender.Limit{{Calls: 50, Per: time.Minute}, {Calls: 1500, Per: time.Hour}},
		Overlap: time.Hour, MaxAnswer: 32 << 20, Log: slog.New(slog.NewTextHandler(&tn.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if config != nil {
		config(&cfg)
	}
	tn.source = defender.New(cfg)
	return tn
}

// got is what a Read handed on.
type got struct {
	lines     map[string]string // by id
	how       map[string]string
	unfetched []exporter.Stretch
	last      time.Time
}

func (tn *tenant) read(ctx context.Context, from, to time.Time) (*got, error) {
	g := &got{lines: map[string]string{}, how: map[string]string{}, last: from}
	err := tn.source.Read(ctx, from, to, false, func(s *exporter.Segment) error {
		if s.From.After(g.last) {
			tn.t.Errorf("a segment begins at %v, the last ended at %v", s.From, g.last)
		}
		g.last = s.To
		for i, r := range s.Rows {
			line, err := s.Line(i)
			if err != nil {
				return err
			}
			g.lines[r.ID], g.how[r.ID] = string(line), r.How
		}
		g.unfetched = append(g.unfetched, s.Unfetched...)
		return nil
	})
	return g, err
}

// whole checks that everything but the ids left out was handed on as served.
func (tn *tenant) whole(g *got, but ...string) {
	tn.t.Helper()
	for _, v := range tn.sim.Final() {
		id := fmt.Sprint(v.ID)
		if strings.Contains(strings.Join(but, " "), id) {
			continue
		}
		if g.lines[id] != string(v.Line()) {
			tn.t.Errorf("incident %s, updated %s: got %.80q", id, v.Updated, g.lines[id])
		}
	}
	if v := tn.sim.Violations(); len(v) > 0 {
		tn.t.Errorf("violations: %q", v)
	}
}

func (tn *tenant) all() (from, to time.Time) {
	now := tn.sim.Now()
	return now.Add(-179 * 24 * time.Hour), now.Add(-time.Minute).Truncate(time.Second)
}

func in(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// A careless change that costs calls shows here.
func TestCalls(t *testing.T) {
	for _, c := range []struct{ incidents, calls int }{
		{0, 2},     // the clock, an empty answer
		{60, 4},    // the clock, an answer, nothing behind it, the same again: pages may be just as long
		{250, 6},   // the clock, 3 pages, $skip=250, the check
		{1000, 14}, // likewise; the eleventh page is empty
	} {
		in(t, func(t *testing.T) {
			// One call at a time: which pages are asked for ahead of their turn
			// depends on who is answered first.
			tn := newTenant(t, simulator.Options{Incidents: c.incidents, Span: 100 * 24 * time.Hour}, nil, func(c *defender.Config) { c.Concurrency = 1 })
			time.Sleep(2 * time.Hour)
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			tn.whole(g)
			if n := tn.sim.Calls().API(); n != c.calls {
				t.Errorf("%d incidents took %d calls, were %d", c.incidents, n, c.calls)
			}
			if u := tn.source.Usage(); u.Calls != tn.sim.Calls().API() {
				t.Errorf("counted %d calls of %d", u.Calls, tn.sim.Calls().API())
			}
		})
	}
}

func TestPoisonCostsItsOwnEntry(t *testing.T) {
	for _, byID := range []bool{false, true} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 700, Seed: 5}, nil, nil)
			poison := tn.sim.RandomIDs(2)
			tn.sim.Change(func(b *simulator.Behaviour) {
				b.Poison, b.PoisonByID = map[int64]bool{poison[0]: true, poison[1]: true}, byID
			})
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			tn.whole(g, fmt.Sprint(poison[0]), fmt.Sprint(poison[1]))
			if len(g.unfetched) < 1 || len(g.unfetched) > 2 {
				t.Fatalf("unfetched: %v", g.unfetched)
			}
			var size time.Duration
			for _, u := range g.unfetched {
				size += u.To.Sub(u.From)
				if !strings.Contains(u.Error, "500") {
					t.Errorf("unfetched because of %q", u.Error)
				}
			}
			if size > 24*time.Hour {
				t.Errorf("%v unfetched for two incidents", size)
			}
		})
	}
}

func TestAPIDownIsAnErrorAndNothingUnfetched(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 300}, nil, nil)
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasPrefix(r.URL.Path, "/api/") {
					return simulator.Error503
				}
				return simulator.NoFault
			}
		})
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != 503 || api.Target == "" {
			t.Errorf("error %v", err)
		}
		if len(g.unfetched)+len(g.lines) > 0 || g.last.After(from) {
			t.Errorf("handed on %v to %v", g, g.last)
		}
	})
}

func TestLargeIncidents(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 150, Seed: 3, Size: 1000}, nil, func(c *defender.Config) { c.MaxAnswer = 1 << 20 })
		ids := tn.sim.RandomIDs(12)
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Oversize = map[int64]int{ids[0]: 9 << 20, ids[1]: 3 << 20} // beyond what one alone may be, and beyond an answer
			for _, id := range ids[2:] {
				b.Oversize[id] = 300 << 10
			}
		})
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.whole(g, fmt.Sprint(ids[0]))
		if len(g.unfetched) != 1 || g.unfetched[0].ID != fmt.Sprint(ids[0]) || !strings.Contains(g.unfetched[0].Error, "too large") {
			t.Errorf("unfetched: %+v", g.unfetched)
		}
	})
}

func TestTenMegabytesByteForByte(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 40, Seed: 9}, func(b *simulator.Behaviour) { b.Pretty = true }, nil)
		id := tn.sim.RandomIDs(1)[0]
		tn.sim.Change(func(b *simulator.Behaviour) { b.Oversize = map[int64]int{id: 10 << 20} })
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil || len(g.lines[fmt.Sprint(id)]) < 10<<20 {
			t.Fatalf("%v, %d bytes", err, len(g.lines[fmt.Sprint(id)]))
		}
		tn.whole(g)
	})
}

func TestWhatIsNoIncidentIsNamed(t *testing.T) {
	for kind, want := range map[simulator.Malformation]string{
		simulator.WithoutID: "no usable incidentId", simulator.WithoutUpdated: "no usable lastUpdateTime", simulator.NotAnObject: "not an incident",
	} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 120, Seed: 8}, nil, nil)
			id := tn.sim.RandomIDs(1)[0]
			tn.sim.Change(func(b *simulator.Behaviour) { b.Malformed = map[int64]simulator.Malformation{id: kind} })
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			tn.whole(g, fmt.Sprint(id))
			if len(g.unfetched) != 1 || !strings.Contains(g.unfetched[0].Error, want) || !strings.Contains(g.unfetched[0].Error, "it begins") {
				t.Errorf("unfetched: %+v, want %q and an excerpt", g.unfetched, want)
			}
		})
	}
}

func TestIgnoredFilterStops(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 50, Span: 24 * time.Hour}, func(b *simulator.Behaviour) { b.IgnoreFilter = true }, nil)
		now := tn.sim.Now()
		_, err := tn.read(t.Context(), now.Add(-2*time.Hour), now.Add(-time.Hour))
		var ignored *defender.IgnoredFilterError
		if !errors.As(err, &ignored) {
			t.Errorf("error %v", err)
		}
	})
}

func TestQuotaDialects(t *testing.T) {
	for _, dialect := range []simulator.QuotaDialect{simulator.RetrySeconds, simulator.RetryDecimal, simulator.RetryHTTPDate, simulator.RetryBodyOnly} {
		in(t, func(t *testing.T) {
			// The tenant's other tools have used most of the quota: ours does not know.
			tn := newTenant(t, simulator.Options{Incidents: 1500}, func(b *simulator.Behaviour) {
				b.Quota, b.QuotaDialect = []simulator.Limit{{N: 10, Per: time.Minute}}, dialect
			}, nil)
			from, to := tn.all()
			begun := time.Now()
			g, err := tn.read(t.Context(), from, to)
			if err != nil || len(g.unfetched) > 0 {
				t.Fatalf("dialect %d: %v, %v", dialect, err, g.unfetched)
			}
			if took := time.Since(begun); took > 10*time.Minute {
				t.Errorf("dialect %d: took %v", dialect, took)
			}
			for _, v := range tn.sim.Final() {
				if g.lines[fmt.Sprint(v.ID)] != string(v.Line()) {
					t.Fatalf("dialect %d: incident %d is missing", dialect, v.ID)
				}
			}
		})
	}
}

func TestQuotaIsKeptAndUsed(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 20_000}, func(b *simulator.Behaviour) { b.Latency = time.Second }, nil)
		from, to := tn.all()
		begun := time.Now()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		tn.whole(g) // and no violation
		calls := tn.sim.Calls().API()
		bound := time.Duration((calls-1)/50)*time.Minute + time.Second
		if took := time.Since(begun); took > bound*110/100 {
			t.Errorf("%d calls took %v, the quota allows %v", calls, took, bound)
		}
	})
}

func TestWaitBeyondTheRunIsAnError(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, func(b *simulator.Behaviour) {
			b.Quota = []simulator.Limit{{N: 1, Per: 10 * time.Hour}}
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		from, to := tn.all()
		begun := time.Now()
		_, err := tn.read(ctx, from, to)
		var limited *defender.LimitedError
		if !errors.As(err, &limited) || time.Since(begun) > time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

func TestRevokedTokenIsRenewedOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 400}, nil, nil)
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		tn.sim.RevokeTokens()
		from, to := tn.all()
		g, err := tn.read(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range tn.sim.Final() {
			if g.lines[fmt.Sprint(v.ID)] == "" {
				t.Fatal("incident missing")
			}
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.Roles = nil })
		tn.sim.RevokeTokens()
		_, err = tn.read(t.Context(), from, to)
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != http.StatusForbidden && api.Status != http.StatusUnauthorized {
			t.Errorf("without the role: %v", err)
		}
	})
}

// elsewhere answers the API with a redirect to another host.
type elsewhere struct{ seen []string }

func (e *elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	e.seen = append(e.seen, r.URL.Host)
	return &http.Response{
		StatusCode: http.StatusFound, Header: http.Header{"Location": {"https://evil.example/api/incidents"}},
		Body: io.NopCloser(strings.NewReader("")), Request: r,
	}, nil
}

type fixed struct{}

func (fixed) Token(context.Context, string) (string, error) { return "made-up-token", nil }

func TestTokenGoesNowhereElse(t *testing.T) {
	in(t, func(t *testing.T) {
		e := &elsewhere{}
		tn := newTenant(t, simulator.Options{}, nil, func(c *defender.Config) { c.Transport, c.Tokens = e, fixed{} })
		err := tn.source.Clock(t.Context())
		if err == nil || len(e.seen) != 1 || e.seen[0] != "api.security.microsoft.com" {
			t.Errorf("%v, asked %v", err, e.seen)
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, err)+tn.log.String(), "made-up-token") {
			t.Error("the token is in an error or a log line")
		}
	})
}

func TestSpentCallsOfOthersCount(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, nil, nil)
		tn.source.Spent(map[time.Time]int{time.Now().Add(-30 * time.Second): 50})
		begun := time.Now()
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begun); waited < 30*time.Second || waited > 35*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}
