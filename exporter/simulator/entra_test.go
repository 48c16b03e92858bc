package simulator_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"incident-exporter/exporter/simulator"
)

// TestAzidentityAcceptsIt: the library that the exporter uses gets a token, and
// the API takes it.
func TestAzidentityAcceptsIt(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 3})
	server := httptest.NewTLSServer(sim)
	defer server.Close()
	credential := func(secret string) *azidentity.ClientSecretCredential {
		c, err := azidentity.NewClientSecretCredential(simulator.DefaultTenant, simulator.DefaultClientID, secret,
			&azidentity.ClientSecretCredentialOptions{
				ClientOptions: policy.ClientOptions{
					Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL},
					Transport: server.Client(),
					Retry:     policy.RetryOptions{MaxRetries: -1},
				},
				DisableInstanceDiscovery: true,
			})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	options := policy.TokenRequestOptions{Scopes: []string{simulator.DefaultAudience + "/.default"}}
	token, err := credential(simulator.DefaultSecret).GetToken(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.ExpiresOn); left < 55*time.Minute || left > time.Hour {
		t.Errorf("the token expires in %v", left)
	}
	c := &caller{t: t, sim: sim, client: &http.Client{Transport: simulator.Transport(sim)}, token: token.Token}
	if n := len(c.list()); n != 3 {
		t.Errorf("%d incidents", n)
	}
	if _, err := credential("wrong").GetToken(t.Context(), options); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("wrong secret: %v", err)
	}
	c.violations()
}

func TestTokenErrors(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1})
	c := call(t, sim)
	const v1, v2 = "/oauth2/token", "/oauth2/v2.0/token"
	scope := simulator.DefaultAudience + "/.default"
	good := func(fields ...string) []string { return append([]string{"scope", scope}, fields...) }
	for _, e := range []struct {
		tenant, endpoint string
		fields           []string
		change           func(*simulator.Behaviour)
		status, number   int
		kind             string
	}{
		{"", v2, good("client_secret", "wrong"), nil, 401, 7000215, "invalid_client"},
		{"", v2, good("client_secret", ""), nil, 401, 7000218, "invalid_client"},
		{"", v2, good(), func(b *simulator.Behaviour) { b.SecretExpired = true }, 401, 7000222, "invalid_client"},
		{"", v2, good("client_id", "00000000-0000-0000-0000-000000000001"), nil, 400, 700016, "unauthorized_client"},
		{"", v2, good("client_secret", "", "client_assertion", "x.y.z"), nil, 400, 900144, "invalid_request"},
		{"", v2, good("client_secret", "", "client_assertion", "x.y.z", "client_assertion_type", jwtBearer), nil, 401, 50027, "invalid_client"},
		{"", v2, good(), func(b *simulator.Behaviour) {
			b.Refuse = simulator.Refusal{Status: 401, Kind: "invalid_client", Code: 700030}
		}, 401, 700030, "invalid_client"},
		{"00000000-0000-0000-0000-000000000002", v2, good(), nil, 400, 90002, "invalid_request"},
		{"contoso.example", v1, good(), nil, 400, 90002, "invalid_request"},
		{"nonsense", v2, good(), nil, 400, 900023, "invalid_request"},
		{"common", v2, good(), nil, 400, 9001023, "invalid_request"},
		{"", v2, good(), func(b *simulator.Behaviour) { b.Consent = false }, 400, 65001, "invalid_grant"},
		{"", v2, good(), func(b *simulator.Behaviour) { b.TokenUnavailable = true }, 503, 90033, "temporarily_unavailable"},
		{"", v2, []string{"scope", "https://nowhere.example/.default"}, nil, 400, 500011, "invalid_resource"},
		{"", v1, []string{"resource", "https://nowhere.example"}, nil, 400, 500011, "invalid_resource"},
		{"", v2, nil, nil, 400, 70011, "invalid_scope"},
		{"", v2, []string{"scope", simulator.DefaultAudience + "/Incident.Read.All"}, nil, 400, 1002012, "invalid_scope"},
		{"", v2, []string{"scope", scope + " https://graph.microsoft.com/.default"}, nil, 400, 700022, "invalid_scope"},
		{"", v2, good("resource", simulator.DefaultAudience), nil, 400, 901002, "invalid_request"},
		{"", v1, nil, nil, 400, 900144, "invalid_request"},
		{"", v2, good("grant_type", "password"), nil, 400, 70003, "unsupported_grant_type"},
	} {
		if e.change != nil {
			sim.Change(e.change)
		}
		if e.tenant == "" {
			e.tenant = simulator.DefaultTenant
		}
		status, body := c.post("/"+e.tenant+e.endpoint, form(e.fields...))
		description, _ := body["error_description"].(string)
		codes, _ := body["error_codes"].([]any)
		if status != e.status || body["error"] != e.kind || !strings.HasPrefix(description, fmt.Sprintf("AADSTS%d: ", e.number)) || len(codes) != 1 || codes[0] != float64(e.number) {
			t.Errorf("%s%s %q: %d %v, want %d AADSTS%d %s", e.tenant, e.endpoint, e.fields, status, body, e.status, e.number, e.kind)
		}
		sim.Change(func(b *simulator.Behaviour) { *b = simulator.DefaultBehaviour() })
	}
	c.violations()
}

