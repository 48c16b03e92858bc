package simulator_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

// TestDensities looks at where the update times of each density lie.
func TestDensities(t *testing.T) {
	const span = 160 * 24 * time.Hour
	for density, check := range map[simulator.Density]func(ages []time.Duration, within func(from, to time.Duration) float64) bool{
		simulator.Uniform: func(_ []time.Duration, within func(from, to time.Duration) float64) bool {
			return within(0, span/2) > 0.45 && within(0, span/2) < 0.55
		},
		simulator.DenseMonth: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			return within(0, 30*24*time.Hour) == 1 && within(0, 15*24*time.Hour) < 0.6
		},
		simulator.NewestDay: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			return within(0, 24*time.Hour) == 1 && within(0, 12*time.Hour) < 0.6
		},
		simulator.NewestHalfHour: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			return within(0, 30*time.Minute) == 1 && within(0, 15*time.Minute) < 0.6
		},
		simulator.MostInOneHour: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			most := within(span/2-30*time.Minute, span/2+30*time.Minute)
			return most > 0.75 && most < 0.85 && within(0, span/3) > 0.04
		},
		simulator.Growing: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			const step = 20 * 24 * time.Hour
			a, b, c := within(0, step), within(step, 2*step), within(2*step, 3*step)
			return a/b > 1.8 && a/b < 2.2 && b/c > 1.8 && b/c < 2.2 && within(0, span) == 1
		},
		simulator.Bulky: func(ages []time.Duration, within func(from, to time.Duration) float64) bool {
			bulks := 0
			for i := 0; i+2 < len(ages); i++ {
				if ages[i+2]-ages[i] < 3*time.Second {
					bulks++
				}
			}
			// 3 of 4 come in bulks: one in ten brings 31 on average.
			return bulks > len(ages)*68/100 && bulks < len(ages)*82/100 && within(0, span) == 1
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 5, Incidents: 4000, Span: span, Density: density})
			var ages []time.Duration
			for _, v := range sim.Truth() {
				at, err := time.Parse(time.RFC3339Nano, v.Updated)
				if err != nil {
					t.Fatal(err)
				}
				ages = append(ages, sim.Now().Sub(at))
			}
			slices.Sort(ages)
			within := func(from, to time.Duration) float64 {
				n := 0
				for _, age := range ages {
					if age >= from && age < to {
						n++
					}
				}
				return float64(n) / float64(len(ages))
			}
			if len(ages) != 4000 || !check(ages, within) {
				t.Errorf("density %d: %d ages from %v to %v", density, len(ages), ages[0], ages[len(ages)-1])
			}
		})
	}
}
