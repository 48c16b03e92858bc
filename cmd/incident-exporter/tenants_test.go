package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/auth"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// memArchive is an archive in memory.
type memArchive struct{ *sinktest.Session }

func (memArchive) Close() error { return nil }

// partner is a partner's app, its customers' tenants, and their archive, in this process and on
// virtual time.
type partner struct {
	*passes
	sims []*simulator.Simulator
	mem  *sinktest.Mem
	log  strings.Builder
}

func tenantNumber(i int) string { return fmt.Sprintf("%08x-9a44-4f0e-8f6b-2c9d1a7730aa", i+1) }

// newPartner has customers with so many incidents each. settings are beside those that every partner has.
func newPartner(t *testing.T, incidents []int, settings ...string) *partner {
	t.Helper()
	p := &partner{mem: sinktest.NewMem()}
	var ids []string
	for i, n := range incidents {
		ids = append(ids, tenantNumber(i))
		p.sims = append(p.sims, simulator.New(simulator.Options{
			Seed: uint64(i), Tenant: tenantNumber(i), Incidents: n, Size: 700, Span: 179 * 24 * time.Hour, Audience: simulator.DefaultAudience,
		}))
	}
	cfg := load(t, append([]string{"AZURE_CLIENT_ID=" + simulator.DefaultClientID, "AZURE_CLIENT_SECRET=" + simulator.DefaultSecret,
		"EXPORTER_TENANTS=" + strings.Join(ids, ","), "EXPORTER_AUDIENCE=" + simulator.DefaultAudience, "EXPORTER_TOKEN_ENDPOINT=v1", "EXPORTER_RUN_TIMEOUT=240h"}, settings...)...)
	if len(cfg.problems) > 0 {
		t.Fatal(cfg.problems)
	}
	transport := simulator.Transport(simulator.Tenants(p.sims...))
	credential, err := auth.New(auth.Options{
		Kind: auth.ClientSecret, Endpoint: auth.EndpointV1, ClientID: simulator.DefaultClientID, Secret: cfg.clientSecret,
		Audience: simulator.DefaultAudience, AuthorityHost: "https://login.fabrikam.example", HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&p.log, nil))
	p.passes = &passes{
		app: &app{stdout: io.Discard, stderr: io.Discard}, cfg: cfg, log: log, within: slog.New(slog.DiscardHandler), line: &progressLine{},
		transport: transport, share: defender.NewShare(mostCalls, int64(cfg.Exporter.MaxAnswerBytes)),
		credentials: map[string]auth.Credential{simulator.DefaultAudience: credential},
		streams:     map[ledger.Stream]*streamPasses{}, sink: memArchive{p.mem.Session()},
	}
	return p
}

// whole checks that every tenant's final versions are in the archive, and that it verifies.
func (p *partner) whole(t *testing.T, but map[int]bool) {
	t.Helper()
	sum, err := ledger.Verify(t.Context(), p.mem, ledger.Check{}, func(f ledger.Finding) { t.Errorf("%s %s: %s", f.Kind, f.Key, f.Text) })
	if err != nil || sum.Streams != len(p.sims)-len(but) {
		t.Errorf("verify: %+v, %v", sum, err)
	}
	for i, sim := range p.sims {
		if v := sim.Violations(); len(v) > 0 {
			t.Errorf("tenant %d: violations %q", i, v)
		}
		if but[i] {
			continue
		}
		stored := map[string]bool{}
		for m, err := range ledger.Manifests(t.Context(), p.mem, ledger.Stream{Source: "defender", Tenant: tenantNumber(i)}, 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range m.Versions {
				stored[v.SHA256] = true
			}
		}
		for _, v := range sim.Final() {
			if !stored[hash(v)] {
				t.Fatalf("tenant %d: incident %d is missing", i, v.ID)
			}
		}
	}
}

// TestThousandTenants: a thousand customers, of which some have much to read, are exported in one
// pass that takes hardly longer than the slowest of them would alone. Nobody's quota is broken, and
// the many with little are not kept waiting by the few with much.
func TestThousandTenants(t *testing.T) {
	tenants := 1000
	if testing.Short() {
		tenants = 100
	}
	rng := rand.New(rand.NewPCG(11, 1))
	incidents := make([]int, tenants)
	for i := range incidents {
		switch {
		case i%250 == 3:
			incidents[i] = 30_000
		case i%25 == 0:
			incidents[i] = 500 + rng.IntN(2500)
		default:
			incidents[i] = rng.IntN(120)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, incidents)
		for _, sim := range p.sims {
			sim.Change(func(b *simulator.Behaviour) { b.Latency = 300 * time.Millisecond })
		}
		time.Sleep(2 * time.Hour) // nothing lies in the overlap
		begun := time.Now()
		done := map[string]time.Duration{}
		finished := make(chan string, tenants)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for {
				select {
				case id := <-finished:
					done[id] = time.Since(begun)
				case <-ctx.Done():
					return
				}
			}
		}()
		p.passes.finished = func(s *streamPasses) { finished <- s.tenant.id }
		if err := p.make(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begun)
		synctest.Wait()
		slowest, small := time.Duration(0), time.Duration(0)
		for i, sim := range p.sims {
			alone := bound(sim.Calls().API(), rigQuota())
			slowest = max(slowest, alone)
			if incidents[i] < 120 {
				small = max(small, done[tenantNumber(i)])
			}
		}
		t.Logf("%d tenants in %v; the slowest's own bound is %v; those with little took %v at most", tenants, took, slowest, small)
		if took > slowest*11/10 {
			t.Errorf("took %v, the slowest tenant's own bound is %v", took, slowest)
		}
		if small > 2*time.Minute {
			t.Errorf("a tenant with little waited %v", small)
		}
		p.whole(t, nil)
	})
}
