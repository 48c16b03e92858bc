package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) exportCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "export",
		Short: "Makes one pass, then exits: for cron, systemd timers, Kubernetes CronJobs",
		Long: "Reads what is new, and again what may have changed late, into the archive.\n" +
			"Prints the chain's head, SEQ:HASH: whoever keeps it can hold the archive to it later (verify --head).\n" +
			"Of several tenants each fails on its own; if some did, it exits with 4.\n" +
			"A pass that ends early but has committed something exits with 0 and a warning: the next one goes on.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectOften()
			p, err := a.newPasses(asJSON)
			if err != nil {
				return err
			}
			defer p.Close()
			ignoreHangup()
			return p.export(cmd.Context())
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: source, tenant, head, covered_since, covered_until, holes, versions, commits, calls, unfetched")
	return command
}

// export makes one pass. Once ctx is done, it has the grace period to end; a pass that hangs in what
// cannot be interrupted is then left behind with the process, and costs no more than a crash.
func (p *passes) export(ctx context.Context) error {
	round := p.begin()
	ended := make(chan error, 1)
	go func() { ended <- p.settled(ctx, p.makeRound(ctx, round)) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		grace := time.NewTimer(p.cfg.Exporter.Grace.Duration)
		defer grace.Stop()
		select {
		case err = <-ended:
		case <-grace.C:
			err = &exitError{exitFailed, errors.New("stopped by a signal, and the pass did not end within EXPORTER_GRACE"), "none is needed: the next run goes on from what is committed"}
		}
	}
	round.ping.ended(p.reason(err))
	return err
}

// reason is what the dead man's switch is told of an export that failed, "" if it did not.
func (p *passes) reason(err error) string {
	if err == nil {
		return ""
	}
	var exit *exitError
	if errors.As(err, &exit) && p.cfg.severalTenants() {
		return err.Error() + p.failures()
	}
	if exit != nil {
		return withRemedy(err.Error(), exit.remedy)
	}
	return err.Error()
}
