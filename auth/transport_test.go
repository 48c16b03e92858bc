package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// explained makes a request that must fail, and checks how its error is explained.
func explained(t *testing.T, client *http.Client, target, summary, remedy string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target+"/path?$filter=secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
		t.Fatal("the request did not fail")
	}
	gotSummary, gotRemedy, ok := ExplainTransport(fmt.Errorf("list incidents: %w", err))
	if !ok || !strings.Contains(gotSummary, summary) || !strings.Contains(gotRemedy, remedy) {
		t.Errorf("%v: %q, %q, %v", err, gotSummary, gotRemedy, ok)
	}
	if text := gotSummary + gotRemedy; strings.Contains(text, "filter") || strings.Contains(text, "/path") || strings.Contains(text, "password") {
		t.Errorf("shows more than the host: %s", text)
	}
}

func closedAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	return listener.Addr().String()
}

func TestExplainRealFailures(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	open := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer open.Close()
	trusting := func() *http.Transport { return server.Client().Transport.(*http.Transport).Clone() }

	t.Run("unknown CA", func(t *testing.T) {
		explained(t, &http.Client{Transport: &http.Transport{}}, server.URL, "does not trust", "SSL_CERT_FILE")
	})
	t.Run("another host name", func(t *testing.T) {
		transport := trusting()
		transport.TLSClientConfig.ServerName = "login.fabrikam.example"
		explained(t, &http.Client{Transport: transport}, server.URL, "another host name", "check the configured host")
	})
	t.Run("expired", func(t *testing.T) {
		transport := trusting()
		transport.TLSClientConfig.Time = func() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }
		explained(t, &http.Client{Transport: transport}, server.URL, "expired", "clock")
	})
	t.Run("refused", func(t *testing.T) {
		explained(t, &http.Client{Transport: &http.Transport{}}, "https://"+closedAddress(t), "refuses the connection", "firewall")
	})
	t.Run("no TLS", func(t *testing.T) {
		explained(t, &http.Client{Transport: &http.Transport{}}, "https://"+open.Listener.Addr().String(), "does not speak TLS", "port")
	})
	t.Run("proxy unreachable", func(t *testing.T) {
		transport := trusting()
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("user", "password"), Host: closedAddress(t)})
		explained(t, &http.Client{Transport: transport}, server.URL, "on the way to the proxy", "HTTPS_PROXY")
	})
	for status, remedy := range map[int]string{407: "user and password", 403: "NO_PROXY", 502: "proxy can reach"} {
		t.Run(fmt.Sprint("proxy answers ", status), func(t *testing.T) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			defer proxy.Close()
			address, err := url.Parse(proxy.URL)
			if err != nil {
				t.Fatal(err)
			}
			transport := trusting()
			transport.Proxy = http.ProxyURL(address)
			transport.OnProxyConnectResponse = OnProxyConnectResponse
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := (&http.Client{Transport: transport}).Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			summary, got, ok := ExplainTransport(err)
			if !ok || !strings.Contains(summary, "refuses to connect to "+server.Listener.Addr().String()) || !strings.Contains(got, remedy) {
				t.Errorf("%v: %q %q", err, summary, got)
			}
		})
	}
	t.Run("proxy agrees", func(t *testing.T) {
		response := &http.Response{StatusCode: http.StatusOK}
		if err := OnProxyConnectResponse(t.Context(), nil, nil, response); err != nil {
			t.Error(err)
		}
	})
}

func TestExplainErrors(t *testing.T) {
	for want, err := range map[string]error{
		"does not exist":                &net.DNSError{Name: "login.fabrikam.example", IsNotFound: true},
		"name server":                   &net.DNSError{Name: "login.fabrikam.example", IsTemporary: true},
		"no route":                      &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH},
		"does not answer in time":       &url.Error{Op: "Get", URL: "https://login.fabrikam.example/x?y=z", Err: context.DeadlineExceeded},
		"closed the connection":         io.ErrUnexpectedEOF,
		"the TLS handshake":             tls.AlertError(40),
		"the certificate of":            &tls.CertificateVerificationError{Err: errors.New("x")},
		"login.fabrikam.example closed": &url.Error{Op: "Get", URL: "https://login.fabrikam.example/x?y=z", Err: syscall.ECONNRESET},
	} {
		summary, remedy, ok := ExplainTransport(err)
		if !ok || remedy == "" || !strings.Contains(summary, want) {
			t.Errorf("%v: %q %q", err, summary, remedy)
		}
	}
	for _, err := range []error{nil, errors.New("x"), context.Canceled} {
		if summary, _, ok := ExplainTransport(err); ok {
			t.Errorf("%v is explained: %s", err, summary)
		}
	}
}

func TestUnreachableAuthorityIsExplained(t *testing.T) {
	for name, make := range endpoints() {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			o := options(a)
			o.HTTPClient = &http.Client{Transport: &http.Transport{}} // does not know the CA
			_, err := mustCredential(t, make, o).Token(t.Context(), tenant)
			var refusal *Error
			if !errors.As(err, &refusal) || !strings.Contains(refusal.Error(), "does not trust") || !strings.Contains(refusal.Remedy, "SSL_CERT_FILE") {
				t.Fatalf("got %v", err)
			}
			secretAbsent(t, refusal)
		})
	}
}
