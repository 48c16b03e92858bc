package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) exportCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "export",
		Short: "Makes one pass, then exits: for cron, systemd timers, Kubernetes CronJobs",
		Long: "Reads what is new, and again what may have changed late, into the archive.\n" +
			"Prints the chain's head, SEQ:HASH: whoever keeps it can hold the archive to it later (verify --head).\n" +
			"A pass that ends early but has committed something exits with 0 and a warning: the next one goes on.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.newPasses(asJSON)
			if err != nil {
				return err
			}
			defer p.Close()
			ctx := cmd.Context()
			_, err = p.make(ctx)
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			text, remedy := p.explain(ctx, err)
			return &exitError{exitFailed, errors.New(text), remedy}
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: source, tenant, head, covered_until, versions, commits, calls, unfetched")
	return command
}
