package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"incident-exporter/exporter/ledger"
)

// mostLabelled is up to how many streams each has a label of its own. Of more, only the worst is
// told, under an empty tenant: `health` says which it is.
const mostLabelled = 50

// streamState is what is known of a stream between passes.
type streamState struct {
	stream ledger.Stream
	name   string // for people, may be empty
	coverage
	now         time.Time // by the API's clock, once an answer has told it
	succeeded   time.Time // end of the last pass that came to its end, zero: none
	quotaLeft   int       // -1: no pass has been made
	tokenExpiry time.Time
	failure     string // why the last pass failed, "" if it did not
}

// lag is how far behind now the archive is. Of a stream of which nothing is known it has no end:
// an alert on it must not wait for a first success.
func (s streamState) lag() time.Duration {
	if !s.known() {
		return math.MaxInt64
	}
	return s.coverage.lag(s.now)
}

// states are those of the streams of this process, in order.
func (p *passes) states() []streamState {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make([]streamState, 0, len(p.streams))
	for _, s := range p.streams {
		states = append(states, s.state(s.tenant))
	}
	slices.SortFunc(states, func(a, b streamState) int { return cmp.Compare(a.stream.String(), b.stream.String()) })
	return states
}

// streamMetrics tells the states of streams at each scrape.
type streamMetrics struct {
	p    *passes
	next func() time.Time // when the next run is due, the zero time if it is not known

	since, until, succeeded, lag, holes, backfill, quota, unfetched, partial, token, credential, due *prometheus.Desc
}

// watchStreams enters them into the registry. next may be nil.
func (p *passes) watchStreams(next func() time.Time) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
	}
	p.metrics.registry.MustRegister(&streamMetrics{
		p: p, next: next,
		since:      desc("covered_since_timestamp_seconds", "Everything updated from this time to covered_until is archived. Of more than 50 streams: the latest.", "source", "tenant"),
		until:      desc("covered_until_timestamp_seconds", "The newest end of what is archived. Of more than 50 streams: the least.", "source", "tenant"),
		succeeded:  desc("last_success_timestamp_seconds", "When a pass last came to its end. Of more than 50 streams: the longest ago.", "source", "tenant"),
		holes:      desc("holes", "Stretches before covered_until that are still to be read: neither archived, nor unfetched, nor of a first backfill. Of more than 50 streams: all together.", "source", "tenant"),
		backfill:   desc("backfill", "1 while the first backfill of a new archive is under way, else 0. Of more than 50 streams: 1 for any of them.", "source", "tenant"),
		lag:        desc("lag_seconds", "How far covered_until is behind now, by the API's clock; +Inf: not known yet. Of more than 50 streams: the most.", "source", "tenant"),
		quota:      desc("quota_left", "API calls that the quota allows now. Of more than 50 streams: the fewest.", "source", "tenant"),
		unfetched:  desc("unfetched", "Stretches of update time that could not be fetched so far. Of more than 50 streams: all together.", "source", "tenant"),
		partial:    desc("partial_providers", "Providers that refuse to serve what they have, so that answers lack it. Of more than 50 streams: the most.", "source", "tenant"),
		token:      desc("token_expiry_timestamp_seconds", "When the access token that is held expires. Of more than 50 streams: the first.", "tenant"),
		credential: desc("credential_expiry_timestamp_seconds", "When the client secret (EXPORTER_SECRET_EXPIRES) or certificate expires."),
		due:        desc("next_run_timestamp_seconds", "When the next run is due."),
	})
}

// Describe implements prometheus.Collector.
func (c *streamMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.since, c.until, c.succeeded, c.lag, c.holes, c.backfill, c.quota, c.unfetched, c.partial, c.token, c.credential, c.due} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *streamMetrics) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	at := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			tell(d, float64(t.UnixMicro())/1e6, labels...)
		}
	}
	states := c.p.states()
	if len(states) > mostLabelled {
		states = worst(states)
	}
	tokens := map[string]time.Time{} // both sources of a tenant have one each
	for _, s := range states {
		labels := []string{s.stream.Source, s.stream.Tenant}
		at(c.since, s.since, labels...)
		at(c.until, s.until, labels...)
		at(c.succeeded, s.succeeded, labels...)
		lag := s.lag().Seconds()
		if !s.known() {
			lag = math.Inf(1)
		}
		tell(c.lag, lag, labels...)
		backfill := 0.0
		if s.backfill {
			backfill = 1
		}
		tell(c.holes, float64(len(s.open)), labels...)
		tell(c.backfill, backfill, labels...)
		tell(c.unfetched, float64(s.unfetched), labels...)
		tell(c.partial, float64(len(s.partial)), labels...)
		if s.quotaLeft >= 0 {
			tell(c.quota, float64(s.quotaLeft), labels...)
		}
		tokens[s.stream.Tenant] = sooner(tokens[s.stream.Tenant], s.tokenExpiry)
	}
	for tenant, expiry := range tokens {
		at(c.token, expiry, tenant)
	}
	c.p.mu.Lock()
	expires := c.p.expires
	c.p.mu.Unlock()
	at(c.credential, expires)
	if c.next != nil {
		at(c.due, c.next())
	}
}

// worst is one state a source that is as bad as the worst of its tenants in everything.
func worst(states []streamState) []streamState {
	bySource := map[string]*streamState{}
	for _, s := range states {
		s.stream.Tenant = ""
		w := bySource[s.stream.Source]
		if w == nil {
			bySource[s.stream.Source] = &s
			continue
		}
		if s.lag() > w.lag() {
			w.until, w.now = s.until, s.now
		}
		if s.since.After(w.since) {
			w.since = s.since
		}
		if len(s.partial) > len(w.partial) {
			w.partial = s.partial
		}
		w.open = append(slices.Clip(w.open), s.open...)
		w.backfill = w.backfill || s.backfill
		if s.succeeded.Before(w.succeeded) {
			w.succeeded = s.succeeded
		}
		w.unfetched += s.unfetched
		if s.quotaLeft >= 0 && (w.quotaLeft < 0 || s.quotaLeft < w.quotaLeft) {
			w.quotaLeft = s.quotaLeft
		}
		w.tokenExpiry = sooner(w.tokenExpiry, s.tokenExpiry)
	}
	var all []streamState
	for _, w := range bySource {
		all = append(all, *w)
	}
	return all
}

// sooner is the earlier of two times, of which either may not be known.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
