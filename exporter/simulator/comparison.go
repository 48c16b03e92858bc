package simulator

// UpperBound says which upper bounds of a time $filter accepts.
type UpperBound int

const (
	LtAndLe      UpperBound = iota // both
	LeOnly                         // lt is refused
	NoUpperBound                   // lt and le are refused
)

// ResolutionOf says which sides of a comparison Behaviour.Resolution truncates.
type ResolutionOf int

const (
	ResolutionOfBoth    ResolutionOf = iota // both
	ResolutionOfLiteral                     // the time in the $filter
	ResolutionOfTime                        // the incident's time
)

// comparison is one term of a $filter on a time.
type comparison struct {
	created bool // the time of creation, else of the last update
	op      string
	at      ticks
}

// as returns the comparison with another operator.
func (c comparison) as(op string) comparison {
	c.op = op
	return c
}

// comparer compares times as the server does.
type comparer struct {
	resolution ticks
	of         ResolutionOf
	ltIsLe     bool
}

// comparing returns the comparer that the behaviour asks for.
func (b *Behaviour) comparing() comparer {
	return comparer{ticks(b.Resolution / 100), b.ResolutionOf, b.LtIsLe}
}

// holds reports whether a comparison holds for an incident's time.
func (m comparer) holds(c comparison, t ticks) bool {
	at := c.at
	if m.of != ResolutionOfLiteral {
		t = truncate(t, m.resolution)
	}
	if m.of != ResolutionOfTime {
		at = truncate(at, m.resolution)
	}
	switch c.op {
	case "ge":
		return t >= at
	case "gt":
		return t > at
	case "le":
		return t <= at
	case "lt":
		return t < at || m.ltIsLe && t == at
	default:
		return t == at
	}
}

// truncate rounds a time down to a multiple of the resolution since 1970.
func truncate(t, resolution ticks) ticks {
	if resolution <= 1 {
		return t
	}
	return t - t%resolution
}
