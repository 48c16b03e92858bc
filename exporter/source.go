package exporter

import (
	"context"
	"time"

	"incident-exporter/exporter/ledger"
)

// Row is one version of an incident as a Source read it.
type Row = ledger.Row

// Stretch is update time that a Source could not read, although the API
// answered other calls: half-open, and the id where it is known that it is
// about one incident.
type Stretch struct {
	From, To time.Time
	ID       string
	Error    string
}

// Segment is a stretch of update time that has been read completely, but for
// what it names as Unfetched.
type Segment struct {
	// From and To are half-open. Where an instant holds more than is handed on
	// at once, all but the last of its segments end where they begin.
	From, To time.Time

	// Asked is a time by the server's clock before the first request for the
	// segment was sent.
	Asked time.Time

	// Rows are in order of (At, ID). Some may lie outside the stretch: the
	// server compares more coarsely than it was asked to.
	Rows []Row

	// Line returns the line of a row of Rows: what the API served, without
	// whitespace between tokens. It is valid until the next call, and may be
	// asked for once.
	Line func(i int) ([]byte, error)

	Unfetched []Stretch
}

// Usage is what reading has cost since it was last asked for.
type Usage struct {
	Calls    int      // every attempt counts
	Requests []string // request ids that the server gave, not all of many

	Waited time.Duration // that calls had to wait because of the quota, each of them counted
	Split  int           // windows that could not be shown complete in one piece
}

// Source reads the incidents of one tenant completely, in an order of its
// own, and hands them on in order of their update time. A Source is used by
// one run at a time.
type Source interface {
	// Now is a lower bound for the server's clock: the Date of the newest
	// answer and the time since. false until there has been an answer in this
	// process; a server that sends no Date is taken to share our own clock.
	Now() (time.Time, bool)

	// Clock makes one small call, so that Now is of this run.
	Clock(ctx context.Context) error

	// Since reads all that was updated at from or later if that fits one
	// answer (nil if it does not). To is then the Date of that answer.
	Since(ctx context.Context, from time.Time) (*Segment, error)

	// Read reads what was updated in [from, to), which must lie in the past
	// by the settling time at least, and hands it on in segments that abut. again says
	// that it has been read before: such calls take at most half of the
	// quota. An error of hand ends the reading. A stretch that cannot be read
	// is handed on as Unfetched, if other calls succeed; if none does, or if
	// credentials or the request are refused, that is an error, and what was
	// handed on before it stays true.
	Read(ctx context.Context, from, to time.Time, again bool, hand func(*Segment) error) error

	// Doubt is the earliest instant of what this process has read before it
	// learnt that the server's answers are shorter than they should be; it is
	// told once.
	Doubt() (time.Time, bool)

	// Spent tells the source of calls that another process made.
	Spent(calls map[time.Time]int)

	// Usage returns the usage since the last call of it, and Left how many
	// calls the quota allows at this moment.
	Usage() Usage
	Left() int
}
