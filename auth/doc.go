// Package auth obtains app-only access tokens from Microsoft Entra ID (the OAuth 2.0
// client credentials grant) and says what they are good for. What proves the app's identity is a
// client secret, a certificate, the token of another issuer or a managed identity ([New]).
//
// It guarantees:
//
//   - one token is asked for once and shared by all callers, renewed ahead of its expiry, and
//     replaced once when an API has rejected it ([Tokens]);
//   - a client secret or an assertion is sent only over https, only to the configured authority
//     host, and neither is ever part of an error, a log record or a formatted value ([Secret],
//     [Error]);
//   - every failure is a sentence with the cause and what to do about it ([Error],
//     [ExplainTransport]), and only transient ones are tried again, a bounded number of times;
//   - settings that belong to different national clouds are named ([Contradiction]);
//   - whether a token can read incidents is judged from its claims ([Judge]). Signatures are not
//     verified: the claims are for people to read, the API decides.
//
// It does not read the environment, but for the endpoint of a managed identity, which the platform
// names there; it keeps no token on disk and logs nothing.
package auth
