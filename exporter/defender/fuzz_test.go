package defender

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
	f.Add(429, `{"error":{"code":"429","message":"API calls quota exceeded! maximum allowed 50 per 00:01:00","target":"3f"}}`)
	f.Add(500, "<html>busy</html>")
	f.Add(401, `{"error":{"code":{"a":1},"message":"x`)
	f.Add(200, "\x00\xff")
	f.Fuzz(func(t *testing.T, status int, body string) {
		w := httptest.NewRecorder()
		_, _ = io.WriteString(w, body)
		resp := w.Result()
		resp.StatusCode = status
		e := apiError(resp, []byte(body), time.Now())
		if text := e.Error(); strings.ContainsAny(text, "\n\r\x00") || len(text) > 2000 || e.RetryAfter < 0 || e.RetryAfter > longestWait {
			t.Fatalf("%d %q: %q, %v", status, body, text, e.RetryAfter)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add(int64(0), int64(1), int64(5), uint8(0))
	f.Add(int64(-1<<40), int64(1<<50), int64(0), uint8(1))
	names := rawjson.Names{ID: "incidentId", Updated: "lastUpdateTime", Created: "createdTime"}
	base := time.Date(2026, 3, 2, 8, 15, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, from, to, since int64, as uint8) {
		at := func(ticks int64) time.Time { return base.Add(time.Duration(ticks%(1<<52)) * rawjson.Tick) }
		q := query{from: at(from), to: at(to), since: at(since)}
		for term := range strings.SplitSeq(q.filter(names, bound(as%3)), " and ") {
			parts := strings.Split(term, " ")
			if len(parts) != 3 || parts[0] != names.Updated && parts[0] != names.Created || !strings.Contains("ge lt le", parts[1]) {
				t.Fatalf("term %q", term)
			}
			value, err := rawjson.ParseTime(parts[2])
			if err != nil || !strings.HasSuffix(parts[2], "Z") || strings.Contains(parts[2], "+") {
				t.Fatalf("value %q: %v", parts[2], err)
			}
			if parts[1] == "ge" && parts[0] == names.Updated && !value.Equal(q.from) {
				t.Fatalf("%v written as %s", q.from, parts[2])
			}
		}
	})
}

func TestCutLeavesNothingOut(t *testing.T) {
	base := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for _, times := range [][]int{{1, 2, 3, 4, 5, 6, 7, 8, 9}, {5, 5, 5, 5, 5}, {0, 0, 0, 9}, {0, 9, 9, 9}, {3}, {0, 1}, {9, 9, 9, 9, 9, 9, 1}} {
		for target := 1; target < 6; target++ {
			var rows []row
			for _, n := range times {
				r := row{}
				r.At = base.Add(time.Duration(n) * rawjson.Tick)
				rows = append(rows, r)
			}
			end := base.Add(10 * rawjson.Tick)
			pieces := cut(rows, target, rawjson.Tick, base, end, func(r *row) time.Time { return r.At }, func(from, to time.Time, _ bool) query {
				return query{from: from, to: to}
			})
			if len(pieces) < 2 {
				t.Fatalf("%v by %d: not cut: %v", times, target, pieces)
			}
			at, n := base, 0
			for _, p := range pieces {
				if !p.from.Equal(at) || !p.to.After(p.from) {
					t.Fatalf("%v by %d: %v", times, target, pieces)
				}
				at, n = p.to, n+p.expect
			}
			if !at.Equal(end) || n != len(times) {
				t.Fatalf("%v by %d: ends at %v with %d rows", times, target, at, n)
			}
		}
	}
}
