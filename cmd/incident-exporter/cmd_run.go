package main

import (
	"context"
	"errors"

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
			"the next one goes on. SIGTERM or SIGINT stops between commits and exits with 0.\n" +
			"Prints the chain's head, SEQ:HASH, after each pass.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.newPasses(asJSON)
			if err != nil {
				return err
			}
			defer p.Close()
			// What is wrong with the configuration ends the daemon; an archive that cannot be
			// opened yet does not: its volume may come later.
			var exit *exitError
			if _, err := p.open(cmd.Context()); errors.As(err, &exit) {
				return err
			}
			if _, _, err := p.cfg.tenants(); err != nil {
				return err
			}
			p.log.Info("daemon started", "schedule", p.cfg.Exporter.Schedule.String(), "timezone", p.cfg.Exporter.Timezone.String(), "sink", p.cfg.Exporter.Sink.String())
			daemon := exporter.Daemon{
				Schedule: p.cfg.Exporter.Schedule.cron,
				Location: p.cfg.Exporter.Timezone.Location,
				Jitter:   p.cfg.Exporter.Jitter.Duration,
				Grace:    p.cfg.Exporter.Grace.Duration,
				Log:      p.log,
				Job:      p.job,
			}
			daemon.Run(cmd.Context())
			p.log.Info("daemon stopped", "skipped", p.skipped.Load())
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a pass: source, tenant, head, covered_until, versions, commits, calls, unfetched")
	return command
}

// job is one pass of the daemon over every tenant whose last one is over.
func (p *passes) job(ctx context.Context) {
	err := p.make(ctx)
	var exit *exitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && p.cfg.severalTenants():
		p.log.Error("run failed", "error", err, "remedy", exit.remedy)
	case early(err):
		text, remedy := p.explainOnly(ctx, err)
		p.log.Warn("run ended before anything was committed", "error", text, "remedy", remedy)
	default:
		text, remedy := p.explainOnly(ctx, err)
		p.log.Error("run failed", "error", text, "remedy", remedy)
	}
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
