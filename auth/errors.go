package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Error is a refusal or failure of the authority, made readable. It never holds the secret, an
// assertion, a token or the request body.
type Error struct {
	Code          int    // the number after AADSTS; 0 if there is none
	OAuthError    string // the "error" member, such as invalid_client; empty if there is none
	Status        int    // HTTP status; 0 if no answer came
	Summary       string // what is wrong: a clause without a full stop
	Remedy        string // what to do about it; may be empty
	CorrelationID string // for the vendor's support, as is TraceID
	TraceID       string
	Temporary     bool // the same request may succeed later
	Err           error
}

// Error returns the summary with the code, if there is one, and the ids that support asks for.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("get token: ")
	b.WriteString(e.Summary)
	var notes []string
	switch {
	case e.Code != 0:
		notes = append(notes, fmt.Sprintf("AADSTS%d", e.Code))
	case e.OAuthError != "":
		notes = append(notes, e.OAuthError)
	case e.Status != 0:
		notes = append(notes, "HTTP "+strconv.Itoa(e.Status))
	}
	if e.CorrelationID != "" {
		notes = append(notes, "correlation id "+e.CorrelationID)
	}
	if e.TraceID != "" {
		notes = append(notes, "trace id "+e.TraceID)
	}
	if len(notes) > 0 {
		b.WriteString(" (" + strings.Join(notes, ", ") + ")")
	}
	return b.String()
}

// Unwrap returns the transport's error, if the authority was not reached.
func (e *Error) Unwrap() error { return e.Err }

var (
	aadstsNumber = regexp.MustCompile(`AADSTS(\d{4,9})\b`)
	supportID    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// explainAnswer turns an error answer of the authority into an Error. Nothing is quoted but what
// has the form of a code or an id: a body can echo what was sent, in any encoding.
func explainAnswer(a asked, status int, body []byte) *Error {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(body, &members) // what is no JSON object is explained by its status
	text := func(name string) string { return first(texts(members[name])) }

	e := &Error{Status: status}
	// A value that is none of the standard's could be anything.
	if value := text("error"); value != "" {
		if summary, _ := explainOAuth(value, a.kind); summary != "" {
			e.OAuthError = value
		}
	}
	if value := text("correlation_id"); supportID.MatchString(value) {
		e.CorrelationID = value
	}
	if value := text("trace_id"); supportID.MatchString(value) {
		e.TraceID = value
	}
	e.Temporary = transientStatus(status) || e.OAuthError == "temporarily_unavailable" || e.OAuthError == "server_error"

	for _, code := range codes(members["error_codes"], text("error_description")) {
		if e.Code == 0 {
			e.Code = code
		}
		if known, ok := explainCode(code, a); ok {
			e.Code, e.Summary, e.Remedy = code, known.summary, known.remedy
			e.Temporary = e.Temporary || known.temporary
			return e
		}
	}
	e.Summary, e.Remedy = explainOAuth(e.OAuthError, a.kind)
	if e.Summary == "" {
		e.Summary, e.Remedy = explainStatus(a.host, status)
	}
	if e.Code != 0 {
		e.Remedy += fmt.Sprintf("; the vendor explains the code at %s/error?code=%d", PublicAuthorityHost, e.Code)
	}
	return e
}

// codes lists the AADSTS numbers of an answer, those of error_codes first.
func codes(raw json.RawMessage, description string) []int {
	var listed []int
	_ = json.Unmarshal(raw, &listed) // absent or malformed: the description has the number too
	var found []int
	for _, code := range listed {
		if code > 0 {
			found = append(found, code)
		}
	}
	if m := aadstsNumber.FindStringSubmatch(description); m != nil {
		if code, err := strconv.Atoi(m[1]); err == nil {
			found = append(found, code)
		}
	}
	return found
}

// transientStatus reports whether the same request may succeed later.
func transientStatus(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

func explainOAuth(code string, kind Kind) (summary, remedy string) {
	switch code {
	case "invalid_client":
		return "the authority does not accept the app's credential", kind.mend()
	case "unauthorized_client":
		return "the app may not get tokens in this tenant", "check AZURE_CLIENT_ID and AZURE_TENANT_ID, and grant admin consent in that tenant"
	case "invalid_request":
		return "the authority calls the token request malformed", "check AZURE_TENANT_ID, AZURE_CLIENT_ID and EXPORTER_TOKEN_ENDPOINT"
	case "invalid_scope", "invalid_resource", "invalid_target":
		return "the authority does not know the audience", "check EXPORTER_AUDIENCE (unset it for the default)"
	case "invalid_grant", "consent_required", "interaction_required":
		return "the app has no valid grant in this tenant", "grant admin consent for the app's permissions"
	case "access_denied":
		return "the authority denies the app access", "look at the app's sign-in log in Microsoft Entra ID"
	case "unsupported_grant_type":
		return "the authority does not support the client credentials grant", "check AZURE_AUTHORITY_HOST"
	case "temporarily_unavailable", "server_error":
		return "the authority is temporarily unavailable", "try again later"
	}
	return "", ""
}

func explainStatus(host string, status int) (summary, remedy string) {
	switch {
	case status == http.StatusTooManyRequests:
		return "the authority " + host + " is throttling this app", "ask for tokens less often; try again later"
	case status >= 500:
		return "the authority " + host + " is failing", "try again later"
	case status >= 300 && status < 400:
		return host + " answers with a redirect, as a captive portal or an intercepting proxy does",
			"check AZURE_AUTHORITY_HOST and HTTPS_PROXY"
	case status == http.StatusNotFound:
		return host + " has no token endpoint at the expected path", "check AZURE_AUTHORITY_HOST"
	case status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		return host + ", or a proxy on the way to it, refuses the request",
			"check HTTPS_PROXY and what the network allows"
	case status >= 200 && status < 300:
		return "the answer of " + host + " is not what Microsoft Entra ID answers",
			"check AZURE_AUTHORITY_HOST and whether a proxy alters the answers"
	}
	return host + " refuses the request without saying why", "check AZURE_AUTHORITY_HOST and HTTPS_PROXY"
}
