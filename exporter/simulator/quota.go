package simulator

import (
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"time"
)

// Limit allows N calls in any stretch of time of length Per.
type Limit struct {
	N   int
	Per time.Duration
}

// QuotaDialect is how a 429 says when to come back.
type QuotaDialect int

const (
	RetrySeconds  QuotaDialect = iota // Retry-After in whole seconds
	RetryDecimal                      // Retry-After with three decimals
	RetryHTTPDate                     // Retry-After as a date
	RetryBodyOnly                     // the window's length in the body's message, code "429"; Graph does not say it there either
)

// quota remembers when there were calls, for as long as a limit needs to know.
type quota struct{ calls []time.Time }

// excess is a limit that a call exceeds, and how long no call must come for
// the next one to be within it.
type excess struct {
	limit Limit
	wait  time.Duration
}

// call counts a call and returns the limit that it exceeds the longest, nil if
// it is within all of them.
func (q *quota) call(now time.Time, limits []Limit) *excess {
	var longest time.Duration
	for _, l := range limits {
		longest = max(longest, l.Per)
	}
	// since is the first call within the stretch of that length that ends now.
	since := func(d time.Duration) int {
		return sort.Search(len(q.calls), func(i int) bool { return now.Sub(q.calls[i]) < d })
	}
	if old := since(longest); old > 0 {
		q.calls = append(q.calls[:0], q.calls[old:]...)
	}
	q.calls = append(q.calls, now)

	var over *excess
	for _, l := range limits {
		if len(q.calls)-since(l.Per) <= l.N {
			continue
		}
		wait := l.Per
		if l.N > 0 {
			wait = q.calls[len(q.calls)-l.N].Add(l.Per).Sub(now)
		}
		if over == nil || wait > over.wait {
			over = &excess{l, wait}
		}
	}
	return over
}

// tooMany is a 429 in the dialect that is set.
func (s *Simulator) tooMany(over *excess, now ticks, on service, refuse refusing) *answer {
	const body = "API calls quota exceeded! maximum allowed %d per %02d:%02d:%02d"
	per := int(over.limit.Per / time.Second)
	message := fmt.Sprintf(body, over.limit.N, per/3600, per/60%60, per%60)
	code, retryAfter := "TooManyRequests", ""
	switch s.behaviour.QuotaDialect {
	case RetrySeconds:
		retryAfter = strconv.Itoa(int((over.wait + time.Second - 1) / time.Second))
	case RetryDecimal:
		retryAfter = strconv.FormatFloat(float64((over.wait+time.Millisecond-1)/time.Millisecond)/1000, 'f', 3, 64)
	case RetryHTTPDate:
		// The date has whole seconds and must not be too early.
		retryAfter = now.time().Add(over.wait + time.Second - 1).Format(http.TimeFormat)
	case RetryBodyOnly:
		code = "429"
	}
	if on == graphAPI {
		code, message = "TooManyRequests", "Too many requests."
	}
	a := refuse(http.StatusTooManyRequests, code, message)
	if retryAfter != "" {
		a.set("Retry-After", retryAfter)
	}
	return a
}
