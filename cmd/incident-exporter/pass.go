package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
)

// passes makes passes over the configured tenants and tells what came of each. Make may be called
// again while it is under way: a tenant whose pass is not over is left to it.
type passes struct {
	app  *app
	cfg  *config
	json bool // results are JSON

	log    *slog.Logger // of this program's own words
	within *slog.Logger // of what happens within a pass
	line   *progressLine

	transport http.RoundTripper   // to the API, of all tenants together
	share     *defender.Share     // of what they may use of this machine
	finished  func(*streamPasses) // told after each tenant's pass; may be nil
	metrics   *metrics            // nil: nobody asks for them
	ping      *pinger             // nil: there is none
	printing  sync.Mutex          // one result at a time
	skipped   atomic.Int64        // passes that were not made because the tenant's last one was not over

	mu          sync.Mutex
	sink        archive
	unready     string                     // why the archive could not be opened last time
	credentials map[string]auth.Credential // by audience
	streams     map[ledger.Stream]*streamPasses
	listed      []tenant  // the last list that could be read
	expires     time.Time // the client secret or certificate; zero: not known
	expiryTold  time.Time
}

// mostCalls is how many API calls are in flight at once, of all tenants together: what each of them
// reads is in memory meanwhile. With calls of 0.2 s it keeps a thousand tenants at what their quotas
// allow for long.
const mostCalls = 100

// newPasses loads the configuration and prepares passes. Nothing of the API or the archive is read
// or written before the first of them.
func (a *app) newPasses(asJSON bool) (*passes, error) {
	cfg, err := a.config(need{API: true})
	if err != nil {
		return nil, err
	}
	if err := cfg.startToCome(time.Now()); err != nil {
		return nil, err
	}
	p := &passes{
		app: a, cfg: cfg, json: asJSON, streams: map[ledger.Stream]*streamPasses{},
		transport: newHTTPClient(int(cfg.Exporter.Concurrency)).Transport,
		share:     defender.NewShare(mostCalls, int64(cfg.Exporter.MaxAnswerBytes)),
		ping:      cfg.newPinger(),
	}
	p.log, p.within, p.line = a.newProgress(cfg)
	return p, nil
}

// Close gives back what the passes hold.
func (p *passes) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sink != nil {
		_ = p.sink.Close() // nothing is written that Put has not made to last
	}
}

// open opens the archive unless that is done already, which creates its directory where there is
// none. One that could not be opened is tried again by the next pass.
func (p *passes) open(ctx context.Context) (archive, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sink != nil {
		return p.sink, nil
	}
	p.log.Info("tokens", "credential", string(p.cfg.kind), "endpoint", string(p.cfg.Exporter.TokenEndpoint), "app", string(p.cfg.Azure.ClientID), "authority", string(p.cfg.Azure.AuthorityHost))
	sink, err := p.cfg.openSink(ctx, p.within)
	if err != nil {
		p.unready = "the archive cannot be opened: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		return nil, err
	}
	p.sink = p.metrics.sink(sink)
	return p.sink, nil
}

// tenants are those of this process's part. If their file cannot be read any more, those that it
// had last are gone on with.
func (p *passes) tenants() (own []tenant, bad []badLine, err error) {
	all, bad, err := p.cfg.tenants()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.listed == nil {
			return nil, bad, err
		}
		p.log.Error("the tenants of the last run are gone on with", "error", err)
		all = p.listed
	}
	for _, b := range bad {
		p.log.Error("a tenant cannot be exported", "error", b.Error(), "remedy", "correct the line; the others are exported")
	}
	if p.cfg.shard.index > 1 {
		bad = nil // whose part they would be in cannot be known: they are the first's to fail for
	}
	p.listed = all
	return p.cfg.own(all), bad, nil
}

// stream is what is kept of a tenant between passes.
func (p *passes) stream(t tenant) *streamPasses {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.streams[t.stream()]
	if s == nil {
		s = &streamPasses{p: p, tenant: t}
		p.streams[t.stream()] = s
	}
	return s
}

// rename takes a tenant's name as it is listed now. It is called between the tenant's passes.
func (s *streamPasses) rename(t tenant) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.tenant = t
}

// drop forgets the tenants that are not listed any more. What they have in the archive stays. One
// whose pass is under way is forgotten after it: if it is listed again before, nothing has happened.
func (p *passes) drop(listed []tenant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[ledger.Stream]bool, len(listed))
	for _, t := range listed {
		kept[t.stream()] = true
	}
	for stream, s := range p.streams {
		if !kept[stream] && !s.busy.Load() {
			p.log.Info("tenant is not listed any more: its archive stays as it is", "source", stream.Source, "tenant", stream.Tenant)
			delete(p.streams, stream)
		}
	}
}

