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

// newTokens returns the tokens of the configured tenant, obtained through the app's HTTP client.
func (a *app) newTokens(cfg *config) (*auth.Tokens, error) {
	options := auth.SecretOptions{
		ClientID:      string(cfg.Azure.ClientID),
		Secret:        cfg.clientSecret,
		Audience:      string(cfg.Exporter.Audience),
		AuthorityHost: string(cfg.Azure.AuthorityHost),
		HTTPClient:    newHTTPClient(int(cfg.Exporter.Concurrency)),
	}
	newCredential := auth.NewSecretV2
	if cfg.Exporter.TokenEndpoint == "v1" {
		newCredential = auth.NewSecretV1
	}
	credential, err := newCredential(options)
	if err != nil {
		return nil, err
	}
	return auth.NewTokens(credential, string(cfg.Azure.TenantID)), nil
}

// tokenReport is what `token` says. The first members are fixed by the contract.
type tokenReport struct {
	Tenant   string   `json:"tenant"`
	Audience string   `json:"audience"`
	Roles    []string `json:"roles"`
	Expires  string   `json:"expires"` // RFC 3339
	OK       bool     `json:"ok"`
	Remedy   string   `json:"remedy"`
	App      string   `json:"app"`
	Problems []string `json:"problems,omitempty"`
}

func (a *app) tokenCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "token",
		Short: "Gets a token, shows its claims, says whether it can read incidents",
		Long: "Gets an access token and shows its tenant (tid), audience, app, roles and expiry, never the token itself.\n" +
			"Exits with 0 if it can read incidents, as far as the claims tell, with 1 if it cannot.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(need{API: true, Domain: true})
			if err != nil {
				return err
			}
			tokens, err := a.newTokens(cfg)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), tokenTimeout)
			defer cancel()
			claims, err := tokens.Get(ctx)
			if err != nil {
				return a.tokenFailed(cfg, err, asJSON)
			}
			report := judgeToken(cfg, claims)
			if err := a.printToken(report, asJSON); err != nil {
				return err
			}
			if !report.OK {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// judgeToken makes the report of a token.
func judgeToken(cfg *config, claims auth.Claims) tokenReport {
	report := tokenReport{
		Tenant:   claims.Tenant,
		Audience: claims.Audience,
		Roles:    append([]string{}, claims.Roles...),
		Expires:  claims.Expires.Format(time.RFC3339),
		App:      claims.AppID,
	}
	findings := auth.Judge(claims, auth.Want{
		Source:        string(cfg.Exporter.Source),
		Audience:      string(cfg.Exporter.Audience),
		Tenant:        string(cfg.Azure.TenantID),
		AuthorityHost: string(cfg.Azure.AuthorityHost),
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

// tokenFailed reports that there is no token. With --json standard output has its object all the
// same.
func (a *app) tokenFailed(cfg *config, err error, asJSON bool) error {
	if !asJSON {
		return err
	}
	report := tokenReport{
		Tenant:   string(cfg.Azure.TenantID),
		Audience: string(cfg.Exporter.Audience),
		Roles:    []string{},
		App:      string(cfg.Azure.ClientID),
		Problems: []string{err.Error()},
	}
	var refusal *auth.Error
	if errors.As(err, &refusal) {
		report.Remedy = tokenRemedy(refusal)
	}
	if printErr := a.printToken(report, true); printErr != nil {
		return printErr
	}
	return err
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
