package main

import (
	"fmt"
	"time"

	"incident-exporter/exporter/ledger"
)

// mostAhead is how far coverage may reach beyond a clock that looks at it: two clocks differ. The
// exporter withdraws what lies further ahead.
const mostAhead = 5 * time.Minute

// coverage is how far a stream is covered, as `health`, `check`, the status page and the metrics say
// it. The zero value is that of a stream of which nothing is known.
type coverage struct {
	since, until time.Time     // everything updated between them is archived; zero: nothing is
	holes        int           // stretches between the chain's start and until that are not covered
	backfill     bool          // the first one of a new archive is under way
	open         []ledger.Span // holes that nothing names as unfetched, but for a first backfill's; ascending
	unfetched    int           // stretches that could not be fetched so far
	partial      []string      // providers that refuse to serve what they have
}

// coverageOf is what a manifest says.
func coverageOf(m *ledger.Manifest) coverage {
	if m == nil {
		return coverage{}
	}
	until := m.Covered.Until()
	c := coverage{
		since: m.Covered.Since(), until: until, holes: len(m.Covered.Holes(m.Start.Time, until)),
		backfill: m.FirstBackfill(), unfetched: m.OpenStretches(), partial: m.Partial,
	}
	if !c.backfill {
		c.open = m.Unnamed()
	}
	return c
}

// known says whether anything is covered.
func (c coverage) known() bool { return !c.until.IsZero() }

// lag is how far behind now the newest end is.
func (c coverage) lag(now time.Time) time.Duration { return now.Sub(c.until) }

// wrong says what is wrong with coverage that may lag by most, "" if nothing is.
func (c coverage) wrong(now time.Time, most duration) string {
	switch lag := c.lag(now); {
	case !c.known():
		return "nothing is covered yet"
	case lag < -mostAhead:
		return "what is covered ends in the future: a clock is wrong, or was"
	case lag.Round(time.Second) > most.Duration:
		return fmt.Sprintf("it is behind by more than %s", most)
	}
	for _, hole := range c.open {
		if now.Sub(hole.To.Time) > most.Duration {
			return fmt.Sprintf("nothing has read from %s to %s so far", clockText(hole.From.Time), clockText(hole.To.Time))
		}
	}
	return ""
}

// text says it in one line for people.
func (c coverage) text(now time.Time) string {
	if !c.known() {
		return "nothing is covered yet"
	}
	text := fmt.Sprintf("covered from %s until %s, ", clockText(c.since), clockText(c.until))
	if lag := c.lag(now).Round(time.Second); lag < 0 {
		text += fmt.Sprintf("%s ahead", -lag)
	} else {
		text += fmt.Sprintf("%s ago", lag)
	}
	if c.backfill {
		text += ", the first backfill is under way"
	} else if c.holes > 0 {
		text += ", " + plural(c.holes, "hole")
	}
	return text
}

// clockText is a time for people, to the second.
func clockText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// plural is a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
