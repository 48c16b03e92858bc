package auth

import (
	"net/url"
	"strings"
	"testing"
)

func TestConsentLinks(t *testing.T) {
	consent := Consent{ClientID: clientID, Audience: defenderAudience}
	got, err := consent.GuideURL()
	if want := "https://login.microsoftonline.com/common/oauth2/authorize?prompt=consent&client_id=" + clientID + "&response_type=code&sso_reload=true"; got != want || err != nil {
		t.Errorf("the guide's link is %s (%v), want %s", got, err, want)
	}
	for name, test := range map[string]struct {
		change func(*Consent)
		path   string
		host   string
		query  map[string]string
	}{
		"any tenant": {func(*Consent) {}, "/organizations/v2.0/adminconsent", "login.microsoftonline.com",
			map[string]string{"scope": defenderAudience + "/.default", "redirect_uri": ConsentRedirect, "state": ""}},
		"common":     {func(c *Consent) { c.Tenant = "common" }, "/organizations/v2.0/adminconsent", "login.microsoftonline.com", nil},
		"one tenant": {func(c *Consent) { c.Tenant = tenant }, "/" + tenant + "/v2.0/adminconsent", "login.microsoftonline.com", nil},
		"odd values": {func(c *Consent) {
			c.Tenant, c.State, c.ClientID, c.RedirectURI = "a/b?c", "x&y=z #1", "i&d", "https://r.fabrikam.example/?a=b&c"
		},
			"/a%2Fb%3Fc/v2.0/adminconsent", "login.microsoftonline.com",
			map[string]string{"state": "x&y=z #1", "client_id": "i&d", "redirect_uri": "https://r.fabrikam.example/?a=b&c"}},
		"government": {func(c *Consent) {
			c.AuthorityHost, c.Audience = "https://login.microsoftonline.us/", "https://graph.microsoft.us/.default"
		},
			"/organizations/v2.0/adminconsent", "login.microsoftonline.us", map[string]string{"scope": "https://graph.microsoft.us/.default"}},
	} {
		c := consent
		test.change(&c)
		link, err := c.AdminURL()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" || u.Host != test.host || u.EscapedPath() != test.path || u.Query().Get("client_id") != c.ClientID {
			t.Errorf("%s: %s (%v)", name, link, err)
			continue
		}
		for key, want := range test.query {
			if values := u.Query()[key]; len(values) > 1 || u.Query().Get(key) != want {
				t.Errorf("%s: %s is %q, want %q", name, key, values, want)
			}
		}
	}
	for name, spoil := range map[string]func(*Consent){
		"no client id":    func(c *Consent) { c.ClientID = "" },
		"no audience":     func(c *Consent) { c.Audience = "" },
		"open connection": func(c *Consent) { c.AuthorityHost = "http://login.fabrikam.example" },
	} {
		c := consent
		spoil(&c)
		if link, err := c.AdminURL(); err == nil {
			t.Errorf("%s: %s", name, link)
		}
		if link, err := c.GuideURL(); err == nil && name != "no audience" {
			t.Errorf("%s: %s", name, link)
		}
	}
}

func TestConsentAnswers(t *testing.T) {
	const at = "https://portal.azure.com/?"
	for query, want := range map[string]struct{ tenant, text, remedy string }{
		"tenant=" + strings.ToUpper(tenant) + "&state=s&admin_consent=True&scope=x":       {tenant: tenant},
		"code=" + url.QueryEscape(canary) + "&session_state=y&state=s":                    {},
		"tenant=" + tenant + "&state=other&admin_consent=True":                            {text: "state", remedy: "new link"},
		"tenant=" + url.QueryEscape(canary) + "&state=s&admin_consent=True":               {text: "neither", remedy: "whole address"},
		"tenant=" + tenant + "&state=s&admin_consent=False":                               {text: "neither", remedy: "whole address"},
		"error=permission_denied&error_description=" + url.QueryEscape(canary):            {text: "declined", remedy: "administrator"},
		"error=consent_required&error_description=AADSTS65004%3a+declined":                {text: "AADSTS65004", remedy: "administrator"},
		"error=invalid_client&error_description=AADSTS50011%3A+reply":                     {text: "redirect address", remedy: "Web"},
		"error=unauthorized_client&error_description=AADSTS700016%3A+x":                   {text: "unknown", remedy: "multitenant"},
		"error=access_denied&error_description=AADSTS90094%3A+x":                          {text: "no administrator", remedy: "administrator"},
		"error=invalid_resource&error_description=AADSTS650052%3A+x":                      {text: "subscription", remedy: "licence"},
		"error=" + url.QueryEscape(canary) + "&error_description=AADSTS123456789%3A+what": {text: "refused the consent", remedy: "multitenant"},
		"error=server_error": {text: "temporarily", remedy: "later"},
	} {
		got, refusal := ParseConsent(at+query, "s")
		if got != want.tenant || (refusal == nil) != (want.text == "") {
			t.Errorf("%s: %q, %v", query, got, refusal)
			continue
		}
		if refusal != nil {
			absent(t, "finding", refusal.Text+refusal.Remedy)
			if !strings.Contains(refusal.Text, want.text) || !strings.Contains(refusal.Remedy, want.remedy) {
				t.Errorf("%s: %v", query, *refusal)
			}
		}
	}
	if _, refusal := ParseConsent("https://[", ""); refusal == nil {
		t.Error("no address was taken for consent")
	}
}
