package simulator

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// populate makes the initial incidents.
func (w *world) populate(opts *Options, rng *rand.Rand, now ticks) {
	n := opts.Incidents
	times := opts.Density.times(rng, now, ticks(opts.Span/100), n)
	slices.Sort(times)
	for i := 1; i < n; i++ {
		if opts.TieShare > 0 && rng.Float64() < opts.TieShare {
			times[i] = times[i-1]
		}
	}
	if tie := min(opts.Tie, n); tie > 1 {
		first := rng.IntN(n - tie + 1)
		for i := range tie {
			times[first+i] = times[first]
		}
	}

	type both struct{ created, updated ticks }
	all := make([]both, n)
	for i, t := range times {
		age := ticks(rng.ExpFloat64() * float64(36*3600*second))
		all[i] = both{t - min(age, 60*utcDay), t}
	}
	slices.SortFunc(all, func(a, b both) int { return cmp.Compare(a.created, b.created) })
	w.incidents = make([]incident, n, n+n/8)
	w.records = make([]record, n, n+n/4)
	w.order = make([]int32, n, n+n/8)
	for i, t := range all {
		w.incidents[i] = incident{latest: int32(i), shown: int32(i)}
		w.records[i] = record{incident: int32(i), redirect: -1, created: t.created, updated: t.updated,
			from: now, rev: int32(rng.IntN(4))}
		w.order[i] = int32(i)
	}
	slices.SortFunc(w.order, w.compare)
	w.last, w.began = now, now
}