func TestTokenAnswers(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 3})
	c := call(t, sim)
	// v1 spells its numbers as strings, and knows the tenant by its domain too.
	status, body := c.post("/"+simulator.DefaultDomain+"/oauth2/token", form("resource", simulator.DefaultAudience))
	if status != http.StatusOK || body["expires_in"] != "3599" || body["resource"] != simulator.DefaultAudience {
		t.Fatal(status, body)
	}
	c.token = body["access_token"].(string)
	c.list()

	parts := strings.Split(c.token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Aud, Tid, Appid, Iss, Uti string
		Roles                     []string
		Iat, Nbf, Exp             int64
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Aud != simulator.DefaultAudience || claims.Tid != simulator.DefaultTenant || claims.Appid != simulator.DefaultClientID ||
		claims.Iss != "https://sts.windows.net/"+simulator.DefaultTenant+"/" || claims.Uti == "" ||
		!slices.Equal(claims.Roles, []string{"Incident.Read.All"}) || claims.Exp-claims.Iat != 3599 || claims.Nbf != claims.Iat {
		t.Errorf("claims are %s", raw)
	}

	// Basic authentication, with the secret URL-encoded.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, host+"/"+simulator.DefaultTenant+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&scope=openid+profile+"+simulator.DefaultAudience+"/.default"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(simulator.DefaultClientID, "simulated~secret%2B%2F%3D%26only")
	r, err := c.client.Do(req)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	r.Body.Close()
	c.violations()
}

func TestTokensAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 1, Incidents: 3})
		c := call(t, sim)
		want := func(status int, code string, kinds ...string) {
			t.Helper()
			if s, k := c.status("/api/incidents"); s != status || k != code {
				t.Errorf("%d %s, want %d %s", s, k, status, code)
			}
			c.violations(kinds...)
		}
		time.Sleep(3598 * time.Second)
		want(200, "")
		time.Sleep(time.Second)
		want(401, "Unauthorized") // expired
		c.login()
		sim.RevokeTokens()
		want(401, "Unauthorized")
		for _, roles := range [][]string{nil, {"Incidents.Read.All"}} {
			sim.Change(func(b *simulator.Behaviour) { b.Roles = roles })
			c.login()
			want(403, "Forbidden")
		}
		sim.Change(func(b *simulator.Behaviour) { b.Roles = []string{"Incident.ReadWrite.All"} })
		c.login()
		want(200, "")
		_, body := c.post("/"+simulator.DefaultTenant+"/oauth2/token", form("resource", "https://security.microsoft.com/mtp/"))
		c.token = body["access_token"].(string)
		want(200, "")
		_, body = c.post("/"+simulator.DefaultTenant+"/oauth2/token", form("resource", "https://api.securitycenter.windows.com"))
		c.token = body["access_token"].(string)
		want(401, "Unauthorized", "audience")
		c.token = "a.b.c"
		want(401, "Unauthorized", "audience", "auth")
	})
}

func TestDiscovery(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1})
	c := &caller{t: t, sim: sim, client: &http.Client{Transport: simulator.Transport(sim)}}
	for path, want := range map[string]string{
		"/common/discovery/instance": `"tenant_discovery_endpoint":"https://simulated.example/`,
		"/" + simulator.DefaultTenant + "/v2.0/.well-known/openid-configuration":      `"issuer":"https://simulated.example/` + simulator.DefaultTenant + `/v2.0"`,
		"/00000000-0000-0000-0000-000000000002/v2.0/.well-known/openid-configuration": `AADSTS90002`,
	} {
		r, err := c.client.Get(host + path)
		if err != nil {
			t.Fatal(err)
		}
		var text json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&text); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v %s", path, err, text)
		}
		r.Body.Close()
	}
	c.violations()
	if n := sim.Calls(); n.Discovery != 3 || n.API() != 0 {
		t.Errorf("calls are %+v", n)
	}
	r, _, err := c.get("/elsewhere")
	if err != nil || r.StatusCode != http.StatusNotFound {
		t.Error(r, err)
	}
	c.violations("auth", "path")
}
