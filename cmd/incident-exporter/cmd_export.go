package main

import "github.com/spf13/cobra"

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
			p, err := a.newPasses(asJSON)
			if err != nil {
				return err
			}
			defer p.Close()
			return p.settled(cmd.Context(), p.make(cmd.Context()))
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: source, tenant, head, covered_until, versions, commits, calls, unfetched")
	return command
}
