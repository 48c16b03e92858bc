// Package defender reads the incidents APIs of Microsoft Defender XDR, that of
// its own and that of Microsoft Graph (api.go), so that nothing is lost.
//
// They promise little: no order, no consistent pages, no bound on what
// changes while pages are read; its $skip counts through a set that changes.
// So nothing is taken for complete because an answer ended. A window of update
// time that lies in the past is complete when that can be shown from what was
// answered (window.go says how), and is split and read again when it cannot;
// what resists at the finest split is handed on as unfetched, by name.
//
// Three assumptions are made and no others: no answer shows an older state than
// one before it, an update never hides an incident, and a server that cuts its
// answers short without a word cuts them at one length. What the server does
// not document, how it takes upper bounds, how finely it compares times, how
// long its pages really are, is found out at run time.
package defender

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/rawjson"
)

// Config says what to read and how hard to try.
type Config struct {
	Origin      *url.URL // https origin of the API; the token goes nowhere else
	Transport   http.RoundTripper
	Tokens      Tokens
	Quota       []Limit
	Concurrency int           // calls in flight
	Overlap     time.Duration // how late a change may become visible
	MaxAnswer   int64         // bytes of one answer; of one incident alone 8 times that
	Hold        int64         // bytes of lines held compressed until their windows are proven; default: what Share gives
	Share       *Share        // with the sources of other tenants; nil: this one is alone
	Log         *slog.Logger

	API       API           // default Defender
	Path      string        // default the API's
	Top       int           // largest page, default the API's
	MaxSkip   int           // highest $skip that is used, default the API's
	Retention time.Duration // default 180 days
}

// Source is an exporter.Source.
type Source struct {
	cfg    Config
	client *client
	log    *slog.Logger
	names  rawjson.Names
	memory *memory
	packer *packer
	held   held
	splits atomic.Int64 // windows, since Usage was last asked for

	mu         sync.Mutex
	bound      bound
	boundKnown bool
	unit       time.Duration // resolution
	top        int           // page size, less than cfg.Top where the server caps it
	longest    map[bool]int  // rows of the longest answer, without what can be left out or with it
	earliest   time.Time     // earliest instant asked for with this page size
	doubt      time.Time     // earliest instant asked for with a larger one
	counts     trust
	pace       pace
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
	if cfg.MaxSkip == 0 {
		cfg.MaxSkip = cfg.API.maxSkip
	}
	if cfg.Retention == 0 {
		cfg.Retention = 180 * 24 * time.Hour
	}
	if cfg.Share == nil {
		cfg.Share = NewShare(cfg.Concurrency, cfg.MaxAnswer)
	}
	return &Source{
		cfg: cfg, log: cfg.Log, unit: rawjson.Tick, top: cfg.Top, longest: map[bool]int{},
		client: newClient(&cfg),
		names:  cfg.API.names,
		memory: cfg.Share.memory, packer: cfg.Share.packer, held: held{freed: make(chan struct{})},
		pace: pace{most: cfg.MaxSkip * 85 / 100},
	}
}

// hold is how many bytes of lines may be held, compressed.
func (s *Source) hold() int64 {
	if s.cfg.Hold > 0 {
		return s.cfg.Hold
	}
	return s.cfg.Share.hold()
}

// Now implements exporter.Source.
func (s *Source) Now() (time.Time, bool) { return s.client.now() }

// Clock implements exporter.Source. It asks for what is updated long after
// now: nothing, so that no incident can make it fail.
func (s *Source) Clock(ctx context.Context) error {
	_, err := s.list(ctx, query{from: time.Now().UTC().AddDate(10, 0, 0).Truncate(time.Second), bare: true}, 1, 0, attempts)
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
	u := exporter.Usage{Calls: c.calls, Requests: c.requests, Waited: c.quota.wait(), Split: int(s.splits.Swap(0))}
	c.calls, c.requests = 0, nil
	return u
}

// Doubt implements exporter.Source.
func (s *Source) Doubt() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubt
	s.doubt = time.Time{}
	return d, !d.IsZero()
}

// pageSize is $top.
func (s *Source) pageSize() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.top
}

// capped learns that the server's pages are at most n long. What was read
// with a longer $top in this process is read again: it was shown complete by
// the same means that have just been seen to be needed.
func (s *Source) capped(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= s.top || n < 1 {
		return
	}
	s.log.Warn("the API's pages are shorter than asked for", "asked", s.top, "got", n)
	s.top = n
	if s.doubt.IsZero() || s.earliest.Before(s.doubt) {
		s.doubt = s.earliest
	}
}

// served notes an answer's length.
func (s *Source) served(q query, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bare := q.bare && s.cfg.API.expand != ""
	s.longest[bare] = max(s.longest[bare], n)
}

// servesMore says whether answers longer than n have been seen, so that one of
// n was not cut by a limit that is not known.
func (s *Source) servesMore(q query, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n < s.longest[q.bare && s.cfg.API.expand != ""]
}

// reads notes that from is asked for.
func (s *Source) reads(from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.earliest.IsZero() || from.Before(s.earliest) {
		s.earliest = from
	}
}

// Since implements exporter.Source: an open-ended single answer. Such a set
// only grows: if nothing lies behind the answer's rows, asked after it, they
// are all of it.
func (s *Source) Since(ctx context.Context, from time.Time) (*exporter.Segment, error) {
	s.reads(from)
	q := query{from: from.Truncate(s.resolution())}
	a, err := s.list(ctx, q, s.pageSize(), 0, attempts)
	if err != nil {
		return nil, s.blocked(ctx, err)
	}
	date := s.date()
	s.pace.seen(a.rows, s.pageSize())
	if (len(a.rows) >= s.pageSize() || a.more) && !s.alone(a) {
		return nil, nil
	}
	f := found{from: from, to: date, asked: a.asked, rows: a.rows}
	if f.twice() != "" {
		return nil, nil
	}
	if len(a.rows) > 0 && !s.alone(a) {
		behind, err := s.list(ctx, q.without(), 1, len(a.rows), attempts)
		if err != nil {
			return nil, s.blocked(ctx, err)
		}
		if len(behind.rows) > 0 {
			return nil, nil // grown, or capped: closed windows will tell
		}
		if !s.ended(a, behind, len(a.rows)) {
			return nil, nil
		}
		s.complete(a, behind, len(a.rows))
	}
	return f.segment(s.packer), nil
}

// down is the error to end with when a call failed for what may be one
// incident that cannot be served: none if the API answers at all.
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

// blocked is what an error of Since comes to: nothing, if windows can find
// out which incident it is about.
func (s *Source) blocked(ctx context.Context, err error) error {
	if !oneCannot(err) {
		return err
	}
	return s.down(ctx, err)
}

// date is the Date of the newest answer.
func (s *Source) date() time.Time {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.date
}
