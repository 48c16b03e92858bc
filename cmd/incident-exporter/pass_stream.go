package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks"
)

// streamPasses are the passes over one tenant, one at a time.
type streamPasses struct {
	p      *passes
	tenant tenant
	busy   atomic.Bool

	exporter *exporter.Exporter
	*wiring
	log   *slog.Logger            // of this program's own words about the pass under way
	round atomic.Pointer[string]  // the id of the round that it belongs to
	count func(exporter.Progress) // told of the progress of the pass under way
	watched
	begun       bool // a chain was begun here
	startTold   bool
	refusedTold string // the providers that refuse, as they were last named
}

// make makes one pass. What it has said is committed is, whatever the error. only says that there
// is no other tenant.
func (s *streamPasses) make(ctx context.Context, sink archive, only bool) error {
	p, begun := s.p, time.Now()
	s.count = p.metrics.watching()
	if s.exporter == nil {
		observe := func(progress exporter.Progress) {
			s.progressed(s.chain.Head())
			s.count(progress)
			if only {
				p.line.observe(progress)
			}
		}
		within := roundHandler{p.within.Handler(), &s.round}.logger().With(s.tenant.attrs()...)
		e, w, err := p.wire(s.tenant, sink, within, func(ctx context.Context) error { return s.begin(ctx, sink) }, observe)
		if err != nil {
			return err
		}
		s.exporter, s.wiring = e, w
		s.wired(w)
	}
	if only {
		p.line.begin()
	}
	progress, err := s.exporter.Run(ctx)
	if only {
		p.line.end() // nothing else may write to the terminal before
	}
	s.progressed(s.chain.Head())
	s.count(progress)
	s.clock(s.log)
	if progress.Head != "" {
		p.print(s.tenant.stream(), progress)
		s.startIgnored()
	}
	if progress.Unfetched > 0 {
		s.log.Warn("something could not be fetched and is tried again by each run; `incident-exporter verify` lists it", append(s.tenant.attrs(), "unfetched", progress.Unfetched)...)
	}
	s.refused()
	attrs := append(s.tenant.attrs(), "head", progress.Head, "covered_since", progress.Since, "covered_until", progress.Until, "holes", progress.Holes,
		"versions", progress.Versions, "commits", progress.Commits, "calls", progress.Calls, "quota_left", progress.Left,
		"unfetched", progress.Unfetched, "took", time.Since(begun).Round(time.Millisecond).String())
	if early(err) && progress.Commits > 0 {
		text, remedy := s.explain(ctx, err)
		p.metrics.ran(outcomeEarly)
		s.ended(text)
		s.log.Warn("run ended early, the next one goes on", append(attrs, "reason", text, "remedy", remedy)...)
		return nil
	}
	if err == nil {
		p.metrics.ran(outcomeDone)
		s.ended("")
		s.log.Info("run done", attrs...)
	}
	return err
}

// makeGuarded makes one pass, of which whatever goes wrong is an error.
func (s *streamPasses) makeGuarded(ctx context.Context, round *round, sink archive, only bool) error {
	s.log = round.log
	s.round.Store(&round.id)
	err := guarded(func() error { return s.make(ctx, sink, only) })
	if err == nil {
		return nil
	}
	if fault := (*panicked)(nil); errors.As(err, &fault) {
		round.log.Error("the pass panicked; the next one goes on from what is committed", append(s.tenant.attrs(), "panic", fault.value, "stack", fault.stack)...)
		s.exporter, s.wiring = nil, nil // it may be in any state
		s.wired(nil)
	}
	text, _ := s.explain(ctx, err)
	s.ended(text)
	if early(err) && ctx.Err() != nil {
		s.p.metrics.ran(outcomeEarly) // it was told to stop
	} else {
		s.p.metrics.ran(outcomeFailed)
	}
	return err
}

// early says that a pass was ended in good order before its end.
func early(err error) bool {
	return errors.As(err, new(*exporter.Unfinished)) || errors.As(err, new(*defender.LimitedError))
}

