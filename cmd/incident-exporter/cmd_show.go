package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks"
)

// shownVersion says where a version of an incident is stored. The members, and the incident behind
// them, are fixed by the contract.
type shownVersion struct {
	Source  string `json:"source"`
	Tenant  string `json:"tenant"`
	ID      string `json:"id"`
	Updated string `json:"updated"` // as served
	Seq     uint64 `json:"seq"`
	Key     string `json:"key"`
	Line    int    `json:"line"` // of the data object, from 1
	SHA256  string `json:"sha256"`
}

func (a *app) showCommand() *cobra.Command {
	var (
		asJSON bool
		since  uint64
	)
	command := &cobra.Command{
		Use:   "show ID",
		Short: "Shows every version of one incident",
		Long: "Prints the versions of an incident in the order in which they were archived, one JSON object a line, byte for byte\n" +
			"as stored. Where each lies goes to standard error, with --json into the object around it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, sink, err := a.openReader(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }() // read only
			found := false
			err = eachManifest(cmd.Context(), r, sink, since, func(s ledger.Stream, m *ledger.Manifest) error {
				return eachVersion(cmd.Context(), r, s, m, args[0], func(v shownVersion, line []byte) error {
					found = true
					return a.printVersion(v, line, asJSON)
				})
			})
			if err == nil && !found {
				err = &exitError{exitFailed, fmt.Errorf("no incident %q in %s", args[0], sink), "give the incident's id as the portal shows it, without --since to look at all of the archive"}
			}
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: source, tenant, id, updated, seq, key, line, sha256, incident")
	command.Flags().Uint64Var(&since, "since", 0, "begin at the manifest `SEQ`")
	return command
}

var errEnough = errors.New("enough")

// eachVersion calls each for the versions of an incident in a manifest's data object, which is
// read only if it has one, and no further than the last.
func eachVersion(ctx context.Context, r sinks.Reader, s ledger.Stream, m *ledger.Manifest, id string, each func(shownVersion, []byte) error) error {
	last := -1
	for i, v := range m.Versions {
		if v.ID == id {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	err := ledger.Lines(ctx, r, m, func(i int, v ledger.Version, line []byte) error {
		if v.ID == id {
			if err := each(shownVersion{s.Source, s.Tenant, id, v.Updated, m.Seq, m.Object.Key, i + 1, v.SHA256}, line); err != nil {
				return err
			}
		}
		if i == last {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// printVersion prints the line as it is stored: an encoder could spell it in another way.
func (a *app) printVersion(v shownVersion, line []byte, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.stderr, "incident %s updated %s: manifest %d, line %d of %s\n", v.ID, v.Updated, v.Seq, v.Line, v.Key)
		_, err := fmt.Fprintf(a.stdout, "%s\n", line)
		return err
	}
	head, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print incident %s: %w", v.ID, err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s,\"incident\":%s}\n", bytes.TrimSuffix(head, []byte("}")), line)
	return err
}
