package auth

import (
	"context"
	"fmt"
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

// grantV2 uses a new azidentity credential each time: azidentity caches tokens, so that it could
// not replace a rejected one, and holds on to the secret that it was made with.
func grantV2(ctx context.Context, client *http.Client, o *SecretOptions, tenant string, secret Secret) (AccessToken, error) {
	credential, err := azidentity.NewClientSecretCredential(tenant, o.ClientID, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: o.AuthorityHost},
			Retry:     policy.RetryOptions{MaxRetries: -1}, // retries are secretCredential's, for v1 and v2 alike
			Telemetry: policy.TelemetryOptions{Disabled: true},
			Transport: client,
		},
		DisableInstanceDiscovery: o.AuthorityHost != PublicAuthorityHost,
	})
	if err != nil {
		return AccessToken{}, fmt.Errorf("new client secret credential: %w", err)
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{o.Audience + "/.default"}})
	if err != nil {
		return AccessToken{}, err
	}
	return newAccessToken(token.Token, token.ExpiresOn), nil
}

// grantV1 uses x/oauth2, because azidentity does not speak to the v1 endpoint.
func grantV1(ctx context.Context, client *http.Client, o *SecretOptions, tenant string, secret Secret) (AccessToken, error) {
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

func newAccessToken(value string, expires time.Time) AccessToken {
	if expires.IsZero() {
		expires = ParseClaims(value).Expires
	}
	if expires.IsZero() {
		expires = time.Now().Add(unknownLifetime)
	}
	return AccessToken{Value: NewSecret(value), Expires: expires}
}
