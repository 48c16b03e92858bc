package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// status answers questions about the daemon (EXPORTER_LISTEN):
//
//	/healthz   200: the schedule is followed; 503: it is not, which only a new process mends
//	/readyz    200: the configuration is loaded and the archive was reached; 503 with the reason before
//	/metrics   for Prometheus
//
// How far the archive is behind is no reason for either to be 503: whoever asks them restarts what is
// not alive and takes out what is not ready, and an exporter that lags because its API is down or its
// secret has expired would come back to the same, having lost what it had begun. Freshness is told by
// /metrics, by `incident-exporter health`, and as text by /healthz?verbose.
//
// Nothing of what it says is secret, but it names tenants; it has no authentication of its own.
type status struct {
	p      *passes
	alive  func() error
	next   func() time.Time
	listen net.Listener
	server *http.Server
	served chan struct{}
}

// startStatus listens on address and answers in the background.
func (p *passes) startStatus(address listenAddress, alive func() error, next func() time.Time) (*status, error) {
	listener, err := net.Listen("tcp", string(address))
	if err != nil {
		return nil, &exitError{exitFailed, fmt.Errorf("listen at EXPORTER_LISTEN: %w", err), "set EXPORTER_LISTEN to an address of this machine and a port that nothing else uses and this program's user may use"}
	}
	s := &status{p: p, alive: alive, next: next, listen: listener, served: make(chan struct{})}
	s.server = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       log.New(io.Discard, "", 0), // of connections that others break
	}
	go func() {
		defer close(s.served)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("metrics and health are not served any more", "error", err)
		}
	}()
	p.log.Info("listening", "address", listener.Addr().String())
	return s, nil
}

// stop ends it; answers that are under way have a moment.
func (s *status) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	<-s.served
}

func (s *status) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		err := s.alive()
		answer(w, err)
		if r.URL.Query().Has("verbose") {
			s.describe(w)
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.p.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	return mux
}

// answer says ok, or what is wrong.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready is nil once the archive has been reached.
func (s *status) ready() error {
	s.p.mu.Lock()
	reached, failure := s.p.sink != nil, s.p.unready
	s.p.mu.Unlock()
	switch {
	case reached:
		return nil
	case failure != "":
		return errors.New(failure)
	}
	return errors.New("starting: no pass has reached the archive yet")
}

// describe writes one line a stream.
func (s *status) describe(w io.Writer) {
	most := s.p.cfg.Exporter.MaxLag
	for _, state := range s.p.states() {
		verdict, wrong := "ok", state.wrong(state.now, most)
		if wrong != "" {
			verdict = "LAGS"
		}
		line := fmt.Sprintf("%s %s", verdict, state.stream)
		if state.name != "" {
			line += " " + state.name
		}
		if state.known() {
			line += " " + state.text(state.now)
			if wrong != "" {
				line += ": " + wrong
			}
		} else {
			line += " not known yet"
		}
		if state.unfetched > 0 {
			line += fmt.Sprintf(", %d unfetched", state.unfetched)
		}
		if len(state.partial) > 0 {
			line += ", refused by " + strings.Join(state.partial, ", ")
		}
		if state.failure != "" {
			line += ", last pass: " + strings.ReplaceAll(state.failure, "\n", "; ")
		}
		fmt.Fprintln(w, line)
	}
	if next := s.next(); !next.IsZero() {
		fmt.Fprintln(w, "next run", next.UTC().Format(time.RFC3339))
	}
}
