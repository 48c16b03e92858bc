package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

const (
	otherTenant   = "0f3e9d58-6b7a-4c21-9e44-71c5d2ab6c10"
	issuer        = simulator.FederatedIssuer
	subject       = simulator.FederatedSubject
	graphAudience = "https://graph.microsoft.com"
)

// rig is the simulated authority over TLS and an app that has proved itself to it in every way:
// with a secret, with the certificate in certFile, and with the token in tokenFile.
type rig struct {
	*testing.T
	sim       *simulator.Simulator
	client    *http.Client
	authority string
	dir       string
	key       *rsa.PrivateKey
	leaf      *x509.Certificate
	certFile  string
	tokenFile string
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, dir: t.TempDir(), key: newKey(t), sim: simulator.New(simulator.Options{Seed: 1, FurtherTenants: []string{otherTenant}})}
	server := httptest.NewTLSServer(r.sim)
	t.Cleanup(server.Close)
	r.client, r.authority = server.Client(), server.URL
	r.leaf = newCertificate(t, r.key, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	r.certFile = r.write("app.pem", pemOf(r.key, r.leaf))
	r.tokenFile = r.write("token", []byte(federated(t, r.key, nil)+"\n"))
	r.sim.Change(func(b *simulator.Behaviour) {
		b.Certificates = []*x509.Certificate{r.leaf}
		b.Federated = []simulator.FederatedCredential{{Issuer: issuer, Subject: subject, Audience: simulator.FederatedAudience, Key: &r.key.PublicKey}}
	})
	return r
}

func (r *rig) write(name string, content []byte) string {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

func (r *rig) options(kind Kind) Options {
	return Options{
		Kind: kind, ClientID: simulator.DefaultClientID, Audience: defenderAudience, AuthorityHost: r.authority, HTTPClient: r.client,
		Secret:          func() (Secret, error) { return NewSecret(simulator.DefaultSecret), nil },
		CertificatePath: r.certFile, TokenFile: r.tokenFile,
	}
}

func (r *rig) refuse(status, code int, kind string) {
	r.sim.Change(func(b *simulator.Behaviour) { b.Refuse = simulator.Refusal{Status: status, Kind: kind, Code: code} })
}

func must(t *testing.T, options Options) Credential {
	t.Helper()
	credential, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCertificate(t *testing.T, key crypto.Signer, from, to time.Time) *x509.Certificate {
	t.Helper()
	certificate, err := simulator.Certify(key, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// pemOf writes the key, if there is one, and the certificates.
func pemOf(key any, certificates ...*x509.Certificate) []byte {
	out, err := simulator.PEM(key, certificates...)
	if err != nil {
		panic(err)
	}
	return out
}

// federated is a token of the issuer, with some claims changed.
func federated(t *testing.T, key *rsa.PrivateKey, changes map[string]any) string {
	t.Helper()
	identity := simulator.Identity{Key: key, Certificate: &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}}
	token, err := identity.Token(changes)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
