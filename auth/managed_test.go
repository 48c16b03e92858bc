package auth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

const identityHeader = "mark~identity-header"

// metadata plays the endpoint of managed identities: that of virtual machines, or, asked with the
// header of App Service, that one. The machine has a system-assigned identity and clientID.
type metadata struct {
	answer func(n int, w http.ResponseWriter) bool // reports whether it has answered

	mu       sync.Mutex
	requests []*http.Request
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.requests = append(m.requests, r)
	n := len(m.requests)
	m.mu.Unlock()
	query := r.URL.Query()
	appService := r.Header.Get("X-Identity-Header") == identityHeader && query.Get("api-version") == "2019-08-01"
	imds := r.Header.Get("Metadata") == "true" && query.Get("api-version") == "2018-02-01" && r.URL.Path == "/metadata/identity/oauth2/token"
	id := query.Get("client_id")
	switch {
	case m.answer != nil && m.answer(n, w):
	case !appService && !imds:
		w.WriteHeader(http.StatusUnauthorized)
	case id != "" && id != clientID:
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
	default:
		expires := time.Now().Add(24 * time.Hour).Unix()
		reply(w, http.StatusOK, map[string]string{
			"token_type": "Bearer", "expires_in": "86399", "expires_on": fmt.Sprint(expires), "refresh_token": "", "resource": query.Get("resource"),
			"access_token": jwt(map[string]any{"aud": query.Get("resource"), "tid": tenant, "appid": id, "exp": expires, "uti": fmt.Sprint(n)}),
		})
	}
}

// onVirtualMachine makes azidentity look for the endpoint of virtual machines.
func onVirtualMachine(t *testing.T) {
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT"} {
		t.Setenv(name, "")
	}
}

func managedOptions(transport http.RoundTripper, id string) Options {
	return Options{Kind: ManagedIdentity, ClientID: id, Audience: defenderAudience, HTTPClient: &http.Client{Transport: transport}}
}

func TestManagedIdentity(t *testing.T) {
	fake := &metadata{}
	plain := httptest.NewServer(fake)
	defer plain.Close()
	for name, transport := range map[string]http.RoundTripper{"IMDS": simulator.Transport(fake), "App Service": nil} {
		onVirtualMachine(t)
		if name == "App Service" {
			t.Setenv("IDENTITY_ENDPOINT", plain.URL+"/msi/token")
			t.Setenv("IDENTITY_HEADER", identityHeader)
		}
		for _, id := range []string{"", clientID} {
			credential := must(t, managedOptions(transport, id))
			seen := map[string]bool{}
			for range 2 {
				token, err := credential.Token(t.Context(), tenant)
				if err != nil {
					t.Fatalf("%s, identity %q: %v", name, id, err)
				}
				claims := ParseClaims(token.Value.Reveal())
				if claims.Audience != defenderAudience || claims.AppID != id || claims.Tenant != tenant {
					t.Errorf("%s: a token for %+v, want identity %q", name, claims, id)
				}
				if left := time.Until(token.Expires); left < 23*time.Hour || left > 25*time.Hour {
					t.Errorf("%s: expires in %s, want a day", name, left)
				}
				if seen[claims.TokenID] {
					t.Errorf("%s: the same token again: it comes from a cache", name)
				}
				seen[claims.TokenID] = true
			}
			_, err := credential.Token(t.Context(), strings.ToUpper(otherTenant))
			refusal := new(Error)
			if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, "belongs to tenant "+tenant) || !strings.Contains(refusal.Remedy, "its own tenant only") {
				t.Errorf("%s: another tenant: %v", name, err)
			}
		}
	}
}

