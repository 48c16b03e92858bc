package simulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// FederatedAudience is what the audience of a federated token is by default.
const FederatedAudience = "api://AzureADTokenExchange"

// assertionType is the only form of client_assertion that there is (RFC 7523).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clockMargin is what the authority forgives the clock of whoever made an assertion.
const clockMargin = 5 * time.Minute

// assertion is a JWT that is to prove the app's identity.
type assertion struct {
	header struct {
		Alg     string   `json:"alg"`
		X5tS256 string   `json:"x5t#S256"`
		X5t     string   `json:"x5t"`
		X5c     []string `json:"x5c"`
	}
	claims struct {
		Iss string   `json:"iss"`
		Sub string   `json:"sub"`
		Aud audience `json:"aud"`
		Jti string   `json:"jti"`
		Exp float64  `json:"exp"`
		Nbf float64  `json:"nbf"`
	}
	signed    []byte
	signature []byte
}

// audience is a claim that may be a string or a list with one in it.
type audience string

func (a *audience) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 {
		*a = audience(list[0])
		return nil
	}
	return json.Unmarshal(raw, (*string)(a))
}

func parseAssertion(text string) (*assertion, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, false
	}
	var a assertion
	for i, into := range []any{&a.header, &a.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return nil, false
		}
	}
	var err error
	a.signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	a.signed = []byte(parts[0] + "." + parts[1])
	return &a, err == nil
}

// verify reports whether the signature is that of the key's owner.
func (a *assertion) verify(key any) bool {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return false
	}
	digest := sha256.Sum256(a.signed)
	switch a.header.Alg {
	case "PS256":
		return rsa.VerifyPSS(public, crypto.SHA256, digest[:], a.signature, nil) == nil
	case "RS256":
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], a.signature) == nil
	}
	return false
}

// names reports whether the header names the certificate by its thumbprint,
// SHA-256 or SHA-1, in either alphabet of base64: clients differ.
func (a *assertion) names(certificate *x509.Certificate) bool {
	long, short := sha256.Sum256(certificate.Raw), sha1.Sum(certificate.Raw)
	is := func(text string, sum []byte) bool {
		return text == base64.RawURLEncoding.EncodeToString(sum) || text == base64.StdEncoding.EncodeToString(sum)
	}
	return is(a.header.X5tS256, long[:]) || is(a.header.X5t, short[:])
}

// refuseAssertion checks the client_assertion; nil means that it proves the
// app's identity. The codes are those of the vendor's list of error codes.
func (s *Simulator) refuseAssertion(r *http.Request, now ticks) *answer {
	invalid := func(number int, message string) *answer {
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", number, message)
	}
	if r.PostForm.Get("client_assertion_type") != assertionType {
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", 900144,
			"The request body must contain the following parameter: 'client_assertion_type'.")
	}
	a, ok := parseAssertion(r.PostForm.Get("client_assertion"))
	if !ok {
		return invalid(50027, "JWT token is invalid or malformed.")
	}
	refuse := s.refuseFederated
	if strings.EqualFold(a.claims.Iss, s.opts.ClientID) {
		refuse = s.refuseOwn
	}
	if refusal := refuse(a, r, now); refusal != nil {
		return refusal
	}
	at := float64(now.time().Unix())
	switch {
	case a.claims.Exp <= at:
		return invalid(500133, "Assertion is not within its valid time range. It has expired.")
	case a.claims.Nbf > at+clockMargin.Seconds():
		return invalid(500133, "Assertion is not within its valid time range. It is not valid yet.")
	}
	return nil
}

// refuseOwn checks what is particular to an assertion that the app signed with
// its certificate.
func (s *Simulator) refuseOwn(a *assertion, r *http.Request, now ticks) *answer {
	invalid := func(number int, message string) *answer {
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", number, message)
	}
	i := slices.IndexFunc(s.behaviour.Certificates, a.names)
	switch {
	case i < 0:
		return invalid(700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found.]")
	case now.time().After(s.behaviour.Certificates[i].NotAfter):
		return invalid(700027, "The certificate with identifier used to sign the client assertion is expired on application. [Reason - The key used is expired.]")
	case !a.verify(s.behaviour.Certificates[i].PublicKey):
		return invalid(50012, "Authentication failed. The client assertion contains an invalid signature.")
	case len(a.header.X5c) > 0 && a.header.X5c[0] != base64.StdEncoding.EncodeToString(s.behaviour.Certificates[i].Raw):
		return invalid(50012, "Authentication failed. The first certificate of the chain did not sign the client assertion.")
	case !strings.EqualFold(a.claims.Sub, s.opts.ClientID):
		return invalid(50027, "JWT token is invalid. Subject identifier mismatch.")
	case string(a.claims.Aud) != "https://"+r.Host+r.URL.Path:
		return invalid(50027, "JWT token is invalid. Unexpected audience.")
	case a.claims.Jti == "":
		return invalid(50027, "JWT token is invalid. It has no identifier.")
	case s.assertions[a.claims.Jti]:
		s.violation("auth", "an assertion was sent twice")
		return invalid(50013, "Assertion failed. It has been used before.")
	}
	s.assertions[a.claims.Jti] = true
	return nil
}

// refuseFederated checks what is particular to a token of another issuer.
func (s *Simulator) refuseFederated(a *assertion, _ *http.Request, now ticks) *answer {
	bad := func(number int, message string) *answer {
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", number, message)
	}
	if len(s.behaviour.Federated) == 0 {
		return bad(70021, "No matching federated identity record found for presented assertion.")
	}
	left := s.behaviour.Federated
	for _, part := range []struct {
		number int
		name   string
		same   func(FederatedCredential) bool
	}{
		{700211, "issuer", func(c FederatedCredential) bool { return c.Issuer == a.claims.Iss }},
		{700213, "subject", func(c FederatedCredential) bool { return c.Subject == a.claims.Sub }},
		{7002121, "audience", func(c FederatedCredential) bool { return c.Audience == string(a.claims.Aud) }},
	} {
		var kept []FederatedCredential
		for _, c := range left {
			if part.same(c) {
				kept = append(kept, c)
			}
		}
		if left = kept; len(left) == 0 {
			return bad(part.number, "No matching federated identity record found for presented assertion "+part.name+".")
		}
	}
	switch {
	case left[0].Key == nil:
		return bad(90061, "Request to External OIDC endpoint failed.")
	case a.header.Alg != "RS256" || !a.verify(left[0].Key):
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", 50013, "Assertion failed signature validation.")
	}
	return nil
}
