package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"incident-exporter/exporter"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
	"incident-exporter/sinks/sinktest"
)

// measure lets a partner's passes be counted.
func (p *partner) measure() {
	p.metrics = newMetrics()
	p.sink = p.metrics.sink(memArchive{p.mem.Session()})
	p.watchStreams(func() time.Time { return time.Now().Add(time.Minute) })
}

// scraped are the values of all series, by name and labels as in the text format.
func (p *partner) scraped(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := p.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), metricPrefix)
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetCounter() != nil:
				values[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				values[name] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				values[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return values
}

// TestMetricsMove makes happen what each metric counts, one thing at a time, and sees what moves.
func TestMetricsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, []int{300}, "EXPORTER_OVERLAP=20m", "EXPORTER_DEEP_OVERLAP=20m", "EXPORTER_BATCH_RECORDS=100", "EXPORTER_SECRET_EXPIRES=2031-01-31")
		p.measure()
		sim := p.sims[0]
		stream := "{source=defender,tenant=" + tenantNumber(0) + "}"
		time.Sleep(2 * time.Hour)

		last := p.scraped(t)
		// moved makes a pass and returns by how much each value has grown.
		moved := func(make func() error) (by map[string]float64, now map[string]float64, err error) {
			t.Helper()
			err = make()
			now, by = p.scraped(t), map[string]float64{}
			for name, value := range now {
				by[name] = value - last[name]
			}
			last = now
			return by, now, err
		}
		pass := func() error { time.Sleep(5 * time.Minute); return p.make(t.Context()) }
		want := func(what string, got, least, most float64) {
			t.Helper()
			if !(got >= least && got <= most) {
				t.Errorf("%s is %v, want %v to %v", what, got, least, most)
			}
		}
		sooner := func(what string, by map[string]float64, outcome string) {
			t.Helper()
			for _, o := range []string{outcomeDone, outcomeEarly, outcomeFailed, outcomeSkipped} {
				n := 0.0
				if o == outcome {
					n = 1
				}
				want(what+": runs "+o, by["runs_total{outcome="+o+"}"], n, n)
			}
		}

		p.stream(tenant{id: tenantNumber(0), source: "defender"})
		if v := p.scraped(t); !math.IsInf(v["lag_seconds"+stream], 1) {
			t.Errorf("lag before the first pass: %v", v["lag_seconds"+stream])
		}

		by, now, err := moved(pass)
		if err != nil {
			t.Fatal(err)
		}
		at := float64(time.Now().Unix())
		var size, commits float64
		for _, key := range p.mem.Keys() {
			if strings.HasPrefix(key, "incidents/") {
				size += float64(len(p.mem.Bytes(key)))
			} else if !strings.HasSuffix(key, "/000000000001.json") { // the genesis is no commit
				commits++
			}
		}
		sooner("first", by, outcomeDone)
		want("versions", by["versions_total"], 300, 300)
		want("bytes", by["archived_bytes_total"], size, size)
		want("commits", by["commits_total"], commits, commits)
		want("calls", by["api_calls_total{class=2xx,source=defender}"], float64(sim.Calls().API()), float64(sim.Calls().API()))
		want("puts", by["sink_puts_total{outcome=stored}"], 2*commits+1, 2*commits+1)
		want("put durations", by["sink_put_duration_seconds"], 2*commits+1, 2*commits+1)
		want("covered until", now["covered_until_timestamp_seconds"+stream], at-65, at-59)
		want("last success", now["last_success_timestamp_seconds"+stream], at-2, at+2)
		want("covered since", now["covered_since_timestamp_seconds"+stream], at-21*24*3600-10, at-21*24*3600)
		want("lag", now["lag_seconds"+stream], 58, 66)
		want("holes", now["holes"+stream], 0, 0)
		want("backfill", now["backfill"+stream], 0, 0)
		want("partial", now["partial_providers"+stream], 0, 0)
		want("withdrawn", by["claims_withdrawn_total"], 0, 0)
		want("quota left", now["quota_left"+stream], 0, 49)
		want("unfetched", now["unfetched"+stream], 0, 0)
		want("token", now["token_expiry_timestamp_seconds{tenant="+tenantNumber(0)+"}"], at+3590, at+3601)
		want("credential", now["credential_expiry_timestamp_seconds"], 1927584000, 1927584000)
		want("next run", now["next_run_timestamp_seconds"], at+59, at+61)
		want("goroutines", now["go_goroutines"], 1, 1e6)
		if now["process_cpu_seconds_total"] <= 0 {
			t.Error("no CPU of the process")
		}

		fail := func(kind simulator.Fault) {
			sim.Change(func(b *simulator.Behaviour) {
				b.Fail = func(r *http.Request, _ int) simulator.Fault {
					if strings.HasPrefix(r.URL.Path, "/api/") {
						return kind
					}
					return simulator.NoFault
				}
			})
		}
		for kind, class := range map[simulator.Fault]string{simulator.Error502: "5xx", simulator.Reset: "error"} {
			fail(kind)
			by, _, err = moved(pass)
			sooner(class, by, outcomeFailed)
			want(class, by["api_calls_total{class="+class+",source=defender}"], 2, 100)
			want("versions while it fails", by["versions_total"], 0, 0)
			if err == nil {
				t.Errorf("%s: no error", class)
			}
		}
		_, now, _ = moved(func() error { time.Sleep(2 * time.Hour); return nil })
		want("lag of an outage", now["lag_seconds"+stream], 7200, 9000)
		sim.Change(func(b *simulator.Behaviour) { b.Fail = nil; b.Consent = false })
		by, _, _ = moved(pass)
		sooner("no consent", by, outcomeFailed)
		sim.Change(func(b *simulator.Behaviour) { b.Consent = true; b.Roles = nil })
		sim.RevokeTokens()
		by, _, _ = moved(pass)
		want("4xx", by["api_calls_total{class=4xx,source=defender}"], 1, 3)
		sim.Change(func(b *simulator.Behaviour) { b.Roles = []string{"Incident.Read.All"} })
		sim.RevokeTokens()

		several := 0
		sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if !strings.HasPrefix(r.URL.Path, "/api/") {
					return simulator.NoFault
				}
				if several++; several == 1 {
					return simulator.ForeignTooMany
				}
				return simulator.NoFault
			}
		})
		by, _, err = moved(pass)
		want("429", by["api_calls_total{class=429,source=defender}"], 1, 1)
		want("throttled", by["throttled_seconds_total"], 1, 120)
		if err != nil {
			t.Error(err)
		}
		sim.Change(func(b *simulator.Behaviour) { b.Fail = nil })

		id := sim.RandomIDs(1)[0]
		for range 40 {
			_, _ = sim.Update(sim.RandomIDs(1)[0])
		}
		_, _ = sim.Update(id)
		sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{id: true}, true })
		_, now, err = moved(pass)
		want("unfetched of a poisoned one", now["unfetched"+stream], 1, 5)
		want("holes beside what is unfetched", now["holes"+stream], 0, 0)
		if err != nil {
			t.Error(err)
		}
		sim.Change(func(b *simulator.Behaviour) { b.Poison = nil })
		_, now, _ = moved(pass)
		want("unfetched afterwards", now["unfetched"+stream], 0, 0)

		// A rival that commits in between.
		sim.Create()
		rival := newPartner(t, []int{0})
		rival.transport, rival.credentials, rival.sink = p.transport, p.credentials, memArchive{p.mem.Session()}
		var once sync.Once
		p.mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Op == sinktest.OpPut && c.Session == 2 {
				once.Do(func() {
					if err := rival.make(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			return sinktest.Fault{}
		})
		by, _, err = moved(pass)
		sooner("rival", by, outcomeDone)
		want("lost races", by["lost_races_total"], 1, 1)
		want("put of what exists", by["sink_puts_total{outcome=exists}"], 1, 1)
		if err != nil {
			t.Error(err)
		}

		sim.Create()
		p.mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Op == sinktest.OpPut {
				return sinktest.Fault{Outcome: sinktest.Failed}
			}
			return sinktest.Fault{}
		})
		by, _, err = moved(pass)
		sooner("sink", by, outcomeFailed)
		want("failed puts", by["sink_puts_total{outcome=failed}"], 1, 9)
		if !errors.Is(err, sinktest.ErrFault) {
			t.Error(err)
		}
		p.mem.Before(func(sinktest.Call) sinktest.Fault { return sinktest.Fault{} })

		busy := &p.stream(tenant{id: tenantNumber(0), source: "defender"}).busy
		busy.Store(true)
		by, _, _ = moved(pass)
		sooner("busy", by, outcomeSkipped)
		busy.Store(false)

		for range 150 { // more than one commit takes
			sim.Create()
		}
		time.Sleep(24 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		p.mem.Before(func(c sinktest.Call) sinktest.Fault {
			if c.Op == sinktest.OpPut && strings.HasPrefix(c.Key, "manifests/") {
				cancel()
			}
			return sinktest.Fault{}
		})
		by, _, err = moved(func() error { return p.make(ctx) })
		sooner("stopped", by, outcomeEarly)
		if err != nil && !errors.As(err, new(*exporter.Unfinished)) {
			t.Error(err)
		}
		p.mem.Before(func(sinktest.Call) sinktest.Fault { return sinktest.Fault{} })

		transport := p.transport
		p.transport = transportFunc(func(*http.Request) (*http.Response, error) { return nil, nil }) // against the contract
		by, _, err = moved(func() error {
			s := p.stream(p.listed[0])
			s.exporter = nil // wired anew
			return pass()
		})
		p.transport = transport
		sooner("panic", by, outcomeFailed)
		if err == nil || !strings.Contains(err.Error(), "a fault of this program") || !strings.Contains(p.log.String(), "the pass panicked") {
			t.Errorf("panic: %v", err)
		}
		if err := pass(); err != nil {
			t.Errorf("after the panic: %v", err)
		}
		p.whole(t, nil)

		if problems, err := testutil.GatherAndLint(p.metrics.registry); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestManyTenantsHaveNoLabels: of more than fifty only the worst is told, so that what is stored of
// them does not grow with their number.
func TestManyTenantsHaveNoLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		incidents := make([]int, mostLabelled+1)
		p := newPartner(t, incidents)
		p.measure()
		time.Sleep(time.Hour)
		for range 2 {
			p.sims[7].Change(func(b *simulator.Behaviour) { b.Consent = false })
			if err := p.make(t.Context()); err == nil {
				t.Error("no error of the tenant without consent")
			}
		}
		v := p.scraped(t)
		if lag := v["lag_seconds{source=defender,tenant=}"]; !math.IsInf(lag, 1) {
			t.Errorf("the worst lag is %v", lag)
		}
		p.sims[7].Change(func(b *simulator.Behaviour) { b.Consent = true })
		if err := p.make(t.Context()); err != nil {
			t.Error(err)
		}
		before := time.Now()
		p.sims[9].Change(func(b *simulator.Behaviour) { b.TokenUnavailable = true })
		time.Sleep(90 * time.Minute)
		if err := p.make(t.Context()); err == nil {
			t.Error("no error of the tenant without a token")
		}
		v = p.scraped(t)
		at := func(t time.Time) float64 { return float64(t.Unix()) }
		if got := v["lag_seconds{source=defender,tenant=}"]; got < 5400 || got > 6000 {
			t.Errorf("the worst lag is %v", got)
		}
		if got := v["covered_until_timestamp_seconds{source=defender,tenant=}"]; got < at(before)-120 || got > at(before) {
			t.Errorf("the least covered until %v, want a minute before %v", got, at(before))
		}
		if got := v["last_success_timestamp_seconds{source=defender,tenant=}"]; got < at(before)-60 || got > at(before)+1 {
			t.Errorf("the longest since a success: %v, want %v", got, at(before))
		}
		for name := range v {
			if strings.Contains(name, tenantNumber(1)) {
				t.Errorf("%s", name)
			}
		}
	})
}

// TestCountedSinkIsStillAProber: a directory is asked for single keys, through whatever counts.
func TestCountedSinkIsStillAProber(t *testing.T) {
	a, err := load(t, "EXPORTER_SINK=file:"+t.TempDir()).openSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	counted := newMetrics().sink(a)
	defer func() { _ = counted.Close() }()
	if err := counted.Put(t.Context(), "manifests/x", nil); err != nil {
		t.Fatal(err)
	}
	prober, ok := counted.(sinks.Prober)
	if !ok {
		t.Fatal("it is none")
	}
	if there, err := prober.Exists(t.Context(), "manifests/x"); !there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	if _, ok := newMetrics().sink(memArchive{sinktest.NewMem().Session()}).(sinks.Prober); ok {
		t.Error("a sink that is no prober became one")
	}
}
