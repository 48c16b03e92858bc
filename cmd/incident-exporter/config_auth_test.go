package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"incident-exporter/auth"
)

// TestCredentialIsChosen by what is set, or by name; what contradicts itself is named with both.
func TestCredentialIsChosen(t *testing.T) {
	secret, certificate, federated := "AZURE_CLIENT_SECRET="+canary, "AZURE_CLIENT_CERTIFICATE_PATH=/etc/app.pem", "AZURE_FEDERATED_TOKEN_FILE=/var/run/token"
	app := "IDENTITY_ENDPOINT=http://127.0.0.1:1"
	for name, test := range map[string]struct {
		settings []string
		kind     auth.Kind
		problem  string // the variable, and a fragment
	}{
		"nothing":                      {nil, "", ""},
		"secret":                       {[]string{secret}, auth.ClientSecret, ""},
		"certificate":                  {[]string{certificate}, auth.Certificate, ""},
		"federated":                    {[]string{federated}, auth.WorkloadIdentity, ""},
		"managed, where it is at hand": {[]string{app}, auth.ManagedIdentity, ""},
		"managed at hand, secret set":  {[]string{app, secret}, auth.ClientSecret, ""},
		"managed by name":              {[]string{"EXPORTER_AUTH=managed-identity"}, auth.ManagedIdentity, ""},
		"two":                          {[]string{secret, federated}, "", "EXPORTER_AUTH AZURE_CLIENT_SECRET and AZURE_FEDERATED_TOKEN_FILE are both set: set it to secret or workload-identity"},
		"two, one by name":             {[]string{secret, federated, "EXPORTER_AUTH=workload-identity"}, auth.WorkloadIdentity, ""},
		"by name, not set":             {[]string{secret, "EXPORTER_AUTH=certificate"}, auth.Certificate, "AZURE_CLIENT_CERTIFICATE_PATH EXPORTER_AUTH=certificate needs it"},
		"v1 and a certificate":         {[]string{certificate, "EXPORTER_TOKEN_ENDPOINT=v1"}, auth.Certificate, "EXPORTER_TOKEN_ENDPOINT takes a client secret only"},
		"managed for customers":        {[]string{"EXPORTER_AUTH=managed-identity", "EXPORTER_TENANTS=" + testTenant + "," + otherTenant}, auth.ManagedIdentity, "EXPORTER_AUTH of its own tenant only"},
		"password of nothing":          {[]string{secret, "AZURE_CLIENT_CERTIFICATE_PASSWORD=" + canary}, auth.ClientSecret, "AZURE_CLIENT_CERTIFICATE_PASSWORD without AZURE_CLIENT_CERTIFICATE_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("IDENTITY_ENDPOINT", "")
			cfg := load(t, test.settings...)
			variable, fragment, _ := strings.Cut(test.problem, " ")
			switch {
			case cfg.kind != test.kind:
				t.Errorf("kind %q, want %q", cfg.kind, test.kind)
			case test.problem == "" && len(cfg.problems) > 0:
				t.Errorf("problems %v", cfg.problems)
			case test.problem != "" && (len(cfg.problems) != 1 || cfg.problems[0].name != variable || !strings.Contains(cfg.problems[0].text, fragment)):
				t.Errorf("problems %v, want %s", cfg.problems, test.problem)
			}
			if strings.Contains((&configError{cfg.problems}).Error(), canary) {
				t.Error("the secret is shown")
			}
		})
	}
}

