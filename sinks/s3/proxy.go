package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// ProxyError says that a proxy refused to open a tunnel to the store. net/http
// alone reports the bare status text.
type ProxyError struct {
	Proxy  string // host and port, without credentials
	Target string // host and port
	Status int
}

// Error names the proxy, the target and the status.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %s refuses to connect to %s (HTTP %d)", e.Proxy, e.Target, e.Status)
}

func proxyAnswered(_ context.Context, proxy *url.URL, request *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Proxy: proxy.Host, Target: request.Host, Status: response.StatusCode}
}

// remedy is what to do about it.
func (e *ProxyError) remedy() string {
	switch {
	case e.Status == http.StatusProxyAuthRequired:
		return "put the proxy's user and password into HTTPS_PROXY"
	case e.Status >= http.StatusInternalServerError:
		return "check that the proxy can reach the store"
	}
	return "allow the store's host on the proxy, or except it by NO_PROXY"
}
