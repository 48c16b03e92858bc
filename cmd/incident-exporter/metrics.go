package main

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"incident-exporter/exporter"
	"incident-exporter/sinks"
)

// metrics counts what passes do, for /metrics. What a stream's state is, metrics_streams.go says at
// each scrape. Names and labels are part of the documentation; none of them holds more values than
// there are tenants configured. All methods are safe for concurrent use, and do nothing on nil: who
// is not scraped does not count.
type metrics struct {
	registry *prometheus.Registry

	runs         *prometheus.CounterVec // by outcome
	versions     prometheus.Counter
	bytes        prometheus.Counter
	commits      prometheus.Counter
	calls        *prometheus.CounterVec // by source and class
	throttled    prometheus.Counter
	withdrawn    prometheus.Counter
	lost         prometheus.Counter
	puts         *prometheus.CounterVec // by outcome
	putDurations prometheus.Histogram
}

// Outcomes of the pass over a tenant, as the log tells them as well.
const (
	outcomeDone    = "done"    // all that there was to read is read
	outcomeEarly   = "early"   // ended before that in good order; what it committed stays
	outcomeFailed  = "failed"  // the log says why
	outcomeSkipped = "skipped" // the tenant's last pass was still under way
)

// newMetrics makes them, with a registry of their own.
func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.runs = vector("runs_total", "Passes over a tenant, by outcome.", "outcome")
	m.versions = counter("versions_total", "Versions of incidents committed to the archive.")
	m.bytes = counter("archived_bytes_total", "Bytes of the data objects committed to the archive, as stored.")
	m.commits = counter("commits_total", "Manifests committed to the archive.")
	m.calls = vector("api_calls_total", "Attempts of calls of the incidents API, by class of their status; error: no answer.", "source", "class")
	m.throttled = counter("throttled_seconds_total", "Seconds that calls waited because of the quota, each of several at once counted.")
	m.withdrawn = counter("claims_withdrawn_total", "Stretches that were claimed as covered, and that later manifests take back, by name.")
	m.lost = counter("lost_races_total", "Races lost to another writer of the same stream. Harmless, but two exporters spend the quota twice.")
	m.puts = vector("sink_puts_total", "Puts to the archive's storage, by outcome; exists: other bytes were there before.", "outcome")
	m.putDurations = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + "sink_put_duration_seconds", Help: "How long puts to the archive's storage took.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30},
	})
	version, commit := buildVersion()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricPrefix + "build_info", Help: "1, with what was built.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.putDurations, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// What is counted rarely is there from the beginning: a counter that comes into being with a
	// value has not increased.
	for _, outcome := range []string{outcomeDone, outcomeEarly, outcomeFailed, outcomeSkipped} {
		m.runs.WithLabelValues(outcome)
	}
	for _, outcome := range []string{putStored, putExists, putFailed} {
		m.puts.WithLabelValues(outcome)
	}
	return m
}

const metricPrefix = "incident_exporter_"

// ran counts a pass over a tenant.
func (m *metrics) ran(outcome string) {
	if m != nil {
		m.runs.WithLabelValues(outcome).Inc()
	}
}

// watching returns what is to be told of each progress of one pass: it counts what has come since
// it was last told.
func (m *metrics) watching() func(exporter.Progress) {
	if m == nil {
		return func(exporter.Progress) {}
	}
	var mu sync.Mutex
	var last exporter.Progress
	return func(p exporter.Progress) {
		mu.Lock()
		defer mu.Unlock()
		m.versions.Add(float64(p.Versions - last.Versions))
		m.bytes.Add(float64(p.Bytes - last.Bytes))
		m.commits.Add(float64(p.Commits - last.Commits))
		m.throttled.Add((p.Waited - last.Waited).Seconds())
		m.withdrawn.Add(float64(p.Withdrawn - last.Withdrawn))
		m.lost.Add(float64(p.Lost - last.Lost))
		last = p
	}
}

// transport counts the attempts of calls that go through next, by the class of their status.
func (m *metrics) transport(source string, next http.RoundTripper) http.RoundTripper {
	if m == nil {
		return next
	}
	for _, class := range []string{"2xx", "3xx", "4xx", "429", "5xx", "error"} {
		m.calls.WithLabelValues(source, class)
	}
	return &countedTransport{m.calls.MustCurryWith(prometheus.Labels{"source": source}), next}
}

type countedTransport struct {
	calls *prometheus.CounterVec
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *countedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	class := "error"
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusTooManyRequests:
		class = "429"
	default:
		class = strconv.Itoa(resp.StatusCode/100) + "xx"
	}
	t.calls.WithLabelValues(class).Inc()
	return resp, err
}

// Outcomes of a put.
const (
	putStored = "stored" // or there already with the same bytes
	putExists = "exists"
	putFailed = "failed"
)

// sink counts and times the puts to an archive.
func (m *metrics) sink(a archive) archive {
	if m == nil {
		return a
	}
	counted := countedSink{a, m}
	if p, ok := a.(sinks.Prober); ok {
		return struct {
			countedSink
			sinks.Prober
		}{counted, p}
	}
	return counted
}

type countedSink struct {
	archive
	m *metrics
}

// Put implements sinks.Sink.
func (s countedSink) Put(ctx context.Context, key string, data []byte) error {
	begun := time.Now()
	err := s.archive.Put(ctx, key, data)
	s.m.putDurations.Observe(time.Since(begun).Seconds())
	outcome := putStored
	switch {
	case errors.Is(err, sinks.ErrExists):
		outcome = putExists
	case err != nil:
		outcome = putFailed
	}
	s.m.puts.WithLabelValues(outcome).Inc()
	return err
}
