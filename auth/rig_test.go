package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
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
	issuer        = "https://issuer.fabrikam.example/"
	subject       = "system:serviceaccount:siem:exporter"
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
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exporter.fabrikam.example"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// pemOf writes the key, if there is one, as PKCS #8, and the certificates.
func pemOf(key any, certificates ...*x509.Certificate) []byte {
	var out []byte
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		out = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, certificate := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	return out
}

// federated is a token of the issuer, with some claims changed.
func federated(t *testing.T, key *rsa.PrivateKey, changes map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": issuer, "sub": subject, "aud": []string{simulator.FederatedAudience}, "nbf": now, "exp": now + 3600}
	for name, value := range changes {
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}
