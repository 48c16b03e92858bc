package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
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
	source   *auditedSource
	chain    *ledger.Ledger
	exporter *exporter.Exporter
	renew    func() // begins a new process on the same archive

	begun   time.Time
	first   int       // calls made until the first commit with lines, 0 before it
	covered time.Time // when all was covered, from the beginning of the chain to the target
	calls   int       // made until then, those of the audit apart
}

// auditedSource counts the calls that the audit makes.
type auditedSource struct {
	exporter.Source
	sim   *simulator.Simulator
	calls int
}

func (s *auditedSource) Once(ctx context.Context, what ledger.Span, audit bool, to exporter.Receiver) (served, whole bool, err error) {
	before := s.sim.Calls().API()
	served, whole, err = s.Source.Once(ctx, what, audit, to)
	if audit {
		s.calls += s.sim.Calls().API() - before
	}
	return served, whole, err
}

// observe notes what a commit has come to.
func (r *rig) observe(p exporter.Progress) {
	calls := r.sim.Calls().API() - r.source.calls
	if r.first == 0 && p.Versions > 0 {
		r.first = calls
	}
	if r.covered.IsZero() && !p.Target.IsZero() && p.Done >= p.Target.Sub(p.Start)-2*time.Second {
		r.covered, r.calls = time.Now(), calls
	}
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
	sink := sinktest.NewMem().Session()
	r.renew = func() {
		r.source = &auditedSource{sim: r.sim, Source: defender.New(defender.Config{
			Origin: &url.URL{Scheme: "https", Host: "api.fabrikam.example"}, Transport: transport,
			Tokens: auth.NewTokens(credential, simulator.DefaultTenant), Quota: quota, Concurrency: 10, MaxAnswer: 32 << 20, Log: log,
		})}
		r.chain = ledger.New(sink, demoStream(), ledger.By{Version: "bench", Client: simulator.DefaultClientID}, "gzip")
		r.exporter = exporter.New(exporter.Config{
			Settle: time.Minute, Overlap: time.Hour, DeepOverlap: 7 * 24 * time.Hour, DeepEvery: 24 * time.Hour, Heartbeat: 15 * time.Minute,
			RunTimeout: 1000 * time.Hour, BatchRecords: 5000, BatchBytes: 16 << 20, Log: log,
			Start:   func(now time.Time) time.Time { return now.Add(-180 * 24 * time.Hour) },
			Observe: r.observe,
		}, r.source, r.chain)
	}
	r.renew()
	return r
}

// pass makes one pass and returns the calls it made, those of the audit apart.
func (r *rig) pass(t *testing.T) int {
	t.Helper()
	before := r.sim.Calls().API() - r.source.calls
	r.begun, r.covered = time.Now(), time.Time{}
	if _, err := r.exporter.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.sim.Calls().API() - r.source.calls - before
}

// mostAudits is how many passes an audit may take: two days of them.
const mostAudits = 576

// audit makes passes every five minutes until nothing is left that was read by order, and returns the
// calls that the audit made since the archive began, and what is left if it does not end.
func (r *rig) audit(t *testing.T) (calls, passes int, left time.Duration) {
	t.Helper()
	for ; len(r.chain.Head().Covered.Ordered()) > 0 && passes < mostAudits; passes++ {
		time.Sleep(5 * time.Minute)
		r.pass(t)
	}
	for _, s := range r.chain.Head().Covered.Ordered() {
		left += s.To.Sub(s.From.Time)
	}
	return r.source.calls, passes, left
}

