package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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
			Seed: uint64(i), Tenant: tenantNumber(i), Incidents: n, Size: 700, Span: 20 * 24 * time.Hour, Audience: simulator.DefaultAudience,
		}))
	}
	cfg := load(t, append([]string{"AZURE_CLIENT_ID=" + simulator.DefaultClientID, "AZURE_CLIENT_SECRET=" + simulator.DefaultSecret,
		"EXPORTER_TENANTS=" + strings.Join(ids, ","), "EXPORTER_AUDIENCE=" + simulator.DefaultAudience, "EXPORTER_TOKEN_ENDPOINT=v1", "EXPORTER_RUN_TIMEOUT=240h", "EXPORTER_START=21d"}, settings...)...)
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

// TestATenthFails: the others are exported, and each that failed is named with the reason.
func TestATenthFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		incidents := make([]int, 500)
		for i := range incidents {
			incidents[i] = 5
		}
		p := newPartner(t, incidents)
		failing := map[int]bool{}
		for i, sim := range p.sims {
			if i%10 == 4 {
				failing[i] = true
				sim.Change(func(b *simulator.Behaviour) { b.Consent = false })
			}
		}
		time.Sleep(2 * time.Hour)
		err := p.make(t.Context())
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitPartial || !strings.Contains(err.Error(), "50 of 500 tenants failed") {
			t.Errorf("%v", err)
		}
		for i := range p.sims {
			said := strings.Contains(p.log.String(), ` source=defender tenant=`+tenantNumber(i)+` error=`)
			if said != failing[i] {
				t.Errorf("tenant %d: named as failed: %v", i, said)
			}
		}
		if n := strings.Count(p.log.String(), "AADSTS65001"); n != 50 {
			t.Errorf("the reason is given %d times", n)
		}
		p.whole(t, failing)

		// They are made up for once they have consented.
		for i := range failing {
			p.sims[i].Change(func(b *simulator.Behaviour) { b.Consent = true })
		}
		time.Sleep(5 * time.Minute)
		if err := p.make(t.Context()); err != nil {
			t.Error(err)
		}
		p.whole(t, nil)
	})
}

// TestABackfillKeepsNobodyWaiting: while one tenant's pass takes long, the next ticks export the others.
func TestABackfillKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, []int{20_000, 50, 50})
		time.Sleep(2 * time.Hour)
		var first sync.WaitGroup
		first.Go(func() {
			if err := p.make(t.Context()); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Minute)
		if err := p.make(t.Context()); err != nil {
			t.Error(err)
		}
		if n := p.skipped.Load(); n != 1 || !strings.Contains(p.log.String(), "skipped: the tenant's last pass is still under way") {
			t.Errorf("%d passes skipped", n)
		}
		head, err := ledger.Head(t.Context(), p.mem, ledger.Stream{Source: "defender", Tenant: tenantNumber(1)})
		if err != nil || time.Since(head.Covered.Until()) > 3*time.Minute || len(head.Covered.Holes(head.Start.Time, head.Covered.Until())) > 0 {
			t.Errorf("the second tenant is covered in %v, %v", head.Covered.Spans(), err)
		}
		first.Wait()
		p.whole(t, nil)
	})
}

// TestTenantsOfAFile: the file is read again by each pass; a line that is wrong costs itself alone,
// and a file that is gone, or damaged, nothing.
func TestTenantsOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tenants")
	write := func(lines ...string) {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("contoso=" + tenantNumber(0))
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, []int{20, 30, 40}, "EXPORTER_TENANTS=", "EXPORTER_TENANTS_FILE="+path)
		time.Sleep(2 * time.Hour)
		pass := func() error { time.Sleep(5 * time.Minute); return p.make(t.Context()) }
		if err := pass(); err != nil {
			t.Error(err)
		}
		p.whole(t, map[int]bool{1: true, 2: true})
		write("contoso="+tenantNumber(0), "contoso.example", tenantNumber(1))
		if err := pass(); !strings.Contains(fmt.Sprint(err), "1 of 3 tenants failed") || !strings.Contains(p.log.String(), "line 2 of EXPORTER_TENANTS_FILE") {
			t.Errorf("%v\n%s", err, p.log.String())
		}
		p.whole(t, map[int]bool{2: true})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := pass(); err != nil || !strings.Contains(p.log.String(), "the tenants of the last run are gone on with") {
			t.Errorf("%v", err)
		}
		write(tenantNumber(1), tenantNumber(2))
		if err := pass(); err != nil || !strings.Contains(p.log.String(), "tenant is not listed any more") {
			t.Errorf("%v", err)
		}
		p.whole(t, nil)
	})
}

