package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/ledger"
)

// listedObject is one manifest as `list` shows it. The members are fixed by the contract.
type listedObject struct {
	Source    string `json:"source"`
	Tenant    string `json:"tenant"`
	Seq       uint64 `json:"seq"`
	Key       string `json:"key"` // of the data object; the first manifest has none
	Lines     int    `json:"lines"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
	Committed string `json:"committed"`

	Read    []ledger.Claim  `json:"read"`    // what it has read, as the manifest says it
	Covered ledger.Coverage `json:"covered"` // what is covered once it is there, as the manifest says it
}

func (a *app) listCommand() *cobra.Command {
	var (
		asJSON bool
		since  uint64
	)
	command := &cobra.Command{
		Use:   "list",
		Short: "Lists what the archive holds: one line a manifest and its data object",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, sink, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }() // read only
			table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			if !asJSON {
				fmt.Fprintln(table, "SEQ\tCOMMITTED\tLINES\tBYTES\tCOVERED SINCE\tCOVERED UNTIL\tKEY")
			}
			rows := 0
			err = eachManifest(cmd.Context(), r, sink, since, func(s ledger.Stream, m *ledger.Manifest) error {
				row := listed(s, m)
				if asJSON {
					return a.printJSON(row)
				}
				fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%s\t%s\t%s\n", row.Seq, clockText(m.Committed.Time), row.Lines, row.Bytes,
					cell(m.Covered.Since()), cell(m.Covered.Until()), row.Key)
				// The table's memory must not grow with the archive.
				if rows++; rows%1000 == 0 {
					return table.Flush()
				}
				return nil
			})
			if asJSON || err != nil && rows == 0 {
				return err
			}
			if flushed := table.Flush(); err == nil {
				err = flushed
			}
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: source, tenant, seq, key, lines, bytes, sha256, committed, read, covered")
	command.Flags().Uint64Var(&since, "since", 0, "begin at this `SEQ`")
	return command
}

func listed(s ledger.Stream, m *ledger.Manifest) listedObject {
	row := listedObject{
		Source: s.Source, Tenant: s.Tenant, Seq: m.Seq, Committed: timeText(m.Committed.Time),
		Read: []ledger.Claim{}, Covered: ledger.Coverage{}, // never null
	}
	if len(m.Read) > 0 {
		row.Read = m.Read
	}
	if len(m.Covered) > 0 {
		row.Covered = m.Covered
	}
	if o := m.Object; o != nil {
		row.Key, row.Lines, row.Bytes, row.SHA256 = o.Key, o.Lines, o.Bytes, o.SHA256
	}
	return row
}

// timeText is a time as results have it, "" if it is not known.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// cell is a time in a table.
func cell(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return clockText(t)
}
