package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entra answers as Microsoft Entra ID: discovery documents and the two token
// endpoints. The form has been parsed.
func (s *Simulator) entra(r *http.Request, now ticks) *answer {
	if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		s.violation("auth", "bearer token sent to %s", r.URL.Path)
	}
	if r.URL.Query().Has("client_secret") {
		s.violation("auth", "secret in the query string of %s", r.URL.Path)
	}
	base := "https://" + r.Host
	if r.URL.Path == "/common/discovery/instance" && r.Method == http.MethodGet {
		return jsonAnswer(http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": base + "/" + s.opts.Tenant + "/v2.0/.well-known/openid-configuration",
			"api-version":               "1.1",
			"metadata": []any{map[string]any{
				"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host},
			}},
		})
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method + " " + rest {
	case "GET v2.0/.well-known/openid-configuration":
		id, a := s.tenantID(tenant, now)
		if a != nil {
			return a
		}
		return jsonAnswer(http.StatusOK, map[string]any{
			"token_endpoint":                        base + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint":                base + "/" + tenant + "/oauth2/v2.0/authorize",
			"jwks_uri":                              base + "/" + tenant + "/discovery/v2.0/keys",
			"issuer":                                base + "/" + id + "/v2.0",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		})
	case "POST oauth2/v2.0/token":
		return s.tokenRequest(r, now, tenant, true)
	case "POST oauth2/token":
		return s.tokenRequest(r, now, tenant, false)
	}
	if r.Method != http.MethodGet || r.URL.Path != "/" { // who looks whether anybody is there does no harm
		s.violation("path", "%s %s", r.Method, r.URL.Path)
	}
	return &answer{status: http.StatusNotFound}
}

func jsonAnswer(status int, v any) *answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, numbers, lists and maps of them come here
	}
	return &answer{status: status, contentType: jsonType, body: body,
		header: http.Header{"Cache-Control": {"no-store, no-cache"}}}
}

// tokenError is an error of the token endpoint, with its AADSTS number.
func (s *Simulator) tokenError(now ticks, status int, kind string, number int, message string) *answer {
	trace, correlation := s.guid(), s.guid()
	at := now.time().Format("2006-01-02 15:04:05Z")
	return jsonAnswer(status, map[string]any{
		"error": kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			number, message, trace, correlation, at),
		"error_codes": []int{number}, "timestamp": at, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", number),
	})
}

