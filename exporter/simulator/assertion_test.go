package simulator_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"incident-exporter/exporter/simulator"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCertificate(t *testing.T, key *rsa.PrivateKey, until time.Time) *x509.Certificate {
	t.Helper()
	certificate, err := simulator.Certify(key, until.Add(-48*time.Hour), until)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// sign makes a JWT; alg "PS256" or "RS256".
func sign(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if header["alg"] == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestAzidentityAssertions: the library's own assertion, and one that it
// passes on, get tokens of either tenant.
func TestAzidentityAssertions(t *testing.T) {
	const other = "0f3e9d58-6b7a-4c21-9e44-71c5d2ab6c10"
	sim := simulator.New(simulator.Options{Seed: 1, FurtherTenants: []string{other}})
	server := httptest.NewTLSServer(sim)
	defer server.Close()
	key := newKey(t)
	certificate := newCertificate(t, key, time.Now().Add(time.Hour))
	sim.Change(func(b *simulator.Behaviour) {
		b.Certificates = []*x509.Certificate{certificate}
		b.Federated = []simulator.FederatedCredential{{Issuer: "https://issuer.fabrikam.example/", Subject: "system:serviceaccount:siem:exporter", Audience: simulator.FederatedAudience, Key: &key.PublicKey}}
	})
	client := azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL}, Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
	}
	for _, tenant := range []string{simulator.DefaultTenant, other} {
		own, err := azidentity.NewClientCertificateCredential(tenant, simulator.DefaultClientID, []*x509.Certificate{certificate}, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: true, SendCertificateChain: true})
		if err != nil {
			t.Fatal(err)
		}
		federated, err := azidentity.NewClientAssertionCredential(tenant, simulator.DefaultClientID,
			func(context.Context) (string, error) { return federatedToken(t, key, nil, nil), nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		for name, credential := range map[string]azcore.TokenCredential{"certificate": own, "federated": federated} {
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{simulator.DefaultAudience + "/.default"}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Token, ".")[1])
			if err != nil || !strings.Contains(string(payload), `"tid":"`+tenant+`"`) || !strings.Contains(string(payload), `"appidacr":"2"`) {
				t.Errorf("%s: %v, claims %s", name, err, payload)
			}
			c := &caller{t: t, sim: sim, client: &http.Client{Transport: simulator.Transport(sim)}, token: token.Token}
			status, _ := c.status("/api/incidents")
			if want := map[bool]int{true: 200, false: 403}[tenant == simulator.DefaultTenant]; status != want {
				t.Errorf("%s: the API answers %d to a token of %s, want %d", name, status, tenant, want)
			}
			c.violations()
		}
	}
}

func federatedToken(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	now := time.Now().Unix()
	h := map[string]any{"alg": "RS256", "kid": "1"}
	c := map[string]any{"iss": "https://issuer.fabrikam.example/", "sub": "system:serviceaccount:siem:exporter",
		"aud": []string{simulator.FederatedAudience}, "iat": now, "nbf": now, "exp": now + 3600}
	return sign(t, key, over(h, header), over(c, claims))
}

// over puts changes over base; nil removes.
func over(base, changes map[string]any) map[string]any {
	for name, value := range changes {
		base[name] = value
		if value == nil {
			delete(base, name)
		}
	}
	return base
}

