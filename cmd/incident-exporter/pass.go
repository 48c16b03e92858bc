package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
)

// passes makes passes over the configured stream and tells what came of each. It is for one
// goroutine at a time.
type passes struct {
	app  *app
	cfg  *config
	json bool // results are JSON

	log    *slog.Logger // of this program's own words
	within *slog.Logger // of what happens within a pass
	line   *progressLine

	exporter *exporter.Exporter
	*wiring

	seen       bool // the stream's chain has been seen in the archive
	startTold  bool
	secretTold time.Time
}

// newPasses loads the configuration and prepares passes. Nothing of the API or the archive is read
// or written before the first of them.
func (a *app) newPasses(asJSON bool) (*passes, error) {
	cfg, err := a.config(need{API: true})
	if err != nil {
		return nil, err
	}
	if at := cfg.Exporter.Start.at; at.After(time.Now()) {
		return nil, &configError{[]problem{{"EXPORTER_START", fmt.Sprintf(
			"is %s, which is still to come: set it to a time in the past, or correct this machine's clock", at.Format(time.RFC3339))}}}
	}
	p := &passes{app: a, cfg: cfg, json: asJSON}
	p.log, p.within, p.line = a.newProgress(cfg)
	return p, nil
}

// Close gives back what the passes hold.
func (p *passes) Close() {
	if p.wiring != nil {
		_ = p.wiring.Close() // nothing is written that Put has not made to last
	}
}

// open wires the exporter unless that is done already. An archive that could not be opened is
// tried again by the next pass.
func (p *passes) open(ctx context.Context) error {
	if p.exporter != nil {
		return nil
	}
	e, w, err := p.app.newExporter(ctx, p.cfg, p.within, p.line.observe)
	if err != nil {
		return err
	}
	p.exporter, p.wiring = e, w
	return nil
}

// make makes one pass. What it says is committed is, whatever the error.
func (p *passes) make(ctx context.Context) (exporter.Progress, error) {
	begun := time.Now()
	p.secretExpires(begun)
	progress, err := p.attempt(ctx)
	p.line.end() // nothing else may write to the terminal before
	p.clock()
	if progress.Head != "" {
		p.print(progress)
	}
	if progress.Unfetched > 0 {
		p.log.Warn("something could not be fetched and is tried again by each run; `incident-exporter verify` lists it", "unfetched", progress.Unfetched)
	}
	attrs := []any{
		"source", p.cfg.stream().Source, "tenant", p.cfg.stream().Tenant, "head", progress.Head, "covered_until", progress.Covered,
		"versions", progress.Versions, "commits", progress.Commits, "calls", progress.Calls, "quota_left", progress.Left,
		"unfetched", progress.Unfetched, "took", time.Since(begun).Round(time.Millisecond).String(),
	}
	if early(err) && progress.Commits > 0 {
		text, remedy := p.explain(ctx, err)
		p.log.Warn("run ended early, the next one goes on", append(attrs, "reason", text, "remedy", remedy)...)
		return progress, nil
	}
	if err == nil {
		p.log.Info("run done", attrs...)
	}
	return progress, err
}

// early says that a pass was ended in good order before its end.
func early(err error) bool {
	return errors.As(err, new(*exporter.Unfinished)) || errors.As(err, new(*defender.LimitedError))
}

func (p *passes) attempt(ctx context.Context) (exporter.Progress, error) {
	if err := p.open(ctx); err != nil {
		return exporter.Progress{}, err
	}
	if err := p.look(ctx); err != nil {
		return exporter.Progress{}, err
	}
	p.line.begin()
	return p.exporter.Run(ctx)
}

// look looks at what the archive holds before it is written to, until the stream's chain has been
// seen there. A new chain beside another tenant's, or beside what is no archive, is most likely a
// wrong tenant or a wrong place, and a chain can never be removed.
func (p *passes) look(ctx context.Context) error {
	if p.seen {
		return nil
	}
	others, none := "", true
	for s, err := range ledger.Streams(ctx, p.sink) {
		switch {
		case err != nil:
			return err
		case s == p.stream:
			p.startIgnored()
			p.seen = true
			return nil
		case s.Tenant != p.stream.Tenant:
			others = s.Tenant
		}
		none = false
	}
	if none {
		stranger, err := ledger.Stranger(ctx, p.sink)
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
	if others == "" {
		return nil
	}
	return &ledger.Refusal{
		Text:   fmt.Sprintf("%s holds the archive of tenant %s, and none of tenant %s", p.cfg.Exporter.Sink, others, p.stream.Tenant),
		Remedy: "set EXPORTER_SINK to another directory or prefix, or AZURE_TENANT_ID to the tenant whose archive this is",
	}
}

// startIgnored warns once that a chain that exists begins where it begins.
func (p *passes) startIgnored() {
	if !p.startTold && p.cfg.set("EXPORTER_START") {
		p.log.Warn("EXPORTER_START is ignored: the archive exists already and keeps its beginning")
	}
	p.startTold = true
}

// set says whether the variable was set.
func (c *config) set(name string) bool {
	for _, row := range c.rows {
		if row.name == name {
			return row.origin != originDefault
		}
	}
	return false
}

// secretWarning is how long before the date EXPORTER_SECRET_EXPIRES names it is warned of, once
// a day.
const secretWarning = 30 * 24 * time.Hour

func (p *passes) secretExpires(now time.Time) {
	expires := p.cfg.Exporter.SecretExpires
	if expires.IsZero() || now.Add(secretWarning).Before(expires.Time) || now.Before(p.secretTold.Add(24*time.Hour)) {
		return
	}
	p.secretTold = now
	const remedy = "make a new client secret in the app registration, set it, and set EXPORTER_SECRET_EXPIRES to its date"
	if now.Before(expires.Time) {
		p.log.Warn("the client secret expires soon", "expires", expires.String(), "days", int(expires.Sub(now).Hours()/24), "remedy", remedy)
		return
	}
	p.log.Error("the client secret has expired by EXPORTER_SECRET_EXPIRES: runs fail or are about to", "expires", expires.String(), "remedy", remedy)
}

// clockMargin is the difference between our clock and the API's that is worth a word. A Date has
// whole seconds, and an answer its time on the way.
const clockMargin = time.Minute

func (p *passes) clock() {
	if p.wiring == nil {
		return
	}
	theirs, known := p.source.Now()
	if !known {
		return
	}
	if off := time.Since(theirs).Round(time.Second); off.Abs() > clockMargin {
		direction := "ahead of"
		if off < 0 {
			direction = "behind"
		}
		p.log.Warn(fmt.Sprintf("this machine's clock is off: it is %s %s the API's, which is the one that counts", off.Abs(), direction),
			"remedy", "set this machine's clock (NTP)")
	}
}

// passResult is what a pass prints.
type passResult struct {
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Head      string `json:"head"`
	Covered   string `json:"covered_until"`
	Versions  int    `json:"versions"`
	Commits   int    `json:"commits"`
	Calls     int    `json:"calls"`
	Unfetched int    `json:"unfetched"`
}

// print prints the chain's head, which someone may keep to hold the archive to it later.
func (p *passes) print(r exporter.Progress) {
	if !p.json {
		fmt.Fprintln(p.app.stdout, r.Head)
		return
	}
	line, err := json.Marshal(passResult{
		p.stream.Source, p.stream.Tenant, r.Head, r.Covered.UTC().Format(time.RFC3339Nano), r.Versions, r.Commits, r.Calls, r.Unfetched,
	})
	if err == nil {
		fmt.Fprintf(p.app.stdout, "%s\n", line)
	}
}
