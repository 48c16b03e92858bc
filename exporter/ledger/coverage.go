package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Span is a half-open stretch [From, To) of update time.
type Span struct {
	From Time `json:"from"`
	To   Time `json:"to"`
}

// Equal says whether two spans are the same instants.
func (s Span) Equal(o Span) bool { return s.From.Equal(o.From.Time) && s.To.Equal(o.To.Time) }

// Claim says that a stretch of update time was shown complete: every version
// in it that was visible when it was asked for is archived.
//
// Asked is that time, by the server's clock. Once it is long enough after the
// whole stretch, a Claim of Coverage may say After instead: each instant of
// the stretch was asked for at least so much later than itself. Order says
// that the server's order was relied on.
type Claim struct {
	From  Time     `json:"from"`
	To    Time     `json:"to"`
	Asked Time     `json:"asked,omitzero"`
	After Duration `json:"after,omitzero"`
	Order bool     `json:"order,omitempty"`
}

// Duration is a time.Duration that a manifest writes as hours, minutes or
// seconds, whichever are whole: 168h, 90m, 45s.
type Duration time.Duration

// MarshalJSON writes the duration. It fails for what seconds cannot say.
func (d Duration) MarshalJSON() ([]byte, error) {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if t := time.Duration(d); t%unit.length == 0 {
			return fmt.Appendf(nil, `"%d%s"`, t/unit.length, unit.name), nil
		}
	}
	return nil, fmt.Errorf("%v is not a whole number of seconds", time.Duration(d))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	t, err := time.ParseDuration(s)
	if err == nil && t > 0 {
		// Only what MarshalJSON writes: two spellings would be two manifests.
		if own, err := Duration(t).MarshalJSON(); err == nil && string(own) == `"`+s+`"` {
			*d = Duration(t)
			return nil
		}
	}
	return fmt.Errorf("%.40q is not a duration", s)
}

// Lateness says how late a change may become visible. All of it is whole seconds.
type Lateness struct {
	Settle  time.Duration // how far behind now a reading ends
	Overlap time.Duration // changes follow within it
	Deep    time.Duration // later ones, up to this, follow more slowly
	Every   time.Duration // how often what is not Deep yet is read again
}

// Coverage is what is complete: disjoint claims in ascending order. Its methods
// return a new Coverage and leave the receiver as it is.
type Coverage []Claim

// stronger says whether a vouches for more than b does of a stretch that ends
// at to: if it was asked for longer after that end. Where neither vouches for
// all that the other says, this decides as well, so that Add does not depend
// on the order of claims. Only what is the same is neither way stronger.
func (a Claim) stronger(b Claim, to time.Time) bool {
	if la, lb := a.lateAt(to), b.lateAt(to); la != lb {
		return la > lb
	}
	if a.Order != b.Order {
		return !a.Order
	}
	return a.After == 0 && b.After > 0 // it says more of every instant before to
}

// lateAt is how long after an instant the claim says that it was asked for.
func (a Claim) lateAt(at time.Time) time.Duration {
	if a.After > 0 {
		return time.Duration(a.After)
	}
	return a.Asked.Sub(at)
}

// Vouches says whether what a says holds for all of b: b is no stronger claim
// over a part of a's stretch.
func (a Claim) Vouches(b Claim) bool {
	if b.From.Before(a.From.Time) || b.To.After(a.To.Time) || a.Order && !b.Order {
		return false
	}
	switch {
	case a.After > 0 && b.After > 0:
		return b.After <= a.After
	case a.After > 0:
		// Asked at an unknown time: at least After later than each instant.
		return b.Asked.Sub(b.From.Time) <= time.Duration(a.After)
	case b.After > 0:
		return a.Asked.Sub(b.To.Time) >= time.Duration(b.After)
	default:
		return !b.Asked.After(a.Asked.Time)
	}
}

