package auth

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// unknownLifetime is assumed of a token that says nothing about its expiry; the platform's live
// an hour and more.
const unknownLifetime = 10 * time.Minute

// All grants use a new azidentity credential each time: azidentity caches tokens, so that it could
// not replace a rejected one, is bound to one tenant, and holds on to what it was made with.

func grantSecretV2(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error) {
	secret, err := readSecret(o.Secret, o.Kind)
	if err != nil {
		return AccessToken{}, err
	}
	credential, err := azidentity.NewClientSecretCredential(tenant, o.ClientID, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            clientOptions(client, o),
		DisableInstanceDiscovery: o.AuthorityHost != PublicAuthorityHost,
	})
	if err != nil {
		return AccessToken{}, err
	}
	return getToken(ctx, credential, o)
}

// grantSecretV1 uses x/oauth2, because azidentity does not speak to the v1 endpoint.
func grantSecretV1(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error) {
	secret, err := readSecret(o.Secret, o.Kind)
	if err != nil {
		return AccessToken{}, err
	}
	config := clientcredentials.Config{
		ClientID:       o.ClientID,
		ClientSecret:   secret.Reveal(),
		TokenURL:       o.AuthorityHost + "/" + url.PathEscape(tenant) + "/oauth2/token",
		EndpointParams: url.Values{"resource": {o.Audience}},
		AuthStyle:      oauth2.AuthStyleInParams,
	}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return AccessToken{}, err
	}
	return newAccessToken(token.AccessToken, token.Expiry), nil
}

func grantCertificate(path string, password func() (Secret, error)) grant {
	return func(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error) {
		pair, err := readKeyPair(path, password)
		if err != nil {
			return AccessToken{}, err
		}
		if err := pair.validAt(time.Now()); err != nil {
			return AccessToken{}, err
		}
		credential, err := azidentity.NewClientCertificateCredential(tenant, o.ClientID, pair.chain, pair.key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions:            clientOptions(client, o),
			DisableInstanceDiscovery: o.AuthorityHost != PublicAuthorityHost,
			// An app that trusts a subject name and issuer needs the chain; for any other it does
			// no harm.
			SendCertificateChain: true,
		})
		if err != nil {
			return AccessToken{}, err
		}
		return getToken(ctx, credential, o)
	}
}

func grantFederated(path string) grant {
	return func(ctx context.Context, client *http.Client, o *Options, tenant string) (AccessToken, error) {
		assertion, err := readAssertion(path)
		if err != nil {
			return AccessToken{}, err
		}
		credential, err := azidentity.NewClientAssertionCredential(tenant, o.ClientID,
			func(context.Context) (string, error) { return assertion.Reveal(), nil },
			&azidentity.ClientAssertionCredentialOptions{
				ClientOptions:            clientOptions(client, o),
				DisableInstanceDiscovery: o.AuthorityHost != PublicAuthorityHost,
			})
		if err != nil {
			return AccessToken{}, err
		}
		return getToken(ctx, credential, o)
	}
}

// clientOptions are what all credentials of azidentity have in common.
func clientOptions(client *http.Client, o *Options) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: o.AuthorityHost},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // retries are credential's, for all kinds alike
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Transport: client,
	}
}

func getToken(ctx context.Context, credential azcore.TokenCredential, o *Options) (AccessToken, error) {
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{o.Audience + "/.default"}})
	if err != nil {
		return AccessToken{}, err
	}
	return newAccessToken(token.Token, token.ExpiresOn), nil
}

func newAccessToken(value string, expires time.Time) AccessToken {
	if expires.IsZero() {
		expires = ParseClaims(value).Expires
	}
	if expires.IsZero() {
		expires = time.Now().Add(unknownLifetime)
	}
	return AccessToken{Value: NewSecret(value), Expires: expires}
}
