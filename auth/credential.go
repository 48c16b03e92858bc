package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
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

// Kind is what proves the app's identity. The values are those of EXPORTER_AUTH.
type Kind string

// The kinds of credentials.
const (
	ClientSecret     Kind = "secret"
	Certificate      Kind = "certificate"
	WorkloadIdentity Kind = "workload-identity"
	ManagedIdentity  Kind = "managed-identity"
)

// Endpoint is one of the authority's two token endpoints. The values are those of
// EXPORTER_TOKEN_ENDPOINT.
type Endpoint string

// The token endpoints: v2 asks for a scope, v1 for a resource, and takes a client secret only.
const (
	EndpointV2 Endpoint = "v2"
	EndpointV1 Endpoint = "v1"
)

// Options configures a credential of any kind.
type Options struct {
	Kind Kind
	// Endpoint is the token endpoint; empty: [EndpointV2].
	Endpoint Endpoint
	// ClientID is the application id. For a managed identity it is the client id of a
	// user-assigned one; empty: the system-assigned one.
	ClientID string
	// Audience is the resource that tokens are for, such as https://api.security.microsoft.com.
	Audience string
	// AuthorityHost is the https URL of the login host; empty: [PublicAuthorityHost]. A managed
	// identity does not use it.
	AuthorityHost string
	// HTTPClient makes the requests. Redirects are not followed, whatever it says; the endpoint
	// of a managed identity is asked without its proxy, if its Transport is an
	// [*http.Transport] or nil.
	HTTPClient *http.Client

	// Secret returns the client secret of a [ClientSecret]. Like all below, it is asked for
	// anew for each request, so that a rotated credential needs no restart.
	Secret func() (Secret, error)
	// CertificatePath is the file that holds the key and the chain of a [Certificate], as PEM or
	// PKCS #12 (PFX).
	CertificatePath string
	// CertificatePassword returns the password of a PKCS #12 file; nil: there is none.
	CertificatePassword func() (Secret, error)
	// TokenFile is the file that holds the external token of a [WorkloadIdentity].
	TokenFile string
}

// New returns the credential that options describe. It reads no file and sends nothing; it fails
// if an option that the kind needs is missing, if the authority host is not https, and if a kind
// other than [ClientSecret] is to use the v1 endpoint.
//
// One credential gets tokens of any tenant that the app is registered in; only a managed identity
// is bound to its own.
func New(options Options) (Credential, error) {
	if options.AuthorityHost == "" {
		options.AuthorityHost = PublicAuthorityHost
	}
	options.AuthorityHost = strings.TrimRight(options.AuthorityHost, "/")
	options.Audience = strings.TrimSuffix(options.Audience, "/.default")
	authority, err := url.Parse(options.AuthorityHost)
	if err != nil || authority.Scheme != "https" || authority.Host == "" || authority.User != nil {
		return nil, errors.New("configure credential: the authority host is not an https URL")
	}
	c := &credential{options: options, host: authority.Host, attempts: attempts, firstPause: firstPause}
	// The grants have the paths. Someone may have pasted a credential in place of one, and what a
	// closure holds cannot be printed.
	c.options.CertificatePath, c.options.TokenFile = "", ""
	var missing string
	switch options.Kind {
	case ClientSecret:
		c.grant = grantSecretV2
		if options.Endpoint == EndpointV1 {
			c.grant = grantSecretV1
		}
		if options.Secret == nil {
			missing = "secret, "
		}
	case Certificate:
		c.grant = grantCertificate(options.CertificatePath, options.CertificatePassword)
		if options.CertificatePath == "" {
			missing = "certificate path, "
		}
	case WorkloadIdentity:
		c.grant = grantFederated(options.TokenFile)
		if options.TokenFile == "" {
			missing = "federated token file, "
		}
	case ManagedIdentity:
		c.grant = grantManaged
		c.host, c.attempts, c.firstPause = "", managedAttempts, managedFirstPause
		c.options.HTTPClient = withoutProxy(options.HTTPClient)
	default:
		return nil, errors.New("configure credential: the kind is none of secret, certificate, workload-identity, managed-identity")
	}
	if options.ClientID == "" && options.Kind != ManagedIdentity {
		missing += "client id, "
	}
	if options.Audience == "" {
		missing += "audience, "
	}
	if options.HTTPClient == nil {
		missing += "HTTP client, "
	}
	switch {
	case missing != "":
		return nil, fmt.Errorf("configure credential (%s): missing: %s", options.Kind, strings.TrimSuffix(missing, ", "))
	case options.Endpoint == EndpointV1 && options.Kind != ClientSecret:
		return nil, fmt.Errorf("configure credential (%s): the v1 token endpoint takes a client secret only; set EXPORTER_TOKEN_ENDPOINT=v2", options.Kind)
	case options.Endpoint != EndpointV1 && options.Endpoint != EndpointV2 && options.Endpoint != "":
		return nil, errors.New("configure credential: the token endpoint is neither v1 nor v2")
	}
	return c, nil
}

