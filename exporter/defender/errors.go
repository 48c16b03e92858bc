package defender

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"incident-exporter/exporter/rawjson"
)

// APIError is an answer that is not what was asked for: an error of the API,
// or an answer of it that cannot be read. It never holds a query or a token.
type APIError struct {
	Path       string // of the request, without query
	Status     int    // HTTP status; 200 for an answer that cannot be read
	Code       string // the API's error.code
	Message    string // the API's error.message, or what is wrong with the answer
	Target     string // tracking id, to name to Microsoft's support
	RequestID  string
	RetryAfter time.Duration // 0 if the server did not say
	Excerpt    string        // of a body that is no error body
	Incident   string        // the incident whose element could not be read, if known
	Err        error         // what is wrong with the answer
}

func (e *APIError) Unwrap() error { return e.Err }

func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s: ", e.Path)
	if e.Status != http.StatusOK {
		fmt.Fprintf(&b, "status %d", e.Status)
	} else {
		b.WriteString("unreadable answer")
	}
	for _, part := range []struct{ name, value string }{
		{"", e.Code}, {"", e.Message}, {"tracking id ", e.Target}, {"request id ", e.RequestID},
	} {
		if part.value != "" {
			b.WriteString(", " + part.name + part.value)
		}
	}
	if e.Excerpt != "" {
		fmt.Fprintf(&b, ", it begins %q", e.Excerpt)
	}
	return b.String()
}

// Temporary says whether the same request may succeed later.
func (e *APIError) Temporary() bool {
	return e.Status == http.StatusOK || e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

// maxErrorBody bounds what is read of an error body.
const maxErrorBody = 16 << 10

// apiError reads an error answer. Anything may stand in its body.
func (c *client) apiError(resp *http.Response, body []byte, now time.Time) *APIError {
	e := &APIError{Status: resp.StatusCode, RequestID: c.requestID(resp.Header)}
	if resp.Request != nil {
		e.Path = resp.Request.URL.EscapedPath()
	}
	body = rawjson.Unmarked(body)
	var answer struct {
		Error errorBody `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil && (answer.Error.Code != nil || answer.Error.Message != "") {
		c.take(e, &answer.Error)
	} else {
		e.Excerpt = c.clean(string(body), 200)
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		e.RetryAfter = retryAfter(resp.Header, now)
		if e.RetryAfter == 0 {
			e.RetryAfter = windowIn(e.Message + e.Excerpt)
		}
	}
	return e
}

// errorBody is an error as both APIs write it, Graph with others inside of it.
// Names are compared without regard to case: the one inside is innerError or
// innererror.
type errorBody struct {
	Code    json.RawMessage `json:"code"`
	Message string          `json:"message"`
	Target  string          `json:"target"`
	Request string          `json:"request-id"`
	Inner   json.RawMessage `json:"innerError"`
}

// deepest bounds how far errors inside of errors are looked at.
const deepest = 8

// take notes what an error body says, and what those inside of it say that it
// does not: Graph's own code may be empty, and its message as well.
func (c *client) take(e *APIError, body *errorBody) {
	fill := func(to *string, text string, limit int) {
		if *to == "" {
			*to = c.clean(text, limit)
		}
	}
	for range deepest {
		code := string(body.Code)
		_ = json.Unmarshal(body.Code, &code) // it may be a number
		fill(&e.Code, code, 100)
		fill(&e.Message, body.Message, 300)
		fill(&e.Target, body.Target, 100)
		fill(&e.RequestID, body.Request, 100)
		inner := &errorBody{}
		if len(body.Inner) == 0 || json.Unmarshal(body.Inner, inner) != nil {
			return
		}
		body = inner
	}
}

// requestID is the id that the server gave the request, under any of its names.
func (c *client) requestID(h http.Header) string {
	for _, name := range []string{"request-id", "x-ms-request-id", "x-request-id", "x-ms-correlation-request-id"} {
		if id := h.Get(name); id != "" {
			return c.clean(id, 100)
		}
	}
	return ""
}

// longestWait bounds what a server can ask for.
const longestWait = 24 * time.Hour

// retryAfter reads Retry-After (RFC 9110, 10.2.3): seconds, which may have
// decimals, or a date; 0 if it says nothing usable or lies in the past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		switch {
		case !(s > 0):
			return 0
		case s > longestWait.Seconds():
			return longestWait
		}
		return time.Duration(s * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date // the server's own clock, if ours is off
	}
	return min(max(0, at.Sub(now)), longestWait)
}

// quotaWindow is how the API names a window in a body: "API calls quota
// exceeded! maximum allowed <n> per <hh:mm:ss>".
var quotaWindow = regexp.MustCompile(`per (\d{1,2}):(\d\d):(\d\d)`)

func windowIn(message string) time.Duration {
	m := quotaWindow.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	h, _ := strconv.Atoi(m[1])
	min_, _ := strconv.Atoi(m[2])
	s, _ := strconv.Atoi(m[3])
	return min(time.Duration(h)*time.Hour+time.Duration(min_)*time.Minute+time.Duration(s)*time.Second, longestWait)
}

// secrets are what no text may hold, wherever it was echoed from: a bearer
// token, or what a JWT begins with.
var secrets = regexp.MustCompile(`(?i:bearer)[\s:=]+[^\s"',;]+|eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9_.-]*`)

const redacted = "[redacted]"

// clean makes foreign text fit one log line, without the token that was sent last.
func (c *client) clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = secrets.ReplaceAllString(strings.Join(strings.Fields(s), " "), redacted)
	c.mu.Lock()
	if c.token != "" {
		s = strings.ReplaceAll(s, c.token, redacted)
	}
	c.mu.Unlock()
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
