package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"incident-exporter/auth"
)

// chooseCredential settles which credential is used: the one that EXPORTER_AUTH names, or the only
// one that is set.
func (c *config) chooseCredential() {
	if c.faulty("EXPORTER_AUTH") {
		return
	}
	type way struct {
		kind     auth.Kind
		set      bool
		variable string
	}
	ways := []way{
		{auth.ClientSecret, !c.Azure.ClientSecret.IsZero() || c.Azure.ClientSecretFile != "", "AZURE_CLIENT_SECRET"},
		{auth.Certificate, c.Azure.ClientCertificatePath != "", "AZURE_CLIENT_CERTIFICATE_PATH"},
		{auth.WorkloadIdentity, c.Azure.FederatedTokenFile != "", "AZURE_FEDERATED_TOKEN_FILE"},
		// Its endpoint is a variable of App Service, Functions and Container Apps; a virtual machine
		// has none, so that a managed identity has to be asked for there.
		{auth.ManagedIdentity, os.Getenv("IDENTITY_ENDPOINT") != "", "IDENTITY_ENDPOINT"},
	}
	if c.Exporter.Auth != "auto" {
		for _, w := range ways {
			if w.kind != auth.Kind(c.Exporter.Auth) {
				continue
			}
			if !w.set && w.kind != auth.ManagedIdentity && !c.faulty(w.variable) {
				c.problem(w.variable, "is not set, and EXPORTER_AUTH=%s needs it", w.kind)
			}
			c.kind = w.kind
		}
		return
	}
	var set []way
	for _, w := range ways {
		// Where there is an identity for whoever wants it, what was set on purpose counts.
		if w.set && (w.kind != auth.ManagedIdentity || len(set) == 0) {
			set = append(set, w)
		}
	}
	switch {
	case len(set) == 1:
		c.kind = set[0].kind
	case len(set) > 1:
		c.problem("EXPORTER_AUTH", "is auto, and %s and %s are both set: set it to %s or %s, or unset one of them",
			set[0].variable, set[1].variable, set[0].kind, set[1].kind)
	}
}

// credentialConflicts notes what does not go with the credential.
func (c *config) credentialConflicts() {
	if c.kind == "" {
		return
	}
	if auth.Endpoint(c.Exporter.TokenEndpoint) == auth.EndpointV1 && c.kind != auth.ClientSecret {
		c.problem("EXPORTER_TOKEN_ENDPOINT", "is v1, which takes a client secret only, and the credential is %s: unset it", c.kind)
	}
	if c.kind == auth.ManagedIdentity && (len(c.Exporter.Tenants) > 1 || c.Exporter.TenantsFile != "") {
		c.problem("EXPORTER_AUTH", "is managed-identity, which gets tokens of its own tenant only: use another credential for the tenants of customers")
	}
	if c.Azure.ClientCertificatePath == "" && (!c.Azure.ClientCertificatePassword.IsZero() || c.Azure.ClientCertificatePasswordFile != "") {
		c.problem("AZURE_CLIENT_CERTIFICATE_PASSWORD", "is set without AZURE_CLIENT_CERTIFICATE_PATH, the file that it opens")
	}
}

// credential makes the credential that gets tokens of every tenant for an audience.
func (c *config) credential(audience string) (auth.Credential, error) {
	return auth.New(auth.Options{
		Kind: c.kind, Endpoint: auth.Endpoint(c.Exporter.TokenEndpoint), ClientID: string(c.Azure.ClientID),
		Audience: audience, AuthorityHost: string(c.Azure.AuthorityHost), HTTPClient: newHTTPClient(int(c.Exporter.Concurrency)),
		Secret: c.clientSecret, CertificatePath: string(c.Azure.ClientCertificatePath), CertificatePassword: c.certificatePassword,
		TokenFile: string(c.Azure.FederatedTokenFile),
	})
}

// api is one of the two incidents APIs as it is configured.
type api struct {
	source   string
	setBy    string   // the variable or flag that says where it is
	origin   *url.URL // https
	path     string   // before the API's own
	audience string
	quota    quota
}

