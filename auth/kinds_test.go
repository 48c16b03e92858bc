package auth

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// kinds are those that the authority itself answers.
func kinds() []Kind { return []Kind{ClientSecret, Certificate, WorkloadIdentity} }

func TestOneCredentialServesAllTenantsAndNeverFromACache(t *testing.T) {
	r := newRig(t)
	for _, kind := range kinds() {
		credential := must(t, r.options(kind))
		before := r.sim.Calls().Token
		seen := map[string]bool{}
		for range 2 {
			for _, id := range []string{simulator.DefaultTenant, otherTenant} {
				token, err := credential.Token(t.Context(), id)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				claims := ParseClaims(token.Value.Reveal())
				if claims.Tenant != id || claims.AppID != simulator.DefaultClientID || claims.Audience != defenderAudience {
					t.Errorf("%s: a token for %+v, want tenant %s", kind, claims, id)
				}
				if seen[claims.TokenID] {
					t.Errorf("%s: the same token again", kind)
				}
				seen[claims.TokenID] = true
			}
		}
		if asked := r.sim.Calls().Token - before; asked != 4 {
			t.Errorf("%s: %d token requests, want 4", kind, asked)
		}
	}
	if got := r.sim.Violations(); len(got) > 0 {
		t.Errorf("violations: %q", got)
	}
}

// TestRotationNeedsNoRestart puts another credential in place of each, and takes the old one away.
func TestRotationNeedsNoRestart(t *testing.T) {
	r := newRig(t)
	certificate, workload := must(t, r.options(Certificate)), must(t, r.options(WorkloadIdentity))
	for _, credential := range []Credential{certificate, workload} {
		if _, err := credential.Token(t.Context(), simulator.DefaultTenant); err != nil {
			t.Fatal(err)
		}
	}
	key := newKey(t)
	leaf := newCertificate(t, key, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	r.sim.Change(func(b *simulator.Behaviour) {
		b.Certificates = []*x509.Certificate{leaf}
		b.Federated = []simulator.FederatedCredential{{Issuer: issuer, Subject: subject, Audience: simulator.FederatedAudience, Key: &key.PublicKey}}
	})
	for _, test := range []struct {
		credential Credential
		code       int
	}{{certificate, 700027}, {workload, 50013}} {
		var refusal *Error
		if _, err := test.credential.Token(t.Context(), simulator.DefaultTenant); !errors.As(err, &refusal) || refusal.Code != test.code {
			t.Errorf("the old credential: %v, want AADSTS%d", err, test.code)
		}
	}
	r.write("app.pem", pemOf(key, leaf))
	r.write("token", []byte(federated(t, key, nil)))
	for _, credential := range []Credential{certificate, workload} {
		if _, err := credential.Token(t.Context(), simulator.DefaultTenant); err != nil {
			t.Errorf("the new credential: %v", err)
		}
	}
}

// TestRefusalsOfAssertions: what is wrong with an assertion is told as what to mend.
func TestRefusalsOfAssertions(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		claims map[string]any
		code   int
		remedy string
	}{
		"issuer":   {map[string]any{"iss": strings.TrimSuffix(issuer, "/")}, 700211, "trailing slash"},
		"subject":  {map[string]any{"sub": "system:serviceaccount:siem:other"}, 700213, "system:serviceaccount:NAMESPACE:NAME"},
		"audience": {map[string]any{"aud": "api://other"}, 7002121, simulator.FederatedAudience},
		"expired":  {map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, 500133, "renewed"},
	} {
		r.write("token", []byte(federated(t, r.key, test.claims)))
		refusal := new(Error)
		_, err := must(t, r.options(WorkloadIdentity)).Token(t.Context(), simulator.DefaultTenant)
		if !errors.As(err, &refusal) || refusal.Code != test.code || !strings.Contains(refusal.Remedy, test.remedy) {
			t.Errorf("%s: %v, remedy %q", name, err, refusal.Remedy)
		}
	}
}

func TestOptionsOfEveryKind(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		kind   Kind
		change func(*Options)
		text   string
	}{
		"v1 and certificate":       {Certificate, func(o *Options) { o.Endpoint = EndpointV1 }, "EXPORTER_TOKEN_ENDPOINT=v2"},
		"v1 and workload identity": {WorkloadIdentity, func(o *Options) { o.Endpoint = EndpointV1 }, "EXPORTER_TOKEN_ENDPOINT=v2"},
		"v1 and managed identity":  {ManagedIdentity, func(o *Options) { o.Endpoint = EndpointV1 }, "EXPORTER_TOKEN_ENDPOINT=v2"},
		"v3":                       {ClientSecret, func(o *Options) { o.Endpoint = "v3" }, "neither v1 nor v2"},
		"no kind":                  {"", func(*Options) {}, "none of secret"},
		"no certificate":           {Certificate, func(o *Options) { o.CertificatePath = "" }, "certificate path"},
		"no token file":            {WorkloadIdentity, func(o *Options) { o.TokenFile = "" }, "federated token file"},
		"no client id":             {Certificate, func(o *Options) { o.ClientID = "" }, "client id"},
		"no audience":              {ManagedIdentity, func(o *Options) { o.Audience = "" }, "audience"},
		"no client":                {ManagedIdentity, func(o *Options) { o.HTTPClient = nil }, "HTTP client"},
		"open connection":          {Certificate, func(o *Options) { o.AuthorityHost = "http://login.fabrikam.example" }, "https"},
	} {
		options := r.options(test.kind)
		test.change(&options)
		if _, err := New(options); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %q", name, err, test.text)
		}
	}
	options := r.options(ManagedIdentity)
	options.ClientID = ""
	must(t, options)
}
