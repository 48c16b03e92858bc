package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"incident-exporter/auth"
)

// reachTimeout bounds the request that shows whether a host can be reached.
const reachTimeout = 20 * time.Second

// route says how requests get to a host: through which proxy, and whose certificates are believed.
// Nothing of a proxy's credentials is part of it.
func route(u *url.URL, bundles ...string) string {
	text := u.Host + ", directly"
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil {
		text = u.Host + ", through a proxy whose address cannot be read (HTTPS_PROXY)"
	} else if proxy != nil {
		text = u.Host + ", through the proxy " + proxy.Host
	}
	if u.Scheme != "https" {
		return text + ", without TLS"
	}
	for _, name := range append(bundles, "SSL_CERT_FILE") {
		if file := os.Getenv(name); file != "" {
			return text + ", trusting the certificates of " + name
		}
	}
	return text + ", trusting this system's certificates"
}

// bundleProblem says what is wrong with the file that SSL_CERT_FILE names, "" if nothing is: without
// a word, Go trusts nobody then.
func bundleProblem() string {
	file := os.Getenv("SSL_CERT_FILE")
	if file == "" {
		return ""
	}
	content, err := os.ReadFile(file)
	switch {
	case err != nil:
		return fmt.Sprintf("the file that SSL_CERT_FILE names cannot be read: %v", bareError(err))
	case !x509.NewCertPool().AppendCertsFromPEM(content):
		return "the file that SSL_CERT_FILE names holds no certificate"
	}
	return ""
}

// reach asks a host for anything, without credentials, and says whether it answered, whatever it
// answered, and what its clock says. variable is what names the host.
func (c *checker) reach(ctx context.Context, name, variable, address string) (ok bool) {
	u, err := url.Parse(address)
	if err != nil {
		return false // it was read once before
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	v := verdict{Name: name, Detail: route(u)}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	begun := time.Now()
	client := newHTTPClient(1)
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		v.State = failed
		summary, remedy, known := auth.ExplainTransport(err)
		if !known {
			summary, remedy = "no answer from "+u.Host, "check the network and HTTPS_PROXY"
		}
		v.Detail, v.Remedy = summary+" ("+v.Detail+")", hostSetBy(variable, remedy)
		if problem := bundleProblem(); problem != "" {
			v.Detail, v.Remedy = v.Detail+"; "+problem, "correct SSL_CERT_FILE; "+v.Remedy
		}
		c.say(v)
		return false
	}
	_ = response.Body.Close() // nothing of it is of interest
	c.say(v)
	c.clock(name, dateOf(response), begun)
	return true
}

// dateOf is the clock of who answered, the zero time if that is not told or perhaps a gateway's.
func dateOf(response *http.Response) time.Time {
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil || response.StatusCode >= http.StatusInternalServerError {
		return time.Time{}
	}
	return date
}
