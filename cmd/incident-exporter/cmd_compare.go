package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/rawjson"
)

// compareFlags are the flags of `compare`.
type compareFlags struct {
	from, to startFlag
	last     duration
	tenant   string
	otherURL string
	json     bool

	lastSet bool
}

// startFlag is a point in time as EXPORTER_START is given.
type startFlag struct {
	start
	set bool
}

func (f *startFlag) Set(value string) error {
	f.set = true
	return f.UnmarshalText([]byte(value))
}

func (f *startFlag) String() string {
	if !f.set {
		return ""
	}
	return f.start.String()
}

// Type is the flag's placeholder in the help.
func (*startFlag) Type() string { return "T" }

func (a *app) compareCommand() *cobra.Command {
	f := compareFlags{last: duration{24 * time.Hour}}
	command := &cobra.Command{
		Use:   "compare",
		Short: "Reads one interval through both APIs and reports what differs",
		Long: "Reads what was updated in an interval from Defender's own API, from Microsoft Graph, and from Defender again, and\n" +
			"reports what the two do not agree about. What changes meanwhile is counted and not compared. The one app needs\n" +
			"Incident.Read.All of Microsoft Threat Protection and SecurityIncident.Read.All of Microsoft Graph. It writes nothing\n" +
			"anywhere, and takes at most half of either quota. T is a timestamp such as 2026-03-01T00:00:00Z, a duration back from\n" +
			"now such as 36h or 7d, or now, by the APIs' clock; nothing newer than EXPORTER_SETTLE is read. Exits with 0 if they\n" +
			"agree, with 1 if they differ, or if something could not be read.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectOften()
			f.lastSet = cmd.Flags().Changed("last")
			if err := f.check(); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			p, err := a.newPasses(f.json)
			if err != nil {
				return err
			}
			defer p.Close()
			return p.compare(cmd.Context(), &f)
		},
	}
	flags := command.Flags()
	flags.Var(&f.from, "from", "begin at `T`")
	flags.Var(&f.to, "to", "end before `T` (default: EXPORTER_SETTLE before now)")
	flags.Var(durationFlag{&f.last}, "last", "the length of the interval, instead of --from")
	flags.StringVar(&f.tenant, "tenant", "", "of several tenants only the one with this `id or name`")
	flags.StringVar(&f.otherURL, "other-url", "", "`URL` of the API that EXPORTER_SOURCE does not name, if it is not where EXPORTER_CLOUD has it")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line: what differs, then a summary a tenant")
	return command
}

// check says what is wrong with the flags without looking at a clock.
func (f *compareFlags) check() error {
	var url httpsURL
	switch {
	case f.lastSet && f.from.set:
		return errors.New("--last and --from are both given: leave one out")
	case f.from.set && f.to.set && f.from.at.IsZero() && f.to.at.IsZero() && f.from.back <= f.to.back:
		return errors.New("there is nothing between --from and --to: give the earlier one first")
	case f.last.Duration <= 0:
		return errors.New("--last must be more than 0")
	case f.otherURL != "":
		if err := url.UnmarshalText([]byte(f.otherURL)); err != nil {
			return fmt.Errorf("--other-url %w", err)
		}
		f.otherURL = string(url)
	}
	return nil
}

// interval is the update time that is compared, half-open, given what is now by the APIs' clock.
func (f *compareFlags) interval(now time.Time, settle time.Duration) (from, to time.Time, err error) {
	now = now.Truncate(time.Second)
	settled := now.Add(-settle).Truncate(time.Second)
	if to = settled; f.to.set {
		if to = f.to.resolve(now).Truncate(rawjson.Tick); to.After(now) {
			return from, to, fmt.Errorf("--to is %s, and by the APIs' clock it is only %s", rawjson.FormatTime(to), rawjson.FormatTime(now))
		}
		if to.After(settled) {
			to = settled
		}
	}
	if from = to.Add(-f.last.Duration).Truncate(rawjson.Tick); f.from.set {
		from = f.from.resolve(now).Truncate(rawjson.Tick)
	}
	if !from.Before(to) {
		return from, to, fmt.Errorf("there is nothing between --from and --to: %s is not before %s, and what is newer than EXPORTER_SETTLE is not read",
			rawjson.FormatTime(from), rawjson.FormatTime(to))
	}
	return from, to, nil
}

// compare compares the tenants in turn. The error of the only one is returned as it is.
func (p *passes) compare(ctx context.Context, f *compareFlags) error {
	own, bad, err := p.tenants()
	if err != nil {
		return err
	}
	var chosen []tenant // once each, whichever of the sources they are listed with
	for _, t := range own {
		if f.tenant != "" && !strings.EqualFold(t.id, f.tenant) && t.name != f.tenant {
			continue
		}
		if !slices.ContainsFunc(chosen, func(c tenant) bool { return c.id == t.id }) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) == 0 && f.tenant != "" {
		return &exitError{exitUsage, errors.New("--tenant names none of the tenants that are configured"), "give the id or the name of one of them: `incident-exporter config` shows where they are listed"}
	}
	if len(own) == 0 && len(bad) == 0 {
		p.log.Info("no tenant is in this process's part", "shard", p.cfg.shard.String())
	}
	disagree := len(bad) > 0 && f.tenant == ""
	for _, t := range chosen {
		agree, err := p.compareTenant(ctx, t, f)
		if err != nil && (len(chosen) == 1 || ctx.Err() != nil || usage(err)) {
			return err
		}
		if err != nil {
			var exit *exitError
			remedy := ""
			if errors.As(err, &exit) {
				remedy = exit.remedy
			}
			p.log.Error("tenant could not be compared", "tenant", t.id, "name", t.name, "error", err, "remedy", remedy)
		}
		disagree = disagree || err != nil || !agree
	}
	if disagree {
		return &exitError{code: exitFailed}
	}
	return nil
}

// usage says that an error is one of the command line or the configuration.
func usage(err error) bool {
	var exit *exitError
	return errors.As(err, &exit) && exit.code == exitUsage
}