// TestAssertionsAreVerified changes one thing at a time in an assertion that
// is right otherwise.
func TestAssertionsAreVerified(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1})
	c := call(t, sim)
	key, stranger := newKey(t), newKey(t)
	certificate := newCertificate(t, key, time.Now().Add(time.Hour))
	expired := newCertificate(t, key, time.Now().Add(-time.Hour))
	federated := simulator.FederatedCredential{Issuer: "https://issuer.fabrikam.example/", Subject: "system:serviceaccount:siem:exporter",
		Audience: simulator.FederatedAudience, Key: &key.PublicKey}
	sim.Change(func(b *simulator.Behaviour) {
		b.Certificates = []*x509.Certificate{expired, certificate}
		b.Federated = []simulator.FederatedCredential{federated}
	})
	long, short, old := sha256.Sum256(certificate.Raw), sha1.Sum(certificate.Raw), sha256.Sum256(expired.Raw)
	const path = "/" + simulator.DefaultTenant + "/oauth2/v2.0/token"
	now := time.Now().Unix()
	used := 0
	own := func(signer *rsa.PrivateKey, header, claims map[string]any) string {
		used++
		h := map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(long[:])}
		p := map[string]any{"iss": simulator.DefaultClientID, "sub": simulator.DefaultClientID, "aud": host + path,
			"jti": time.Unix(int64(used), 0).String(), "nbf": now, "exp": now + 600}
		return sign(t, signer, over(h, header), over(p, claims))
	}
	type m = map[string]any
	once := own(key, nil, nil)
	for _, test := range []struct {
		name, assertion string
		number          int // 0: a token
	}{
		{"right", once, 0},
		{"again", once, 50013},
		{"standard base64", own(key, m{"x5t#S256": base64.StdEncoding.EncodeToString(long[:])}, nil), 0},
		{"RS256 and SHA-1", own(key, m{"alg": "RS256", "x5t#S256": nil, "x5t": base64.RawURLEncoding.EncodeToString(short[:])}, nil), 0},
		{"no thumbprint", own(key, m{"x5t#S256": nil}, nil), 700027},
		{"thumbprint of another", own(key, m{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}, nil), 700027},
		{"expired certificate", own(key, m{"x5t#S256": base64.RawURLEncoding.EncodeToString(old[:])}, nil), 700027},
		{"signed by another", own(stranger, nil, nil), 50012},
		{"unsigned", own(key, m{"alg": "none"}, nil), 50012},
		{"foreign chain", own(key, m{"x5c": []string{"AAAA"}}, nil), 50012},
		{"another subject", own(key, nil, m{"sub": "x"}), 50027},
		{"another audience", own(key, nil, m{"aud": host + "/common/oauth2/v2.0/token"}), 50027},
		{"no identifier", own(key, nil, m{"jti": nil}), 50027},
		{"expired", own(key, nil, m{"exp": now - 1}), 500133},
		{"not yet valid", own(key, nil, m{"nbf": now + 3600}), 500133},
		{"malformed", "a.b", 50027},

		{"federated", federatedToken(t, key, nil, nil), 0},
		{"federated, audience as text", federatedToken(t, key, nil, m{"aud": simulator.FederatedAudience}), 0},
		{"federated, issuer without slash", federatedToken(t, key, nil, m{"iss": "https://issuer.fabrikam.example"}), 700211},
		{"federated, other subject", federatedToken(t, key, nil, m{"sub": "system:serviceaccount:siem:Exporter"}), 700213},
		{"federated, other audience", federatedToken(t, key, nil, m{"aud": "api://AzureADTokenExchangeUSGov"}), 7002121},
		{"federated, two audiences", federatedToken(t, key, nil, m{"aud": []string{"a", "b"}}), 50027},
		{"federated, expired", federatedToken(t, key, nil, m{"exp": now - 1}), 500133},
		{"federated, PS256", federatedToken(t, key, m{"alg": "PS256"}, nil), 50013},
		{"federated, signed by another", federatedToken(t, stranger, nil, nil), 50013},
	} {
		status, body := c.post(path, form("scope", simulator.DefaultAudience+"/.default", "client_secret", "", "client_assertion_type", jwtBearer, "client_assertion", test.assertion))
		checkAnswer(t, test.name, status, body, test.number)
	}
	c.violations("auth")
	for number, change := range map[int]func(*simulator.Behaviour){
		90061: func(b *simulator.Behaviour) { b.Federated[0].Key = nil },
		70021: func(b *simulator.Behaviour) { b.Federated = nil },
	} {
		sim.Change(func(b *simulator.Behaviour) { b.Federated = []simulator.FederatedCredential{federated} })
		sim.Change(change)
		status, body := c.post(path, form("scope", simulator.DefaultAudience+"/.default", "client_secret", "", "client_assertion_type", jwtBearer, "client_assertion", federatedToken(t, key, nil, nil)))
		checkAnswer(t, "federated, as registered", status, body, number)
	}
}

func checkAnswer(t *testing.T, name string, status int, body map[string]any, number int) {
	t.Helper()
	codes, _ := body["error_codes"].([]any)
	if number == 0 && status != http.StatusOK || number != 0 && (len(codes) != 1 || codes[0] != float64(number)) {
		t.Errorf("%s: %d %v, want AADSTS%d", name, status, body, number)
	}
}
