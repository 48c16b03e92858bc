package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// secretOptions are the options of a client secret, at either endpoint.
type secretOptions struct {
	ClientID      string
	Secret        func() (Secret, error)
	Audience      string
	AuthorityHost string
	HTTPClient    *http.Client
}

func (o secretOptions) at(endpoint Endpoint) Options {
	return Options{
		Kind: ClientSecret, Endpoint: endpoint, ClientID: o.ClientID, Secret: o.Secret,
		Audience: o.Audience, AuthorityHost: o.AuthorityHost, HTTPClient: o.HTTPClient,
	}
}

func newSecretV2(options secretOptions) (Credential, error) { return New(options.at(EndpointV2)) }
func newSecretV1(options secretOptions) (Credential, error) { return New(options.at(EndpointV1)) }

// endpoints are the two ways to ask; every promise holds for both.
func endpoints() map[string]func(secretOptions) (Credential, error) {
	return map[string]func(secretOptions) (Credential, error){"v1": newSecretV1, "v2": newSecretV2}
}

func options(a *authority) secretOptions {
	return secretOptions{
		ClientID:      clientID,
		Secret:        func() (Secret, error) { return NewSecret(canary), nil },
		Audience:      defenderAudience,
		AuthorityHost: a.URL + "/",
		HTTPClient:    a.Client(),
	}
}

func mustCredential(t *testing.T, make func(secretOptions) (Credential, error), o secretOptions) Credential {
	t.Helper()
	credential, err := make(o)
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func TestGrantRequestAndAnswer(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			token, err := mustCredential(t, make, options(a)).Token(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(token.Expires); left < 58*time.Minute || left > 61*time.Minute {
				t.Errorf("expires in %s, want an hour", left)
			}
			form, path := a.forms[0], a.paths[0]
			if form.Get("client_secret") != canary || form.Get("client_id") != clientID || form.Get("grant_type") != "client_credentials" {
				t.Errorf("form %v", form)
			}
			switch name {
			case "v1":
				if path != "/"+tenant+"/oauth2/token" || form.Get("resource") != defenderAudience || form.Has("scope") {
					t.Errorf("path %s, form %v", path, form)
				}
			case "v2":
				if path != "/"+tenant+"/oauth2/v2.0/token" || !strings.Contains(form.Get("scope"), defenderAudience+"/.default") || form.Has("resource") {
					t.Errorf("path %s, form %v", path, form)
				}
			}
		})
	}
}

func TestEveryAcquisitionIsNewAndReadsTheSecret(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			o := options(a)
			value := "first"
			o.Secret = func() (Secret, error) { return NewSecret(value), nil }
			tokens := NewTokens(mustCredential(t, make, o), tenant)
			one, err := tokens.Token(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			value = "second"
			two, err := tokens.Token(t.Context(), one)
			if err != nil || one == two {
				t.Fatalf("the stale token was not replaced: %v", err)
			}
			if got := a.forms[1].Get("client_secret"); got != "second" {
				t.Errorf("the rotated secret was not used: %q", got)
			}
			claims, err := tokens.Get(t.Context())
			if err != nil || claims.Tenant != tenant || claims.AppID != clientID || a.asked() != 2 {
				t.Errorf("claims %+v, %v, %d requests", claims, err, a.asked())
			}
		})
	}
}

func TestRefusalIsExplainedWithoutTheSecret(t *testing.T) {
	for name, make := range endpoints() {
		for _, code := range []int{7000215, 7000222, 700016, 90002, 123456789} {
			t.Run(fmt.Sprint(name, code), func(t *testing.T) {
				a := newAuthority(t)
				a.answer = func(_ int, form url.Values, w http.ResponseWriter) { refuse(w, 401, code, "invalid_client", form) }
				_, err := NewTokens(mustCredential(t, make, options(a)), tenant).Token(t.Context(), "")
				var refusal *Error
				if !errors.As(err, &refusal) {
					t.Fatalf("got %v, want an *Error", err)
				}
				if refusal.Code != code || refusal.OAuthError != "invalid_client" || refusal.Status != 401 || refusal.Temporary ||
					refusal.Remedy == "" || refusal.CorrelationID == "" || refusal.TraceID == "" {
					t.Errorf("got %#v", refusal)
				}
				if a.asked() != 1 {
					t.Errorf("a refusal was asked for again: %d requests", a.asked())
				}
				secretAbsent(t, err)
			})
		}
	}
}

// secretAbsent walks all that an error can print.
func secretAbsent(t *testing.T, err error) {
	t.Helper()
	escaped := url.QueryEscape(canary)
	for err := err; err != nil; err = errors.Unwrap(err) {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			absent(t, "error", text)
			if strings.Contains(text, escaped) || strings.Contains(text, "client_secret") {
				t.Errorf("the error shows the request: %s", text)
			}
		}
	}
}

