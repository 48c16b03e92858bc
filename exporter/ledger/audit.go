package ledger

import (
	"context"
	"slices"
)

// OrderedReads returns the stretches, ascending, that one manifest's reading
// showed by the API's order: of the manifest that first covered an instant. It
// bisects the chain, so that it takes some 17 manifests of 100,000.
func (l *Ledger) OrderedReads(ctx context.Context, at Time) ([]Span, error) {
	covers := func(m *Manifest) bool {
		return slices.ContainsFunc(m.Covered, func(c Claim) bool { return !at.Before(c.From.Time) && at.Before(c.To.Time) })
	}
	// A claim that was withdrawn and made again may be found at the wrong
	// place: then the stretches are others, and the caller has larger pieces.
	low, high := l.first, l.head.Seq
	found := l.head
	for low < high {
		middle := low + (high-low)/2
		m, err := readManifest(ctx, l.sink, l.stream, middle)
		if err != nil {
			return nil, refuse(l.stream, err)
		}
		if covers(m) {
			high, found = middle, m
		} else {
			low = middle + 1
		}
	}
	var out []Span
	for _, r := range found.Read {
		if r.Order {
			out = append(out, Span{r.From, r.To})
		}
	}
	slices.SortFunc(out, func(a, b Span) int { return a.From.Compare(b.From.Time) })
	return out, nil
}

// OpenStretches counts the stretches that are still to be fetched: those beyond
// the API's reach are not.
func (m *Manifest) OpenStretches() (n int) {
	for _, u := range m.Unfetched {
		if u.Error != BeyondReach {
			n++
		}
	}
	return n
}

// Unnamed returns the holes that nothing names: what was never read so far, or
// was withdrawn.
func (m *Manifest) Unnamed() []Span {
	var named []Span
	for _, u := range m.Unfetched {
		named = append(named, Span{u.From, u.To})
	}
	return Subtract(m.Covered.Holes(m.Start.Time, m.Covered.Until()), named)
}

// FirstBackfill says whether the reading of what lies before a new archive is
// still under way: the earliest hole begins where the chain does, or where the
// API's reach did.
func (m *Manifest) FirstBackfill() bool {
	holes := m.Unnamed()
	if len(holes) == 0 {
		return false
	}
	begin := m.Start
	for _, u := range m.Unfetched {
		if u.Error == BeyondReach && u.From.Equal(begin.Time) {
			begin = u.To
		}
	}
	return holes[0].From.Equal(begin.Time)
}
