package defender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"incident-exporter/exporter/rawjson"
)

// Tokens gives bearer tokens.
type Tokens interface {
	// Token returns a token, if stale is not empty another one than that.
	Token(ctx context.Context, stale string) (string, error)
}

const (
	// attempts is how often a call is tried that fails for no lasting reason;
	// waiting for quota is no failure. While a stretch that fails is being
	// narrowed it is fewer.
	attempts, narrowAttempts = 5, 2

	// attemptTime bounds one attempt, its body included.
	attemptTime = 2 * time.Minute

	firstBackoff, lastBackoff = time.Second, 30 * time.Second
)

// client makes calls: retry outside, the quota inside it, the token inside
// that, so that every attempt is counted and freshly authorised.
type client struct {
	origin *url.URL
	api    API
	http   *http.Client
	quota  *quota
	flight chan struct{} // calls in flight
	share  *Share
	log    *slog.Logger

	mu        sync.Mutex
	date      time.Time // Date of the newest answer
	at        time.Time // when it was received
	calls     int
	requests  []string
	successes int
	warned    bool
	latency   time.Duration // of an attempt, of late
	refused   []string      // providers that refuse their part, since they were last asked for
	token     string        // that was sent last
}

func newClient(cfg *Config) *client {
	c := &client{
		origin: cfg.Origin, api: cfg.API, quota: &quota{limits: cfg.Quota}, flight: make(chan struct{}, cfg.Concurrency),
		share: cfg.Share, log: cfg.Log,
	}
	c.http = &http.Client{
		Transport:     &authorised{c: c, next: cfg.Transport, tokens: cfg.Tokens},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// keptRequests is how many request ids a manifest may name.
const keptRequests = 32

// againKey and holdsKey are of a call's context: that it reads again, and the
// memory that its caller holds.
type againKey struct{}
type holdsKey struct{}

// authorised is one attempt: it waits for the quota, adds the token, and asks
// once more with a new token if the server refuses the one it had.
type authorised struct {
	c      *client
	next   http.RoundTripper
	tokens Tokens
}

func (a *authorised) RoundTrip(req *http.Request) (*http.Response, error) {
	if o := a.c.origin; req.URL.Scheme != o.Scheme || req.URL.Host != o.Host {
		return nil, fmt.Errorf("%s is not the configured API origin %s", req.URL.Host, o.Host)
	}
	stale := ""
	for {
		again, _ := req.Context().Value(againKey{}).(bool)
		call, err := a.c.quota.take(req.Context(), again)
		if err != nil {
			return nil, final{err}
		}
		// After the wait for the quota, which may be longer than a token lives.
		token, err := a.tokens.Token(req.Context(), stale)
		if err != nil {
			a.c.quota.done(call, false)
			return nil, final{err}
		}
		// Last of all, so that nobody who waits for something else has a place.
		// Who has the memory that those with a place may wait for needs none.
		share := a.c.share
		if held, _ := req.Context().Value(holdsKey{}).(*use); held != nil && held.alone {
			share = nil
		}
		if err := share.take(req.Context(), a.c); err != nil {
			a.c.quota.done(call, false)
			return nil, final{err}
		}
		a.c.quota.going(call)
		resp, err := a.send(req, token, call, share)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || stale != "" {
			return resp, err
		}
		drain(resp.Body)
		stale = token
	}
}

// send makes the attempt; its time ends with the body.
func (a *authorised) send(req *http.Request, token string, call *call, share *Share) (*http.Response, error) {
	a.c.mu.Lock()
	a.c.calls++
	a.c.token = token
	a.c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(req.Context(), attemptTime, errSlow)
	// The server counts a call when it arrives, which is after the connection
	// has been made.
	req = req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { a.c.quota.sent(call) },
	}))
	begun := time.Now()
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	a.c.api.mark(req.Header)
	resp, err := a.next.RoundTrip(req)
	a.c.quota.done(call, err == nil && resp.StatusCode == http.StatusTooManyRequests)
	if err != nil {
		if context.Cause(ctx) == errSlow {
			err = errSlow
		}
		cancel()
		share.done(a.c)
		return nil, err
	}
	a.c.received(resp)
	end := sync.OnceFunc(func() { cancel(); share.done(a.c); a.c.took(time.Since(begun)) })
	resp.Body = &timedBody{resp.Body, ctx, end}
	return resp, nil
}

