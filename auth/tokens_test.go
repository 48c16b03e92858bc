package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeCredential counts acquisitions. Each takes delay and gives a token that lives for lifetime,
// or what fail says.
type fakeCredential struct {
	mu       sync.Mutex
	calls    int
	delay    time.Duration
	lifetime time.Duration
	fail     error
	same     bool
}

func (f *fakeCredential) Token(ctx context.Context, tenant string) (AccessToken, error) {
	f.mu.Lock()
	f.calls++
	n, fail := f.calls, f.fail
	if f.same {
		n = 1
	}
	f.mu.Unlock()
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		return AccessToken{}, ctx.Err()
	}
	if fail != nil {
		return AccessToken{}, fail
	}
	return AccessToken{NewSecret(fmt.Sprintf("%s-%d", tenant, n)), time.Now().Add(f.lifetime)}, nil
}

func want(t *testing.T, tokens *Tokens, stale, want string) {
	t.Helper()
	got, err := tokens.Token(t.Context(), stale)
	if err != nil || got != want {
		t.Fatalf("Token(%q) = %q, %v; want %q", stale, got, err, want)
	}
}

func TestTokensAreSharedAndRenewedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		credential := &fakeCredential{delay: time.Second, lifetime: time.Hour}
		tokens := NewTokens(credential, "a")
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { want(t, tokens, "", "a-1") })
		}
		group.Wait()
		time.Sleep(54 * time.Minute)
		want(t, tokens, "", "a-1")
		time.Sleep(2 * time.Minute) // within five minutes of the expiry
		want(t, tokens, "", "a-2")
		if credential.calls != 2 {
			t.Errorf("%d acquisitions, want 2", credential.calls)
		}
	})
}

func TestShortLivedTokensAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(&fakeCredential{lifetime: time.Minute}, "a")
		want(t, tokens, "", "a-1")
		time.Sleep(45 * time.Second)
		want(t, tokens, "", "a-1")
		time.Sleep(5 * time.Second)
		want(t, tokens, "", "a-2")
	})
}

func TestStaleTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		credential := &fakeCredential{delay: time.Second, lifetime: time.Hour}
		tokens := NewTokens(credential, "a")
		want(t, tokens, "", "a-1")
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // some come when it is replaced already
				want(t, tokens, "a-1", "a-2")
			})
		}
		group.Wait()
		want(t, tokens, "", "a-2")
		want(t, tokens, "a-1", "a-2")
		if credential.calls != 2 {
			t.Errorf("%d acquisitions, want 2", credential.calls)
		}
	})
}

func TestSameTokenAgainIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(&fakeCredential{lifetime: time.Hour, same: true}, "a")
		want(t, tokens, "", "a-1")
		if _, err := tokens.Token(t.Context(), "a-1"); !errors.As(err, new(*Error)) {
			t.Errorf("got %v, want an *Error", err)
		}
	})
}

func TestFailedRenewalKeepsTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		credential := &fakeCredential{lifetime: time.Hour}
		tokens := NewTokens(credential, "a")
		want(t, tokens, "", "a-1")
		credential.fail = &Error{Summary: "the authority is failing", Temporary: true}
		time.Sleep(56 * time.Minute)
		for range 50 {
			want(t, tokens, "", "a-1")
		}
		if credential.calls != 2 {
			t.Errorf("%d acquisitions, want 2: a failing renewal must not be asked for at every call", credential.calls)
		}
		time.Sleep(4 * time.Minute)
		if _, err := tokens.Token(t.Context(), ""); !errors.Is(err, credential.fail) {
			t.Errorf("expired: got %v, want the failure", err)
		}
		credential.fail = nil
		want(t, tokens, "", "a-4")
	})
}

func TestCancelledCallerDoesNotDisturbOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		credential := &fakeCredential{delay: 10 * time.Second, lifetime: time.Hour}
		tokens := NewTokens(credential, "a")
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := tokens.Token(ctx, ""); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled caller: %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() { want(t, tokens, "", "a-1") })
		synctest.Wait()
		cancel()
		group.Wait()
	})
}

func TestNobodyWaitingEndsTheAcquisition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		credential := &fakeCredential{delay: time.Hour, lifetime: time.Hour}
		tokens := NewTokens(credential, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := tokens.Token(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		begun := time.Now()
		synctest.Wait() // its goroutine must be gone, or the bubble would report it
		if time.Since(begun) != 0 {
			t.Error("the acquisition went on")
		}
	})
}

func TestAcquisitionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(&fakeCredential{delay: 24 * time.Hour}, "a")
		var refusal *Error
		if _, err := tokens.Token(t.Context(), ""); !errors.As(err, &refusal) || !refusal.Temporary {
			t.Errorf("got %v, want a temporary *Error", err)
		}
	})
}
