package auth

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"incident-exporter/exporter/simulator"
)

// marks are what must be found nowhere, by what each is.
type marks struct {
	mu   sync.Mutex
	list map[string]string
}

func (m *marks) add(what, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list[what] = value
	m.list[what+", URL-encoded"] = url.QueryEscape(value)
	m.list[what+", in base64"] = base64.StdEncoding.EncodeToString([]byte(value))[:len(value)]
	m.list[what+", in hexadecimal"] = hex.EncodeToString([]byte(value))
	m.list[what+", as bytes"] = strings.Trim(fmt.Sprint([]byte(value)), "[]")
}

func (m *marks) search(t *testing.T, where, text string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for what, mark := range m.list {
		if strings.Contains(text, mark) {
			t.Errorf("%s shows the %s: %.300s", where, what, text)
		}
	}
}

// render searches all that can be made of a value.
func (m *marks) render(t *testing.T, where string, value any) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		m.search(t, where+" by "+verb, fmt.Sprintf(verb, value))
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Error("failed", "value", value, slog.Group("group", "value", value))
	}
	m.search(t, where+" in a log", log.String())
	if text, err := json.Marshal(value); err == nil {
		m.search(t, where+" as JSON", string(text))
	}
}

// tree renders an error and all that it wraps.
func (m *marks) tree(t *testing.T, where string, err error) {
	t.Helper()
	m.render(t, where, err)
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range list.Unwrap() {
			m.tree(t, where, err)
		}
	}
	if next := errors.Unwrap(err); next != nil {
		m.tree(t, where, next)
	}
}

// loudmouth is an authority, and an endpoint of managed identities, that answers with all that it
// was sent. It marks the assertions that reach it and the tokens that it gives.
type loudmouth struct {
	marks  *marks
	answer func(w http.ResponseWriter, echo, token string)
	// tokenEndpoint overrides what the discovery document says.
	tokenEndpoint string
}

const loudHost = "https://login.fabrikam.example"

func (l *loudmouth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		prefix := loudHost + "/" + tenant
		endpoint := prefix + "/oauth2/v2.0/token"
		if l.tokenEndpoint != "" {
			endpoint = l.tokenEndpoint
		}
		reply(w, http.StatusOK, map[string]string{"issuer": prefix + "/v2.0", "authorization_endpoint": prefix + "/oauth2/v2.0/authorize", "token_endpoint": endpoint})
		return
	}
	_ = r.ParseForm()
	if assertion := r.PostForm.Get("client_assertion"); assertion != "" {
		l.marks.add("assertion", assertion[strings.LastIndex(assertion, ".")+1:])
	}
	token := strings.TrimSuffix(jwt(map[string]any{"aud": defenderAudience, "tid": tenant, "exp": time.Now().Add(time.Hour).Unix()}), "c2lnbmF0dXJl") + "TokenMark8w3kQ"
	l.answer(w, fmt.Sprint(r.PostForm, r.PostForm.Encode(), r.Header, r.URL), token)
}

// leakFailure is a way in which an acquisition goes wrong, or does not.
type leakFailure struct {
	answer        func(w http.ResponseWriter, echo, token string)
	transport     func(r *http.Request, next http.RoundTripper) (*http.Response, error)
	options       func(*Options)
	tokenEndpoint string
	succeeds      bool
}