// each returns calls / n, which is no number if what they were to do was not done.
func (r *rig) each(n float64) float64 {
	if r.covered.IsZero() {
		return math.Inf(1)
	}
	return float64(r.calls) / n
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

// TestBenchCalls counts the calls of a backfill at each density, those of its audit, and those of runs
// that find nothing new.
func TestBenchCalls(t *testing.T) {
	if !benching() {
		return
	}
	const incidents, fewest, year = 20_000, 200, 180
	for _, c := range []struct {
		name    string
		days    int // that the incidents are spread over; the archive begins 180 days ago
		density simulator.Density
		order   simulator.Order
		churn   int
		goal    float64
		audited bool
	}{
		{"quiet, uniform", year, simulator.Uniform, simulator.NewestFirst, 0, 1.05, true},
		{"quiet, office hours", year, simulator.OfficeHours, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, uniform, first incident 100 days ago", 100, simulator.Uniform, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, all in a month", year, simulator.DenseMonth, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, all in 24 hours", year, simulator.NewestDay, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, all in half an hour", year, simulator.NewestHalfHour, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, 80 % in one hour", year, simulator.MostInOneHour, simulator.NewestFirst, 0, 1.05, true},
		{"quiet, twice as many every 20 days", year, simulator.Growing, simulator.NewestFirst, 0, 1.05, false},
		{"quiet, many within 3 s", year, simulator.Bulky, simulator.NewestFirst, 0, 1.05, true},
		{"3 updates at every call", year, simulator.Uniform, simulator.NewestFirst, 3, 1.05, false},
		{"quiet, no order", year, simulator.Uniform, simulator.Shuffled, 0, 1.6, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 3, Incidents: incidents, Size: 700, Span: time.Duration(c.days) * 24 * time.Hour, Density: c.density}, nil,
				func(b *simulator.Behaviour) {
					b.ChurnPerCall, b.Order, b.Latency = c.churn, c.order, 100*time.Millisecond
				})
			all := r.pass(t)
			figure("calls / fewest, "+c.name, r.each(fewest), c.goal, "", fmt.Sprintf("%d calls; all of the first run %d", r.calls, all))
			if !c.audited {
				return
			}
			if c.density == simulator.Uniform {
				figure("calls until the first incident of today is archived", float64(r.first), 3, "", "")
			}
			calls, passes, left := r.audit(t)
			ratio := float64(calls) / fewest
			if left > 0 {
				ratio = math.Inf(1)
			}
			figure("calls of the audit / fewest, "+c.name, ratio, 1.3, "", fmt.Sprintf("%d calls in %d passes, left %v", calls, passes, left))
			if c.density == simulator.Uniform {
				benchIdleRuns(t, r)
			}
		})
	}
}

// benchIdleRuns counts the calls of runs that find nothing new.
func benchIdleRuns(t *testing.T, r *rig) {
	time.Sleep(25 * time.Hour)
	r.pass(t) // with the daily deep reading
	time.Sleep(5 * time.Minute)
	figure("calls of an idle run, nothing in the overlap", float64(r.pass(t)), 1, "", "")
	if _, err := r.sim.Update(r.sim.RandomIDs(1)[0]); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
	r.pass(t)
	time.Sleep(5 * time.Minute)
	figure("calls of an idle run, an incident in the overlap", float64(r.pass(t)), 2, "", "")
	r.renew()
	time.Sleep(5 * time.Minute)
	figure("calls of an idle run, in a new process", float64(r.pass(t)), 3, "", "")
}

// TestBenchSlowCalls holds the calls and the time of a backfill from an API that takes 10 s a call,
// where several walks share the stretch.
func TestBenchSlowCalls(t *testing.T) {
	if !benching() {
		return
	}
	const latency = 10 * time.Second
	for name, density := range map[string]simulator.Density{"uniform": simulator.Uniform, "80 % in one hour": simulator.MostInOneHour} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 3, Incidents: 20_000, Size: 700, Density: density}, rigQuota(),
				func(b *simulator.Behaviour) { b.Latency = latency })
			r.pass(t)
			figure("calls / fewest, 10 s a call, "+name, r.each(200), 1.3, "", fmt.Sprintf("%d calls", r.calls))
			r.timed(t, latency, "10 s a call, "+name)
		})
	}
}

// timed holds the time of a backfill to the shortest that the quota allows for its calls.
func (r *rig) timed(t *testing.T, latency time.Duration, name string) {
	t.Helper()
	took, shortest := r.covered.Sub(r.begun), bound(r.calls, rigQuota())+latency
	figure("time of a backfill / the quota's bound, "+name, float64(took)/float64(shortest), 1.05, "",
		fmt.Sprintf("%d calls, %v / %v", r.calls, took.Round(time.Second), shortest.Round(time.Second)))
	if v := r.sim.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
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
			r.timed(t, latency, fmt.Sprintf("160,000 incidents, %v a call", latency))
		})
	}
}
