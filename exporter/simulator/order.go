package simulator

import (
	"cmp"
	"slices"
)

// Order is the order of the incidents in a list answer.
type Order int

const (
	NewestFirst    Order = iota // by update time descending, then by id
	OldestFirst                 // by update time ascending, then by id
	ByID                        // by id
	UnstableTies                // newest first, equal times in a new random order at each call
	Shuffled                    // in a new random order at each call
	InGroups                    // newest first, but those with an odd id behind the others: an order to begin with
	ByCreation                  // by creation time descending, then by id descending
	ByIDDescending              // by id descending
	ByDay                       // by UTC day of the update time descending, then by id
	ByStatus                    // in three groups by a constant of the incident, newest first in each
)

// utcDay is the length of a day: ticks know no leap seconds.
const utcDay = 24 * 3600 * second

// arrange puts records that are in the index's order into the answer's.
func (s *Simulator) arrange(matches []int32, order Order) {
	w := &s.world
	// by sorts by a key, and what has the same key by incident.
	by := func(key func(*record) ticks) {
		slices.SortFunc(matches, func(a, b int32) int {
			x, y := &w.records[a], &w.records[b]
			return cmp.Or(cmp.Compare(key(x), key(y)), cmp.Compare(x.incident, y.incident))
		})
	}
	// groups sorts newest first within groups by the id modulo n.
	groups := func(n int32) {
		slices.Reverse(matches)
		slices.SortStableFunc(matches, func(a, b int32) int {
			return cmp.Compare((firstID+w.records[a].incident)%n, (firstID+w.records[b].incident)%n)
		})
	}
	shuffle := func() {
		s.rng.Shuffle(len(matches), func(i, j int) { matches[i], matches[j] = matches[j], matches[i] })
	}
	switch order {
	case NewestFirst:
		slices.Reverse(matches)
	case OldestFirst:
		by(func(r *record) ticks { return r.updated })
	case ByID:
		by(func(*record) ticks { return 0 })
	case UnstableTies:
		shuffle()
		slices.SortStableFunc(matches, func(a, b int32) int {
			return cmp.Compare(w.records[b].updated, w.records[a].updated)
		})
	case Shuffled:
		shuffle()
	case InGroups:
		groups(2)
	case ByCreation:
		by(func(r *record) ticks { return r.created })
		slices.Reverse(matches)
	case ByIDDescending:
		by(func(*record) ticks { return 0 })
		slices.Reverse(matches)
	case ByDay:
		by(func(r *record) ticks { return -(r.updated / utcDay) })
	case ByStatus:
		groups(3)
	}
}
