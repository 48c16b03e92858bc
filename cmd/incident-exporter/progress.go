package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/ledger"
)

// newProgress returns the loggers of a command that exports: of its own words, and of what
// happens within a pass. On a terminal, unless EXPORTER_LOG_LEVEL is set, the latter says no more
// than warnings, and a line that is written over and over shows how far the pass is; elsewhere
// there is one log line a commit and no such line.
func (a *app) newProgress(cfg *config) (own, within *slog.Logger, line *progressLine) {
	if !a.isTerminal(a.stderr) || cfg.set("EXPORTER_LOG_LEVEL") {
		log := a.newLogger(cfg)
		return log, log, &progressLine{}
	}
	line = &progressLine{out: a.stderr}
	beside := &app{stderr: line}
	quiet := *cfg
	quiet.Exporter.LogLevel = "warn"
	return beside.newLogger(cfg), beside.newLogger(&quiet), line
}

// progressLine is the line at the bottom of a terminal that shows how far a pass is. As a writer
// it takes what else goes to the terminal, so that neither breaks the other. The zero value shows
// nothing. It is safe for concurrent use.
type progressLine struct {
	out io.Writer

	mu    sync.Mutex
	begun time.Time
	text  string
}

const (
	eraseLine     = "\r\x1b[K"
	progressWidth = 79 // a line that wraps could not be written over
)

// Write writes a whole log record above the line.
func (l *progressLine) Write(record []byte) (int, error) {
	return lineAbove{l, l.out}.Write(record)
}

// lineAbove writes whole lines to out, which goes to the same terminal, above the line.
type lineAbove struct {
	l   *progressLine
	out io.Writer
}

func (w lineAbove) Write(text []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.text != "" {
		fmt.Fprint(w.l.out, eraseLine)
		defer func() { fmt.Fprint(w.l.out, w.l.text) }()
	}
	return w.out.Write(text)
}

func (l *progressLine) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = time.Now()
	l.show("reading ...")
}

// observe is told after each commit.
func (l *progressLine) observe(p exporter.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.show(progressText(p, time.Since(l.begun)))
}

// progressPause is how often the line of a verification is written: there may be thousands of
// manifests a second.
const progressPause = 100 * time.Millisecond

// verified is told of each manifest that verify has looked at.
func (l *progressLine) verified(s ledger.Stream, seq, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.begun) < progressPause {
		return
	}
	l.begun = time.Now()
	of := ""
	if last > 0 {
		of = fmt.Sprintf(" of %d", max(last, seq))
	}
	text := fmt.Sprintf("verified manifest %d%s of %s", seq, of, s)
	l.show(text[:min(len(text), progressWidth)])
}

// tenants shows how many of them are done.
func (l *progressLine) tenants(done, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.show(fmt.Sprintf("%d of %d tenants done", done, all))
}

// end takes the line away.
func (l *progressLine) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.show("")
}

func (l *progressLine) show(text string) {
	if l.out == nil {
		return
	}
	l.text = text
	fmt.Fprint(l.out, eraseLine+text)
}

// progressText says how far a pass is after took, the most important first: what does not fit one
// line is left out.
func progressText(p exporter.Progress, took time.Duration) string {
	parts := []string{"nothing is covered yet"}
	if !p.Until.IsZero() {
		parts[0] = "covered " + p.Until.UTC().Format("2006-01-02 15:04")
		if p.First {
			parts[0] += " back to " + p.Since.UTC().Format(time.DateOnly)
		}
	}
	if all := span(p); p.First && all > 0 {
		parts = append(parts, fmt.Sprintf("%d %%", int(100*p.Done/all)))
	} else if p.Holes > 0 {
		parts = append(parts, plural(p.Holes, "hole"))
	}
	if left, ok := timeLeft(p, took); ok {
		parts = append(parts, durationText(left)+" left")
	}
	parts = append(parts, plural(p.Versions, "version"), plural(p.Calls, "call"), fmt.Sprintf("quota left %d", p.Left))
	text := parts[0]
	for _, part := range parts[1:] {
		if len(text)+len(", "+part) > progressWidth {
			break
		}
		text += ", " + part
	}
	return text
}

// timeLeft estimates how long a pass goes on, taking what is left to be like what is done: 0 once
// all is covered, and not ok while nothing is done.
func timeLeft(p exporter.Progress, took time.Duration) (left time.Duration, ok bool) {
	done, rest := p.Done-p.Begun, max(0, span(p)-p.Done)
	if p.Target.IsZero() || done <= 0 {
		return 0, false
	}
	left = time.Duration(float64(took) * (float64(rest) / float64(done)))
	if left > time.Minute {
		return left.Round(time.Minute), true
	}
	return left.Round(time.Second), true
}

// span is how much update time there is to cover.
func span(p exporter.Progress) time.Duration {
	if p.Target.IsZero() {
		return 0
	}
	return p.Target.Sub(p.Start)
}

// durationText is a duration for people: without seconds that say nothing.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
