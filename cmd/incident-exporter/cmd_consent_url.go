package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"incident-exporter/auth"
)

// anyCustomer stands for whichever tenant the administrator signs in to.
const anyCustomer = "organizations"

// consentLink is what `consent-url` prints.
type consentLink struct {
	URL         string `json:"url"`
	Tenant      string `json:"tenant"`
	Client      string `json:"client_id"`
	Scope       string `json:"scope,omitempty"` // the guide's link names none
	RedirectURI string `json:"redirect_uri"`
	State       string `json:"state,omitempty"`
	Permission  string `json:"permission"` // what the app registration must list
	Form        string `json:"form"`       // admin or guide
}

// consentAnswer is what `consent-url --check` says.
type consentAnswer struct {
	OK     bool   `json:"ok"`
	Tenant string `json:"tenant"` // as the address says, which is no proof; may be empty
	Detail string `json:"detail"`
	Remedy string `json:"remedy"`
}

func (a *app) consentURLCommand() *cobra.Command {
	var (
		asJSON, guide           bool
		tenant, redirect, state string
		answer                  string
	)
	command := &cobra.Command{
		Use:   "consent-url",
		Short: "Prints the admin-consent link for a customer tenant",
		Long: "Prints the link by which an administrator of a customer's tenant lets a partner's app read its incidents. It takes\n" +
			"AZURE_CLIENT_ID, EXPORTER_CLOUD and EXPORTER_SOURCE, no secret, and not AZURE_TENANT_ID: without --tenant the link is\n" +
			"for whichever tenant the administrator signs in to. Nothing is sent anywhere.\n" +
			"--check reads the address that the browser was sent to afterwards; it exits with 1 if that says there is no consent.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("check") {
				return a.consentAnswered(answer, state, asJSON)
			}
			cfg, err := a.config(need{Domain: true})
			if err != nil {
				return err
			}
			link, err := cfg.consentLink(tenant, redirect, state, guide)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(link)
			}
			fmt.Fprint(a.stderr, link.explained())
			_, err = fmt.Fprintln(a.stdout, link.URL)
			return err
		},
	}
	command.Flags().StringVar(&tenant, "tenant", anyCustomer, "the customer's tenant, `GUID` or domain name")
	command.Flags().StringVar(&redirect, "redirect-uri", auth.ConsentRedirect, "where the browser goes afterwards: an https `URL` that is registered with the app")
	command.Flags().StringVar(&state, "state", "", "comes back as it is, to tell one customer from another: any `TEXT`")
	command.Flags().BoolVar(&guide, "guide", false, "the link in the form of the vendor's guide for partners")
	command.Flags().StringVar(&answer, "check", "", "say what this `ADDRESS` means that the browser was sent to; with the --state of the link")
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: url, tenant, client_id, scope, redirect_uri, state, permission, form")
	return command
}

// consentLink makes the link. Its errors are wrong input.
func (c *config) consentLink(tenant, redirect, state string, guide bool) (consentLink, error) {
	tenant = strings.ToLower(strings.TrimSpace(tenant))
	if tenant == "" {
		tenant = anyCustomer
	}
	at, err := url.Parse(redirect)
	local := err == nil && at.Scheme == "http" && (at.Hostname() == "localhost" || at.Hostname() == "127.0.0.1")
	switch {
	case c.Azure.ClientID == "":
		return consentLink{}, &configError{[]problem{{"AZURE_CLIENT_ID", "is not set: set it to the application (client) id of the app registration"}}}
	case tenant != anyCustomer && tenant != "common" && !guidForm.MatchString(tenant) && !domainForm.MatchString(tenant):
		return consentLink{}, &exitError{exitUsage, errors.New("--tenant is neither a GUID nor a domain name"),
			"give the customer's tenant id, such as 5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa, or leave --tenant out"}
	case guide && redirect != auth.ConsentRedirect:
		return consentLink{}, &exitError{exitUsage, errors.New("--redirect-uri does not go with --guide"),
			"the guide's link goes to the app's first registered redirect address: leave one of the two out"}
	case err != nil || at.Hostname() == "" || at.Scheme != "https" && !local || at.User != nil || at.Fragment != "":
		return consentLink{}, &exitError{exitUsage, errors.New("--redirect-uri is not an https URL"),
			"give an https URL that is registered with the app under Authentication, as type Web"}
	}
	permission := permissionOf(string(c.Exporter.Source))
	link := consentLink{Tenant: tenant, Client: string(c.Azure.ClientID), RedirectURI: redirect, State: state, Permission: permission, Form: "admin"}
	consent := auth.Consent{
		AuthorityHost: string(c.Azure.AuthorityHost), Tenant: tenant, ClientID: link.Client, Audience: string(c.Exporter.Audience),
		RedirectURI: redirect, State: state,
	}
	make := consent.AdminURL
	link.Scope = string(c.Exporter.Audience) + "/.default"
	if guide {
		if tenant == anyCustomer {
			consent.Tenant = "" // which it has a word of its own for
		}
		link.Form, link.Scope, make = "guide", "", consent.GuideURL
	}
	if link.URL, err = make(); err != nil {
		return consentLink{}, &exitError{exitUsage, err, "check AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST and EXPORTER_AUDIENCE"}
	}
	return link, nil
}

// permissionOf names the permission that reading incidents takes.
func permissionOf(source string) string {
	if source == "graph" {
		return "SecurityIncident.Read.All of Microsoft Graph"
	}
	return "Incident.Read.All of Microsoft Threat Protection"
}

// explained says what must be registered before, and what comes back.
func (l consentLink) explained() string {
	whose := "tenant " + l.Tenant
	if l.Tenant == anyCustomer || l.Tenant == "common" {
		whose = "whichever tenant its administrator signs in to (--tenant names one)"
	}
	where := l.RedirectURI + " as a redirect address of type Web"
	if l.Form == "guide" {
		where = "a redirect address of type Web, where the browser goes (the guide has " + l.RedirectURI + ")"
	}
	return "The link is for " + whose + ".\n" +
		"First the app registration must be multitenant, list the application permission " + l.Permission + ", and have " + where + ".\n" +
		"Afterwards `incident-exporter consent-url --check 'ADDRESS'`, with the address in the browser, says what came of it.\n"
}

// consentAnswered says what the address means that came back. It can hold an authorisation code, so
// that nothing of it is repeated but the tenant.
func (a *app) consentAnswered(address, state string, asJSON bool) error {
	tenant, refusal := auth.ParseConsent(address, state)
	answer := consentAnswer{OK: refusal == nil, Tenant: tenant, Detail: "consent was given for the app in tenant " + tenant}
	switch {
	case refusal != nil:
		answer.Detail, answer.Remedy = refusal.Text, refusal.Remedy
	case tenant == "":
		answer.Detail = "consent was given for the app; the address does not say in which tenant"
	}
	if asJSON {
		if err := a.printJSON(answer); err != nil {
			return err
		}
		if refusal != nil {
			return &exitError{code: exitFailed}
		}
		return nil
	}
	if refusal != nil {
		return &exitError{exitFailed, errors.New(refusal.Text), refusal.Remedy}
	}
	fmt.Fprintln(a.stderr, "The address is no proof, for anybody can write one: `incident-exporter token` with AZURE_TENANT_ID set to the tenant is.")
	_, err := fmt.Fprintln(a.stdout, answer.Detail)
	return err
}