// Add returns the coverage with further claims; where two speak of one
// instant, the stronger one stays.
func (c Coverage) Add(claims ...Claim) Coverage {
	all := append(slices.Clone(c), claims...)
	all = slices.DeleteFunc(all, func(x Claim) bool { return !x.From.Before(x.To.Time) })
	var cuts []time.Time
	for _, x := range all {
		cuts = append(cuts, x.From.Time, x.To.Time)
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)
	slices.SortStableFunc(all, func(a, b Claim) int { return a.From.Compare(b.From.Time) })
	var out Coverage
	var open []Claim // those that the cut lies in
	for i, next := 0, 0; i+1 < len(cuts); i++ {
		from, to := cuts[i], cuts[i+1]
		open = slices.DeleteFunc(open, func(x Claim) bool { return !x.To.After(from) })
		for ; next < len(all) && !all[next].From.After(from); next++ {
			open = append(open, all[next])
		}
		if len(open) == 0 {
			continue
		}
		best := open[0]
		for _, x := range open[1:] {
			if x.stronger(best, to) {
				best = x
			}
		}
		best.From, best.To = Time{from}, Time{to}
		out = append(out, best)
	}
	return out.merged()
}

// merged joins neighbours that say the same.
func (c Coverage) merged() Coverage {
	out := c[:0]
	for _, x := range c {
		if n := len(out); n > 0 && out[n-1].To.Equal(x.From.Time) && out[n-1].same(x) {
			out[n-1].To = x.To
			continue
		}
		out = append(out, x)
	}
	return out
}

func (a Claim) same(b Claim) bool {
	return a.Asked.Equal(b.Asked.Time) && a.After == b.After && a.Order == b.Order
}

// Without returns the coverage less a stretch.
func (c Coverage) Without(s Span) Coverage {
	if !s.From.Before(s.To.Time) {
		return slices.Clone(c)
	}
	var out Coverage
	for _, x := range c {
		if !x.From.Before(s.To.Time) || !x.To.After(s.From.Time) {
			out = append(out, x)
			continue
		}
		if left := x; x.From.Before(s.From.Time) {
			left.To = s.From
			out = append(out, left)
		}
		if right := x; x.To.After(s.To.Time) {
			right.From = s.To
			out = append(out, right)
		}
	}
	return out
}

// Aged returns the coverage in as few claims as can be: what was asked for
// long enough after itself says only how long. Two things keep when they were
// asked for: the first second that is not settled deeply, so that it is known
// when that was last tried; and, with a due that is not zero, what a deep
// reading that is due since then has read again, which was asked for at due or
// later, so that one that ends early goes on where it was.
func (c Coverage) Aged(l Lateness, due time.Time) Coverage {
	// What was asked for at due or later is settled up to here whenever that
	// was. From here on, to be settled says by itself that it was at due or later.
	kept := due.Add(-l.Overlap - l.Settle).Truncate(time.Second)
	since := func(x Claim) bool { return !due.IsZero() && !x.Asked.Before(due) }
	var out Coverage
	first := true // nothing so far is not settled deeply
	for _, x := range c {
		if x.After > 0 {
			first = first && time.Duration(x.After) >= l.Deep
			out = append(out, x)
			continue
		}
		rest := x
		// until takes off the rest what lies before end. With an after it says only that.
		until := func(end time.Time, after time.Duration) {
			if !end.After(rest.From.Time) || !rest.From.Before(rest.To.Time) {
				return
			}
			part := rest
			if end.Before(part.To.Time) {
				part.To = Time{end}
			}
			rest.From = part.To
			if after > 0 {
				part.Asked, part.After = Time{}, Duration(after)
			}
			first = first && after >= l.Deep
			out = out.append(part, func(last Claim) bool {
				if since(last) != since(part) {
					return false
				}
				return since(part) || last.Asked.Sub(part.Asked.Time).Abs() <= l.Settle
			})
		}
		settled := func(after time.Duration) time.Time { return x.Asked.Add(-after - l.Settle).Truncate(time.Second) }
		until(settled(l.Deep), l.Deep)
		if since(x) {
			until(kept, 0)
		}
		if first {
			until(rest.From.Add(time.Second), 0)
		}
		until(settled(l.Overlap), l.Overlap)
		until(rest.To.Time, 0)
	}
	return out.merged()
}

// append adds a claim that lies behind all others. If its neighbour was asked
// for at another time and may, both are one claim of the earlier time.
func (c Coverage) append(x Claim, may func(last Claim) bool) Coverage {
	if n := len(c); n > 0 && x.After == 0 {
		last := &c[n-1]
		if last.After == 0 && last.Order == x.Order && last.To.Equal(x.From.Time) && may(*last) {
			if x.Asked.Before(last.Asked.Time) {
				last.Asked = x.Asked
			}
			last.To = x.To
			return c
		}
	}
	return append(c, x)
}