var (
	guidForm   = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	domainForm = regexp.MustCompile(`(?i)^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

// tenantID is the GUID of the tenant that a path names, or the answer that refuses it.
func (s *Simulator) tenantID(tenant string, now ticks) (string, *answer) {
	lower := strings.ToLower(tenant)
	switch {
	case lower == s.opts.Tenant || lower == strings.ToLower(s.opts.Domain):
		return s.opts.Tenant, nil
	case slices.ContainsFunc(s.opts.FurtherTenants, func(id string) bool { return strings.EqualFold(id, tenant) }):
		return lower, nil
	}
	return "", s.refuseTenant(tenant, now)
}

// refuseTenant says what is wrong with a tenant that there is not.
func (s *Simulator) refuseTenant(tenant string, now ticks) *answer {
	switch lower := strings.ToLower(tenant); {
	case lower == "common" || lower == "organizations" || lower == "consumers":
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", 9001023,
			"The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.")
	case !guidForm.MatchString(tenant) && !domainForm.MatchString(tenant):
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", 900023,
			fmt.Sprintf("Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant))
	}
	return s.tokenError(now, http.StatusBadRequest, "invalid_request", 90002,
		fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant))
}

// tokenRequest answers a client-credentials request to either endpoint.
func (s *Simulator) tokenRequest(r *http.Request, now ticks, tenant string, v2 bool) *answer {
	if s.behaviour.TokenUnavailable {
		return s.tokenError(now, http.StatusServiceUnavailable, "temporarily_unavailable", 90033,
			"A transient error has occurred. Please try again.")
	}
	if refusal := s.behaviour.Refuse; refusal.Code != 0 {
		return s.tokenError(now, refusal.Status, refusal.Kind, refusal.Code, "The simulated authority refuses.")
	}
	id, a := s.tenantID(tenant, now)
	if a != nil {
		return a
	}
	form := r.PostForm
	if form.Get("grant_type") == "" {
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", 900144,
			"The request body must contain the following parameter: 'grant_type'.")
	}
	if form.Get("grant_type") != "client_credentials" {
		return s.tokenError(now, http.StatusBadRequest, "unsupported_grant_type", 70003,
			fmt.Sprintf("The app requested an unsupported grant type '%s'.", form.Get("grant_type")))
	}
	if a := s.refuseClient(r, now); a != nil {
		return a
	}
	var resource string
	if v2 {
		resource, a = s.scopeResource(form, now)
	} else if resource = form.Get("resource"); resource == "" {
		a = s.tokenError(now, http.StatusBadRequest, "invalid_request", 900144,
			"The request body must contain the following parameter: 'resource'.")
	}
	if a != nil {
		return a
	}
	if !s.accepts(resource) && !s.graphAccepts(resource) && !slices.Contains(knownResources, strings.TrimSuffix(resource, "/")) {
		return s.tokenError(now, http.StatusBadRequest, "invalid_resource", 500011,
			fmt.Sprintf("The resource principal named %s was not found in the tenant named %s.", resource, s.opts.Domain))
	}
	if !s.behaviour.Consent {
		return s.tokenError(now, http.StatusBadRequest, "invalid_grant", 65001,
			fmt.Sprintf("The user or administrator has not consented to use the application with ID '%s'.", s.opts.ClientID))
	}
	text := s.issue(id, resource, form.Has("client_assertion"), now)
	seconds := int64(s.behaviour.TokenLifetime / time.Second)
	if v2 {
		return jsonAnswer(http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": text,
		})
	}
	unix := now.time().Unix()
	return jsonAnswer(http.StatusOK, map[string]string{
		"token_type": "Bearer", "expires_in": strconv.FormatInt(seconds, 10), "ext_expires_in": strconv.FormatInt(seconds, 10),
		"expires_on": strconv.FormatInt(unix+seconds, 10), "not_before": strconv.FormatInt(unix, 10),
		"resource": resource, "access_token": text,
	})
}

// refuseClient checks the app and its assertion or its secret, which comes from
// the form or from basic authentication, where app and secret are URL-encoded
// (RFC 6749, 2.3.1).
func (s *Simulator) refuseClient(r *http.Request, now ticks) *answer {
	client, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		var bad error
		if client, bad = url.QueryUnescape(user); bad == nil {
			secret, bad = url.QueryUnescape(password)
		}
		if bad != nil {
			secret = ""
		}
	}
	switch {
	case client == "":
		return s.tokenError(now, http.StatusBadRequest, "invalid_request", 900144,
			"The request body must contain the following parameter: 'client_id'.")
	case !strings.EqualFold(client, s.opts.ClientID):
		return s.tokenError(now, http.StatusBadRequest, "unauthorized_client", 700016,
			fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'.", client, s.opts.Domain))
	case r.PostForm.Has("client_assertion"):
		return s.refuseAssertion(r, now)
	case secret == "":
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", 7000218,
			"The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case secret != s.opts.Secret:
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '"+s.opts.ClientID+"'.")
	case s.behaviour.SecretExpired:
		return s.tokenError(now, http.StatusUnauthorized, "invalid_client", 7000222,
			"The provided client secret keys for app '"+s.opts.ClientID+"' are expired.")
	}
	return nil
}

// scopeResource is the one resource that a scope names; the OpenID scopes that
// clients send along mean nothing here.
func (s *Simulator) scopeResource(form url.Values, now ticks) (string, *answer) {
	if form.Has("resource") {
		return "", s.tokenError(now, http.StatusBadRequest, "invalid_request", 901002,
			"The 'resource' request parameter is not supported.")
	}
	var scopes []string
	for _, scope := range strings.Fields(form.Get("scope")) {
		if scope != "openid" && scope != "offline_access" && scope != "profile" {
			scopes = append(scopes, scope)
		}
	}
	switch {
	case len(scopes) == 0:
		return "", s.tokenError(now, http.StatusBadRequest, "invalid_scope", 70011,
			fmt.Sprintf("The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", form.Get("scope")))
	case len(scopes) > 1:
		return "", s.tokenError(now, http.StatusBadRequest, "invalid_scope", 700022,
			"The provided value for the input parameter scope is not valid because it contains more than one resource.")
	}
	resource, ok := strings.CutSuffix(scopes[0], "/.default")
	if !ok {
		return "", s.tokenError(now, http.StatusBadRequest, "invalid_scope", 1002012,
			fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scopes[0]))
	}
	return resource, nil
}
