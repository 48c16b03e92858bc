package defender

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/rawjson"
)

func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"7", "0.5", "1e300", "-3", "NaN", "Mon, 02 Mar 2026 08:00:00 GMT", "", "soon", "99999999999999999999"} {
		f.Add(v, "Mon, 02 Mar 2026 07:59:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		if wait := retryAfter(h, time.Now()); wait < 0 || wait > longestWait {
			t.Fatalf("%q at %q: %v", value, date, wait)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, " 0.25 ": 250 * time.Millisecond, "Mon, 02 Mar 2026 08:01:30 GMT": 90 * time.Second,
		"Mon, 02 Mar 2026 07:00:00 GMT": 0, "1e18": longestWait, "-1": 0, "nan": 0, "x": 0, "": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, at); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if got := windowIn("API calls quota exceeded! maximum allowed 50 per 00:01:00"); got != time.Minute {
		t.Errorf("in the body: %v", got)
	}
}

func FuzzErrorBody(f *testing.F) {
	const token = "made-up-token"
	f.Add(429, `{"error":{"code":"429","message":"API calls quota exceeded! maximum allowed 50 per 00:01:00","target":"3f"}}`)
	f.Add(500, "<html>busy</html>")
	f.Add(401, `{"error":{"code":{"a":1},"message":"x`)
	f.Add(403, `{"error":{"code":"made-up-token","message":"bearer made-up-token","innerError":{"message":"made-up-made-up-token"}}}`)
	f.Add(200, "\x00\xff")
	f.Fuzz(func(t *testing.T, status int, body string) {
		w := httptest.NewRecorder()
		_, _ = io.WriteString(w, body)
		resp := w.Result()
		resp.StatusCode = status
		c := &client{token: token}
		e := c.apiError(resp, []byte(body), time.Now())
		text := e.Error()
		if strings.ContainsAny(text, "\n\r\x00") || len(text) > 2000 || e.RetryAfter < 0 || e.RetryAfter > longestWait || strings.Contains(text, token) {
			t.Fatalf("%d %q: %q, %v", status, body, text, e.RetryAfter)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add(int64(0), int64(1), int64(5), int64(0), uint8(0))
	f.Add(int64(-1<<40), int64(1<<50), int64(0), int64(7), uint8(1))
	f.Add(int64(1), int64(2), int64(3), int64(4), uint8(3))
	base := time.Date(2026, 3, 2, 8, 15, 30, 0, time.UTC)
	s := &Source{names: rawjson.Names{ID: "incidentId", Updated: "lastUpdateTime", Created: "createdTime"}}
	f.Fuzz(func(t *testing.T, from, to, since, until int64, as uint8) {
		at := func(ticks int64) time.Time { return base.Add(time.Duration(ticks%(1<<52)) * rawjson.Tick) }
		q := walk.Question{From: at(from), To: at(to), Since: at(since), Until: at(until), Top: 1}
		b := bound(as % 5)
		if b == noBound {
			q.To, q.Until = time.Time{}, time.Time{}
		}
		text := s.options(q, b, false).Get("$filter")
		times := map[string]time.Time{}
		for term := range strings.SplitSeq(text, " and ") {
			plain, not := strings.CutPrefix(term, "not (")
			parts := strings.Split(strings.TrimSuffix(plain, ")"), " ")
			if len(parts) != 3 || not != strings.HasSuffix(term, ")") {
				t.Fatalf("term %q", term)
			}
			name, op, value := parts[0], parts[1], parts[2]
			if op == "gt" {
				name, value = value, name
			}
			parsed, err := rawjson.ParseTime(value)
			if err != nil || !strings.HasSuffix(value, "Z") || strings.Contains(value, "+") || name != "lastUpdateTime" && name != "createdTime" || !strings.Contains("ge lt le gt", op) {
				t.Fatalf("term %q: %v", term, err)
			}
			times[name+map[bool]string{true: " from", false: " to"}[op == "ge" && !not]] = parsed
		}
		for name, want := range map[string]time.Time{"lastUpdateTime from": q.From, "lastUpdateTime to": q.To, "createdTime from": q.Since, "createdTime to": q.Until} {
			if !times[name].Equal(want) {
				t.Fatalf("%s is %v, want %v, in %q", name, times[name], want, text)
			}
		}
	})
}
