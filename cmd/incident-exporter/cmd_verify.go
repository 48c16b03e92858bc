package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks/s3"
)

func (a *app) verifyCommand() *cobra.Command {
	var (
		asJSON, strict bool
		heads, since   []string
		check          ledger.Check
	)
	command := &cobra.Command{
		Use:   "verify",
		Short: "Proves the archive whole, or lists what is wrong with it",
		Long: "Reads the whole archive and holds it to its chain of manifests, offline. Exits with 3 if there are faults.\n" +
			"That the newest end was cut off, or all of it rewritten, shows only against a head that someone kept: --head.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, head := range heads {
				kept, err := ledger.ParseKept(head)
				if err != nil {
					return &exitError{exitUsage, fmt.Errorf("read --head: %w", err), "give the whole line that `incident-exporter export` printed: a number, a colon and 64 hexadecimal digits, and the stream if there is one"}
				}
				check.Kept = append(check.Kept, kept)
			}
			for _, from := range since {
				if err := sinceOf(&check, from); err != nil {
					return &exitError{exitUsage, fmt.Errorf("read --since: %w", err), "give the number of a manifest, or SOURCE/TENANT=SEQ for one of several streams"}
				}
			}
			r, sink, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }() // read only
			check.Ahead = sink.ahead()
			if a.isTerminal(a.stderr) {
				line := &progressLine{out: a.stderr}
				check.Observe = line.verified
				if a.isTerminal(a.stdout) {
					defer func(out io.Writer) { a.stdout = out }(a.stdout)
					a.stdout = lineAbove{line, a.stdout}
				}
				defer line.end()
			}
			var printed error
			sum, err := ledger.Verify(cmd.Context(), r, check, func(f ledger.Finding) {
				f.Note = f.Note && !strict
				if err := a.printFinding(f, asJSON); printed == nil {
					printed = err
				}
			})
			if errors.Is(err, fs.ErrNotExist) && sum.Streams == 0 {
				return noArchive(sink)
			}
			if err != nil {
				remedy := "not all of it could be looked at: let this program's user read the archive"
				if store := (*s3.Error)(nil); errors.As(err, &store) && store.Remedy != "" {
					remedy = store.Remedy
				}
				return &exitError{exitFailed, fmt.Errorf("verify %s: %w", sink, err), remedy}
			}
			if strict {
				sum.Faults, sum.Notes = sum.Faults+sum.Notes, 0
			}
			whole := "whole"
			if len(since) > 0 {
				whole = "whole from where it was begun (--since)"
			}
			if err := errors.Join(printed, a.printSummary(sum, whole, asJSON)); err != nil {
				return err
			}
			if sum.Faults > 0 {
				return &exitError{code: exitFaults}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: findings, then the summary")
	command.Flags().BoolVar(&strict, "strict", false, "take notes (pending, unfetched, void) for faults")
	command.Flags().StringArrayVar(&heads, "head", nil, "a head that a run printed, `SEQ:HASH` or \"SEQ:HASH SOURCE/TENANT\": the archive must still have it; may be given again")
	command.Flags().StringArrayVar(&since, "since", nil, "begin at this `SEQ`: what was before it may be gone; SOURCE/TENANT=SEQ for one stream, may be given again")
	return command
}

// sinceOf reads where a verification begins: everywhere, or in one stream.
func sinceOf(check *ledger.Check, text string) error {
	stream, number, one := strings.Cut(text, "=")
	if !one {
		number = text
	}
	seq, err := strconv.ParseUint(number, 10, 63)
	if err != nil || seq == 0 && one {
		return fmt.Errorf("%q is no number of a manifest", text)
	}
	if !one {
		check.Since = seq
		return nil
	}
	s, ok := ledger.ParseStream(stream)
	if !ok {
		return fmt.Errorf("%q names no stream", text)
	}
	if check.SinceOf == nil {
		check.SinceOf = map[ledger.Stream]uint64{}
	}
	check.SinceOf[s] = seq
	return nil
}

// printFinding prints one line: what it is, the object's key, and what is wrong with it.
func (a *app) printFinding(f ledger.Finding, asJSON bool) error {
	if asJSON {
		return a.printJSON(f)
	}
	weight := "fault"
	if f.Note {
		weight = "note"
	}
	// The key tells the stream too; what is said of no one object names the stream alone.
	where := ""
	switch {
	case f.Key != "":
		where = " " + f.Key
	case f.Source != "":
		where = " " + f.Source + "/" + f.Tenant
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %s%s: %s\n", weight, f.Kind, where, f.Text)
	return err
}

func (a *app) printSummary(sum ledger.Summary, whole string, asJSON bool) error {
	if asJSON {
		if sum.Heads == nil {
			sum.Heads = []ledger.ChainHead{}
		}
		return a.printJSON(struct {
			Summary ledger.Summary `json:"summary"`
		}{sum})
	}
	var text strings.Builder
	if sum.Faults > 0 {
		fmt.Fprintf(&text, "%d faults", sum.Faults)
	} else {
		fmt.Fprintf(&text, "%s: %d streams, %d manifests, %d objects, %d versions", whole, sum.Streams, sum.Manifests, sum.Objects, sum.Versions)
		for _, h := range sum.Heads {
			if len(sum.Heads) > 1 {
				fmt.Fprintf(&text, "; head of %s/%s %s", h.Source, h.Tenant, h.Head)
			} else {
				fmt.Fprintf(&text, "; head %s", h.Head)
			}
		}
	}
	if sum.Notes > 0 {
		fmt.Fprintf(&text, "; %d notes", sum.Notes)
	}
	_, err := fmt.Fprintln(a.stdout, text.String())
	return err
}