// makeRound does what make says, as a round that has been begun.
func (p *passes) makeRound(ctx context.Context, round *round) error {
	p.expiry(time.Now())
	own, bad, err := p.tenants()
	if err != nil {
		return err
	}
	p.drop(own)
	if len(own) == 0 && len(bad) == 0 {
		p.log.Info("no tenant is in this process's part", "shard", p.cfg.shard.String(), "tenants", len(p.listed))
		return nil
	}
	for _, t := range own {
		p.stream(t) // is looked on at from now on, whether or not the archive can be opened
	}
	sink, err := p.open(ctx)
	if err != nil {
		p.unopened(own, err)
		return err
	}
	only := len(own) == 1 && len(bad) == 0
	errs := make([]error, len(own))
	var running sync.WaitGroup
	var done atomic.Int64
	for i, t := range own {
		s := p.stream(t)
		running.Go(func() {
			if !s.busy.CompareAndSwap(false, true) {
				p.skipped.Add(1)
				p.metrics.ran(outcomeSkipped)
				round.log.Warn("skipped: the tenant's last pass is still under way", t.attrs()...)
				return
			}
			defer s.busy.Store(false)
			s.rename(t)
			round.ping.started()
			errs[i] = s.makeGuarded(ctx, round, sink, only)
			if p.finished != nil {
				p.finished(s)
			}
			if !only {
				p.line.tenants(int(done.Add(1)), len(own))
			}
		})
	}
	running.Wait()
	p.line.end()
	if only {
		return errs[0]
	}
	failed, stopped := len(bad), 0
	for i, err := range errs {
		if err == nil {
			continue
		}
		if ctx.Err() != nil && errors.As(err, new(*exporter.Unfinished)) {
			stopped++ // in good order, before it had committed anything
			continue
		}
		failed++
		s := p.stream(own[i])
		text, remedy := s.explain(ctx, err)
		round.log.Error("tenant failed", append(own[i].attrs(), "error", text, "remedy", remedy)...)
	}
	all := len(own) + len(bad)
	if ctx.Err() != nil {
		round.log.Warn("stopped by a signal; the next run goes on", "tenants", all, "not_begun", stopped, "failed", failed)
	}
	switch {
	case failed == 0:
		return nil
	case failed == all:
		return &exitError{exitFailed, fmt.Errorf("all %d tenants failed", all), "each is named above, with what to do"}
	}
	return &exitError{exitPartial, fmt.Errorf("%d of %d tenants failed", failed, all), "each is named above, with what to do; the others are exported"}
}

// expiryWarning is how long before a credential's end it is warned of, once a day.
const expiryWarning = 30 * 24 * time.Hour

// renewal is what expires of the credential, and what to do about it.
func (c *config) renewal() (what, remedy string) {
	if c.kind == auth.Certificate {
		return "the certificate", "upload a new certificate to the app registration and put it, with its key, where AZURE_CLIENT_CERTIFICATE_PATH says"
	}
	return "the client secret", "make a new client secret in the app registration, set it, and set EXPORTER_SECRET_EXPIRES to its date"
}

// expiry warns of a client secret whose date is given, and of a certificate.
func (p *passes) expiry(now time.Time) {
	expires := p.credentialExpiry()
	p.mu.Lock()
	told := now.Before(p.expiryTold.Add(24 * time.Hour))
	p.expires = expires
	p.mu.Unlock()
	if told {
		return
	}
	what, remedy := p.cfg.renewal()
	if expires.IsZero() || now.Add(expiryWarning).Before(expires) {
		return
	}
	p.mu.Lock()
	p.expiryTold = now
	p.mu.Unlock()
	date := expires.Format(time.DateOnly)
	if now.Before(expires) {
		p.log.Warn(what+" expires soon", "expires", date, "days", int(expires.Sub(now).Hours()/24), "remedy", remedy)
		return
	}
	p.log.Error(what+" has expired: runs fail or are about to", "expires", date, "remedy", remedy)
}

// credentialExpiry is when the client secret or certificate expires, the zero time if that is not
// known.
func (p *passes) credentialExpiry() time.Time {
	switch p.cfg.kind {
	case auth.ClientSecret:
		return p.cfg.Exporter.SecretExpires.Time
	case auth.Certificate:
		at, err := auth.CertificateExpires(string(p.cfg.Azure.ClientCertificatePath), p.cfg.certificatePassword)
		if err == nil { // else getting a token says what is wrong with it
			return at
		}
	}
	return time.Time{}
}

// settled gives an error of the only tenant, or of the program as a whole, its text and remedy.
func (p *passes) settled(ctx context.Context, err error) error {
	var exit *exitError
	var config *configError
	if err == nil || errors.As(err, &exit) || errors.As(err, &config) {
		return err
	}
	text, remedy := p.explainOnly(ctx, err)
	return &exitError{exitFailed, errors.New(text), remedy}
}
