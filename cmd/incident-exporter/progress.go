package main

import (
	"fmt"
	"io"
	"log/slog"
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

// progressText says how far a pass is after took.
func progressText(p exporter.Progress, took time.Duration) string {
	text := fmt.Sprintf("covered to %s, %d versions, %d calls, quota left %d",
		p.Covered.UTC().Format("2006-01-02 15:04"), p.Versions, p.Calls, p.Left)
	if left, ok := timeLeft(p, took); ok {
		text += ", " + left.String() + " left"
	}
	return text[:min(len(text), progressWidth)]
}

// timeLeft estimates how long a pass goes on, taking what is left to be like what is done: 0 once
// only reading again is left, and not ok while nothing is done.
func timeLeft(p exporter.Progress, took time.Duration) (left time.Duration, ok bool) {
	done, all := p.Covered.Sub(p.From), p.Target.Sub(p.From)
	if p.Target.IsZero() || done <= 0 || all < done {
		return 0, false
	}
	left = time.Duration(float64(took) * float64(all-done) / float64(done))
	if left > time.Minute {
		return left.Round(time.Minute), true
	}
	return left.Round(time.Second), true
}
