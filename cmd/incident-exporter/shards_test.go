package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/local"
)

// TestShardsAsProcesses runs the pods of an Indexed Job over a partner's tenants as processes: four parts, one of
// which is killed in the middle and started again, and one is there twice. Every version that the API
// served last is in the archive, each once.
func TestShardsAsProcesses(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	const shards = 4
	flags := simulateFlags{
		tenants: 200, incidents: 30, size: 700, seed: 31, span: duration{20 * 24 * time.Hour},
		density: "uniform", dialect: "seconds", noQuota: true, latency: 5 * time.Millisecond, auth: "secret",
	}
	sims := flags.simulators()
	for _, sim := range sims { // ahead by more than what is not read yet
		sim.Change(func(b *simulator.Behaviour) { b.ClockSkew = 2 * time.Minute })
	}
	served, err := serveSimulation(simulator.Tenants(sims...), "127.0.0.1:0", t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := served.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &scene{T: t, dir: t.TempDir()}
	var tenants []string
	for i := range sims {
		tenants = append(tenants, simulatedTenant(i))
	}
	for _, e := range append(served.settings(), setting{"AZURE_CLIENT_SECRET", simulator.DefaultSecret}) {
		if e.name != "AZURE_TENANT_ID" {
			s.env = append(s.env, e.name+"="+e.value)
		}
	}
	s.env = append(s.env, "EXPORTER_TENANTS="+strings.Join(tenants, ","), "EXPORTER_SINK=file:"+s.dir, "EXPORTER_QUOTA="+unlimited,
		"EXPORTER_BATCH_RECORDS=7", "EXPORTER_START=21d")
	start := func(index int) *process {
		return s.start(t.Context(), []string{fmt.Sprintf("EXPORTER_SHARDS=%d", shards), fmt.Sprintf("%s=%d", jobIndex, index)}, "export")
	}

	killed := start(1)
	running := []*process{start(0), start(2), start(3), start(2)}
	moment(t.Context(), func() bool { return strings.Count(killed.err.String(), `"msg":"committed"`) >= flags.tenants/shards })
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if r := killed.wait(); r.code != -1 {
		t.Errorf("it was to be killed in the middle, and ended: %+v", r)
	}
	heads := map[string]int{}
	for _, p := range append(running, start(1)) {
		r := p.wait()
		if r.code != exitDone {
			t.Errorf("exit %d: %s", r.code, r.stderr)
		}
		for line := range strings.Lines(r.stdout) {
			_, stream, _ := strings.Cut(strings.TrimSpace(line), " ")
			heads[stream]++
		}
	}
	once, twice := 0, 0
	for _, n := range heads {
		if n == 1 {
			once++
		} else if n == 2 {
			twice++
		}
	}
	t.Logf("%d tenants were one process's, %d that of two", once, twice)
	if once+twice != flags.tenants || twice == 0 || twice > flags.tenants/2 {
		t.Errorf("heads of %d tenants: %v", len(heads), heads)
	}

	versions := 0
	archive, err := local.OpenReader(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	for i, sim := range sims {
		stored := map[string]int{}
		for m, err := range ledger.Manifests(t.Context(), archive, ledger.Stream{Source: "defender", Tenant: simulatedTenant(i)}, 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range m.Versions {
				stored[v.SHA256]++
			}
		}
		final := sim.Final()
		for _, v := range final {
			if stored[hash(v)] != 1 {
				t.Errorf("tenant %d: incident %d is there %d times", i, v.ID, stored[hash(v)])
			}
		}
		if len(stored) != len(final) || len(final) != flags.incidents {
			t.Errorf("tenant %d: %d versions of %d incidents", i, len(stored), len(final))
		}
		versions += len(stored)
		if v := sim.Violations(); len(v) > 0 {
			t.Errorf("tenant %d: violations %q", i, v)
		}
	}
	r := s.done("verify", "--strict")
	if want := fmt.Sprintf("whole: %d streams, ", flags.tenants); !strings.HasPrefix(r.stdout, want) || !strings.Contains(r.stdout, fmt.Sprintf(", %d versions", versions)) {
		t.Errorf("verify: %s", r.stdout)
	}
}
