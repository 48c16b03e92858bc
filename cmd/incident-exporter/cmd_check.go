package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
)

// checkTimeout bounds the command; each hop has bounds of its own below it.
const checkTimeout = 5 * time.Minute

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "check",
		Short: "Tests every hop and says what is wrong and how to mend it",
		Long: "Tests, in this order: configuration, credential, the way to the authority and its clock, the token of each tenant, the\n" +
			"way to the API and its clock, reading incidents, the place of the archive, the schedule, each chain. It goes on after\n" +
			"a failure with all that does not wait for it. Of each tenant it makes six calls of the API at most. In the archive it\n" +
			"writes below .incident-exporter/ alone; a directory that is not there is made.\n" +
			"Exits with 0 if an export can work, warnings or not, with 1 if something failed, with 2 for the configuration.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), checkTimeout)
			defer cancel()
			return a.check(ctx, asJSON)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line: name, ok, detail, remedy, state, source, tenant")
	return command
}

// checker is one run of the command.
type checker struct {
	*verdicts
	cfg *config
	p   *passes
	log *slog.Logger // of what happens within a hop: nothing unless a level was asked for

	now func() time.Time // by a server's clock, once one has been seen
}

// check tests hop after hop. All that is wrong with the configuration is told together, and nothing
// else is tried then.
func (a *app) check(ctx context.Context, asJSON bool) error {
	v := &verdicts{app: a, json: asJSON}
	cfg, problems := a.config(need{API: true})
	if problems != nil {
		return v.misconfigured(problems)
	}
	if err := cfg.startToCome(time.Now()); err != nil {
		return v.misconfigured(err)
	}
	all, bad, err := cfg.tenants()
	if err != nil {
		return v.misconfigured(err)
	}
	c := &checker{verdicts: v, cfg: cfg, log: slog.New(slog.DiscardHandler), now: time.Now}
	if cfg.set("EXPORTER_LOG_LEVEL") {
		c.log = a.newLogger(cfg)
	}
	c.p = &passes{app: a, cfg: cfg, log: c.log, within: c.log, listed: all, transport: newHTTPClient(int(cfg.Exporter.Concurrency)).Transport}
	defer c.p.Close()
	set := 0
	for _, row := range cfg.rows {
		if row.origin != originDefault {
			set++
		}
	}
	c.say(verdict{Name: "configuration", Detail: fmt.Sprintf("%d variables are set; `incident-exporter config` shows them", set)})
	own := cfg.own(all)
	c.tenants(all, own, bad)
	c.source(ctx, own)
	c.archive(ctx, own)
	if v.err != nil {
		return v.err
	}
	if v.failed > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// tenants says whose incidents are exported, where that is a list.
func (c *checker) tenants(all, own []tenant, bad []badLine) {
	if !c.cfg.severalTenants() {
		return
	}
	for _, b := range bad {
		c.say(verdict{Name: "tenants", State: failed, Detail: b.Error(), Remedy: "correct the line; the others are exported"})
	}
	if len(bad) > 0 {
		return
	}
	detail := fmt.Sprintf("%d listed", len(all))
	if len(own) != len(all) || c.cfg.shard.of > 0 {
		detail += fmt.Sprintf(", %d of them in this process's part (%s)", len(own), c.cfg.shard)
	}
	v := verdict{Name: "tenants", Detail: detail}
	if len(own) == 0 {
		v.State, v.Remedy = warning, "none is needed if there are more parts than tenants; else check EXPORTER_SHARD"
	}
	c.say(v)
}
