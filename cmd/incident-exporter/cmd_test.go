package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tokenSignature ends every token, so that a token that is shown is found.
const tokenSignature = "dG9rZW4tY2FuYXJ5"

// entra plays the token endpoints. roles and audience go into the token, refusal is an AADSTS code
// to answer with instead.
type entra struct {
	*httptest.Server
	roles    []string
	audience string
	refusal  int
}

func newEntra(t *testing.T) *entra {
	e := &entra{roles: []string{"Incident.Read.All"}, audience: "https://api.security.microsoft.com"}
	e.Server = httptest.NewTLSServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	tenant := strings.Split(r.URL.Path, "/")[1]
	prefix := e.URL + "/" + tenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, prefix+"/v2.0", prefix+"/authorize", prefix+"/oauth2/v2.0/token")
	case e.refusal != 0:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"AADSTS%d: %s","error_codes":[%d]}`, e.refusal, r.FormValue("client_secret"), e.refusal)
	default:
		payload, err := json.Marshal(map[string]any{"aud": e.audience, "iss": "https://sts.windows.net/" + testTenant + "/", "tid": testTenant,
			"appid": r.FormValue("client_id"), "roles": e.roles, "exp": time.Now().Add(time.Hour).Unix()})
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":"3599","access_token":"e30.%s.%s"}`, base64.RawURLEncoding.EncodeToString(payload), tokenSignature)
	}
}

func (e *entra) env(t *testing.T, more ...string) []string {
	return append([]string{trust(t, e.Server), "AZURE_AUTHORITY_HOST=" + e.URL, "AZURE_TENANT_ID=" + testTenant, "AZURE_CLIENT_ID=" + testClient,
		"AZURE_CLIENT_SECRET=" + canary}, more...)
}

func hides(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(text, tokenSignature) {
			t.Errorf("shows the secret or the token: %s", text)
		}
	}
}

func TestTokenCommand(t *testing.T) {
	for _, endpoint := range []string{"v1", "v2"} {
		e := newEntra(t)
		env := e.env(t, "EXPORTER_TOKEN_ENDPOINT="+endpoint)
		stdout, stderr, code := program(t, env, "token")
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Incident.Read.All") || !strings.Contains(stdout, testTenant) || !strings.Contains(stdout, "yes") {
			t.Errorf("%s: exit %d, %q, %q", endpoint, code, stdout, stderr)
		}
		hides(t, stdout, stderr)
		stdout, stderr, code = program(t, env, "token", "--json")
		lines := jsonLines(t, stdout)
		if code != 0 || len(lines) != 1 || lines[0]["ok"] != true || lines[0]["remedy"] != "" {
			t.Errorf("%s: exit %d, %q, %q", endpoint, code, stdout, stderr)
		}
		for _, member := range []string{"tenant", "audience", "roles", "expires", "ok", "remedy"} {
			if _, there := lines[0][member]; !there {
				t.Errorf("no member %s in %s", member, stdout)
			}
		}
		hides(t, stdout, stderr)
	}
}

func TestTokenCommandSaysWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*entra)
		env   string // one more setting
		code  int
		want  []string
	}{
		"no roles":      {func(e *entra) { e.roles = nil }, "", 1, []string{"no roles", "admin consent"}},
		"endpoint":      {func(e *entra) { e.audience = "https://api.securitycenter.windows.com" }, "", 1, []string{"Defender for Endpoint"}},
		"domain name":   {func(*entra) {}, "AZURE_TENANT_ID=fabrikam.example", 1, []string{"AZURE_TENANT_ID=" + testTenant}},
		"secret id":     {func(e *entra) { e.refusal = 7000215 }, "", 1, []string{"client secret is wrong", "remedy: ", "AADSTS7000215"}},
		"unknown CA":    {func(*entra) {}, "SSL_CERT_FILE=" + os.DevNull, 1, []string{"does not trust", "SSL_CERT_FILE"}},
		"configuration": {func(*entra) {}, "EXPORTER_SETTLE=soon", 2, []string{"EXPORTER_SETTLE", "duration"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntra(t)
			test.spoil(e)
			stdout, stderr, code := program(t, e.env(t, test.env), "token")
			if code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("%q is not in %q, %q", want, stdout, stderr)
				}
			}
			hides(t, stdout, stderr)
			if test.code != exitFailed {
				return
			}
			stdout, stderr, code = program(t, e.env(t, test.env), "token", "--json")
			lines := jsonLines(t, stdout)
			if code != exitFailed || len(lines) != 1 || lines[0]["ok"] != false || lines[0]["remedy"] == "" {
				t.Errorf("exit %d, %q, %q", code, stdout, stderr)
			}
			hides(t, stdout, stderr)
		})
	}
}

