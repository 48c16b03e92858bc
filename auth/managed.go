package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const (
	// connectTimeout is the time that the endpoint of a managed identity, which is on this
	// machine or next to it, gets to accept a connection. Elsewhere nothing answers there at all.
	connectTimeout = 3 * time.Second
	// The endpoint may be away for over a minute while it is updated.
	// Source: how to use managed identities to get an access token, retry guidance.
	managedAttempts   = 6
	managedFirstPause = 2 * time.Second
)

// errNoConnection is the cause of a request's end after connectTimeout.
var errNoConnection = errors.New("no connection to the managed identity endpoint")

// grantManaged asks the endpoint that the platform offers: the instance metadata service of a
// virtual machine, or the one that App Service, Arc and others name in the environment, which
// azidentity reads.
func grantManaged(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: clientOptions(client, o)}
	if o.ClientID != "" {
		options.ID = azidentity.ClientID(o.ClientID)
	}
	credential, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return AccessToken{}, &Error{
			Summary: "the managed identity endpoint that the environment describes cannot be used with this identity",
			Remedy:  "check AZURE_CLIENT_ID, which is for user-assigned identities only, and the platform's IDENTITY_ and MSI_ variables",
		}
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{
		Scopes: []string{o.Audience + "/.default"},
		// Here a new credential is not enough: the library keeps the tokens of managed
		// identities for the whole process. It leaves them out where claims are asked for.
		Claims: "{}",
	})
	if err != nil {
		return AccessToken{}, err
	}
	claims := ParseClaims(token.Token)
	if claims.Tenant != "" && !strings.Contains(tenant, ".") && !strings.EqualFold(claims.Tenant, tenant) {
		return AccessToken{}, &Error{
			Summary: fmt.Sprintf("the managed identity belongs to tenant %s and gets no tokens for tenant %s", claims.Tenant, tenant),
			Remedy:  "a managed identity works in its own tenant only: set AZURE_TENANT_ID to that, or use EXPORTER_AUTH=certificate for other tenants",
		}
	}
	return newAccessToken(token.Token, token.ExpiresOn), nil
}

// withoutProxy returns a client that asks no proxy: the endpoint is a link-local address, which a
// proxy would look for next to itself. A transport that is none of net/http's stays as it is.
func withoutProxy(client *http.Client) *http.Client {
	if client == nil {
		return nil
	}
	direct := *client
	if direct.Transport == nil {
		direct.Transport = http.DefaultTransport
	}
	if transport, ok := direct.Transport.(*http.Transport); ok {
		transport = transport.Clone()
		transport.Proxy = nil
		direct.Transport = transport
	}
	return &direct
}

// untilConnected returns a context that ends, with errNoConnection as its cause, if no connection
// stands after limit. A transport that reports no connections must answer within it.
func untilConnected(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errNoConnection) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { timer.Stop() },
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}

// explainManaged says why the endpoint gave no token; cause is that of the request's context. It
// wraps no transport's error: what is told about those is about hosts that settings name.
func explainManaged(cause error, w *witness, clientID string) *Error {
	var op *net.OpError
	switch {
	case cause == errNoConnection || errors.As(w.err, &op) && op.Op == "dial":
		return &Error{
			Summary: "this machine has no managed identity endpoint: nothing answers at " + w.asked,
			Remedy:  "run where Azure offers a managed identity, or set EXPORTER_AUTH to the credential that is to be used; in a pod, check that the network policy allows 169.254.169.254",
		}
	case w.err != nil:
		summary := transportError(w.asked, w.err).Summary
		return &Error{Summary: summary, Remedy: "try again; if it stays, look at the health of the machine's or the service's identity", Temporary: true}
	case w.status == 0:
		return &Error{
			Summary: "no request could be made to a managed identity endpoint",
			Remedy:  "check the platform's IDENTITY_ and MSI_ variables, or set EXPORTER_AUTH to the credential that is to be used",
		}
	}
	asked := asked{host: w.asked, kind: ManagedIdentity}
	e := explainAnswer(asked, w.status, w.body)
	if _, known := explainCode(e.Code, asked); known {
		return e
	}
	which := "a system-assigned managed identity"
	give := "switch it on for this machine, or set AZURE_CLIENT_ID to the client id of a user-assigned one"
	if clientID != "" {
		which = "the user-assigned managed identity " + clientID
		give = "assign it to this machine, or correct AZURE_CLIENT_ID (its client id, not its object id)"
	}
	e.Remedy = give
	switch {
	case w.status == http.StatusNotFound || w.status == http.StatusGone || transientStatus(w.status):
		// 410 is an update of the endpoint, 404 a wrong path or an update.
		e.Summary, e.Remedy, e.Temporary = "the managed identity endpoint is not available at the moment", "try again later; if it stays, check that this machine has "+which, true
	case w.status == http.StatusBadRequest:
		e.Summary = "this machine does not have " + which
	case w.status == http.StatusForbidden:
		e.Summary, e.Remedy = "something between this process and the managed identity endpoint refuses the request",
			"check NO_PROXY for 169.254.169.254, and the network policy of the pod or container"
	case w.status == http.StatusUnauthorized:
		e.Summary, e.Remedy = "the managed identity endpoint does not accept this process", "pass the platform's IDENTITY_HEADER on as it is"
	case !json.Valid(w.body), w.status == http.StatusOK:
		e.Summary, e.Remedy = "what answers at "+w.asked+" is no managed identity endpoint", "run where Azure offers a managed identity, or set EXPORTER_AUTH to the credential that is to be used"
	default:
		e.Summary = "the managed identity endpoint gives no token for " + which
	}
	return e
}
