package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// hangups yields something for each SIGHUP until ctx is done. While it is asked for, the signal does
// not end the process.
func hangups(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// ignoreHangup lets the process outlive the terminal that it was started from.
func ignoreHangup() { signal.Ignore(syscall.SIGHUP) }

// reread looks at what each pass and each token reads anew, and says what is there now: a pass that
// begins at once uses it. What comes from variables stays as it was at the start.
func (p *passes) reread() {
	list, bad, err := p.cfg.tenants()
	if err != nil {
		p.log.Error("hangup: the tenants cannot be read; those of the last run are gone on with", "error", err)
	}
	if _, err := p.cfg.clientSecret(); err != nil {
		p.log.Error("hangup: the client secret cannot be read", "error", err, "remedy", "mend the file; the next token needs it")
	}
	if _, err := p.cfg.pingURL(); err != nil {
		p.log.Error("hangup: the URL of the dead man's switch cannot be read", "error", err)
	}
	p.log.Info("hangup: tenants and secrets are read again, and a pass begins now", "tenants", len(p.cfg.own(list)), "bad_lines", len(bad))
}