func TestTransientFailuresAreTriedAgain(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.answer = func(n int, form url.Values, w http.ResponseWriter) {
				if n == 1 {
					w.Header().Set("Retry-After", "0.01")
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				giveToken(n, form, w)
			}
			if _, err := mustCredential(t, make, options(a)).Token(t.Context(), tenant); err != nil || a.asked() != 2 {
				t.Errorf("%v after %d requests, want a token after 2", err, a.asked())
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.answer = func(_ int, form url.Values, w http.ResponseWriter) {
				w.Header().Set("Retry-After", "0.01")
				refuse(w, 400, 90033, "temporarily_unavailable", form)
			}
			_, err := mustCredential(t, make, options(a)).Token(t.Context(), tenant)
			var refusal *Error
			if !errors.As(err, &refusal) || !refusal.Temporary || a.asked() != attempts {
				t.Errorf("%v after %d requests", err, a.asked())
			}
		})
	}
}

func TestPauseIsBounded(t *testing.T) {
	for attempt := 1; attempt <= attempts; attempt++ {
		for _, retryAfter := range []time.Duration{0, time.Second, 24 * time.Hour} {
			if got := pause(attempt, firstPause, retryAfter); got <= 0 || got > maxPause {
				t.Errorf("pause(%d, %s) = %s", attempt, retryAfter, got)
			}
		}
	}
	for value, want := range map[string]time.Duration{"": 0, "x": 0, "-3": 0, "NaN": 0, "2.5": 2500 * time.Millisecond, "1e300": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		if got := parseRetryAfter(value); got != want {
			t.Errorf("parseRetryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func TestSecretGoesToTheAuthorityOnly(t *testing.T) {
	a := newAuthority(t)
	sent := false
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent = true }))
	defer thief.Close()

	t.Run("discovery document", func(t *testing.T) {
		a.tokenEndpoint = thief.URL + "/token"
		defer func() { a.tokenEndpoint = "" }()
		_, err := mustCredential(t, newSecretV2, options(a)).Token(t.Context(), tenant)
		if err == nil || !strings.Contains(err.Error(), "not sent there") {
			t.Errorf("got %v", err)
		}
	})
	for name, make := range endpoints() {
		t.Run("redirect "+name, func(t *testing.T) {
			a.answer = func(_ int, _ url.Values, w http.ResponseWriter) {
				w.Header().Set("Location", thief.URL)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
			o := options(a)
			o.HTTPClient = &http.Client{Transport: a.Client().Transport} // would follow
			_, err := mustCredential(t, make, o).Token(t.Context(), tenant)
			if err == nil || !strings.Contains(err.Error(), "redirect") {
				t.Errorf("got %v", err)
			}
		})
	}
	if sent {
		t.Error("a request went to another host")
	}
}

func TestUnusableAnswersAreErrors(t *testing.T) {
	bodies := map[string]string{
		"empty": "", "html": "<html>sign in</html>", "null": "null", "no token": `{"token_type":"Bearer","expires_in":3599}`,
		"cut":       `{"access_token":"` + canary,
		"malformed": `{"access_token":"` + canary + `","expires_in":{}}`,
	}
	for name, make := range endpoints() {
		for kind, body := range bodies {
			t.Run(name+" "+kind, func(t *testing.T) {
				a := newAuthority(t)
				a.answer = func(_ int, _ url.Values, w http.ResponseWriter) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(body))
				}
				_, err := mustCredential(t, make, options(a)).Token(t.Context(), tenant)
				var refusal *Error
				if !errors.As(err, &refusal) || refusal.Remedy == "" {
					t.Fatalf("got %v", err)
				}
				secretAbsent(t, err)
			})
		}
	}
}

func TestWrongIssuerIsRefused(t *testing.T) {
	a := newAuthority(t)
	a.issuer = "https://login.fabrikam.example/" + tenant + "/v2.0"
	if _, err := mustCredential(t, newSecretV2, options(a)).Token(t.Context(), tenant); err == nil || a.asked() != 0 {
		t.Errorf("got %v, %d token requests", err, a.asked())
	}
}

func TestCancelledAcquisition(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			ctx, cancel := context.WithCancel(t.Context())
			a.answer = func(_ int, _ url.Values, w http.ResponseWriter) {
				cancel()
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			if _, err := mustCredential(t, make, options(a)).Token(ctx, tenant); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	a := newAuthority(t)
	for name, spoil := range map[string]func(*secretOptions){
		"open connection": func(o *secretOptions) { o.AuthorityHost = "http://login.fabrikam.example" },
		"no host":         func(o *secretOptions) { o.AuthorityHost = "https://" },
		"no client id":    func(o *secretOptions) { o.ClientID = "" },
		"no audience":     func(o *secretOptions) { o.Audience = "" },
		"no secret":       func(o *secretOptions) { o.Secret = nil },
		"no client":       func(o *secretOptions) { o.HTTPClient = nil },
	} {
		o := options(a)
		spoil(&o)
		if _, err := newSecretV2(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	o := options(a)
	o.Secret = func() (Secret, error) { return Secret{}, errors.New("no such file") }
	if _, err := mustCredential(t, newSecretV2, o).Token(t.Context(), tenant); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("unreadable secret: %v", err)
	}
	if _, err := mustCredential(t, newSecretV1, options(a)).Token(t.Context(), "../common"); err == nil || a.asked() != 0 {
		t.Errorf("odd tenant: %v, %d requests", err, a.asked())
	}
}