// TestPartner runs the real program for three tenants: one of them fails, the parts of two processes
// make up the whole, and a part that is doubled does no harm.
func TestPartner(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 150})
	sims := []*simulator.Simulator{s.sim}
	tenants := "contoso=" + testTenant
	for i := range 3 {
		sim := simulator.New(simulator.Options{Seed: uint64(40 + i), Tenant: tenantNumber(i), Secret: canary, Incidents: 100, Span: 36 * time.Hour})
		sim.Change(func(b *simulator.Behaviour) { b.Quota, b.ClockSkew = nil, 2*time.Minute })
		sims, tenants = append(sims, sim), tenants+","+tenantNumber(i)
	}
	s.serve(simulator.Tenants(sims...))
	sims[2].Change(func(b *simulator.Behaviour) { b.Consent = false })
	s.env = append(s.env, "AZURE_TENANT_ID=", "EXPORTER_TENANTS="+tenants)
	r := s.run(nil, "export")
	if r.code != exitPartial || strings.Count(r.stdout, "\n") != 3 || !strings.Contains(r.stdout, " defender/"+testTenant+"\n") ||
		!strings.Contains(r.stderr, "1 of 4 tenants failed") || !strings.Contains(r.stderr, "AADSTS65001") || !strings.Contains(r.stderr, `"name":"contoso"`) {
		t.Errorf("%+v", r)
	}
	if r := s.run(nil, "token"); r.code != exitFailed || strings.Count(r.stdout, "can read incidents  yes") != 3 || !strings.Contains(r.stdout, "AADSTS65001") {
		t.Errorf("token: %+v", r)
	}
	sims[2].Change(func(b *simulator.Behaviour) { b.Consent = true })
	for _, part := range []string{"1/2", "2/2", "2/2"} {
		if r := s.run([]string{"EXPORTER_SHARD=" + part}, "export"); r.code != exitDone {
			t.Errorf("part %s: %+v", part, r)
		}
	}
	if r := s.done("verify", "--strict"); !strings.HasPrefix(r.stdout, "whole: 4 streams, ") || !strings.Contains(r.stdout, ", 450 versions") {
		t.Errorf("verify: %s", r.stdout)
	}
	s.keptHeads()
	for _, sim := range sims {
		if v := sim.Violations(); len(v) > 0 {
			t.Errorf("violations %q", v)
		}
	}
	for _, sim := range sims {
		sim.Change(func(b *simulator.Behaviour) { b.Consent = false })
	}
	if r := s.run(nil, "export"); r.code != exitFailed || !strings.Contains(r.stderr, "all 4 tenants failed") {
		t.Errorf("all: %+v", r)
	}
}

// keptHeads holds the archive to the heads that export prints, one of each tenant, and to wrong ones.
func (s *scene) keptHeads() {
	s.Helper()
	verify := []string{"verify"}
	var kept []string
	for line := range strings.Lines(s.done("export").stdout) {
		kept = append(kept, strings.TrimSpace(line))
		verify = append(verify, "--head", strings.TrimSpace(line))
	}
	if r := s.run(nil, verify...); len(kept) != 4 || r.code != exitDone {
		s.Errorf("%q: %+v", kept, r)
	}
	head, of, _ := strings.Cut(kept[1], " ")
	seq, _, _ := strings.Cut(head, ":")
	wrong := seq + ":" + strings.Repeat("0", 64)
	for _, args := range [][]string{{"--head", wrong + " " + of, "--head", kept[0]}, {"--head", kept[0], "--head", wrong}, {"--head", head + " defender/" + tenantNumber(99)}} {
		if r := s.run(nil, append([]string{"verify"}, args...)...); r.code != exitFaults || !strings.Contains(r.stdout, "fault: head") {
			s.Errorf("%q: %+v", args, r)
		}
	}
	if r := s.run(nil, "verify", "--head", ""); r.code != exitUsage {
		s.Errorf("an empty head: %+v", r)
	}
	if r := s.run(nil, "verify", "--since", of+"=2"); r.code != exitDone || !strings.Contains(r.stdout, "whole from where it was begun") {
		s.Errorf("since of one stream: %+v", r)
	}
}

// TestATenantThatComesBack while its pass is under way goes on with that pass.
func TestATenantThatComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tenants")
	write := func(lines ...string) {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tenantNumber(0), tenantNumber(1))
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, []int{20_000, 50}, "EXPORTER_TENANTS=", "EXPORTER_TENANTS_FILE="+path)
		time.Sleep(2 * time.Hour)
		var passes sync.WaitGroup
		for _, lines := range [][]string{{tenantNumber(0), tenantNumber(1)}, {tenantNumber(1)}, {tenantNumber(0), tenantNumber(1)}} {
			write(lines...)
			passes.Go(func() {
				if err := p.make(t.Context()); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(20 * time.Second)
		}
		passes.Wait()
		if n := p.skipped.Load(); n != 1 {
			t.Errorf("%d passes were skipped", n)
		}
		p.whole(t, nil) // and no violation of a quota
	})
}

// TestOddTenantsFiles: each is told for what it is, and costs no more than it must.
func TestOddTenantsFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tenants")
	if err := os.WriteFile(file, []byte(testTenant+"\n"+strings.Repeat("x", 100_000)+"\n"+otherTenant), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, bad, err := load(t, "EXPORTER_TENANTS_FILE="+file).tenants(); len(list) != 2 || len(bad) != 1 || bad[0].line != 2 || err != nil {
		t.Errorf("a line without end: %v, %v, %v", list, bad, err)
	}
	if _, _, err := load(t, "EXPORTER_TENANTS_FILE="+pipe).tenants(); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe: %v", err)
	}
	if cfg := load(t, "AZURE_CLIENT_SECRET_FILE="+pipe); len(cfg.problems) != 1 || !strings.Contains(cfg.problems[0].text, "no regular file") {
		t.Errorf("a pipe for a secret: %v", cfg.problems)
	}
	if err := os.WriteFile(file, []byte("\xff\xfe5\x00d\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(t, "EXPORTER_TENANTS_FILE="+file).tenants(); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("UTF-16: %v", err)
	}
}
