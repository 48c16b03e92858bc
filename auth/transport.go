package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// ProxyError says that a proxy refused to open a tunnel.
type ProxyError struct {
	Proxy  string // host and port, without credentials
	Target string // host and port
	Status int
}

// Error names the proxy, the target and the status.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("proxy %s refuses to connect to %s: HTTP %d", e.Proxy, e.Target, e.Status)
}

// OnProxyConnectResponse turns a proxy's refusal into a [*ProxyError]. It is made for the field
// of that name in [http.Transport], which otherwise reports the bare status text.
func OnProxyConnectResponse(_ context.Context, proxy *url.URL, request *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Proxy: proxy.Host, Target: request.Host, Status: response.StatusCode}
}

// ExplainTransport says in words why no answer came to an HTTP request: name resolution,
// connection, TLS, proxy, time-out. The words hold host names, but no path, query or header. It
// reports false for an error that is none of these.
func ExplainTransport(err error) (summary, remedy string, ok bool) {
	summary, remedy, _ = explainTransport(err)
	return summary, remedy, summary != ""
}

// explainTransport also says whether the same request may succeed a moment later.
func explainTransport(err error) (summary, remedy string, temporary bool) {
	host := targetHost(err)
	var (
		proxyRefusal *ProxyError
		op           *net.OpError
		dns          *net.DNSError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		timeout      interface{ Timeout() bool }
	)
	if errors.As(err, &proxyRefusal) {
		return explainProxy(proxyRefusal)
	}
	// A failure on the way to the proxy reads like one on the way to the host, but is mended
	// elsewhere.
	from, mend := "", ""
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		from, mend = " (on the way to the proxy)", "; the proxy is set by HTTPS_PROXY"
	}
	if summary, remedy, ok := explainCertificate(err, host); ok {
		return summary + from, remedy + mend, false
	}
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name " + dns.Name + " does not exist" + from, "check the configured host, and this machine's name server" + mend, false
	case errors.As(err, &dns):
		return "the name server gives no answer for " + dns.Name + from, "check this machine's name server" + mend, true
	case errors.Is(err, syscall.ECONNREFUSED):
		return host + " refuses the connection" + from, "check the configured host and port, and what the firewall allows" + mend, true
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no route to " + host + from, "check this machine's network and the firewall" + mend, true
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return host + " does not speak TLS on this port" + from, "check the configured host and port, and whether the proxy is given as http://" + mend, false
	case errors.As(err, &alert):
		return "the TLS handshake with " + host + " is refused" + from, "the host must speak TLS 1.2 or newer and must not ask for a client certificate" + mend, false
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return host + " does not answer in time" + from, "check the network, the firewall and HTTPS_PROXY", true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return host + " closed the connection without a whole answer" + from, "try again; if it stays, a firewall or proxy on the way is closing it" + mend, true
	}
	return "", "", false
}

func explainCertificate(err error, host string) (summary, remedy string, ok bool) {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		failed  *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return "the certificate of " + host + " is signed by an authority that this machine does not trust",
			"if a proxy inspects TLS, put its CA certificate into a bundle and set SSL_CERT_FILE to it", true
	case errors.As(err, &name):
		return "the certificate of " + host + " is for another host name", "check the configured host, and whether a proxy answers in its place", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of " + host + " has expired or is not valid yet", "set this machine's clock (NTP); if it is right, the host's certificate needs renewal", true
	case errors.As(err, &invalid), errors.As(err, &failed):
		return "the certificate of " + host + " is not valid", "check the configured host, and whether a proxy answers in its place", true
	}
	return "", "", false
}

func explainProxy(refusal *ProxyError) (summary, remedy string, temporary bool) {
	summary = fmt.Sprintf("the proxy %s refuses to connect to %s (HTTP %d)", refusal.Proxy, refusal.Target, refusal.Status)
	switch {
	case refusal.Status == http.StatusProxyAuthRequired:
		return summary, "put the proxy's user and password into HTTPS_PROXY", false
	case refusal.Status >= 500:
		return summary, "check that the proxy can reach the host", true
	}
	return summary, "allow the host on the proxy, or except it by NO_PROXY", false
}

// targetHost finds the host that a request was for. An error that does not tell gives "the host".
func targetHost(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		if u, perr := url.Parse(request.URL); perr == nil && u.Host != "" {
			return u.Host
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return op.Addr.String()
	}
	return "the host"
}

// transportError makes an Error of a failure to get an answer from the authority host.
func transportError(host string, err error) *Error {
	summary, remedy, temporary := explainTransport(&url.Error{Op: "Post", URL: "https://" + host, Err: err})
	if summary == "" {
		// The error's own words may hold anything: they stay reachable through Unwrap only.
		summary, remedy = "no answer from "+host, "check the network and HTTPS_PROXY"
	}
	return &Error{Summary: strings.TrimSpace(summary), Remedy: remedy, Temporary: temporary, Err: err}
}