// grant asks once, through client, for a token. It reads what the credential consists of itself;
// an [*Error] that it returns is about that and final. Its other errors are those of libraries,
// of which nothing is shown.
type grant func(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error)

// credential is a [Credential] of any kind.
type credential struct {
	options    Options
	host       string // of the authority; empty for a managed identity
	grant      grant
	attempts   int
	firstPause time.Duration
}

// Token asks the authority for a new token. Transient failures are tried again a few times.
func (c *credential) Token(ctx context.Context, tenant string) (AccessToken, error) {
	if tenant == "" || strings.ContainsAny(tenant, "/?#%\\ ") {
		return AccessToken{}, &Error{Summary: "the tenant is neither a GUID nor a domain name", Remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	}
	for attempt := 1; ; attempt++ {
		token, retryAfter, err := c.attempt(ctx, tenant)
		if err == nil {
			return token, nil
		}
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return AccessToken{}, fmt.Errorf("get token: %w", ctx.Err())
		}
		if !err.Temporary || attempt == c.attempts {
			return AccessToken{}, err
		}
		timer := time.NewTimer(pause(attempt, c.firstPause, retryAfter))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return AccessToken{}, err // says more than that the time is over
		}
	}
}

func (c *credential) attempt(ctx context.Context, tenant string) (AccessToken, time.Duration, *Error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if c.options.Kind == ManagedIdentity {
		var stop func()
		ctx, stop = untilConnected(ctx, connectTimeout)
		defer stop()
	}
	witness := &witness{host: c.host, next: c.options.HTTPClient.Transport}
	if witness.next == nil {
		witness.next = http.DefaultTransport
	}
	client := *c.options.HTTPClient
	client.Transport = witness
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	token, err := c.grant(ctx, &client, &c.options, tenant)
	if err == nil && !token.Value.IsZero() {
		return token, 0, nil
	}
	var own *Error
	if errors.As(err, &own) {
		return AccessToken{}, 0, own
	}
	// The libraries' own errors are not used: they quote whole answers, and hide the cause.
	if c.options.Kind == ManagedIdentity {
		return AccessToken{}, witness.retryAfter, explainManaged(context.Cause(ctx), witness, c.options.ClientID)
	}
	switch {
	case witness.foreign != "":
		return AccessToken{}, 0, &Error{
			Summary: fmt.Sprintf("%s names another host for the token request, %s; the credential is not sent there", c.host, witness.foreign),
			Remedy:  "if the tenant is in another national cloud, set AZURE_AUTHORITY_HOST to that cloud's login host",
		}
	case witness.err != nil:
		return AccessToken{}, 0, transportError(c.host, witness.err)
	case witness.status == 0:
		return AccessToken{}, 0, &Error{
			Summary: "no token request could be made for this tenant and authority host",
			Remedy:  "check AZURE_TENANT_ID, AZURE_CLIENT_ID, " + c.options.Kind.variable() + " and AZURE_AUTHORITY_HOST",
			Err:     ctx.Err(),
		}
	}
	asked := asked{host: c.host, kind: c.options.Kind, audience: c.options.Audience}
	return AccessToken{}, witness.retryAfter, explainAnswer(asked, witness.status, witness.body)
}

// variable is the setting that holds the credential, for remedies.
func (k Kind) variable() string {
	switch k {
	case Certificate:
		return "AZURE_CLIENT_CERTIFICATE_PATH"
	case WorkloadIdentity:
		return "AZURE_FEDERATED_TOKEN_FILE"
	case ManagedIdentity:
		return "EXPORTER_AUTH"
	}
	return "AZURE_CLIENT_SECRET"
}

// pause is how long to wait after the given attempt.
func pause(attempt int, first, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return min(retryAfter, maxPause)
	}
	backoff := first << (attempt - 1)
	return min(backoff/2+rand.N(backoff), maxPause) // jitter: tenants and processes fail together
}