func leakFailures(write func(string) string) map[string]leakFailure {
	giveAll := func(status int, kind string, codes ...int) func(http.ResponseWriter, string, string) {
		return func(w http.ResponseWriter, echo, token string) {
			reply(w, status, map[string]any{"error": kind, "error_description": fmt.Sprintf("AADSTS%v: %s %s", codes, echo, token),
				"error_codes": codes, "correlation_id": echo, "trace_id": token, "suberror": echo, "claims": echo})
		}
	}
	fail := func(err error) func(*http.Request, http.RoundTripper) (*http.Response, error) {
		return func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, err }
	}
	failures := map[string]leakFailure{
		"success": {answer: func(w http.ResponseWriter, _, token string) {
			reply(w, 200, map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": token})
		}, succeeds: true},
		"html": {answer: func(w http.ResponseWriter, echo, token string) { _, _ = io.WriteString(w, "<html>"+echo+token) }},
		"token of no use": {answer: func(w http.ResponseWriter, echo, token string) {
			_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":{},"x":"`+base64.StdEncoding.EncodeToString([]byte(echo))+`"}`)
		}},
		"cut": {answer: func(w http.ResponseWriter, echo, token string) {
			_, _ = io.WriteString(w, `{"access_token":"`+token)
			panic(http.ErrAbortHandler)
		}},
		"redirect": {answer: func(w http.ResponseWriter, echo, token string) {
			w.Header().Set("Location", "https://thief.fabrikam.example/?"+url.QueryEscape(echo+token))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}},
		"reset":          {transport: fail(io.ErrUnexpectedEOF)},
		"unknown issuer": {transport: fail(x509.UnknownAuthorityError{})},
		"no answer": {transport: func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
		"foreign endpoint": {tokenEndpoint: "https://thief.fabrikam.example/token", answer: giveAll(400, "invalid_request", 90002)},
		"bad tenant":       {answer: giveAll(400, "invalid_request", 90002), options: func(o *Options) { o.ClientID = "a b" }},
		"unreadable secret": {answer: giveAll(401, "invalid_client"), options: func(o *Options) {
			o.Secret = func() (Secret, error) { return Secret{}, errors.New("read secret file: no such file") }
			o.CertificatePassword = o.Secret
			o.TokenFile = "/" + canary
		}},
		"wrong password": {answer: giveAll(401, "invalid_client"), options: func(o *Options) { o.CertificatePassword = password("x" + pfxPassword) }},
		"credential in place of a path": {answer: giveAll(401, "invalid_client"), options: func(o *Options) {
			o.CertificatePath, o.TokenFile = write("path"), canary
		}},
		"damaged files": {answer: giveAll(401, "invalid_client"), options: func(o *Options) {
			o.CertificatePath, o.TokenFile = write("damaged"), write("damaged")
		}},
	}
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503} {
		for _, kind := range []string{"invalid_client", canary} {
			failures[fmt.Sprint(status, kind == canary)] = leakFailure{answer: giveAll(status, kind)}
		}
	}
	for _, code := range append(documented(), 123456) {
		failures[fmt.Sprint("AADSTS", code)] = leakFailure{answer: giveAll(401, "invalid_client", code)}
	}
	return failures
}

