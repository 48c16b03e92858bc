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
	From      string `json:"from"` // the window of update time that it covers
	To        string `json:"to"`
	Key       string `json:"key"` // of the data object; the first manifest has none
	Lines     int    `json:"lines"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
	Committed string `json:"committed"`
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
				fmt.Fprintln(table, "SEQ\tFROM\tTO\tLINES\tBYTES\tKEY")
			}
			rows := 0
			err = eachManifest(cmd.Context(), r, sink, since, func(s ledger.Stream, m *ledger.Manifest) error {
				row := listed(s, m)
				if asJSON {
					return a.printJSON(row)
				}
				fmt.Fprintf(table, "%d\t%s\t%s\t%d\t%d\t%s\n", row.Seq, row.From, row.To, row.Lines, row.Bytes, row.Key)
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
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: source, tenant, seq, from, to, key, lines, bytes, sha256, committed")
	command.Flags().Uint64Var(&since, "since", 0, "begin at this `SEQ`")
	return command
}

func listed(s ledger.Stream, m *ledger.Manifest) listedObject {
	row := listedObject{
		Source: s.Source, Tenant: s.Tenant, Seq: m.Seq,
		From: timeText(m.Window.From), To: timeText(m.Window.To), Committed: timeText(m.Committed),
	}
	if o := m.Object; o != nil {
		row.Key, row.Lines, row.Bytes, row.SHA256 = o.Key, o.Lines, o.Bytes, o.SHA256
	}
	return row
}

func timeText(t ledger.Time) string { return t.UTC().Format(time.RFC3339Nano) }