// took notes how long an attempt took.
func (c *client) took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latency == 0 {
		c.latency = d
	}
	c.latency = (3*c.latency + d) / 4
}

// lanes is how many calls at once use the quota up.
func (c *client) lanes() int {
	c.mu.Lock()
	latency := c.latency
	c.mu.Unlock()
	if latency < slow {
		return 1
	}
	most := cap(c.flight)
	for _, l := range c.quota.limits {
		most = min(most, 2+int(latency.Seconds()*float64(l.Calls)/l.Per.Seconds()))
		break // the shortest: what is saved up of a longer one may be used
	}
	return max(1, most)
}

// slow is how long a call takes from which on one at a time is too few.
const slow = time.Second

var errSlow = fmt.Errorf("no complete answer within %v", attemptTime)

type timedBody struct {
	io.ReadCloser
	ctx context.Context
	end func() // of the call
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errSlow {
		err = errSlow
	}
	return n, err
}

func (b *timedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxErrorBody)
	body.Close()
}

// received notes the server's clock and the request's id.
func (c *client) received(resp *http.Response) {
	id := c.requestID(resp.Header)
	if why, _ := c.partial(resp); why != "" && id != "" {
		id += ", " + why
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return // perhaps a gateway's, with a clock of its own
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Now()
	if err == nil {
		c.date = date
	} else {
		c.date = c.at.Add(-time.Second)
		if !c.warned {
			c.warned = true
			c.log.Warn("the API's answers have no Date: using our own clock")
		}
	}
	if id != "" && len(c.requests) < keptRequests {
		c.requests = append(c.requests, id)
	}
}

// now is a lower bound for the server's clock.
func (c *client) now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return time.Time{}, false
	}
	return c.date.Add(time.Since(c.at)), true
}

// refusing are the providers that have refused their part since it was last called.
func (c *client) refusing() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := c.refused
	c.refused = nil
	slices.Sort(refused)
	return slices.Compact(refused)
}

func (c *client) succeeded() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.successes
}

// final marks an error that no retry helps with.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// partialTries is how often a call is made that is answered in part. The last
// such answer is kept.
const partialTries = 2

// errPartial says that an answer is good, but that a whole one may be had.
var errPartial = errors.New("partial answer")

// warning is a provider's part of a Warning header (RFC 9111, 5.5) as Graph
// security writes it: <vendor>/<provider>/<code>/<ms>.
var warning = regexp.MustCompile(`([^"/\s]+/[^"/]+)/(\d{3})/\d+`)

// partial says in what way an answer is one in part: status 206, or a Warning
// that names a provider who did not answer. lacking is empty if it is whole, but for what
// a provider refuses (401, 403: a product that is not licensed).
func (c *client) partial(resp *http.Response) (lacking string, refused []string) {
	text := strings.Join(resp.Header.Values("Warning"), ", ")
	// A provider's warning counts whatever the status says.
	if resp.StatusCode != http.StatusPartialContent && (resp.StatusCode != http.StatusOK || !warning.MatchString(text)) {
		return "", nil
	}
	all := warning.FindAllStringSubmatch(text, -1)
	for _, w := range all {
		if w[2] != "401" && w[2] != "403" {
			lacking = "the API answers in part"
		} else {
			refused = append(refused, c.clean(w[1]+"/"+w[2], 100))
		}
	}
	if lacking != "" || len(all) == 0 {
		lacking = "the API answers in part: " + c.clean(text, 150)
	}
	return lacking, refused
}

