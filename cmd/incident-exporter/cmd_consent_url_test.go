package main

import (
	"net/url"
	"strings"
	"testing"

	"incident-exporter/auth"
)

func TestConsentURL(t *testing.T) {
	t.Parallel()
	env := []string{"AZURE_CLIENT_ID=" + testClient}
	for name, test := range map[string]struct {
		env, args []string
		path      string // of the link, with its host
		query     url.Values
		says      string // to people
	}{
		"whoever signs in": {nil, nil, "https://login.microsoftonline.com/organizations/v2.0/adminconsent",
			url.Values{"client_id": {testClient}, "scope": {"https://api.security.microsoft.com/.default"}, "redirect_uri": {auth.ConsentRedirect}},
			"whichever tenant its administrator signs in to"},
		"the partner's own tenant is not meant": {[]string{"AZURE_TENANT_ID=" + testTenant, "AZURE_CLIENT_SECRET=" + canary}, nil,
			"https://login.microsoftonline.com/organizations/v2.0/adminconsent", nil, "Incident.Read.All of Microsoft Threat Protection"},
		"one customer, Graph, a government cloud": {[]string{"EXPORTER_SOURCE=graph", "EXPORTER_CLOUD=gcc-high"},
			[]string{"--tenant", strings.ToUpper(otherTenant), "--state", "a b&c", "--redirect-uri", "https://portal.fabrikam.example/done"},
			"https://login.microsoftonline.us/" + otherTenant + "/v2.0/adminconsent",
			url.Values{"client_id": {testClient}, "scope": {"https://graph.microsoft.us/.default"}, "redirect_uri": {"https://portal.fabrikam.example/done"}, "state": {"a b&c"}},
			"SecurityIncident.Read.All of Microsoft Graph"},
		"a domain": {nil, []string{"--tenant", "contoso.example"}, "https://login.microsoftonline.com/contoso.example/v2.0/adminconsent", nil, "tenant contoso.example"},
		"the guide's": {nil, []string{"--guide"}, "https://login.microsoftonline.com/common/oauth2/authorize",
			url.Values{"prompt": {"consent"}, "client_id": {testClient}, "response_type": {"code"}, "sso_reload": {"true"}}, "the guide has https://portal.azure.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := program(t, append(env, test.env...), append([]string{"consent-url"}, test.args...)...)
			link, err := url.Parse(strings.TrimSuffix(stdout, "\n"))
			if err != nil || code != exitDone || !strings.Contains(stderr, test.says) || strings.Contains(stdout+stderr, canary) {
				t.Fatalf("exit %d, %v, %q, %q", code, err, stdout, stderr)
			}
			query := link.Query()
			link.RawQuery = ""
			if link.String() != test.path || test.query != nil && query.Encode() != test.query.Encode() {
				t.Errorf("%s %v", link, query)
			}
			asJSON, stderr, code := program(t, append(env, test.env...), append([]string{"consent-url", "--json"}, test.args...)...)
			if lines := jsonLines(t, asJSON); code != exitDone || stderr != "" || len(lines) != 1 || lines[0]["url"] != strings.TrimSuffix(stdout, "\n") || lines[0]["tenant"] == "" {
				t.Errorf("exit %d, %q, %q", code, asJSON, stderr)
			}
		})
	}
}

func TestConsentURLUsage(t *testing.T) {
	t.Parallel()
	env := []string{"AZURE_CLIENT_ID=" + testClient}
	for _, test := range []struct {
		env, args []string
		says      string
	}{
		{nil, nil, "AZURE_CLIENT_ID is not set"},
		{env, []string{"--tenant", "not a tenant"}, "remedy: give the customer's tenant id"},
		{env, []string{"--redirect-uri", "http://fabrikam.example"}, "remedy: give an https URL"},
		{env, []string{"--redirect-uri", "https://user:secret@fabrikam.example"}, "remedy: give an https URL"},
		{env, []string{"--guide", "--redirect-uri", "https://fabrikam.example"}, "leave one of the two out"},
		{env, []string{"--tennant", "x"}, "unknown flag"},
		{append([]string{"EXPORTER_CLOUD=moon"}, env...), nil, "EXPORTER_CLOUD must be one of"},
	} {
		stdout, stderr, code := program(t, test.env, append([]string{"consent-url"}, test.args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, test.says) || strings.Contains(stderr, "secret@") {
			t.Errorf("%v: exit %d, %q, %q", test.args, code, stdout, stderr)
		}
	}
}

func TestConsentURLCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address, state string
		code           int
		says           string
	}{
		{"https://portal.azure.com/?admin_consent=True&tenant=" + otherTenant + "&state=s1", "s1", exitDone, "consent was given for the app in tenant " + otherTenant},
		{"https://portal.azure.com/?code=" + url.QueryEscape(canary), "", exitDone, "does not say in which tenant"},
		{"https://portal.azure.com/?error=access_denied&error_description=AADSTS65004%3A+" + url.QueryEscape(canary), "", exitFailed, "the consent was declined (AADSTS65004)"},
		{"https://portal.azure.com/?admin_consent=True&tenant=" + otherTenant + "&state=s2", "s1", exitFailed, "another consent link"},
		{"", "", exitFailed, "copy the whole address"},
	} {
		args := []string{"consent-url", "--check", test.address, "--state", test.state}
		stdout, stderr, code := program(t, nil, args...)
		if code != test.code || !strings.Contains(stdout+stderr, test.says) || code != exitDone && !strings.Contains(stderr, "remedy: ") {
			t.Errorf("%q: exit %d, %q, %q", test.address, code, stdout, stderr)
		}
		asJSON, quiet, code := program(t, nil, append(args, "--json")...)
		lines := jsonLines(t, asJSON)
		if code != test.code || quiet != "" || len(lines) != 1 || lines[0]["ok"] != (code == exitDone) || (lines[0]["remedy"] == "") != (code == exitDone) {
			t.Errorf("%q: exit %d, %q, %q", test.address, code, asJSON, quiet)
		}
		hides(t, stdout, stderr, asJSON)
	}
}
