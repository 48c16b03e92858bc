package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// chainTick is how far apart the manifests of a made chain are.
const chainTick = 5 * time.Minute

// makeChain makes a chain of so many manifests that covers everything until shortly before now. Each
// has read again all that may still come late.
func makeChain(t *testing.T, mem *sinktest.Mem, manifests int) {
	t.Helper()
	end := time.Now().Add(-chainTick).UTC().Truncate(time.Second)
	start := end.Add(-time.Duration(manifests-1) * chainTick)
	l := ledger.New(mem, demoStream(), ledger.By{Version: "test", Client: simulator.DefaultClientID}, "gzip")
	late := ledger.Lateness{Settle: time.Minute, Overlap: time.Hour, Deep: 168 * time.Hour, Every: 24 * time.Hour}
	err := l.Begin(t.Context(), start, start, 1)
	for to := start.Add(chainTick); err == nil && !to.After(end); to = to.Add(chainTick) {
		var b *ledger.Batch
		if b, err = l.NewBatch(); err == nil {
			asked := to.Add(late.Settle)
			claim := ledger.Claim{From: ledger.Time{Time: to.Add(-late.Deep - time.Hour)}, To: ledger.Time{Time: to}, Asked: ledger.Time{Time: asked}}
			if claim.From.Before(start) {
				claim.From.Time = start
			}
			e := l.Head().Entry()
			e.Read, e.Calls, e.Now = []ledger.Claim{claim}, 2, asked
			e.Covered = e.Covered.Add(claim).Aged(late, time.Time{})
			err = l.Commit(t.Context(), b, e)
		}
	}
	if err != nil || l.Head().Seq != uint64(manifests) {
		t.Fatalf("make a chain of %d: %v", manifests, err)
	}
}

// idleRequests makes two passes of one process, in which nothing is new, over an archive in S3 whose
// chain has so many manifests, and returns the requests that each of them made there.
func idleRequests(t *testing.T, manifests int) (cold, idle int64) {
	t.Helper()
	s := newScene(t, simulator.Options{Seed: 3, Incidents: 5, Span: 180 * 24 * time.Hour})
	mem := sinktest.NewMem()
	makeChain(t, mem, manifests)
	var requests atomic.Int64
	front := sinktest.S3(mem.Session(), testBucket)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		front.ServeHTTP(w, r)
	}))
	t.Cleanup(store.Close)
	for _, e := range append(s.env, "EXPORTER_SINK=s3://"+testBucket, "EXPORTER_S3_PATH_STYLE=true", "AWS_ENDPOINT_URL_S3="+store.URL, "AWS_REGION=eu-north-1",
		"AWS_ACCESS_KEY_ID=made-up", "AWS_SECRET_ACCESS_KEY=made-up", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_CA_BUNDLE=", "EXPORTER_HEARTBEAT=40m", "EXPORTER_MAX_LAG=2h") {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	pass := func(p *passes) int64 {
		before := requests.Load()
		if err := p.make(t.Context()); err != nil {
			t.Fatal(err)
		}
		return requests.Load() - before
	}
	process := func() *passes {
		p, err := (&app{environ: os.Environ(), stdout: io.Discard, stderr: io.Discard}).newPasses(true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	p := process()
	cold = pass(p)
	idle = pass(p)
	if v := mem.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
	return cold, idle
}

// TestIdleRequests holds what a run costs at the store in which nothing is new: a listing behind the
// head and a look at where the next object belongs.
func TestIdleRequests(t *testing.T) {
	cold, idle := idleRequests(t, 2500)
	if idle != 2 {
		t.Errorf("%d requests in a daemon's idle run, want 2", idle)
	}
	if cold > 30 {
		t.Errorf("%d requests from a cold start", cold)
	}
}

// TestBenchIdleRequests measures the same at a chain of 100,000.
func TestBenchIdleRequests(t *testing.T) {
	if !benching() {
		return
	}
	cold, idle := idleRequests(t, 100_000)
	figure("S3 requests of an idle run in the daemon", float64(idle), 4, "", "")
	figure("S3 requests of an idle run, cold start at 100,000 manifests", float64(cold), 60, "", fmt.Sprint("chain of one manifest each ", chainTick))
}