// TestNothingLeaks takes a credential of each kind, all of whose parts are marked, through every
// kind of failure, and looks for the marks in all that can be printed.
func TestNothingLeaks(t *testing.T) {
	onVirtualMachine(t)
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
	t.Setenv("IDENTITY_HEADER", identityHeader)
	r := newRig(t)
	block, _ := pem.Decode(pemOf(r.key))
	base := &marks{list: map[string]string{}}
	base.add("secret", canary)
	base.add("password", pfxPassword)
	base.add("identity header", identityHeader)
	base.add("token", "TokenMark8w3kQ")
	base.list["key, in base64"] = base64.StdEncoding.EncodeToString(block.Bytes)[64:128]
	base.list["key's exponent"] = r.key.D.String()[:40]
	base.list["key's exponent, in hexadecimal"] = r.key.D.Text(16)[:40]
	base.list["key's factor"] = r.key.Primes[0].String()[:40]

	write := func(name string) string {
		switch name {
		case "path":
			return string(pemOf(r.key)) // the file's content, pasted into the setting
		case "damaged":
			return r.write(name, append(pemOf(r.key)[:500], canary...))
		}
		panic(name)
	}
	for name, failure := range leakFailures(write) {
		for _, kind := range []Kind{ClientSecret, Certificate, WorkloadIdentity, ManagedIdentity} {
			for _, endpoint := range []Endpoint{EndpointV2, EndpointV1} {
				if endpoint == EndpointV1 && kind != ClientSecret {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					where := fmt.Sprintf("%s %s, %s", kind, endpoint, name)
					m := &marks{list: map[string]string{}}
					for what, mark := range base.list {
						m.list[what] = mark
					}
					// Time is another one in here: certificate and token must fit it.
					r.leaf = newCertificate(t, r.key, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
					external := federated(t, r.key, nil)
					m.add("external token", external[strings.LastIndex(external, ".")+1:])
					options := r.options(kind)
					options.Endpoint, options.AuthorityHost = endpoint, loudHost
					options.Secret = func() (Secret, error) { return NewSecret(canary), nil }
					if kind == Certificate {
						options.CertificatePath, options.CertificatePassword = r.write("app.pfx", r.pfx(pkcs12.Modern2023, pfxPassword)), password(pfxPassword)
					}
					options.TokenFile = r.write("external", []byte(external))
					authority := &loudmouth{marks: m, answer: failure.answer, tokenEndpoint: failure.tokenEndpoint}
					transport := simulator.Transport(authority)
					if failure.transport != nil {
						next := transport
						transport = roundTrip(func(r *http.Request) (*http.Response, error) { return failure.transport(r, next) })
					}
					options.HTTPClient = &http.Client{Transport: transport}
					if failure.options != nil {
						failure.options(&options)
					}
					leakOnce(t, m, where, options, failure.succeeds)
				})
			}
		}
	}
}

func leakOnce(t *testing.T, m *marks, where string, options Options, succeeds bool) {
	credential := must(t, options)
	tokens := NewTokens(credential, tenant)
	token, err := tokens.Token(t.Context(), "")
	switch {
	case err == nil && succeeds:
		_, err = tokens.Token(t.Context(), token) // the same again
		if err == nil || !strings.Contains(err.Error(), "issued the token again") {
			t.Errorf("%s: a stale token again: %v", where, err)
		}
	case succeeds:
		t.Errorf("%s: %v", where, err)
	}
	if err != nil {
		var refusal *Error
		if !errors.As(err, &refusal) {
			t.Errorf("%s: %v is no *Error", where, err)
		}
		m.tree(t, where, err)
		m.tree(t, where, fmt.Errorf("export: %w", errors.Join(err, io.EOF)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := credential.Token(ctx, tenant); err != nil {
		m.tree(t, where+", cancelled", err)
	}
	if claims, err := tokens.Get(t.Context()); err == nil {
		m.render(t, where+", claims", claims)
		for _, finding := range Judge(claims, Want{Audience: defenderAudience, Tenant: otherTenant}) {
			m.render(t, where+", finding", finding)
		}
	}
	synctest.Wait() // until nobody works on them any more
	for _, value := range []any{credential, tokens, &tokens.token, tokens.token, options.Kind} {
		m.render(t, where+fmt.Sprintf(", %T", value), value)
	}
	until, err := CertificateExpires(options.CertificatePath, options.CertificatePassword)
	m.render(t, where+", expiry", until)
	if err != nil {
		m.tree(t, where+", expiry", err)
	}
}

// TestLeakTestFindsLeaks: the search above sees what it is to see.
func TestLeakTestFindsLeaks(t *testing.T) {
	m := &marks{list: map[string]string{}}
	m.add("secret", canary)
	type holder struct{ inner []byte }
	for _, text := range []string{
		fmt.Sprintf("%+v", holder{[]byte(canary)}), fmt.Sprintf("%x", canary), url.QueryEscape("a " + canary),
		base64.StdEncoding.EncodeToString([]byte(canary)), errors.Join(io.EOF, errors.New(canary)).Error(),
	} {
		found := false
		for _, mark := range m.list {
			found = found || strings.Contains(text, mark)
		}
		if !found {
			t.Errorf("not found in %s", text)
		}
	}
}
