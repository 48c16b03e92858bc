package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
)

// round is one pass over all tenants: what its log lines and its pings have in common.
type round struct {
	id   string
	log  *slog.Logger // of this program's own words, with the id
	ping *pinging
}

// begin begins a round.
func (p *passes) begin() *round {
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	r := &round{id: hex.EncodeToString(id[:])}
	r.log = p.log.With(runAttr, r.id)
	r.ping = p.ping.begin(r.log)
	return r
}

// make makes one pass over every tenant, all at once. The error of the only tenant is returned as it
// is; of several, each has been logged with its remedy, and the error counts them.
func (p *passes) make(ctx context.Context) error { return p.makeRound(ctx, p.begin()) }

// runAttr names the round in a log record.
const runAttr = "run"

// roundHandler adds the round that is under way to records of loggers that live longer than one.
type roundHandler struct {
	slog.Handler
	id *atomic.Pointer[string]
}

// within is such a logger; what id points to may change.
func (h roundHandler) logger() *slog.Logger { return slog.New(h) }

// Handle implements slog.Handler.
func (h roundHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := h.id.Load(); id != nil {
		record = record.Clone()
		record.AddAttrs(slog.String(runAttr, *id))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h roundHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return roundHandler{h.Handler.WithAttrs(attrs), h.id}
}

// WithGroup implements slog.Handler.
func (h roundHandler) WithGroup(name string) slog.Handler {
	return roundHandler{h.Handler.WithGroup(name), h.id}
}

// panicked is the error of a pass that panicked: a fault of this program. It costs that pass of that
// tenant only.
type panicked struct {
	value any
	stack string
}

func (e *panicked) Error() string { return fmt.Sprintf("a fault of this program: %v", e.value) }

// readingPanicked is how package defender begins the error of a walk that panicked in a goroutine of
// its own, with the stack behind it.
const readingPanicked = "panic while reading: "

// guarded calls f and turns its panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{r, string(debug.Stack())}
		}
	}()
	err = f()
	if err != nil {
		if text, ok := strings.CutPrefix(err.Error(), readingPanicked); ok {
			value, stack, _ := strings.Cut(text, "\n")
			return &panicked{value, stack}
		}
	}
	return err
}
