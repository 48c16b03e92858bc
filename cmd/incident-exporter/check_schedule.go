package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	shownRuns   = 5
	shownClocks = "2006-01-02 15:04 MST"
)

// schedule shows the next runs, and warns of those that a change of the clocks skips or doubles in
// the coming year. It is that of `run`.
func (c *checker) schedule(now time.Time) {
	e := &c.cfg.Exporter
	at := now.In(e.Timezone.Location)
	v := verdict{Name: "schedule", Detail: fmt.Sprintf("%s in %s, next", e.Schedule, e.Timezone)}
	var runs []string
	for range shownRuns {
		if at = e.Schedule.cron.Next(at); at.IsZero() {
			break
		}
		runs = append(runs, at.Format(shownClocks))
	}
	v.Detail += " " + strings.Join(runs, ", ")
	if e.Jitter.Duration > 0 {
		v.Detail += ", each up to " + e.Jitter.String() + " later"
	}
	if changes := clockChanges(e.Schedule.cron, now, e.Timezone.Location); len(changes) > 0 {
		v.State, v.Remedy = warning, "none is needed: a run that is skipped is made up for by the next one, one more finds nothing new; EXPORTER_TIMEZONE=UTC has no such days"
		v.Detail += "; " + strings.Join(changes, "; ")
	}
	c.say(v)
}

// clockChanges words what the changes of the clocks do to the runs in the year after now, nothing
// where no run is skipped or doubled.
func clockChanges(s cron.Schedule, now time.Time, zone *time.Location) (texts []string) {
	if s == nil {
		return nil
	}
	const step = 6 * time.Hour // no zone changes twice within
	end := now.AddDate(1, 0, 0)
	for from := now.Truncate(time.Hour); from.Before(end); from = from.Add(step) {
		if offset(from, zone) == offset(from.Add(step), zone) {
			continue
		}
		low, high := from, from.Add(step)
		for high.Sub(low) > time.Second {
			if middle := low.Add(high.Sub(low) / 2).Truncate(time.Second); offset(middle, zone) == offset(low, zone) {
				low = middle
			} else {
				high = middle
			}
		}
		if text := clockChange(s, high, zone); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// clockChange holds the runs around one change to those that there would be without it. Clocks that
// go forward leave out runs that were due in the time that is left out; clocks that go back have
// them twice. A run every few minutes goes on in either case.
func clockChange(s cron.Schedule, at time.Time, zone *time.Location) string {
	before, after := offset(at.Add(-time.Second), zone), offset(at, zone)
	shift := (after - before).Abs()
	real := runsIn(s, at, shift, zone)
	without := runsIn(s, at, shift, time.FixedZone("", int(before/time.Second)))
	n, what := missing(without, real), "are skipped"
	if after < before {
		n, what = missing(real, without), "are made twice"
	}
	if n == 0 {
		return ""
	}
	runs := "runs"
	if n == 1 {
		runs, what = "run", strings.Replace(what, "are", "is", 1)
	}
	return fmt.Sprintf("at the change of the clocks on %s %d %s %s", at.Add(-time.Second).In(zone).Format(time.DateOnly), n, runs, what)
}

func offset(at time.Time, zone *time.Location) time.Duration {
	_, seconds := at.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// runsIn are the runs from an instant on, for so long.
func runsIn(s cron.Schedule, from time.Time, length time.Duration, zone *time.Location) map[int64]bool {
	runs := map[int64]bool{}
	for at := s.Next(from.Add(-time.Second).In(zone)); !at.IsZero() && at.Before(from.Add(length)); at = s.Next(at) {
		runs[at.Unix()] = true
	}
	return runs
}

// missing counts what is in one and not in the other.
func missing(one, other map[int64]bool) (n int) {
	for at := range one {
		if !other[at] {
			n++
		}
	}
	return n
}
