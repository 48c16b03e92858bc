package defender

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Limit is a number of calls in any stretch of time of a length.
type Limit struct {
	Calls int
	Per   time.Duration
}

// margin is added to every window: the server counts a call when it arrives,
// which for two calls may take different times.
const margin = time.Second

// quota is a sliding window over the real limits. Every attempt takes one
// call. It is safe for concurrent use.
type quota struct {
	limits []Limit

	mu     sync.Mutex
	all    []*call       // of the longest window, ascending
	paused time.Time     // not before, because the server refused a call
	probe  *call         // the only one under way while refusals follow each other
	waited time.Duration // by all calls together, since it was last asked for

	refusals int // that followed each other, less the calls that were answered since
}

// call is one that has been allowed. Until it is known to have been sent it
// counts as being sent now.
type call struct {
	at      time.Time
	again   bool
	pending bool
}

// LimitedError says that no call is allowed before the run must end.
type LimitedError struct{ Until time.Time }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("rate limited until %s, after the end of this run", e.Until.UTC().Format(time.RFC3339))
}

// take waits until a call is allowed and counts it. A call that reads again
// also stays within half of each limit.
func (q *quota) take(ctx context.Context, again bool) (*call, error) {
	for {
		q.mu.Lock()
		now := time.Now()
		at := q.next(now, again)
		if !at.After(now) {
			c := &call{now, again, true}
			q.all = append(q.all, c)
			q.forget(now)
			if q.refusals > 0 {
				q.probe = c
			}
			q.mu.Unlock()
			return c, nil
		}
		q.mu.Unlock()
		if end, ok := ctx.Deadline(); ok && at.After(end) {
			return nil, &LimitedError{at}
		}
		err := sleep(ctx, at.Sub(now))
		q.mu.Lock()
		q.waited += time.Since(now)
		q.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

// next is the earliest time for a call, by what has been counted.
func (q *quota) next(now time.Time, again bool) time.Time {
	at := now
	if q.paused.After(at) {
		at = q.paused
	} else if q.probe != nil && now.Sub(q.probe.at) < attemptTime {
		at = now.Add(margin) // to look again
	}
	within := func(calls int, per time.Duration, only bool) {
		// The calls-th newest has to be out of the window.
		for i := len(q.all) - 1; i >= 0; i-- {
			c := q.all[i]
			if only && !c.again {
				continue
			}
			if calls--; calls > 0 {
				continue
			}
			sent := c.at
			if c.pending {
				sent = now
			}
			if free := sent.Add(per + margin); free.After(at) {
				at = free
			}
			return
		}
	}
	for _, l := range q.limits {
		within(l.Calls, l.Per, false)
		if again {
			within(max(1, l.Calls/2), l.Per, true)
		}
	}
	return at
}

// going notes that a call is about to go out: what it waited for since it was
// allowed is over.
func (q *quota) going(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.at = time.Now()
	q.sort()
}

// sent notes that a call has gone out now.
func (q *quota) sent(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.pending {
		c.at, c.pending = time.Now(), false
		q.sort()
	}
}

// done notes that a call is over; if it is not known when it went out, it was
// when it was about to. One that was refused is the only one until refuse.
func (q *quota) done(c *call, refused bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.pending = false
	if q.probe == c && !refused {
		q.probe = nil
	}
}

func (q *quota) sort() {
	slices.SortStableFunc(q.all, func(a, b *call) int { return a.at.Compare(b.at) })
}

// window is the shortest limit's.
func (q *quota) window() time.Duration {
	shortest := time.Minute
	for i, l := range q.limits {
		if i == 0 || l.Per < shortest {
			shortest = l.Per
		}
	}
	return shortest
}

// longest is the longest limit's window.
func (q *quota) longest() time.Duration {
	longest := q.window()
	for _, l := range q.limits {
		longest = max(longest, l.Per)
	}
	return longest
}

func (q *quota) forget(now time.Time) {
	longest := q.longest() + margin
	old := func(c *call) bool { return !c.pending && now.Sub(c.at) > longest }
	if len(q.all) > 0 && old(q.all[0]) {
		q.all = slices.DeleteFunc(q.all, old)
	}
}

// mostBackoff is how many windows a wait grows to by itself: a longer one would
// outlast the trouble.
const mostBackoff = 5

// mostRefusals bounds how many answers it takes until calls are not made one by
// one any more.
const mostRefusals = 13

// refuse keeps everyone from calling, because the server has refused a call,
// for as long as it asked for (0: it did not say), or longer while refusals
// follow each other, but for no longer than the longest window. It returns how long.
func (q *quota) refuse(asked time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.probe = nil
	if !q.paused.After(now) { // those of one moment are one
		q.refusals = min(q.refusals+1, mostRefusals)
	}
	least := firstBackoff
	if asked == 0 {
		least = q.window() // trying on would keep the rate up
	}
	wait := min(max(asked, min(least<<(q.refusals-1), mostBackoff*q.window())), q.longest()) + rand.N(margin)
	if until := now.Add(wait); until.After(q.paused) {
		q.paused = until
	}
	return wait
}

// answered notes that the server did not refuse a call.
func (q *quota) answered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refusals > 0 && !q.paused.After(time.Now()) {
		q.refusals--
	}
}

// spent counts calls that others made.
func (q *quota) spent(calls map[time.Time]int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for at, n := range calls {
		for range n {
			q.all = append(q.all, &call{at: at})
		}
	}
	q.sort()
	q.forget(time.Now())
}

// wait is how long calls have waited since it was last asked for.
func (q *quota) wait() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.waited
	q.waited = 0
	return w
}

// left is how many calls are allowed now.
func (q *quota) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, left := time.Now(), 1<<20
	if q.paused.After(now) {
		return 0
	}
	for _, l := range q.limits {
		recent := 0
		for _, c := range q.all {
			if c.pending || now.Sub(c.at) < l.Per+margin {
				recent++
			}
		}
		left = min(left, max(0, l.Calls-recent))
	}
	return left
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