// TestCloudsChangeTogether: login host, API, audience and quota follow from cloud and source.
func TestCloudsChangeTogether(t *testing.T) {
	for settings, want := range map[string][4]string{
		"":                        {"https://login.microsoftonline.com", "https://api.security.microsoft.com", "https://api.security.microsoft.com", "50/1m,1500/1h"},
		"EXPORTER_CLOUD=gcc":      {"https://login.microsoftonline.com", "https://api-gcc.security.microsoft.us", "https://api-gcc.security.microsoft.us", "50/1m,1500/1h"},
		"EXPORTER_CLOUD=gcc-high": {"https://login.microsoftonline.us", "https://api-gov.security.microsoft.us", "https://api-gov.security.microsoft.us", "50/1m,1500/1h"},
		"EXPORTER_CLOUD=dod":      {"https://login.microsoftonline.us", "https://api-gov.security.microsoft.us", "https://api-gov.security.microsoft.us", "50/1m,1500/1h"},
		"EXPORTER_SOURCE=graph":   {"https://login.microsoftonline.com", "https://graph.microsoft.com", "https://graph.microsoft.com", "150/1m"},
		"EXPORTER_SOURCE=graph EXPORTER_CLOUD=gcc":                             {"https://login.microsoftonline.com", "https://graph.microsoft.com", "https://graph.microsoft.com", "150/1m"},
		"EXPORTER_SOURCE=graph EXPORTER_CLOUD=gcc-high":                        {"https://login.microsoftonline.us", "https://graph.microsoft.us", "https://graph.microsoft.us", "150/1m"},
		"EXPORTER_SOURCE=graph EXPORTER_CLOUD=dod":                             {"https://login.microsoftonline.us", "https://dod-graph.microsoft.us", "https://dod-graph.microsoft.us", "150/1m"},
		"EXPORTER_API_URL=https://api-eu.security.microsoft.com":               {"https://login.microsoftonline.com", "https://api-eu.security.microsoft.com", "https://api.security.microsoft.com", "50/1m,1500/1h"},
		"EXPORTER_API_URL=https://aea.api.security.microsoft.com":              {"https://login.microsoftonline.com", "https://aea.api.security.microsoft.com", "https://api.security.microsoft.com", "50/1m,1500/1h"},
		"EXPORTER_API_URL=https://127.0.0.1:1 EXPORTER_QUOTA=7/1m":             {"https://login.microsoftonline.com", "https://127.0.0.1:1", "https://api.security.microsoft.com", "7/1m"},
		"EXPORTER_CLOUD=gcc-high EXPORTER_AUDIENCE=https://x.fabrikam.example": {"https://login.microsoftonline.us", "https://api-gov.security.microsoft.us", "https://x.fabrikam.example", "50/1m,1500/1h"},
	} {
		t.Run(settings, func(t *testing.T) {
			cfg := load(t, strings.Fields(settings)...)
			got := [4]string{string(cfg.Azure.AuthorityHost), string(cfg.Exporter.ApiURL), string(cfg.Exporter.Audience), cfg.Exporter.Quota.String()}
			if got != want || len(cfg.problems) > 0 {
				t.Errorf("%v, %v, want %v", got, cfg.problems, want)
			}
		})
	}
}

// TestCloudsThatDoNotFit are refused with the right pair.
func TestCloudsThatDoNotFit(t *testing.T) {
	for settings, want := range map[string]string{
		"EXPORTER_API_URL=https://api-gov.security.microsoft.us":                         "gcc-high",
		"AZURE_AUTHORITY_HOST=https://login.microsoftonline.us":                          "gcc-high",
		"EXPORTER_CLOUD=gcc-high AZURE_AUTHORITY_HOST=https://login.microsoftonline.com": "set EXPORTER_CLOUD to commercial or gcc",
		"EXPORTER_CLOUD=dod EXPORTER_API_URL=https://api.security.microsoft.com":         "set EXPORTER_CLOUD to commercial",
		"EXPORTER_SOURCE=graph EXPORTER_API_URL=https://microsoftgraph.chinacloudapi.cn": "china",
	} {
		t.Run(settings, func(t *testing.T) {
			cfg := load(t, strings.Fields(settings)...)
			if text := (&configError{cfg.problems}).Error(); len(cfg.problems) != 1 || !strings.Contains(text, want) {
				t.Errorf("%s, want %s", text, want)
			}
		})
	}
}

const thirdTenant = "7a1e3f60-52c4-4d8b-9f0e-b3a86c2d4e11"

func TestTenantsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tenants")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("\ufeff# customers\r\ncontoso=" + strings.ToUpper(testTenant) + "\r\n\n" + otherTenant + " graph # moved\nfabrikam.example\nx=" + testTenant + "\n" +
		thirdTenant + " sentinel\n" + testTenant + " graph\n")
	cfg := load(t, "EXPORTER_TENANTS_FILE="+path)
	list, bad, err := cfg.tenants()
	want := []tenant{{testTenant, "contoso", "defender"}, {otherTenant, "", "graph"}, {testTenant, "", "graph"}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v", list, err)
	}
	lines := map[int]string{5: "domain name", 6: "there already", 7: "defender or graph"}
	for _, b := range bad {
		if want := lines[b.line]; want == "" || !strings.Contains(b.Error(), want) {
			t.Errorf("%v", b)
		}
		delete(lines, b.line)
	}
	if len(lines) > 0 {
		t.Errorf("not found: %v", lines)
	}
	write("# nobody\n")
	if _, _, err := cfg.tenants(); err == nil || !strings.Contains(err.Error(), "EXPORTER_TENANTS_FILE names no tenant") {
		t.Errorf("nobody: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := cfg.tenants(); err == nil || !strings.Contains(err.Error(), "EXPORTER_TENANTS_FILE must name a readable file") {
		t.Errorf("no file: %v", err)
	}
	if cfg := load(t, "EXPORTER_TENANTS_FILE="+path, "EXPORTER_TENANTS="+testTenant); len(cfg.problems) != 1 {
		t.Errorf("both: %v", cfg.problems)
	}
}

// TestShards: every tenant is in exactly one part, the parts are about even, and a part more moves
// only what it gets.
func TestShards(t *testing.T) {
	ids := make([]string, 2000)
	for i := range ids {
		ids[i] = strings.ToLower(strings.Replace(testTenant, "5d0c1b7e", string([]byte{
			"0123456789abcdef"[i>>12&15], "0123456789abcdef"[i>>8&15], "0123456789abcdef"[i>>4&15], "0123456789abcdef"[i&15], 'a', 'b', 'c', 'd'}), 1))
	}
	part := func(id string, of int) (in int) {
		for i := 1; i <= of; i++ {
			if (shard{i, of}).has(id) {
				if in > 0 {
					t.Fatalf("%s is in parts %d and %d", id, in, i)
				}
				in = i
			}
		}
		return in
	}
	sizes := map[int]int{}
	moved := 0
	for _, id := range ids {
		four, five := part(id, 4), part(id, 5)
		if four == 0 || five == 0 {
			t.Fatalf("%s is in no part", id)
		}
		sizes[four]++
		if four != five {
			if moved++; five != 5 {
				t.Errorf("%s moved from part %d to %d", id, four, five)
			}
		}
	}
	for i, n := range sizes {
		if n < 430 || n > 570 {
			t.Errorf("part %d has %d of 2000", i, n)
		}
	}
	if moved < 330 || moved > 470 {
		t.Errorf("%d of 2000 moved", moved)
	}
	if !(shard{}).has(testTenant) {
		t.Error("without parts nobody is left out")
	}
}

func TestShardOfAnIndexedJob(t *testing.T) {
	for _, test := range []struct{ index, want, problem string }{
		{"0", "1/3", ""}, {"2", "3/3", ""}, {"3", "", "from 0 to 2"}, {"x", "", "from 0 to 2"}, {"", "", "JOB_COMPLETION_INDEX"},
	} {
		t.Setenv(jobIndex, test.index)
		cfg := load(t, "EXPORTER_SHARDS=3")
		if text := (&configError{cfg.problems}).Error(); cfg.shard.String() != test.want || !strings.Contains(text, test.problem) || test.problem == "" && len(cfg.problems) > 0 {
			t.Errorf("index %q: part %q, %s", test.index, cfg.shard, text)
		}
	}
	t.Setenv(jobIndex, "0")
	if cfg := load(t, "EXPORTER_SHARDS=3", "EXPORTER_SHARD=1/3"); len(cfg.problems) != 1 {
		t.Errorf("both: %v", cfg.problems)
	}
}
