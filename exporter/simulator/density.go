package simulator

import (
	"math"
	"math/rand/v2"
)

// Density is how the initial update times are spread.
type Density int

const (
	Uniform        Density = iota
	OfficeHours            // mostly Monday to Friday, 8 to 18 h UTC
	DenseMonth             // the last 30 days, whatever Span is
	NewestDay              // the last 24 h, whatever Span is
	NewestHalfHour         // the last half hour, whatever Span is
	MostInOneHour          // four of five in one hour in the middle of Span
	Growing                // twice as dense every 20 days
	Bulky                  // uniform, but each tenth brings 2 to 60 others to within the same 3 s
)

// times draws n update times.
func (d Density) times(rng *rand.Rand, now, span ticks, n int) []ticks {
	times := make([]ticks, 0, n)
	for drawn := 1; len(times) < n; drawn++ {
		t := d.draw(rng, now, span)
		if rng.IntN(2) == 0 {
			t = min(t.databaseTick(), now)
		}
		times = append(times, t)
		if d == Bulky && drawn%10 == 0 {
			for range min(2+rng.IntN(59), n-len(times)) {
				times = append(times, max(now-span+1, t-ticks(rng.Int64N(int64(3*second)))))
			}
		}
	}
	return times
}

// draw draws one.
func (d Density) draw(rng *rand.Rand, now, span ticks) ticks {
	within := func(span ticks) ticks { return now - ticks(rng.Int64N(int64(span))) }
	switch d {
	case OfficeHours:
		t := within(span)
		for !officeHours(t) && rng.IntN(12) > 0 {
			t = within(span)
		}
		return t
	case DenseMonth:
		return within(30 * utcDay)
	case NewestDay:
		return within(utcDay)
	case NewestHalfHour:
		return within(1800 * second)
	case MostInOneHour:
		if rng.IntN(5) > 0 {
			hour := min(3600*second, span)
			return within(hour) - (span-hour)/2
		}
	case Growing:
		// The age has an exponential distribution that is cut off at span.
		const scale = float64(20*utcDay) / math.Ln2
		left := 1 - rng.Float64()*(1-math.Exp(-float64(span)/scale))
		return now - min(span-1, ticks(-scale*math.Log(left)))
	}
	return within(span)
}

func officeHours(t ticks) bool {
	days := int64(t / (24 * 3600 * second))
	weekday := (days + 4) % 7 // 1970 began on a Thursday
	hour := int64(t/(3600*second)) % 24
	return weekday >= 1 && weekday <= 5 && hour >= 8 && hour < 18
}
