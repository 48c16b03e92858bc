package simulator

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// token is what is known of a token that was issued.
type token struct {
	tenant   string
	audience string
	roles    []string
	expires  ticks
	revoked  bool
}

// mtpAlias is another name of the same resource application.
const mtpAlias = "https://security.microsoft.com/mtp"

// knownResources are other applications of the tenant, for which a token is
// issued without complaint, and without a role that helps here.
var knownResources = []string{
	DefaultAudience,
	mtpAlias,
	"https://api.securitycenter.windows.com",
	"https://api.securitycenter.microsoft.com",
	"https://securitycenter.onmicrosoft.com/windowsatpservice",
	DefaultGraph,
}

// graphAccepts says whether Graph takes tokens for a resource.
func (s *Simulator) graphAccepts(resource string) bool {
	return strings.TrimSuffix(resource, "/") == strings.TrimSuffix(s.opts.GraphAudience, "/")
}

// accepts says whether the Defender API takes tokens for a resource.
func (s *Simulator) accepts(resource string) bool {
	resource = strings.TrimSuffix(resource, "/")
	return resource == strings.TrimSuffix(s.opts.Audience, "/") ||
		resource == mtpAlias && s.opts.Audience == DefaultAudience
}

// RevokeTokens makes the API refuse every token that has been issued so far.
func (s *Simulator) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		t.revoked = true
	}
}

// issue makes a token of a tenant for a resource: three parts like any JWT, with claims
// as in version 1.0 access tokens, which is what this resource asks for
// whichever endpoint is called. Its signature is noise. asserted says that the
// app has proved itself by an assertion, not by a secret.
func (s *Simulator) issue(tenant, resource string, asserted bool, now ticks) string {
	t := &token{tenant: tenant, audience: resource, expires: now + ticks(s.behaviour.TokenLifetime/100)}
	if s.accepts(resource) {
		t.roles = append(t.roles, s.behaviour.Roles...)
	} else if s.graphAccepts(resource) {
		t.roles = append(t.roles, s.behaviour.GraphRoles...)
	}
	proof := "1"
	if asserted {
		proof = "2"
	}
	iat := now.time().Unix()
	claims := map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + tenant + "/", "tid": tenant,
		"appid": s.opts.ClientID, "appidacr": proof, "idp": "https://sts.windows.net/" + tenant + "/",
		"oid": servicePrincipal, "sub": servicePrincipal, "ver": "1.0", "uti": s.noise(16),
		"iat": iat, "nbf": iat, "exp": iat + int64(s.behaviour.TokenLifetime/time.Second),
	}
	if len(t.roles) > 0 {
		claims["roles"] = t.roles
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // strings, numbers and a list always encode
	}
	part := base64.RawURLEncoding.EncodeToString
	text := part([]byte(`{"typ":"JWT","alg":"RS256","kid":"simulated"}`)) + "." + part(payload) + "." + s.noise(256)
	s.tokens[text] = t
	return text
}

// servicePrincipal is the app's made-up object id in the tenant.
const servicePrincipal = "c1a5e0d2-88b4-4a0f-a9b3-5d3f0c7e6b21"

// noise is n random bytes in base64url; the caller holds the lock.
func (s *Simulator) noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// guid is a random one; the caller holds the lock.
func (s *Simulator) guid() string {
	t := text{}
	t.rng.Seed(s.rng.Uint64(), s.rng.Uint64())
	t.guid()
	return string(t.b)
}
