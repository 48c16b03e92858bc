package auth

import (
	"slices"
	"strings"
	"testing"
)

func TestCloudsOf(t *testing.T) {
	for host, want := range map[string][]string{
		"login.microsoftonline.com":           {"commercial", "gcc"},
		"login.windows.net":                   {"commercial", "gcc"},
		"api.security.microsoft.com":          {"commercial"},
		"API-EU.security.microsoft.com":       {"commercial"},
		"aea.api.security.microsoft.com":      {"commercial"},
		"api-gcc.security.microsoft.us":       {"gcc"},
		"api-gov.security.microsoft.us":       {"gcc-high", "dod"},
		"login.microsoftonline.us":            {"gcc-high", "dod"},
		"sts.microsoftonline.us":              {"gcc-high", "dod"},
		"graph.microsoft.com":                 {"commercial", "gcc"},
		"graph.microsoft.us":                  {"gcc-high"},
		"dod-graph.microsoft.us":              {"dod"},
		"api-gov.securitycenter.microsoft.us": {"gcc", "gcc-high", "dod"},
		"login.partner.microsoftonline.cn":    {"china"},
		"microsoftgraph.chinacloudapi.cn":     {"china"},
		"sts.windows.net":                     nil,
		"127.0.0.1":                           nil,
		"proxy.fabrikam.example":              nil,
		"evilmicrosoft.us":                    nil,
		"":                                    nil,
	} {
		if got := CloudsOf(host); !slices.Equal(got, want) {
			t.Errorf("CloudsOf(%q) = %q, want %q", host, got, want)
		}
	}
}

// TestCloudsContradictNothing: what the table sets together is right together, for both sources.
func TestCloudsContradictNothing(t *testing.T) {
	for _, cloud := range Clouds() {
		for _, api := range [][2]string{{cloud.DefenderURL, cloud.DefenderAudience}, {cloud.GraphURL, cloud.GraphURL}} {
			if found := Contradiction(cloud.Name, cloud.AuthorityHost, api[0], api[1]); found != nil {
				t.Errorf("%s: %v", cloud.Name, *found)
			}
		}
		if got, ok := CloudNamed(cloud.Name); !ok || got != cloud {
			t.Errorf("CloudNamed(%q) = %v", cloud.Name, got)
		}
		if got := federatedAudience(hostOf(cloud.AuthorityHost)); got != cloud.FederatedAudience {
			t.Errorf("%s: federated audience %s", cloud.Name, got)
		}
	}
	if _, ok := CloudNamed("china"); ok {
		t.Error("there are no incidents in china")
	}
}

func TestContradictions(t *testing.T) {
	const world, government = "https://login.microsoftonline.com", "https://login.microsoftonline.us"
	for name, test := range map[string]struct{ cloud, authority, api, audience, text, remedy string }{
		"government API, world login":    {"", world, "https://api-gov.security.microsoft.us", "", "AZURE_AUTHORITY_HOST", government},
		"GCC API, government login":      {"gcc", government, "https://api-gcc.security.microsoft.us", "", "belongs to gcc,", world},
		"regional API, government login": {"", government, "https://us.api.security.microsoft.com", "", "belongs to commercial", world},
		"cloud and login":                {"gcc-high", world, "", "", "EXPORTER_CLOUD (gcc-high)", "EXPORTER_CLOUD to commercial or gcc"},
		"cloud and API":                  {"commercial", "", "https://api-gcc.security.microsoft.us", "", "EXPORTER_API_URL", "gcc"},
		"Graph of another cloud":         {"", "", "https://dod-graph.microsoft.us", "https://graph.microsoft.us", "EXPORTER_AUDIENCE", "https://dod-graph.microsoft.us"},
		"government audience":            {"", "", defenderAudience, "https://api-gov.security.microsoft.us", "EXPORTER_AUDIENCE", defenderAudience},
		"china":                          {"commercial", "https://login.partner.microsoftonline.cn", "", "", "china", "no incidents API"},

		"nothing":                     {},
		"unknown hosts":               {"gcc-high", "https://127.0.0.1:8443", "https://proxy.fabrikam.example/api", "api://fabrikam", "", ""},
		"the undocumented audience":   {"gcc-high", government, "https://api-gov.security.microsoft.us", "https://security.microsoft.com/mtp", "", ""},
		"regional":                    {"commercial", world, "https://eu.api.security.microsoft.com", defenderAudience, "", ""},
		"the other name of the login": {"commercial", "https://login.windows.net", "", "", "", ""},
		"an unknown cloud":            {"moon", world, "", "", "", ""},
	} {
		found := Contradiction(test.cloud, test.authority, test.api, test.audience)
		switch {
		case test.text == "" && found != nil:
			t.Errorf("%s: %v", name, *found)
		case test.text == "":
		case found == nil:
			t.Errorf("%s: nothing found", name)
		case !strings.Contains(found.Text, test.text) || !strings.Contains(found.Remedy, test.remedy):
			t.Errorf("%s: %v", name, *found)
		}
	}
}
