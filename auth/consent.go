package auth

import (
	"errors"
	"net/url"
	"strings"
)

// ConsentRedirect is the redirect address that the vendor's guide has an app register.
const ConsentRedirect = "https://portal.azure.com"

// anyTenant is the path of a link that is made before the customer's tenant is known.
const anyTenant = "organizations"

// Consent describes the link by which an administrator of a customer's tenant lets a partner's app
// in. For it to work, the app registration must be multitenant ("Accounts in any organizational
// directory"), must list the application permission that it needs, and must have RedirectURI as a
// redirect address of type Web.
//
// What comes back to RedirectURI is read by [ParseConsent]. The tenant in it is no proof of
// anything: whoever follows the link can write another. Ask the customer for the tenant's id, and
// believe the tid of a token.
type Consent struct {
	// AuthorityHost is the https URL of the login host; empty: [PublicAuthorityHost].
	AuthorityHost string
	// Tenant is the customer's GUID or domain name; empty, or common: whichever one the
	// administrator signs in to.
	Tenant string
	// ClientID is the application id.
	ClientID string
	// Audience is the resource whose permissions are asked for.
	Audience string
	// RedirectURI is where the browser goes afterwards; empty: [ConsentRedirect].
	RedirectURI string
	// State comes back as it is; it may tell one customer from another. Empty: none.
	State string
}

// AdminURL returns the link to the v2 admin consent page, which asks for all application
// permissions of Audience that the app registration lists and takes administrators only. It fails
// if the client id or the audience is missing, or the authority host is not https.
// Source: admin consent on the Microsoft identity platform.
func (c Consent) AdminURL() (string, error) {
	if c.Audience == "" {
		return "", errors.New("make consent link: the audience is missing")
	}
	tenant := c.Tenant
	if tenant == "" || strings.EqualFold(tenant, "common") {
		tenant = anyTenant // common is refused there
	}
	redirect := c.RedirectURI
	if redirect == "" {
		redirect = ConsentRedirect
	}
	query := url.Values{
		"client_id":    {c.ClientID},
		"scope":        {strings.TrimSuffix(c.Audience, "/.default") + "/.default"},
		"redirect_uri": {redirect},
	}
	if c.State != "" {
		query.Set("state", c.State)
	}
	return c.link(tenant, "/v2.0/adminconsent", query.Encode())
}

// GuideURL returns the link in the form that the vendor's guide for partners gives: the v1 sign-in
// page, which goes to the app's first registered redirect address. Its prompt=consent is what a
// user is asked, so that an administrator must follow it and agree for the organisation;
// [Consent.AdminURL] asks for just that. It fails as that does; the audience is not part of it.
func (c Consent) GuideURL() (string, error) {
	tenant := c.Tenant
	if tenant == "" {
		tenant = "common"
	}
	query := "prompt=consent&client_id=" + url.QueryEscape(c.ClientID) + "&response_type=code&sso_reload=true"
	if c.State != "" {
		query += "&state=" + url.QueryEscape(c.State)
	}
	return c.link(tenant, "/oauth2/authorize", query)
}

func (c Consent) link(tenant, path, query string) (string, error) {
	host := c.AuthorityHost
	if host == "" {
		host = PublicAuthorityHost
	}
	authority, err := url.Parse(strings.TrimRight(host, "/"))
	if err != nil || authority.Scheme != "https" || authority.Host == "" || authority.User != nil {
		return "", errors.New("make consent link: the authority host is not an https URL")
	}
	if c.ClientID == "" {
		return "", errors.New("make consent link: the client id is missing")
	}
	return authority.String() + "/" + url.PathEscape(tenant) + path + "?" + query, nil
}

// ParseConsent says what the address means that a browser was sent to after a consent link. state
// is the one of the link. With no finding there was consent: for the tenant returned, or, after a
// link of the guide, which does not tell, for "". The tenant is what the address says, see
// [Consent]. Nothing of the address is part of a finding but AADSTS numbers: it can hold an
// authorisation code.
func ParseConsent(redirect, state string) (tenant string, refusal *Finding) {
	address, err := url.Parse(strings.TrimSpace(redirect))
	if err != nil {
		return "", &Finding{"this is not an address", "copy the whole address from the browser"}
	}
	query := address.Query()
	switch {
	case query.Has("error"):
		return "", explainConsent(query.Get("error"), query.Get("error_description"))
	case query.Get("state") != state:
		return "", &Finding{"the address is the answer to another consent link: its state is not the one of the link", "make a new link and follow it to the end"}
	case strings.EqualFold(query.Get("admin_consent"), "true") && supportID.MatchString(query.Get("tenant")):
		return strings.ToLower(query.Get("tenant")), nil
	case query.Has("code"):
		return "", nil
	}
	return "", &Finding{"the address says neither that consent was given nor why it was not", "copy the whole address from the browser, with all that follows the question mark"}
}

func explainConsent(kind, description string) *Finding {
	const again = "have an administrator of the customer's tenant (Privileged Role Administrator, Cloud Application Administrator or above) follow the link and accept"
	for _, code := range codes(nil, description) {
		switch code {
		case 65004:
			return &Finding{"the consent was declined (AADSTS65004)", again}
		case 50011:
			return &Finding{"the redirect address is not registered with the app (AADSTS50011)", "add it to the app registration under Authentication, as type Web, exactly as in the link"}
		case 700016:
			return &Finding{"the app is unknown, or for its own tenant only (AADSTS700016)", "check AZURE_CLIENT_ID, and make the app registration multitenant"}
		case 90094, 90093:
			return &Finding{"whoever followed the link is no administrator (AADSTS90094)", again}
		}
		if known, ok := explainCode(code, asked{kind: ClientSecret}); ok {
			return &Finding{known.summary, known.remedy}
		}
	}
	switch kind {
	case "permission_denied", "access_denied", "consent_required":
		return &Finding{"the consent was declined", again}
	case "temporarily_unavailable", "server_error":
		return &Finding{"the authority is temporarily unavailable", "follow the link again later"}
	}
	return &Finding{"the authority refused the consent", "check that the app is multitenant, lists its permissions and has the redirect address registered; then " + again}
}
