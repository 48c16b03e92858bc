package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PublicAuthorityHost is the login host of the global cloud.
const PublicAuthorityHost = "https://login.microsoftonline.com"

const (
	attempts   = 4
	firstPause = time.Second
	// maxPause bounds a Retry-After too: a run that waits longer for its token had better fail
	// and say so.
	maxPause       = 20 * time.Second
	attemptTimeout = 20 * time.Second
	maxAnswer      = 1 << 20
)

// SecretOptions configures a credential that is a client secret.
type SecretOptions struct {
	// ClientID is the application id.
	ClientID string
	// Secret returns the client secret. It is called for each acquisition, so that a rotated
	// secret needs no restart.
	Secret func() (Secret, error)
	// Audience is the resource that tokens are for, such as https://api.security.microsoft.com.
	Audience string
	// AuthorityHost is the https URL of the login host; empty: [PublicAuthorityHost].
	AuthorityHost string
	// HTTPClient makes the requests. Redirects are not followed, whatever it says.
	HTTPClient *http.Client
}

// NewSecretV2 returns a credential that gets v2 tokens (scope) by a client secret. It fails if an
// option is missing or the authority host is not https.
func NewSecretV2(options SecretOptions) (Credential, error) { return newSecret(options, grantV2) }

// NewSecretV1 returns a credential that uses the v1 endpoint (resource) by a client secret, for
// tenants whose set-up has not moved on. It fails as [NewSecretV2] does.
func NewSecretV1(options SecretOptions) (Credential, error) { return newSecret(options, grantV1) }

// grant asks the authority once, through client, for a token.
type grant func(ctx context.Context, client *http.Client, o *SecretOptions, tenant string, secret Secret) (AccessToken, error)

type secretCredential struct {
	options SecretOptions
	host    string
	grant   grant
}

func newSecret(options SecretOptions, grant grant) (Credential, error) {
	if options.AuthorityHost == "" {
		options.AuthorityHost = PublicAuthorityHost
	}
	options.AuthorityHost = strings.TrimRight(options.AuthorityHost, "/")
	options.Audience = strings.TrimSuffix(options.Audience, "/.default")
	authority, err := url.Parse(options.AuthorityHost)
	if err != nil || authority.Scheme != "https" || authority.Host == "" || authority.User != nil {
		return nil, errors.New("configure credential: the authority host is not an https URL")
	}
	if options.ClientID == "" || options.Secret == nil || options.Audience == "" || options.HTTPClient == nil {
		return nil, errors.New("configure credential: client id, secret, audience and HTTP client are needed")
	}
	return &secretCredential{options: options, host: authority.Host, grant: grant}, nil
}

// Token asks the authority for a new token. Transient failures are tried again a few times.
func (c *secretCredential) Token(ctx context.Context, tenant string) (AccessToken, error) {
	if tenant == "" || strings.ContainsAny(tenant, "/?#%\\ ") {
		return AccessToken{}, &Error{Summary: "the tenant is neither a GUID nor a domain name", Remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	}
	secret, err := c.options.Secret()
	if err != nil {
		return AccessToken{}, fmt.Errorf("get token: %w", err)
	}
	for attempt := 1; ; attempt++ {
		token, retryAfter, err := c.attempt(ctx, tenant, secret)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return AccessToken{}, fmt.Errorf("get token: %w", ctx.Err())
		}
		if !err.Temporary || attempt == attempts {
			return AccessToken{}, err
		}
		timer := time.NewTimer(pause(attempt, retryAfter))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return AccessToken{}, err // says more than that the time is over
		}
	}
}

func (c *secretCredential) attempt(ctx context.Context, tenant string, secret Secret) (AccessToken, time.Duration, *Error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	witness := &witness{host: c.host, next: c.options.HTTPClient.Transport}
	if witness.next == nil {
		witness.next = http.DefaultTransport
	}
	client := *c.options.HTTPClient
	client.Transport = witness
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	token, err := c.grant(ctx, &client, &c.options, tenant, secret)
	if err == nil && !token.Value.IsZero() {
		return token, 0, nil
	}
	// The libraries' own errors are not used: they quote whole answers, and hide the cause.
	switch {
	case witness.foreign != "":
		return AccessToken{}, 0, &Error{
			Summary: fmt.Sprintf("%s names another host for the token request, %s; the secret is not sent there", c.host, witness.foreign),
			Remedy:  "if the tenant is in another national cloud, set AZURE_AUTHORITY_HOST to that cloud's login host",
		}
	case witness.err != nil:
		return AccessToken{}, 0, transportError(c.host, witness.err)
	case witness.status == 0:
		return AccessToken{}, 0, &Error{
			Summary: "no token request could be made for this tenant and authority host",
			Remedy:  "check AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_AUTHORITY_HOST",
			Err:     ctx.Err(),
		}
	}
	return AccessToken{}, witness.retryAfter, explainAnswer(c.host, witness.status, witness.body)
}

// pause is how long to wait after the given attempt.
func pause(attempt int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return min(retryAfter, maxPause)
	}
	backoff := firstPause << (attempt - 1)
	return min(backoff/2+rand.N(backoff), maxPause) // jitter: tenants and processes fail together
}

// witness is a transport that keeps the last answer, so that a failure can be explained from what
// the authority said, and that lets no request leave for another host: the discovery document
// names the URL that the secret is posted to. One serves one attempt, which is sequential.
type witness struct {
	host string
	next http.RoundTripper

	foreign    string // host of a request that was not sent
	err        error  // of the last request
	status     int    // of the last answer
	body       []byte
	retryAfter time.Duration
}

var errForeignHost = errors.New("request to a host that is not the authority")

// RoundTrip passes request on if it is for the authority.
func (w *witness) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" || !strings.EqualFold(request.URL.Host, w.host) && !instanceDiscovery(request.URL) {
		w.foreign = request.URL.Scheme + "://" + request.URL.Host
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, errForeignHost
	}
	w.err, w.status, w.body, w.retryAfter = nil, 0, nil, 0
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
