package auth

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// renewAhead is how long before its expiry a token is replaced. The platform's libraries
	// renew five minutes ahead.
	renewAhead = 5 * time.Minute
	// renewPause keeps a failing renewal from being asked for again at every API call while the
	// old token is still good.
	renewPause = 30 * time.Second
	// acquireTimeout bounds one acquisition, its retries included.
	acquireTimeout = 90 * time.Second
)

// AccessToken is a bearer token and the time after which it is refused.
type AccessToken struct {
	Value   Secret
	Expires time.Time
}

// Credential obtains a new access token for a tenant each time it is asked; caching is the
// business of [Tokens]. Implementations are safe for concurrent use and return errors that wrap
// [*Error] or the context's error.
type Credential interface {
	Token(ctx context.Context, tenant string) (AccessToken, error)
}

// Tokens hands out the bearer token of one tenant. It is safe for concurrent use: however many
// callers need a token at the same moment, one is asked for.
type Tokens struct {
	credential Credential
	tenant     string

	mu       sync.Mutex
	token    AccessToken
	obtained time.Time
	retryAt  time.Time // no renewal ahead of expiry before this
	flight   *flight
}

// flight is one acquisition and the callers that wait for it. It ends when it has a result or
// when nobody waits for it any more.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	token   AccessToken
	err     error
}

// NewTokens returns the Tokens of tenant, obtained by credential. Nothing is asked for until the
// first call.
func NewTokens(credential Credential, tenant string) *Tokens {
	return &Tokens{credential: credential, tenant: tenant}
}

// Token returns a bearer token. If stale is not empty, it is a token that an API has rejected:
// Token then returns another one, and asks for a new one at most once for each stale token.
//
// The error wraps [*Error], or is that of ctx. A caller whose ctx ends does not disturb others
// who wait for the same token.
func (t *Tokens) Token(ctx context.Context, stale string) (string, error) {
	token, err := t.get(ctx, stale)
	if err != nil {
		return "", err
	}
	return token.Value.Reveal(), nil
}

// Get returns the claims of the current token, getting one if there is none. The token itself is
// not part of them. Errors are those of [Tokens.Token].
func (t *Tokens) Get(ctx context.Context) (Claims, error) {
	token, err := t.get(ctx, "")
	if err != nil {
		return Claims{}, err
	}
	claims := ParseClaims(token.Value.Reveal())
	if claims.Expires.IsZero() {
		claims.Expires = token.Expires.UTC()
	}
	return claims, nil
}

// Expires is when the token that is held expires, the zero time if there is none. Nothing is asked
// for.
func (t *Tokens) Expires() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token.Expires
}

func (t *Tokens) get(ctx context.Context, stale string) (AccessToken, error) {
	if err := ctx.Err(); err != nil {
		return AccessToken{}, err
	}
	t.mu.Lock()
	now := time.Now()
	rejected := stale != "" && t.token.Value.Reveal() == stale
	if !rejected && t.fresh(now) {
		defer t.mu.Unlock()
		return t.token, nil
	}
	old := t.token
	f := t.join()
	t.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
		t.leave(f)
		return AccessToken{}, ctx.Err()
	}
	switch {
	case f.err == nil && stale != "" && f.token.Value.Reveal() == stale:
		return AccessToken{}, &Error{
			Summary: "the authority issued the token again that the API has rejected",
			Remedy:  "run `incident-exporter token` to see what is wrong with the token",
		}
	case f.err == nil:
		return f.token, nil
	case !rejected && time.Now().Before(old.Expires):
		// Renewal ahead of expiry failed: the old token is still good.
		return old, nil
	}
	return AccessToken{}, f.err
}

// fresh reports whether the cached token can be handed out without asking for a new one.
func (t *Tokens) fresh(now time.Time) bool {
	if t.token.Value.IsZero() || !now.Before(t.token.Expires) {
		return false
	}
	// A token that lives for minutes only would otherwise be renewed at every call.
	ahead := min(renewAhead, t.token.Expires.Sub(t.obtained)/5)
	return now.Before(t.token.Expires.Add(-ahead)) || now.Before(t.retryAt)
}

// join enters the caller as a waiter of the acquisition under way, or starts one. t.mu is held.
func (t *Tokens) join() *flight {
	if t.flight == nil {
		// Its own context: the acquisition serves every waiter, not only the one who began it.
		ctx, cancel := context.WithTimeout(context.Background(), acquireTimeout)
		t.flight = &flight{done: make(chan struct{}), cancel: cancel}
		go t.acquire(ctx, t.flight)
	}
	t.flight.waiters++
	return t.flight
}

// leave takes a waiter off; the last one to leave ends the acquisition.
func (t *Tokens) leave(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && t.flight == f {
		t.flight = nil
		f.cancel()
	}
}

func (t *Tokens) acquire(ctx context.Context, f *flight) {
	defer f.cancel()
	token, err := t.credential.Token(ctx, t.tenant)
	if err == nil && token.Value.IsZero() {
		err = &Error{Summary: "the authority's answer holds no token"}
	}
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*Error)) {
		err = &Error{
			Summary:   "the authority gave no token within " + acquireTimeout.String(),
			Remedy:    "check the network path to the authority host",
			Temporary: true,
		}
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	f.token, f.err = token, err
	if t.flight == f {
		t.flight = nil
		if err == nil {
			t.token, t.obtained, t.retryAt = token, time.Now(), time.Time{}
		} else {
			t.retryAt = time.Now().Add(renewPause)
		}
	}
	close(f.done)
}
