package simulator

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
	"maps"
	"math/big"
	"time"
)

// What a made-up workload's tokens say of it.
const (
	FederatedIssuer  = "https://issuer.fabrikam.example/"
	FederatedSubject = "system:serviceaccount:siem:exporter"
)

// Identity is an app's way to prove itself without a secret: a key with its
// certificate, and a token of another issuer that the same key has signed.
type Identity struct {
	Key         *rsa.PrivateKey
	Certificate *x509.Certificate
}

// NewIdentity makes one whose certificate is valid between the two times.
func NewIdentity(from, to time.Time) (*Identity, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	certificate, err := Certify(key, from, to)
	return &Identity{key, certificate}, err
}

// Register makes the app known by it, as an administrator does.
func (i *Identity) Register(b *Behaviour) {
	b.Certificates = []*x509.Certificate{i.Certificate}
	b.Federated = []FederatedCredential{{Issuer: FederatedIssuer, Subject: FederatedSubject, Audience: FederatedAudience, Key: &i.Key.PublicKey}}
}

// PEM is the file of the key and its certificate.
func (i *Identity) PEM() ([]byte, error) { return PEM(i.Key, i.Certificate) }

// Token is a token of the other issuer that is good until the certificate's
// end, with some claims changed.
func (i *Identity) Token(changes map[string]any) (string, error) {
	claims := map[string]any{
		"iss": FederatedIssuer, "sub": FederatedSubject, "aud": []string{FederatedAudience},
		"nbf": i.Certificate.NotBefore.Unix(), "exp": i.Certificate.NotAfter.Unix(),
	}
	maps.Copy(claims, changes)
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.Key, crypto.SHA256, digest[:])
	return signed + "." + encode(signature), err
}

// Certify makes a certificate of the key that the key itself has signed.
func Certify(key crypto.Signer, from, to time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exporter.fabrikam.example"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// PEM writes a key, if it is not nil, as PKCS #8 (RFC 5958), and certificates.
func PEM(key any, certificates ...*x509.Certificate) ([]byte, error) {
	var out []byte
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		out = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, certificate := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	return out, nil
}