// Unsettled returns what was not yet asked for later than itself plus after
// and settle, in ascending order. With a since that is not zero, what was
// asked for at that time or later is left out; of a claim that says only how
// long after, that is what lies so long, and settle, before since or later.
func (c Coverage) Unsettled(after, settle time.Duration, since time.Time) []Span {
	var out []Span
	for _, x := range c {
		from, to := x.From.Time, x.To.Time
		if x.After > 0 {
			if time.Duration(x.After) >= after {
				continue
			}
			if end := since.Add(-time.Duration(x.After) - settle); !since.IsZero() && end.Before(to) {
				to = end
			}
		} else {
			if !since.IsZero() && !x.Asked.Before(since) {
				continue
			}
			if end := x.Asked.Add(-after - settle).Truncate(time.Second); end.After(from) {
				from = end
			}
		}
		if !from.Before(to) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].To.Equal(from) {
			out[n-1].To = Time{to}
			continue
		}
		out = append(out, Span{Time{from}, Time{to}})
	}
	return out
}

// DeepDue returns when what is not settled deeply has to be read again, the
// zero time if there is nothing: Every after the first of it was last asked for,
// or if only how long that was after itself is known, Every after that.
func (c Coverage) DeepDue(l Lateness) time.Time {
	for _, x := range c {
		switch {
		case x.After > 0 && time.Duration(x.After) >= l.Deep:
		case x.After > 0:
			return x.From.Add(time.Duration(x.After) + l.Settle + l.Every)
		default:
			if end := x.Asked.Add(-l.Deep - l.Settle).Truncate(time.Second); !end.Before(x.To.Time) {
				continue
			}
			return x.Asked.Add(l.Every)
		}
	}
	return time.Time{}
}

// Ordered returns the stretches that were read by the server's order.
func (c Coverage) Ordered() []Span {
	var out []Span
	for _, x := range c {
		if !x.Order {
			continue
		}
		if n := len(out); n > 0 && out[n-1].To.Equal(x.From.Time) {
			out[n-1].To = x.To
			continue
		}
		out = append(out, Span{x.From, x.To})
	}
	return out
}

// Holes returns what of [from, to) is not covered, in ascending order.
func (c Coverage) Holes(from, to time.Time) []Span {
	return subtract(Span{Time{from}, Time{to}}, c.Spans())
}

// Spans returns the stretches of the claims.
func (c Coverage) Spans() []Span {
	out := make([]Span, len(c))
	for i, x := range c {
		out[i] = Span{x.From, x.To}
	}
	return out
}

// subtract returns what of a stretch lies outside of others, which are disjoint and ascending.
func subtract(s Span, others []Span) []Span {
	var out []Span
	for _, o := range others {
		if !o.To.After(s.From.Time) {
			continue
		}
		if !o.From.Before(s.To.Time) {
			break
		}
		if o.From.After(s.From.Time) {
			out = append(out, Span{s.From, o.From})
		}
		s.From = o.To
	}
	if s.From.Before(s.To.Time) {
		out = append(out, s)
	}
	return out
}

// Joined returns the stretches ascending, disjoint and in as few as can be.
func Joined(spans []Span) []Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(a.From.Compare(b.From.Time), a.To.Compare(b.To.Time)) })
	var out []Span
	for _, s := range spans {
		if !s.From.Before(s.To.Time) {
			continue
		}
		if n := len(out); n > 0 && !s.From.After(out[n-1].To.Time) {
			if s.To.After(out[n-1].To.Time) {
				out[n-1].To = s.To
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// Subtract returns what of the stretches lies outside of others.
func Subtract(spans, others []Span) []Span {
	var out []Span
	others = Joined(others)
	for _, s := range Joined(spans) {
		out = append(out, subtract(s, others)...)
	}
	return out
}

// Until is where the last stretch ends, and Since where it begins that ends
// there without a hole; the zero time where nothing is covered.
func (c Coverage) Until() time.Time {
	if len(c) == 0 {
		return time.Time{}
	}
	return c[len(c)-1].To.Time
}

// Since returns the beginning of what is covered without a hole up to Until.
func (c Coverage) Since() time.Time {
	spans := Joined(c.Spans())
	if len(spans) == 0 {
		return time.Time{}
	}
	return spans[len(spans)-1].From.Time
}

// Within returns what of each stretch lies inside of others, without joining any.
func Within(spans, others []Span) []Span {
	var out []Span
	for _, s := range spans {
		one := []Span{s}
		out = append(out, Subtract(one, Subtract(one, others))...)
	}
	return out
}
