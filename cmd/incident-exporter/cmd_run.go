package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/exporter"
)

func (a *app) runCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "run",
		Short: "The daemon: exports once at start, then on the schedule, until SIGTERM",
		Long: "Makes a pass over every tenant at start and then whenever EXPORTER_SCHEDULE says, but for tenants whose last pass\n" +
			"is still under way. A pass that fails is logged with its remedy;\n" +
			"the next one goes on. SIGTERM or SIGINT stops between commits and exits with 0, a second one stops at once.\n" +
			"SIGHUP reads tenants and secrets again and begins a pass. EXPORTER_LISTEN serves /metrics, /healthz and /readyz.\n" +
			"Prints the chain's head, SEQ:HASH, after each pass.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectOften()
			p, err := a.newPasses(asJSON)
			if err != nil {
				return err
			}
			defer p.Close()
			if p.cfg.Exporter.Listen != "" {
				p.metrics = newMetrics()
			}
			// What is wrong with the configuration ends the daemon; an archive that cannot be
			// opened yet does not: its volume may come later.
			var exit *exitError
			if _, err := p.open(cmd.Context()); errors.As(err, &exit) {
				return err
			}
			if _, _, err := p.cfg.tenants(); err != nil {
				return err
			}
			return p.run(cmd.Context())
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a pass: source, tenant, head, covered_since, covered_until, holes, versions, commits, calls, unfetched")
	return command
}

// run follows the schedule until ctx is done.
func (p *passes) run(ctx context.Context) error {
	systemd, err := p.app.newNotifier()
	if err != nil {
		p.log.Warn("systemd cannot be told how the daemon is", "error", err)
	}
	atOnce := make(chan struct{})
	daemon := &exporter.Daemon{
		Schedule: p.cfg.Exporter.Schedule.cron,
		Location: p.cfg.Exporter.Timezone.Location,
		Jitter:   p.cfg.Exporter.Jitter.Duration,
		Grace:    p.cfg.Exporter.Grace.Duration,
		Log:      p.log,
		AtOnce:   atOnce,
	}
	daemon.Job = func(ctx context.Context) {
		p.job(ctx)
		systemd.tell("STATUS=" + p.statusLine(daemon.Next()))
	}
	if p.metrics != nil {
		p.watchStreams(daemon.Next)
		s, err := p.startStatus(p.cfg.Exporter.Listen, daemon.Alive, daemon.Next)
		if err != nil {
			return err
		}
		defer s.stop()
	}
	hangup := hangups(ctx)
	go func() {
		for {
			select {
			case <-hangup:
			case <-ctx.Done():
				return
			}
			p.reread()
			select {
			case atOnce <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	go systemd.watch(ctx, daemon.Alive)
	stopping := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopping)
		systemd.tell("STOPPING=1")
	})
	p.log.Info("daemon started", "schedule", p.cfg.Exporter.Schedule.String(), "timezone", p.cfg.Exporter.Timezone.String(), "sink", p.cfg.Exporter.Sink.String())
	systemd.tell("READY=1", "STATUS=first run")
	daemon.Run(ctx)
	<-stopping // a process that has ended before tells nobody
	p.log.Info("daemon stopped", "skipped", p.skipped.Load())
	return nil
}

// job is one pass of the daemon over every tenant whose last one is over.
func (p *passes) job(ctx context.Context) {
	round := p.begin()
	err := p.makeRound(ctx, round)
	reason := ""
	var exit *exitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && p.cfg.severalTenants():
		round.log.Error("run failed", "error", err, "remedy", exit.remedy)
		reason = err.Error() + p.failures()
	case early(err):
		text, remedy := p.explainOnly(ctx, err)
		round.log.Warn("run ended before anything was committed", "error", text, "remedy", remedy)
		reason = withRemedy(text, remedy)
	default:
		text, remedy := p.explainOnly(ctx, err)
		round.log.Error("run failed", "error", text, "remedy", remedy)
		reason = withRemedy(text, remedy)
	}
	if ctx.Err() != nil {
		return // told to stop, it says neither the one nor the other
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		round.ping.ended(reason)
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// withRemedy is both in one text for people.
func withRemedy(text, remedy string) string {
	if remedy == "" {
		return text
	}
	return text + "\nremedy: " + remedy
}

// failures says of each tenant whose last pass failed why, one a line.
func (p *passes) failures() string {
	text := ""
	for _, s := range p.states() {
		if s.failure != "" {
			text += fmt.Sprintf("\n%s: %s", s.stream, s.failure)
		}
	}
	return text
}

// statusLine says in one line how the daemon is.
func (p *passes) statusLine(next time.Time) string {
	failed, lagging, states := 0, 0, p.states()
	for _, s := range states {
		if s.failure != "" {
			failed++
		}
		if s.lag() > p.cfg.Exporter.MaxLag.Duration {
			lagging++
		}
	}
	return fmt.Sprintf("%d streams, %d failed, %d behind by more than %s; next run %s",
		len(states), failed, lagging, p.cfg.Exporter.MaxLag, next.UTC().Format(time.RFC3339))
}

// explainOnly explains an error of the only tenant, or of none.
func (p *passes) explainOnly(ctx context.Context, err error) (text, remedy string) {
	p.mu.Lock()
	var only *streamPasses
	for _, s := range p.streams {
		only = s
	}
	p.mu.Unlock()
	return p.explain(ctx, only, err)
}
