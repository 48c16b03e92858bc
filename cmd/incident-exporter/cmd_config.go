package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "config",
		Short: "Shows the effective configuration and where each value came from",
		Long: "Shows every variable with its effective value and its origin: environment, file or default.\n" +
			"Secrets are redacted. Exits with 2 if something is wrong with a value.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, problems := a.config(need{})
			if err := a.printConfig(cfg, asJSON); err != nil {
				return err
			}
			return problems
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: name, value, origin")
	return command
}

func (a *app) printConfig(cfg *config, asJSON bool) error {
	if asJSON {
		for _, row := range cfg.rows {
			line := struct {
				Name   string `json:"name"`
				Value  string `json:"value"`
				Origin string `json:"origin"`
			}{row.name, cfg.show(row), row.origin}
			if err := a.printJSON(line); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range cfg.rows {
		value := cfg.show(row)
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", row.name, value, row.origin)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}