// TestManagedIdentityUsesNoProxy: a proxy would look for a link-local address next to itself.
func TestManagedIdentityUsesNoProxy(t *testing.T) {
	proxied := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		proxied++
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	endpoint := httptest.NewServer(&metadata{})
	defer endpoint.Close()
	onVirtualMachine(t)
	t.Setenv("IDENTITY_ENDPOINT", endpoint.URL)
	t.Setenv("IDENTITY_HEADER", identityHeader)
	transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}
	if _, err := must(t, managedOptions(transport, "")).Token(t.Context(), tenant); err != nil || proxied > 0 {
		t.Errorf("%v, %d requests by the proxy", err, proxied)
	}
	if transport.Proxy == nil {
		t.Error("the caller's transport was changed")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNoManagedIdentityEndpoint(t *testing.T) {
	for name, transport := range map[string]roundTrip{
		"silence": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"no route": func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
		},
		"refused": func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualMachine(t)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := must(t, managedOptions(transport, "")).Token(t.Context(), tenant)
				refusal := new(Error)
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, "this machine has no managed identity endpoint") ||
					!strings.Contains(refusal.Summary, "169.254.169.254") || !strings.Contains(refusal.Remedy, "EXPORTER_AUTH") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestManagedIdentityRefusals(t *testing.T) {
	answer := func(status int, body any) func(int, http.ResponseWriter) bool {
		return func(_ int, w http.ResponseWriter) bool { reply(w, status, body); return true }
	}
	type m = map[string]string
	for name, test := range map[string]struct {
		id           string
		answer       func(int, http.ResponseWriter) bool
		text, remedy string
		asked        int
	}{
		"no such identity":   {"c0ffee00-0000-4000-8000-000000000001", nil, "does not have the user-assigned managed identity c0ffee00", "AZURE_CLIENT_ID", 1},
		"no identity at all": {"", answer(400, m{"error": "invalid_request", "error_description": "Identity not found " + canary}), "does not have a system-assigned", "switch it on", 1},
		"blocked":            {"", answer(403, "unreachable"), "refuses the request", "NO_PROXY", 1},
		"wrong header":       {"", answer(401, m{}), "does not accept this process", "IDENTITY_HEADER", 1},
		"something else":     {"", func(_ int, w http.ResponseWriter) bool { _, _ = w.Write([]byte("<html>" + canary)); return true }, "no managed identity endpoint", "EXPORTER_AUTH", 1},
		"odd status":         {"", answer(405, m{}), "gives no token", "switch it on", 1},
		"no resource":        {"", answer(400, m{"error": "invalid_resource", "error_description": "AADSTS500011: " + canary}), "does not exist in this tenant", "EXPORTER_AUDIENCE", 1},
		"being updated":      {"", answer(410, m{}), "not available at the moment", "later", managedAttempts},
		"throttled":          {"", answer(429, m{}), "not available at the moment", "later", managedAttempts},
		"failing":            {"", answer(500, m{"error": canary}), "not available at the moment", "later", managedAttempts},
		"elsewhere": {"", func(_ int, w http.ResponseWriter) bool {
			w.Header().Set("Location", "https://thief.fabrikam.example")
			w.WriteHeader(307)
			return true
		}, "no managed identity endpoint", "EXPORTER_AUTH", 1},
		"cut in the middle": {"", func(int, http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, "169.254.169.254", "health", managedAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualMachine(t)
			synctest.Test(t, func(t *testing.T) {
				fake := &metadata{answer: test.answer}
				start := time.Now()
				_, err := must(t, managedOptions(simulator.Transport(fake), test.id)).Token(t.Context(), tenant)
				refusal := new(Error)
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, test.text) || !strings.Contains(refusal.Remedy, test.remedy) {
					t.Errorf("got %v, remedy %q", err, refusal.Remedy)
				}
				if len(fake.requests) != test.asked || time.Since(start) >= acquireTimeout {
					t.Errorf("asked %d times in %s, want %d", len(fake.requests), time.Since(start), test.asked)
				}
				if strings.Contains(refusal.Remedy, "AZURE_CLIENT_SECRET") {
					t.Errorf("remedy %q is for another credential", refusal.Remedy)
				}
				secretAbsent(t, err)
			})
		})
	}
}

func TestManagedIdentityIsBackAfterAnUpdate(t *testing.T) {
	onVirtualMachine(t)
	synctest.Test(t, func(t *testing.T) {
		fake := &metadata{answer: func(n int, w http.ResponseWriter) bool {
			if n > 3 {
				return false
			}
			w.WriteHeader(http.StatusGone)
			return true
		}}
		if _, err := must(t, managedOptions(simulator.Transport(fake), "")).Token(t.Context(), tenant); err != nil || len(fake.requests) != 4 {
			t.Errorf("%v after %d requests", err, len(fake.requests))
		}
	})
}

// TestUnsupportedPlatform: Service Fabric wants a connection to itself that pins its certificate.
func TestUnsupportedPlatform(t *testing.T) {
	onVirtualMachine(t)
	t.Setenv("IDENTITY_ENDPOINT", "https://127.0.0.1:1/token")
	t.Setenv("IDENTITY_HEADER", identityHeader)
	t.Setenv("IDENTITY_SERVER_THUMBPRINT", "00")
	_, err := must(t, managedOptions(simulator.Transport(&metadata{}), clientID)).Token(t.Context(), tenant)
	refusal := new(Error)
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, "cannot be used") || refusal.Remedy == "" {
		t.Errorf("got %v", err)
	}
}
