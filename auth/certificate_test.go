package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"incident-exporter/exporter/simulator"
)

const pfxPassword = "Pfx~mark'7\"ü"

func password(value string) func() (Secret, error) {
	return func() (Secret, error) { return NewSecret(value), nil }
}

// pfx writes the key and its chain as a PKCS #12 file of the rig.
func (r *rig) pfx(encoder *pkcs12.Encoder, secret string, chain ...*x509.Certificate) []byte {
	r.Helper()
	content, err := encoder.Encode(r.key, r.leaf, chain, secret)
	if err != nil {
		r.Fatal(err)
	}
	return content
}

func TestCertificateFiles(t *testing.T) {
	r := newRig(t)
	authority := newCertificate(t, newKey(t), time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour))
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(r.key)})
	for name, test := range map[string]struct {
		content  []byte
		password func() (Secret, error)
	}{
		"PEM":                     {content: pemOf(r.key, r.leaf)},
		"PEM, chain first":        {content: pemOf(r.key, authority, r.leaf)},
		"PEM, key last":           {content: append(pemOf(nil, r.leaf), pemOf(r.key)...)},
		"PEM, PKCS #1, Windows":   {content: []byte("Bag Attributes\r\n" + strings.ReplaceAll(string(pkcs1)+string(pemOf(nil, r.leaf)), "\n", "\r\n"))},
		"PEM, needless password":  {content: pemOf(r.key, r.leaf), password: password("x")},
		"PFX, modern":             {content: r.pfx(pkcs12.Modern2023, pfxPassword, authority), password: password(pfxPassword)},
		"PFX, modern, PBMAC1":     {content: r.pfx(pkcs12.Modern2026, pfxPassword), password: password(pfxPassword)},
		"PFX, legacy":             {content: r.pfx(pkcs12.LegacyDES, pfxPassword), password: password(pfxPassword)},
		"PFX, legacy RC2":         {content: r.pfx(pkcs12.LegacyRC2, pfxPassword), password: password(pfxPassword)},
		"PFX, empty password":     {content: r.pfx(pkcs12.Modern2023, "")},
		"PFX, without protection": {content: r.pfx(pkcs12.Passwordless, "")},
	} {
		t.Run(name, func(t *testing.T) {
			options := r.options(Certificate)
			options.CertificatePath, options.CertificatePassword = r.write("f", test.content), test.password
			token, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
			if err != nil || token.Value.IsZero() {
				t.Errorf("got %v", err)
			}
			if until, err := CertificateExpires(options.CertificatePath, options.CertificatePassword); err != nil || !until.Equal(r.leaf.NotAfter) {
				t.Errorf("expires %s (%v), want %s", until, err, r.leaf.NotAfter)
			}
		})
	}
	if got := r.sim.Violations(); len(got) > 0 {
		t.Errorf("violations: %q", got)
	}
}

// TestCertificateChainIsSent: an app that trusts a subject name and issuer needs all of it, the
// app's own certificate first, wherever in the file it is.
func TestCertificateChainIsSent(t *testing.T) {
	r, a := newRig(t), newAuthority(t)
	upper := newCertificate(t, newKey(t), time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	options := r.options(Certificate)
	options.AuthorityHost, options.HTTPClient = a.URL, a.Client()
	options.CertificatePath = r.write("f", pemOf(r.key, upper, r.leaf))
	if _, err := must(t, options).Token(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(a.forms[0].Get("client_assertion"), ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ X5c [][]byte }
	if err := json.Unmarshal(raw, &header); err != nil || len(header.X5c) != 2 || !bytes.Equal(header.X5c[0], r.leaf.Raw) || !bytes.Equal(header.X5c[1], upper.Raw) {
		t.Errorf("the header is %s (%v)", raw, err)
	}
}

// TestCertificateFilesOfOpenSSL takes what its users have: files that the tool wrote.
func TestCertificateFilesOfOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no openssl; .ci/deployment installs it")
		}
		t.Skip("there is no openssl here")
	}
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		command := exec.Command("openssl", args...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=exporter.fabrikam.example")
	openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "modern.pfx", "-passout", "pass:mark")
	openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "plain.pfx", "-passout", "pass:", "-keypbe", "NONE", "-certpbe", "NONE")
	openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-out", "des.pfx", "-passout", "pass:mark", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1")
	openssl("pkcs12", "-export", "-nokeys", "-in", "cert.pem", "-out", "nokey.pfx", "-passout", "pass:mark")
	openssl("pkcs12", "-export", "-nocerts", "-inkey", "key.pem", "-out", "nocert.pfx", "-passout", "pass:mark")
	openssl("pkcs8", "-topk8", "-in", "key.pem", "-out", "encrypted.pem", "-passout", "pass:mark")

	r := newRig(t)
	raw, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	r.sim.Change(func(b *simulator.Behaviour) { b.Certificates = []*x509.Certificate{certificate} })
	for file, test := range map[string]struct{ password, text string }{
		"modern.pfx":    {password: "mark"},
		"plain.pfx":     {},
		"des.pfx":       {password: "mark"},
		"nokey.pfx":     {password: "mark", text: "not its private key"},
		"nocert.pfx":    {password: "mark", text: "no certificate"},
		"encrypted.pem": {password: "mark", text: "encrypted private key"},
	} {
		options := r.options(Certificate)
		options.CertificatePath, options.CertificatePassword = filepath.Join(dir, file), password(test.password)
		_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
		if test.text == "" && err != nil || test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text)) {
			t.Errorf("%s: %v, want %q", file, err, test.text)
		}
	}
}

