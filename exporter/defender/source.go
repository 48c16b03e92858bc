// Package defender reads the incidents APIs of Microsoft Defender XDR, that of
// its own and that of Microsoft Graph (api.go), so that nothing is lost.
//
// What is read, and what an answer shows, is the rule of package walk. This
// package asks its questions: within the quota, with retries and a token, page
// by page, an incident by its id where a list cannot serve it. What a server
// does not document, how it takes upper bounds, how long its answers really
// are, in which order they come, is found out at run time.
package defender

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/rawjson"
)

// Config says what to read and how hard to try.
type Config struct {
	Origin      *url.URL // https origin of the API; the token goes nowhere else
	Transport   http.RoundTripper
	Tokens      Tokens
	Quota       []Limit
	Concurrency int    // calls in flight
	MaxAnswer   int64  // bytes of one answer; of one incident alone 8 times that
	Share       *Share // with the sources of other tenants; nil: this one is alone
	Log         *slog.Logger

	API       API           // default Defender
	Path      string        // default the API's
	Top       int           // largest page, default the API's
	Retention time.Duration // default 180 days
}

// Source is an exporter.Source.
type Source struct {
	cfg     Config
	client  *client
	log     *slog.Logger
	names   rawjson.Names
	share   *Share
	dialect dialect
	know    walk.Knowledge
	oldest  time.Time
	narrow  narrowing
}

var _ exporter.Source = (*Source)(nil)

// New returns a Source that has asked for nothing yet.
func New(cfg Config) *Source {
	cfg.API = cfg.API.orDefender()
	if cfg.Path == "" {
		cfg.Path = cfg.API.path
	}
	if cfg.Top == 0 {
		cfg.Top = cfg.API.top
	}
	if cfg.Retention == 0 {
		cfg.Retention = 180 * 24 * time.Hour
	}
	if cfg.Share == nil {
		cfg.Share = NewShare(cfg.Concurrency, cfg.MaxAnswer)
	}
	return &Source{cfg: cfg, log: cfg.Log, client: newClient(&cfg), names: cfg.API.names, share: cfg.Share}
}

// Begin implements exporter.Source.
func (s *Source) Begin(disorder bool, oldest time.Time) {
	s.dialect.reset()
	s.know.Forget(disorder)
	s.narrow = narrowing{}
	s.oldest = oldest
}

// Now implements exporter.Source.
func (s *Source) Now() (time.Time, bool) { return s.client.now() }

// Reach implements exporter.Source: what the API keeps, and a day, because it
// does not say to the hour what it keeps.
func (s *Source) Reach() time.Duration { return s.cfg.Retention + 24*time.Hour }

// Clock implements exporter.Source. It asks for what is updated long after
// now: nothing, so that no incident can make it fail.
func (s *Source) Clock(ctx context.Context) error {
	p, err := s.list(ctx, walk.Question{From: time.Now().UTC().AddDate(10, 0, 0).Truncate(time.Second), Top: 1}, true, attempts)
	p.release()
	return err
}

// Spent implements exporter.Source.
func (s *Source) Spent(calls map[time.Time]int) { s.client.quota.spent(calls) }

// Left implements exporter.Source.
func (s *Source) Left() int { return s.client.quota.left() }

// Usage implements exporter.Source.
func (s *Source) Usage() exporter.Usage {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	u := exporter.Usage{Calls: c.calls, Requests: c.requests, Waited: c.quota.wait()}
	c.calls, c.requests = 0, nil
	return u
}

// oneCannot says whether an error may be about one of the incidents that were
// asked for: the API fails to serve it, in time or at all, or serves what
// cannot be read.
func oneCannot(err error) bool {
	var api *APIError
	if errors.As(err, &api) {
		return api.Temporary() && api.Status != http.StatusTooManyRequests
	}
	return errors.Is(err, errSlow)
}

// narrowing bounds what one run spends on what the API cannot serve.
type narrowing struct {
	mu     sync.Mutex
	failed int
	mark   int // calls that had succeeded when one last failed
}

// mostFailed is how many questions may fail in one run: two seconds somewhere
// in half a year are found by as many.
const mostFailed = 100

// fails notes a question that failed, and says whether it is the first.
func (n *narrowing) fails(succeeded int) (first bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed++
	n.mark = succeeded
	return n.failed == 1
}

func (n *narrowing) spent() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed > mostFailed
}

func (n *narrowing) tries() (tries, mark int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed > 0 {
		return narrowAttempts, n.mark
	}
	return attempts, n.mark
}

// down returns cause if the API does not answer at all, so that it is about no
// one incident; and what else keeps it from being asked.
func (s *Source) down(ctx context.Context, cause error) error {
	err := s.Clock(ctx)
	if limited := (*LimitedError)(nil); errors.As(err, &limited) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		return cause
	}
	return nil
}

// Read implements exporter.Source.
func (s *Source) Read(ctx context.Context, what exporter.Reading, to exporter.Receiver) error {
	if what.Again {
		ctx = context.WithValue(ctx, againKey{}, true)
	}
	s.know.Begin()
	r := s.reading(to)
	r.alone = !what.Long
	return r.run(ctx, what.From.Time, what.To.Time)
}

// Once implements exporter.Source.
func (s *Source) Once(ctx context.Context, what ledger.Span, audit bool, to exporter.Receiver) (served, whole bool, err error) {
	r := s.reading(to)
	r.once, r.alone = true, true
	l := r.lane(context.WithValue(ctx, againKey{}, true), what.From.Time, what.To.Time)
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	defer caught(&err)
	served, whole, err = l.reader.Once(what.From.Time, what.To.Time, audit)
	if err = outcome(err); err == exporter.ErrEnough {
		return false, false, nil
	}
	return served, whole, err
}

// outcome is what an error of the rule comes to.
func outcome(err error) error {
	switch {
	case errors.Is(err, walk.ErrIgnored):
		return &IgnoredFilterError{err}
	case errors.Is(err, walk.ErrSpent):
		return exporter.ErrEnough
	}
	return err
}

// IgnoredFilterError says that answers hold what was not asked for, so that
// nothing that they show can be relied on.
type IgnoredFilterError struct{ Err error }

func (e *IgnoredFilterError) Error() string { return e.Err.Error() }
func (e *IgnoredFilterError) Unwrap() error { return e.Err }