// get makes one call of an escaped path, as often as it takes. read is given each answer with
// status 200 or 206, and in what way it is partial, and reads and checks it
// whole; it must be ready to be called again. asked is a time by the server's
// clock before the call was sent.
func (c *client) get(ctx context.Context, path, query string, tries int, read func(body io.Reader, partial string) error) (asked time.Time, err error) {
	select {
	case c.flight <- struct{}{}:
		defer func() { <-c.flight }()
	case <-ctx.Done():
		return asked, ctx.Err()
	}
	begun := time.Now()
	asked, known := c.now()
	u := *c.origin
	u.RawPath, u.RawQuery = path, query
	if u.Path, err = url.PathUnescape(path); err != nil {
		return asked, err
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return asked, err
	}
	var wait time.Duration
	failures := 0
	req.SetResponseHandler(func(resp *http.Response) error {
		defer drain(resp.Body)
		if resp.StatusCode != http.StatusTooManyRequests {
			c.quota.answered()
		}
		why, refused := c.partial(resp)
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
			err := read(resp.Body, why)
			c.mu.Lock()
			c.refused = append(c.refused, refused...)
			c.mu.Unlock()
			if err == nil && why != "" {
				c.log.Warn("the API answers in part", "warning", why, "request", c.requestID(resp.Header))
				if failures+1 < min(tries, partialTries) {
					return errPartial
				}
			}
			return err
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return c.apiError(resp, body, time.Now())
	})
	rc := retryablehttp.Client{
		HTTPClient: c.http,
		RetryMax:   1 << 20, // CheckRetry decides
		// Called with a response and no error before the handler has read it,
		// then with what the handler says.
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			if err == nil || ctx.Err() != nil {
				return false, ctx.Err()
			}
			var again bool
			if wait, again = c.judge(err, failures); !isStatus(err, http.StatusTooManyRequests) {
				failures++
			}
			if errors.Is(err, rawjson.ErrTooLarge) || errors.Is(err, errTooMany) {
				return false, nil // so will the next one be
			}
			if errors.Is(err, rawjson.ErrNoIncident) {
				return again && 2*failures < tries, nil // a whole answer: the next one is no better
			}
			return again && failures < tries, nil
		},
		Backoff: func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return wait },
		ErrorHandler: func(_ *http.Response, err error, _ int) (*http.Response, error) {
			return nil, err
		},
	}
	_, err = rc.Do(req)
	if err != nil {
		if ctx.Err() != nil && !errors.As(err, new(*LimitedError)) {
			return asked, ctx.Err()
		}
		return asked, plainError(err)
	}
	c.mu.Lock()
	c.successes++
	if !known {
		// Sent no later than this by the server's clock.
		asked = c.date.Add(c.at.Sub(begun) * -1)
	}
	c.mu.Unlock()
	return asked, nil
}

// judge says whether to try again, and after how long.
func (c *client) judge(err error, failures int) (wait time.Duration, again bool) {
	var last final
	if errors.As(err, &last) {
		return 0, false
	}
	backoff := min(firstBackoff<<min(failures, 10), lastBackoff)
	backoff = backoff/2 + rand.N(backoff/2+1)
	var api *APIError
	if !errors.As(err, &api) {
		return backoff, true // the connection
	}
	if !api.Temporary() {
		return backoff, api.Status == http.StatusBadRequest && failures < 2 // strays have been seen
	}
	if api.Status == http.StatusTooManyRequests {
		// Everybody waits, in the quota: it knows the end of the run.
		pause := c.quota.refuse(api.RetryAfter)
		c.log.Warn("the API says too many requests", "wait", pause.Round(time.Millisecond).String(), "error", api)
		return 0, true
	}
	return max(backoff, min(api.RetryAfter, time.Minute)), true
}

func isStatus(err error, status int) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == status
}

// plainError removes the URL, with its query, that net/http puts into errors.
func plainError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if parsed, e := url.Parse(u.URL); e == nil {
			return fmt.Errorf("GET %s%s: %w", parsed.Host, parsed.EscapedPath(), u.Err)
		}
		return u.Err
	}
	return err
}