func TestUnusableCertificatesAreRefusedBeforeAnythingIsSent(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t)
	good := r.pfx(pkcs12.Modern2023, pfxPassword)
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("mark")})
	for name, test := range map[string]struct {
		content      []byte
		password     string
		text, remedy string
	}{
		"wrong password":         {good, "mark", "does not open with the password", "AZURE_CLIENT_CERTIFICATE_PASSWORD"},
		"no password":            {good, "", "needs a password", "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE"},
		"key alone":              {pemOf(r.key), "", "no certificate", "PEM or PFX"},
		"certificate alone":      {pemOf(nil, r.leaf), "", "not its private key", "PEM or PFX"},
		"certificate alone, DER": {r.leaf.Raw, "", "not its private key", "PEM or PFX"},
		"another's key":          {pemOf(other, r.leaf), "", "belongs to none", "one pair"},
		"two keys":               {append(pemOf(r.key), pemOf(other, r.leaf)...), "", "more than one private key", "only the key"},
		"not RSA":                {pemOf(elliptical, newCertificate(t, elliptical, now.Add(-time.Hour), now.Add(time.Hour))), "", "not RSA", "RSA certificates only"},
		"expired":                {pemOf(r.key, newCertificate(t, r.key, now.Add(-2*time.Hour), now.Add(-time.Hour))), "", "expired at", "new certificate"},
		"not yet valid":          {pemOf(r.key, newCertificate(t, r.key, now.Add(time.Hour), now.Add(2*time.Hour))), "", "not valid before", "clock"},
		"encrypted key":          {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00", "Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}), "", "encrypted private key", "openssl pkcs12"},
		"damaged block":          {append(pemOf(r.key), damaged...), "", "damaged", "export"},
		"empty":                  {nil, "", "neither PEM nor", "AZURE_CLIENT_CERTIFICATE_PATH"},
		"text":                   {[]byte("thumbprint"), "", "neither PEM nor", "AZURE_CLIENT_CERTIFICATE_PATH"},
		"another kind of PEM":    {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "", "neither a certificate nor", "PEM or PFX"},
		"cut":                    {good[:len(good)-9], pfxPassword, "neither PEM nor", "PEM or PFX"},
		"too large":              {make([]byte, maxCredentialFile+1), "", "too large", "AZURE_CLIENT_CERTIFICATE_PATH"},
	} {
		options := r.options(Certificate)
		options.CertificatePath, options.CertificatePassword = r.write("f", test.content), password(test.password)
		_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
		refusal := new(Error)
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, test.text) || !strings.Contains(refusal.Remedy, test.remedy) {
			t.Errorf("%s: %v, remedy %q", name, err, refusal.Remedy)
		}
		_, err = CertificateExpires(options.CertificatePath, options.CertificatePassword)
		if dated := name == "expired" || name == "not yet valid"; dated != (err == nil) {
			t.Errorf("%s: its expiry: %v", name, err)
		}
	}
	missing := r.options(Certificate)
	missing.CertificatePath = filepath.Join(r.dir, "mark")
	_, err = must(t, missing).Token(t.Context(), simulator.DefaultTenant)
	if refusal := new(Error); !errors.As(err, &refusal) || !errors.Is(err, os.ErrNotExist) || refusal.Remedy == "" || strings.Contains(err.Error(), "mark") {
		t.Errorf("no file: %v", err)
	}
	unreadable := r.options(Certificate)
	unreadable.CertificatePassword = func() (Secret, error) { return Secret{}, errors.New("read password file: no such file") }
	_, err = must(t, unreadable).Token(t.Context(), simulator.DefaultTenant)
	if refusal := new(Error); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "no such file") || !strings.Contains(refusal.Remedy, "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE") {
		t.Errorf("no password file: %v", err)
	}
	if calls := r.sim.Calls(); calls.Token+calls.Discovery > 0 {
		t.Errorf("requests were sent: %+v", calls)
	}
}
