package main

import (
	"log/slog"
)

// newLogger returns a logger to standard error in the configured format and level. Secrets need no
// filter: their type renders as "[redacted]" in every handler.
func (a *app) newLogger(cfg *config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Exporter.LogLevel.level()}
	if cfg.Exporter.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(a.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options))
}
