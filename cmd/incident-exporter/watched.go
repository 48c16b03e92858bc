package main

import (
	"sync"
	"time"

	"incident-exporter/exporter/ledger"
)

// watched is what is known of a stream by those who look on while its passes are made: metrics,
// health and the status page. It is safe for concurrent use.
type watched struct {
	mu        sync.Mutex
	wiring    *wiring // nil before the first pass
	coverage  coverage
	ahead     time.Duration // how far the API's clock is ahead of ours
	succeeded time.Time
	failure   string
}

// wired is told what the stream is read with.
func (w *watched) wired(with *wiring) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wiring = with
}

// progressed is told of each commit, and of the end of each pass: head is the newest manifest, nil if
// it is not known.
func (w *watched) progressed(head *ledger.Manifest) {
	of := coverageOf(head)
	w.mu.Lock()
	defer w.mu.Unlock()
	if head != nil {
		w.coverage = of
	}
}

// ended is told why a pass failed, "" if it came to its end. Only then what the API said its time
// was is fresh: the time since an answer does not count what the machine has slept.
func (w *watched) ended(failure string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = failure
	if failure != "" {
		return
	}
	w.succeeded = time.Now()
	if w.wiring == nil {
		return
	}
	if theirs, known := w.wiring.source.Now(); known {
		w.ahead = time.Until(theirs)
	}
}

// state is what is known now of the stream of a tenant.
func (w *watched) state(t tenant) streamState {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := streamState{
		stream: t.stream(), name: t.name, coverage: w.coverage, now: time.Now().Round(0).Add(w.ahead),
		succeeded: w.succeeded, quotaLeft: -1, failure: w.failure,
	}
	if w.wiring != nil {
		s.quotaLeft = w.wiring.source.Left()
		s.tokenExpiry = w.wiring.tokens.Expires()
	}
	return s
}

// unopened notes that there was no pass over tenants because the archive could not be opened.
func (p *passes) unopened(own []tenant, err error) {
	for _, t := range own {
		p.stream(t).ended("the archive cannot be opened: " + err.Error())
		p.metrics.ran(outcomeFailed)
	}
}
