package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// benching says whether figures are wanted. They are measured and printed, never asserted: how
// fast a machine is breaks no promise.
func benching() bool { return os.Getenv("BENCH_REPORT") != "" }

// figure prints a measured value beside its goal, which is an upper bound. detail says what it was
// made of.
func figure(name string, value, goal float64, unit, detail string) {
	verdict := "reached"
	if value > goal {
		verdict = "NOT REACHED"
	}
	fmt.Printf("%-62s %8.2f%-4s  goal %6.2f%-4s  %-11s  %s\n", name, value, unit, goal, unit, verdict, detail)
}

// rig is an exporter on a simulated tenant, in this process and on virtual time.
type rig struct {
	sim      *simulator.Simulator
	exporter *exporter.Exporter

	begun   time.Time
	covered time.Time // when everything up to the target was archived
	calls   int       // made until then
}

// rigQuota is the API's documented quota.
func rigQuota() []defender.Limit {
	return []defender.Limit{{Calls: 50, Per: time.Minute}, {Calls: 1500, Per: time.Hour}}
}

func newRig(t *testing.T, options simulator.Options, quota []defender.Limit, change func(*simulator.Behaviour)) *rig {
	t.Helper()
	r := &rig{sim: simulator.New(options)}
	r.sim.Change(func(b *simulator.Behaviour) {
		b.Quota = nil
		for _, l := range quota {
			b.Quota = append(b.Quota, simulator.Limit{N: l.Calls, Per: l.Per})
		}
		change(b)
	})
	if quota == nil {
		quota = []defender.Limit{{Calls: 1 << 20, Per: time.Minute}}
	}
	transport := simulator.Transport(r.sim)
	credential, err := auth.New(auth.Options{
		Kind: auth.ClientSecret, Endpoint: auth.EndpointV1,
		ClientID:      simulator.DefaultClientID,
		Secret:        func() (auth.Secret, error) { return auth.NewSecret(simulator.DefaultSecret), nil },
		Audience:      simulator.DefaultAudience,
		AuthorityHost: "https://login.fabrikam.example",
		HTTPClient:    &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("BENCH_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	source := defender.New(defender.Config{
		Origin: &url.URL{Scheme: "https", Host: "api.fabrikam.example"}, Transport: transport,
		Tokens: auth.NewTokens(credential, simulator.DefaultTenant), Quota: quota, Concurrency: 10,
		Overlap: time.Hour, MaxAnswer: 32 << 20, Log: log,
	})
	chain := ledger.New(sinktest.NewMem().Session(), demoStream(), ledger.By{Version: "bench", Client: simulator.DefaultClientID}, "gzip")
	r.exporter = exporter.New(exporter.Config{
		Settle: time.Minute, Overlap: time.Hour, DeepOverlap: 7 * 24 * time.Hour, DeepEvery: 24 * time.Hour, Heartbeat: 15 * time.Minute,
		RunTimeout: 1000 * time.Hour, BatchRecords: 5000, BatchBytes: 16 << 20, Log: log,
		Start: func(now time.Time) time.Time { return now.Add(-180 * 24 * time.Hour) },
		Observe: func(p exporter.Progress) {
			if r.covered.IsZero() && !p.Target.IsZero() && !p.Covered.Before(p.Target) {
				r.covered, r.calls = time.Now(), r.sim.Calls().API()
			}
		},
	}, source, chain)
	return r
}

// pass makes one pass and returns the calls it made.
func (r *rig) pass(t *testing.T) int {
	t.Helper()
	before := r.sim.Calls().API()
	r.begun, r.covered = time.Now(), time.Time{}
	if _, err := r.exporter.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.sim.Calls().API() - before
}

// bound is how long after the first one the last of n calls can be sent at the earliest.
func bound(n int, quota []defender.Limit) time.Duration {
	sent := make([]time.Duration, n)
	for i := range sent {
		if i > 0 {
			sent[i] = sent[i-1]
		}
		for _, l := range quota {
			if i >= l.Calls {
				sent[i] = max(sent[i], sent[i-l.Calls]+l.Per)
			}
		}
	}
	return sent[n-1]
}

func TestBound(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, 50: 0, 51: time.Minute, 1500: 29 * time.Minute, 1501: time.Hour, 1551: 61 * time.Minute} {
		if got := bound(n, rigQuota()); got != want {
			t.Errorf("%d calls: %v, want %v", n, got, want)
		}
	}
}

// TestBenchCalls counts the calls of a backfill, and of a run that finds nothing new.
func TestBenchCalls(t *testing.T) {
	if !benching() {
		return
	}
	const incidents, fewest = 20_000, 200
	for _, c := range []struct {
		name    string
		days    int // that the incidents are spread over; the archive begins 180 days ago
		density simulator.Density
		churn   int
		goal    float64
	}{
		{"calls / fewest, quiet, uniform", 180, simulator.Uniform, 0, 1.1},
		{"calls / fewest, quiet, uniform, first incident 170 days ago", 170, simulator.Uniform, 0, 1.1},
		{"calls / fewest, quiet, uniform, first incident 100 days ago", 100, simulator.Uniform, 0, 1.1},
		{"calls / fewest, quiet, office hours", 180, simulator.OfficeHours, 0, 1.1},
		{"calls / fewest, quiet, office hours, first 100 days ago", 100, simulator.OfficeHours, 0, 1.1},
		{"calls / fewest, 3 updates at every call", 180, simulator.Uniform, 3, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 3, Incidents: incidents, Size: 700, Span: time.Duration(c.days) * 24 * time.Hour, Density: c.density}, nil,
				func(b *simulator.Behaviour) { b.ChurnPerCall, b.Latency = c.churn, 100*time.Millisecond })
			all := r.pass(t)
			figure(c.name, float64(r.calls)/fewest, c.goal, "", fmt.Sprintf("%d calls; first run with its re-reading %d", r.calls, all))
			if c.churn > 0 || c.density != simulator.Uniform || c.days < 180 {
				return
			}
			// Two hours later nothing has changed, and nothing lies in the overlap.
			time.Sleep(2 * time.Hour)
			r.pass(t)
			time.Sleep(5 * time.Minute)
			figure("calls of an idle run, nothing in the overlap", float64(r.pass(t)), 1, "", "")
			if _, err := r.sim.Update(r.sim.RandomIDs(1)[0]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			r.pass(t)
			time.Sleep(5 * time.Minute)
			figure("calls of an idle run, an incident in the overlap", float64(r.pass(t)), 2, "", "")
		})
	}
}

// TestBenchQuota holds the time of a backfill to the shortest that the quota allows for its calls:
// more than an hour's worth of them.
func TestBenchQuota(t *testing.T) {
	if !benching() {
		return
	}
	for _, latency := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 4, Incidents: 160_000, Size: 700}, rigQuota(),
				func(b *simulator.Behaviour) { b.Latency = latency })
			r.pass(t)
			took := r.covered.Sub(r.begun)
			shortest := bound(r.calls, rigQuota()) + latency
			figure(fmt.Sprintf("time of a backfill / the quota's bound, %v a call", latency), float64(took)/float64(shortest), 1.05, "",
				fmt.Sprintf("%d calls, %v / %v", r.calls, took.Round(time.Second), shortest.Round(time.Second)))
			if v := r.sim.Violations(); len(v) > 0 {
				t.Errorf("violations: %q", v)
			}
		})
	}
}
