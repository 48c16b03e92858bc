package main

import (
	"log/slog"
)

// newLogger returns a logger to standard error in the configured format and level. Secrets need no
// filter: their type renders as "[redacted]" in every handler.
//
// People alert and search by messages and attributes, so that these keep their names:
//
//	run                   8 hex digits, the same in all lines of one pass over all tenants
//	source, tenant, name  the stream; name only where the tenant has one
//	error, remedy         what is wrong, and what to do about it, a sentence each
//	head                  SEQ:HASH of the newest manifest
//	covered_until         everything updated before it is archived; in "committed" it is covered
//	versions, commits, calls, quota_left, unfetched, took   of a pass: "run done", "run ended early ..."
//	lines, bytes, calls   of a commit: "committed"
//	request               the first of the request ids that the commit's manifest names
//
// At info there is one line a commit and one a pass of a tenant; what one page is about is debug.
func (a *app) newLogger(cfg *config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Exporter.LogLevel.level()}
	if cfg.Exporter.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(a.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options))
}