// defaultQuotas are what the APIs document, and for Graph what it documents for alerts: it names no
// limit for incidents.
func defaultQuotas(source string) string {
	if source == "graph" {
		return "150/1m"
	}
	return "50/1m,1500/1h"
}

// api is the API of a source. A quota that is set holds for both. EXPORTER_AUDIENCE and a host of
// Microsoft's in EXPORTER_API_URL are for EXPORTER_SOURCE; where tenants of the other source are listed
// too, theirs are the cloud's. Any other host, such as a simulator's, is taken to have both.
func (c *config) api(source string) (api, error) {
	a := api{source: source, setBy: "EXPORTER_CLOUD", quota: c.Exporter.Quota}
	at, audience := c.cloudAddresses(source)
	u, err := url.Parse(string(c.Exporter.ApiURL))
	own := source == string(c.Exporter.Source)
	if own || err == nil && auth.CloudsOf(u.Hostname()) == nil {
		at, a.setBy = string(c.Exporter.ApiURL), "EXPORTER_API_URL"
	}
	if own {
		audience = string(c.Exporter.Audience)
	} else if !c.set("EXPORTER_QUOTA") {
		if err := a.quota.UnmarshalText([]byte(defaultQuotas(source))); err != nil {
			return a, err
		}
	}
	a.audience = audience
	return a, a.at(at)
}

// at sets where the API is.
func (a *api) at(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("read %s: %w", a.setBy, err)
	}
	a.origin, a.path = &url.URL{Scheme: u.Scheme, Host: u.Host}, strings.TrimRight(u.Path, "/")
	return nil
}

// cloudAddresses are the URL and the audience of a source in the configured cloud.
func (c *config) cloudAddresses(source string) (at, audience string) {
	cloud, ok := auth.CloudNamed(string(c.Exporter.Cloud))
	switch {
	case !ok:
		return "", ""
	case source == "graph":
		return cloud.GraphURL, cloud.GraphURL
	}
	return cloud.DefenderURL, cloud.DefenderAudience
}

// addresses gives what is not set the values of the cloud and the source.
func (c *config) addresses() {
	if c.faulty("EXPORTER_CLOUD") || c.faulty("EXPORTER_SOURCE") {
		return
	}
	cloud, _ := auth.CloudNamed(string(c.Exporter.Cloud))
	at, audience := c.cloudAddresses(string(c.Exporter.Source))
	given := func(name string, field interface{ UnmarshalText([]byte) error }, value string) {
		if c.set(name) {
			return
		}
		if err := field.UnmarshalText([]byte(value)); err != nil {
			c.problem(name, "%v", err)
		}
	}
	given("AZURE_AUTHORITY_HOST", &c.Azure.AuthorityHost, cloud.AuthorityHost)
	given("EXPORTER_API_URL", &c.Exporter.ApiURL, at)
	given("EXPORTER_AUDIENCE", &c.Exporter.Audience, audience)
	given("EXPORTER_QUOTA", &c.Exporter.Quota, defaultQuotas(string(c.Exporter.Source)))
}

// cloudConflicts notes addresses of different clouds.
func (c *config) cloudConflicts() {
	for _, name := range []string{"EXPORTER_CLOUD", "AZURE_AUTHORITY_HOST", "EXPORTER_API_URL", "EXPORTER_AUDIENCE"} {
		if c.faulty(name) {
			return
		}
	}
	given := func(name, value string) string { // what follows from the cloud cannot contradict it
		if !c.set(name) {
			return ""
		}
		return value
	}
	found := auth.Contradiction(string(c.Exporter.Cloud), given("AZURE_AUTHORITY_HOST", string(c.Azure.AuthorityHost)),
		given("EXPORTER_API_URL", string(c.Exporter.ApiURL)), given("EXPORTER_AUDIENCE", string(c.Exporter.Audience)))
	if found != nil {
		c.problem("EXPORTER_CLOUD", "does not fit: %s: %s", found.Text, found.Remedy)
	}
}
