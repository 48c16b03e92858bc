package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manualCommand is hidden: who makes a release calls it.
func (a *app) manualCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "manual",
		Short:  "Prints the manual page, for man(1)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, _ := buildVersion()
			var page strings.Builder
			writeManual(&page, cmd.Root(), loadConfig(a.environ).rows, v)
			if _, err := io.WriteString(a.stdout, page.String()); err != nil {
				return fmt.Errorf("print the manual page: %w", err)
			}
			return nil
		},
	}
}

// writeManual writes the manual page of the command tree in the language of man(7).
func writeManual(w *strings.Builder, root *cobra.Command, variables []configRow, version string) {
	fmt.Fprintf(w, ".TH %s 1 \"\" \"%s %s\"\n", strings.ToUpper(root.Name()), root.Name(), roff(version))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(root.Name()), roff(root.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n.I command\n.RI [ flags ]\n", roff(root.Name()))
	w.WriteString(".SH COMMANDS\nResults go to standard output, everything else to standard error.\n")
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		description := c.Long
		if description == "" {
			description = c.Short
		}
		fmt.Fprintf(w, ".SS %s\n%s\n", roff(c.UseLine()), roff(description))
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			placeholder, usage := pflag.UnquoteUsage(f)
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace("--"+f.Name+" "+placeholder)), roff(usage))
		})
	}
	w.WriteString(".SH EXIT STATUS\n")
	for _, status := range []struct {
		code int
		text string
	}{
		{exitDone, "done"},
		{exitFailed, "failed, or there is no archive"},
		{exitUsage, "usage or configuration"},
		{exitFaults, "verify found faults"},
		{exitPartial, "some tenants failed"},
	} {
		fmt.Fprintf(w, ".TP\n.B %d\n%s\n", status.code, status.text)
	}
	fmt.Fprintf(w, ".SH ENVIRONMENT\n%s\n.PP\n.nf\n", roff("The configuration. `incident-exporter config` shows the effective values; its README says what each means."))
	for _, v := range variables {
		fmt.Fprintln(w, roff(v.name))
	}
	w.WriteString(".fi\n")
}

// roff makes text mean itself: no control line, no escape, lines as they are.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		switch {
		case strings.TrimSpace(line) == "":
			lines[i] = ".PP"
		case strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'"):
			lines[i] = `\&` + line
		case strings.HasPrefix(line, " "): // as it stands: a line that begins with a space ends the one before it
			lines[i] = ".br\n" + line
		}
	}
	return strings.Join(lines, "\n")
}
