package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/auth"
)

// tokenTimeout bounds the token command; the acquisition has bounds of its own below it.
const tokenTimeout = 2 * time.Minute

// tokenReport is what `token` says. The first members are fixed by the contract.
type tokenReport struct {
	Tenant   string   `json:"tenant"`
	Audience string   `json:"audience"`
	Roles    []string `json:"roles"`
	Expires  string   `json:"expires"` // RFC 3339
	OK       bool     `json:"ok"`
	Remedy   string   `json:"remedy"`
	App      string   `json:"app"`
	Name     string   `json:"name,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

func (a *app) tokenCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "token",
		Short: "Gets a token, shows its claims, says whether it can read incidents",
		Long: "Gets an access token and shows its tenant (tid), audience, app, roles and expiry, never the token itself.\n" +
			"Of several tenants it gets one each. Exits with 0 if they can read incidents, as far as the claims tell,\n" +
			"with 1 if one cannot.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(need{API: true, Domain: true})
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), tokenTimeout)
			defer cancel()
			return a.token(ctx, cfg, asJSON)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a tenant")
	return command
}

// token reports on the token of each tenant.
func (a *app) token(ctx context.Context, cfg *config, asJSON bool) error {
	all, bad, err := cfg.tenants()
	if err != nil {
		return err
	}
	for _, b := range bad {
		fmt.Fprintf(a.stderr, "incident-exporter: %s\n", b.Error())
	}
	p := &passes{cfg: cfg}
	own := cfg.own(all)
	failed := len(bad) > 0
	for _, t := range own {
		report, err := p.tokenReport(ctx, t)
		if err != nil && !asJSON && len(own) == 1 {
			return err
		}
		if failed = failed || !report.OK; asJSON || err == nil || len(own) > 1 {
			if err := a.printToken(report, asJSON); err != nil {
				return err
			}
		}
		if err != nil && len(own) == 1 {
			return err
		}
	}
	if failed {
		return &exitError{code: exitFailed}
	}
	return nil
}

// tokenReport gets a token and judges it. The error says why there is none; the report says it too.
func (p *passes) tokenReport(ctx context.Context, t tenant) (tokenReport, error) {
	a, err := p.cfg.api(t.source)
	if err != nil {
		return tokenReport{}, &exitError{code: exitUsage, err: err}
	}
	credential, err := p.credential(a.audience)
	if err != nil {
		return tokenReport{}, &exitError{code: exitUsage, err: err}
	}
	claims, err := auth.NewTokens(credential, t.id).Get(ctx)
	if err == nil {
		return judgeToken(p.cfg, t, a, claims), nil
	}
	report := tokenReport{
		Tenant: t.id, Name: t.name, Audience: a.audience, Roles: []string{},
		App: string(p.cfg.Azure.ClientID), Problems: []string{err.Error()},
	}
	var refusal *auth.Error
	if errors.As(err, &refusal) {
		report.Remedy = tokenRemedy(refusal)
	}
	return report, err
}

// judgeToken makes the report of a token.
func judgeToken(cfg *config, t tenant, a api, claims auth.Claims) tokenReport {
	report := tokenReport{
		Tenant:   claims.Tenant,
		Name:     t.name,
		Audience: claims.Audience,
		Roles:    append([]string{}, claims.Roles...),
		Expires:  claims.Expires.Format(time.RFC3339),
		App:      claims.AppID,
	}
	findings := auth.Judge(claims, auth.Want{
		Source:        t.source,
		Audience:      a.audience,
		Tenant:        t.id,
		AuthorityHost: string(cfg.Azure.AuthorityHost),
		Credential:    cfg.kind,
	})
	var remedies []string
	for _, finding := range findings {
		report.Problems = append(report.Problems, finding.Text)
		remedies = append(remedies, finding.Remedy)
	}
	report.OK = len(findings) == 0
	report.Remedy = strings.Join(remedies, "; ")
	return report
}

func (a *app) printToken(report tokenReport, asJSON bool) error {
	if asJSON {
		return a.printJSON(report)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	roles := strings.Join(report.Roles, ", ")
	if roles == "" {
		roles = "none"
	}
	verdict := "yes"
	if !report.OK {
		verdict = "no"
	}
	if report.Name != "" {
		fmt.Fprintf(table, "name\t%s\n", report.Name)
	}
	fmt.Fprintf(table, "tenant (tid)\t%s\naudience\t%s\napp\t%s\nroles\t%s\nexpires\t%s\ncan read incidents\t%s\n",
		report.Tenant, report.Audience, report.App, roles, report.Expires, verdict)
	for _, text := range report.Problems {
		fmt.Fprintf(table, "problem\t%s\n", text)
	}
	if report.Remedy != "" {
		fmt.Fprintf(table, "remedy\t%s\n", report.Remedy)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print token report: %w", err)
	}
	return nil
}
