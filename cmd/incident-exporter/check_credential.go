package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"incident-exporter/auth"
)

// credential says what proves the app's identity, why that and how long it lasts, and whether it
// can be used at all.
func (c *checker) credential(now time.Time) bool {
	what := map[auth.Kind]string{
		auth.ClientSecret: "client secret (AZURE_CLIENT_SECRET)", auth.Certificate: "certificate (AZURE_CLIENT_CERTIFICATE_PATH)",
		auth.WorkloadIdentity: "federated token (AZURE_FEDERATED_TOKEN_FILE)", auth.ManagedIdentity: "managed identity",
	}[c.cfg.kind]
	why := "the only one that is set"
	if c.cfg.Exporter.Auth != "auto" {
		why = "named by EXPORTER_AUTH"
	}
	v := verdict{Name: "credential", Detail: what + ", " + why}
	var expires time.Time
	switch c.cfg.kind {
	case auth.ClientSecret:
		expires = c.cfg.Exporter.SecretExpires.Time
		if expires.IsZero() {
			v.Detail += "; EXPORTER_SECRET_EXPIRES does not say how long it lasts"
		}
		c.secret(&v)
	case auth.Certificate:
		at, err := auth.CertificateExpires(string(c.cfg.Azure.ClientCertificatePath), c.cfg.certificatePassword)
		var bad *auth.Error
		if errors.As(err, &bad) {
			v.State, v.Detail, v.Remedy = failed, bad.Summary, bad.Remedy
		}
		expires = at
	}
	if !expires.IsZero() && v.State == passed {
		c.expires(&v, expires, now)
	}
	c.say(v)
	return v.State != failed
}

// secret looks at a client secret as far as can be without showing it.
func (c *checker) secret(v *verdict) {
	secret, err := c.cfg.clientSecret()
	switch {
	case err != nil:
		v.State, v.Detail, v.Remedy = failed, err.Error(), "correct AZURE_CLIENT_SECRET_FILE, and who may read the file"
	case guidForm.MatchString(strings.ToLower(secret.Reveal())):
		v.State, v.Remedy = warning, "set AZURE_CLIENT_SECRET to the secret's Value, which is shown once, when it is made"
		v.Detail += "; it has the form of a GUID, as the Secret ID has, which is not the secret"
	}
}

// expires tells how long a credential lasts. By its date a secret may have expired and still be
// good; a certificate cannot.
func (c *checker) expires(v *verdict, at, now time.Time) {
	_, remedy := c.cfg.renewal()
	day := at.Format(time.DateOnly)
	switch {
	case now.Before(at) && now.Add(expiryWarning).Before(at):
		v.Detail += "; expires " + day
	case now.Before(at):
		v.State, v.Remedy = warning, remedy
		v.Detail += fmt.Sprintf("; expires %s, in %d days", day, int(at.Sub(now).Hours()/24))
	default:
		v.State, v.Remedy = warning, remedy
		v.Detail += "; it has expired, " + day
		if c.cfg.kind == auth.Certificate {
			v.State = failed
		}
	}
}