func TestProxyRefusesTheAuthority(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	defer proxy.Close()
	env := []string{"AZURE_AUTHORITY_HOST=https://login.fabrikam.example", "AZURE_TENANT_ID=" + testTenant, "AZURE_CLIENT_ID=" + testClient,
		"AZURE_CLIENT_SECRET=" + canary, "HTTPS_PROXY=" + strings.Replace(proxy.URL, "//", "//user:hidden@", 1)}
	stdout, stderr, code := program(t, env, "token")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "refuses to connect to login.fabrikam.example:443") ||
		!strings.Contains(stderr, "remedy: put the proxy's user and password") || strings.Contains(stderr, "hidden") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	hides(t, stdout, stderr)
}

func TestConfigCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"AZURE_CLIENT_SECRET_FILE=" + path, "EXPORTER_SETTLE=90s", "EXPORTER_SINK=file:/a b/<c>"}
	stdout, stderr, code := program(t, env, "config", "--json")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "<c>") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	want := map[string][2]string{
		"AZURE_CLIENT_SECRET":  {"[redacted]", "file " + path},
		"EXPORTER_SETTLE":      {"1m30s", "environment"},
		"EXPORTER_OVERLAP":     {"1h", "default"},
		"EXPORTER_LOG_FORMAT":  {"json", "default"},
		"AZURE_AUTHORITY_HOST": {"https://login.microsoftonline.com", "default"},
	}
	var names []string
	for _, line := range jsonLines(t, stdout) {
		name, _ := line["name"].(string)
		names = append(names, name)
		if expected, ok := want[name]; ok && (line["value"] != expected[0] || line["origin"] != expected[1]) {
			t.Errorf("%v, want %v", line, expected)
		}
	}
	if len(names) != len(defaults()) || !slices.Contains(names, "EXPORTER_QUOTA") {
		t.Errorf("names %v", names)
	}
	table, _, code := program(t, env, "config")
	if code != 0 || strings.Count(table, "\n") != len(names) || !strings.Contains(table, "file "+path) {
		t.Errorf("exit %d, %q", code, table)
	}
	hides(t, stdout, table)

	stdout, stderr, code = program(t, []string{"EXPORTER_SETTLE=" + canary, "EXPORTER_OVERLAPP=1h", "AZURE_CLIENT_SECRET_FILE=" + canary, "EXPORTER_TOKEN_ENDPOINT=" + canary}, "config")
	if code != exitUsage || !strings.Contains(stderr, "4 problems") || !strings.Contains(stderr, "did you mean EXPORTER_OVERLAP?") || !strings.Contains(stdout, "[invalid]") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	hides(t, stdout, stderr)
}

func TestHTTPClient(t *testing.T) {
	client := newHTTPClient(7)
	transport, ok := client.Transport.(*http.Transport)
	if !ok || transport.MaxIdleConnsPerHost != 7 || transport.DisableCompression || transport.ForceAttemptHTTP2 || transport.TLSNextProto == nil || transport.Proxy == nil {
		t.Errorf("transport %+v", transport)
	}
	elsewhere := false
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere = true }))
	defer target.Close()
	server := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	defer server.Close()
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusFound || elsewhere {
		t.Errorf("status %d, followed %v", response.StatusCode, elsewhere)
	}
	client.CloseIdleConnections()
}
