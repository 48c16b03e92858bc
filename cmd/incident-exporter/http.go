package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"incident-exporter/auth"
)

// newHTTPClient returns the client for Microsoft Entra ID and the API. The proxy comes from the
// environment and the trusted authorities from the system or SSL_CERT_FILE. Redirects are answers,
// not instructions: a bearer token follows none. There is no time limit for a whole answer; each
// call sets its own by its context.
//
// concurrency is the number of calls in flight to one host.
func newHTTPClient(concurrency int) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			OnProxyConnectResponse: auth.OnProxyConnectResponse,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  2 * time.Minute, // the API takes long to start an answer of many alerts
			ExpectContinueTimeout:  time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConns:           2 * concurrency,
			MaxIdleConnsPerHost:    concurrency,
			// HTTP/1.1: the buffers of HTTP/2 hold whole answers where it is only a few at a time,
			// and there is one connection for each call in flight anyway.
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
