package auth

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// witness is a transport that keeps the last answer, so that a failure can be explained from what
// the authority said, and that lets no request leave for another host: the discovery document
// names the URL that the secret is posted to. One serves one attempt, which is sequential.
type witness struct {
	host string // of the authority; empty: any, also without TLS, for the endpoint of a managed identity
	next http.RoundTripper

	asked string // host of the last request

	foreign    string // host of a request that was not sent
	err        error  // of the last request
	status     int    // of the last answer
	body       []byte
	retryAfter time.Duration
}

var errForeignHost = errors.New("request to a host that is not the authority")

// RoundTrip passes request on if it is for the authority.
func (w *witness) RoundTrip(request *http.Request) (*http.Response, error) {
	if w.host != "" && !w.allows(request.URL) {
		w.foreign = request.URL.Scheme + "://" + request.URL.Host
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, errForeignHost
	}
	w.asked, w.err, w.status, w.body, w.retryAfter = request.URL.Host, nil, 0, nil, 0
	response, err := w.next.RoundTrip(request)
	if err != nil {
		w.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	_ = response.Body.Close()
	if err != nil {
		w.err = err
		return nil, err
	}
	w.status, w.body = response.StatusCode, body
	w.retryAfter = parseRetryAfter(response.Header.Get("Retry-After"))
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	return response, nil
}

func (w *witness) allows(u *url.URL) bool {
	return u.Scheme == "https" && (strings.EqualFold(u.Host, w.host) || instanceDiscovery(u))
}

// instanceDiscovery reports whether u is the lookup that tells a national cloud's host names. It
// carries no credential.
func instanceDiscovery(u *url.URL) bool {
	return u.Path == "/common/discovery/instance" &&
		(u.Host == "login.microsoftonline.com" || u.Host == "login.microsoft.com")
}

// parseRetryAfter reads seconds, with decimals or without, or a date; 0 if there is nothing usable.
func parseRetryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if seconds > 0 && seconds < 1e6 {
			return time.Duration(seconds * float64(time.Second))
		}
		return 0
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}
