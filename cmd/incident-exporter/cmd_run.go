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
		Long: "Makes a pass at start and then whenever EXPORTER_SCHEDULE says. A pass that fails is logged with its remedy;\n" +
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
			if err := p.open(cmd.Context()); errors.As(err, &exit) {
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
			p.log.Info("daemon stopped", "skipped", daemon.Skipped())
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a pass: source, tenant, head, covered_until, versions, commits, calls, unfetched")
	return command
}

// job is one pass of the daemon.
func (p *passes) job(ctx context.Context) {
	_, err := p.make(ctx)
	if err == nil {
		return
	}
	text, remedy := p.explain(ctx, err)
	stream := p.cfg.stream()
	attrs := []any{"source", stream.Source, "tenant", stream.Tenant, "error", text, "remedy", remedy}
	if early(err) {
		p.log.Warn("run ended before anything was committed", attrs...)
		return
	}
	p.log.Error("run failed", attrs...)
}