// begin looks at what the archive holds before a chain is begun in it. One beside the chains of
// tenants that nobody has configured, or beside what is no archive, is most likely a wrong tenant or
// a wrong place, and a chain can never be removed.
func (s *streamPasses) begin(ctx context.Context, sink sinks.Reader) error {
	p := s.p
	strange, none := "", true
	for found, err := range ledger.Streams(ctx, sink) {
		if err != nil {
			return err
		}
		none = false
		if p.isListed(found.Tenant) {
			if found.Tenant != s.tenant.id {
				s.begun = true // its archive: another tenant of ours has joined it
				return nil
			}
			continue
		}
		strange = found.Tenant
	}
	switch {
	case strange != "":
		return &ledger.Refusal{
			Text:   fmt.Sprintf("%s holds the archive of tenant %s, and none of tenant %s", p.cfg.Exporter.Sink, strange, s.tenant.id),
			Remedy: "set EXPORTER_SINK to another directory or prefix, or AZURE_TENANT_ID to the tenant whose archive this is; if both belong there, list both in EXPORTER_TENANTS",
		}
	case none:
		stranger, err := ledger.Stranger(ctx, sink)
		if err != nil {
			return err
		}
		if stranger != "" {
			return &ledger.Refusal{
				Text:   fmt.Sprintf("%s holds no archive but something else, such as %q", p.cfg.Exporter.Sink, stranger),
				Remedy: "set EXPORTER_SINK to an empty directory or prefix, or move away what is there: an archive shares its place with nothing",
			}
		}
	}
	s.begun = true
	return nil
}

// isListed says whether a tenant is configured, in whichever part.
func (p *passes) isListed(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.listed, func(t tenant) bool { return t.id == id })
}

// startIgnored warns once that a chain that exists begins where it begins.
func (s *streamPasses) startIgnored() {
	if !s.startTold && !s.begun && s.p.cfg.set("EXPORTER_START") {
		s.log.Warn("EXPORTER_START is ignored: the archive exists already and keeps its beginning", s.tenant.attrs()...)
	}
	s.startTold = true
}

// refused names the providers that refuse to serve what they have, once.
func (s *streamPasses) refused() {
	head := s.chain.Head()
	if head == nil {
		return
	}
	text := strings.Join(head.Partial, ", ")
	if text != "" && text != s.refusedTold {
		s.log.Warn("providers refuse to serve what they have: the archive lacks it", append(s.tenant.attrs(), "providers", text,
			"remedy", "none is needed if the tenant has no licence for those products; else grant the app what they ask for")...)
	}
	s.refusedTold = text
}

// clockMargin is the difference between our clock and the API's that is worth a word. A Date has
// whole seconds, and an answer its time on the way.
const clockMargin = time.Minute

func (s *streamPasses) clock(log *slog.Logger) {
	theirs, known := s.source.Now()
	if !known {
		return
	}
	if off := time.Since(theirs).Round(time.Second); off.Abs() > clockMargin {
		direction, then := "ahead of", "which is the one that counts"
		if off < 0 {
			direction = "behind"
		}
		if off < -mostAhead {
			then = "and nothing that is newer than it is read"
		}
		log.Warn(fmt.Sprintf("this machine's clock is off: it is %s %s the API's, %s", off.Abs(), direction, then),
			"remedy", "set this machine's clock (NTP)")
	}
}

// passResult is what a pass prints.
type passResult struct {
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Head      string `json:"head"`
	Since     string `json:"covered_since"` // "" if nothing is covered
	Until     string `json:"covered_until"`
	Holes     int    `json:"holes"`
	Versions  int    `json:"versions"`
	Commits   int    `json:"commits"`
	Calls     int    `json:"calls"`
	Unfetched int    `json:"unfetched"`
}

// print prints the chain's head, which someone may keep to hold the archive to it later. Where there
// are several tenants it says whose it is.
func (p *passes) print(stream ledger.Stream, r exporter.Progress) {
	p.printing.Lock()
	defer p.printing.Unlock()
	if !p.json {
		whose := ""
		if p.cfg.severalTenants() {
			whose = " " + stream.String()
		}
		fmt.Fprintln(p.app.stdout, r.Head+whose)
		return
	}
	line, err := json.Marshal(passResult{
		stream.Source, stream.Tenant, r.Head, timeText(r.Since), timeText(r.Until), r.Holes, r.Versions, r.Commits, r.Calls, r.Unfetched,
	})
	if err == nil {
		fmt.Fprintf(p.app.stdout, "%s\n", line)
	}
}
