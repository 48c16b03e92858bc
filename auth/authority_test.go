package auth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	tenant   = "5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"
	clientID = "b8b7f8f4-1f6e-49c7-8c0e-6a5f5b1c9e77"
)

// authority plays the token endpoints of Microsoft Entra ID, over TLS on loopback.
type authority struct {
	*httptest.Server
	answer func(n int, form url.Values, w http.ResponseWriter) // nil: a token
	// tokenEndpoint and issuer override what the discovery document says.
	tokenEndpoint, issuer string

	mu    sync.Mutex
	forms []url.Values
	paths []string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.Server = httptest.NewTLSServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		prefix := a.URL + "/" + tenant
		document := map[string]string{
			"issuer":                 prefix + "/v2.0",
			"authorization_endpoint": prefix + "/oauth2/v2.0/authorize",
			"token_endpoint":         prefix + "/oauth2/v2.0/token",
		}
		if a.tokenEndpoint != "" {
			document["token_endpoint"] = a.tokenEndpoint
		}
		if a.issuer != "" {
			document["issuer"] = a.issuer
		}
		reply(w, http.StatusOK, document)
		return
	}
	_ = r.ParseForm()
	a.mu.Lock()
	a.forms, a.paths = append(a.forms, r.PostForm), append(a.paths, r.URL.Path)
	n := len(a.forms)
	a.mu.Unlock()
	if a.answer != nil {
		a.answer(n, r.PostForm, w)
		return
	}
	giveToken(n, r.PostForm, w)
}

func (a *authority) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.forms)
}

// giveToken answers as the two endpoints do: v1 with numbers as text.
func giveToken(n int, form url.Values, w http.ResponseWriter) {
	token := jwt(map[string]any{
		"aud": "https://api.security.microsoft.com", "iss": "https://sts.windows.net/" + tenant + "/", "tid": tenant,
		"appid": form.Get("client_id"), "roles": []string{"Incident.Read.All"}, "ver": "1.0",
		"exp": time.Now().Add(time.Hour).Unix(), "uti": fmt.Sprint(n),
	})
	if form.Has("resource") {
		reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": "3599", "resource": form.Get("resource"),
			"expires_on": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "access_token": token})
		return
	}
	reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers with an error body that, like the worst of servers, echoes what it was sent.
func refuse(w http.ResponseWriter, status, code int, oauth string, form url.Values) {
	reply(w, status, map[string]any{
		"error":             oauth,
		"error_description": fmt.Sprintf("AADSTS%d: No luck with %s and %s.\r\nTrace ID: x", code, form.Get("client_secret"), form.Encode()),
		"error_codes":       []int{code},
		"trace_id":          "0b1e6b2a-44d1-4e1f-9d52-7f0f6a2f10c3",
		"correlation_id":    "7c1f0e55-aa0b-4d6c-9c1e-2f3a4b5c6d7e",
	})
}

func jwt(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"typ":"JWT","alg":"RS256"}`)) + "." + encode(payload) + "." + encode([]byte("signature"))
}
