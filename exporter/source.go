package exporter

import (
	"context"
	"errors"
	"time"

	"incident-exporter/exporter/ledger"
)

// Row is one version of an incident as a Source read it.
type Row = ledger.Row

// ErrEnough ends a reading before its end in good order: its time is over, or it
// has failed as often as one run may. What it has shown stays, and the next run
// goes on.
var ErrEnough = errors.New("enough for this run")

// Receiver takes what a Source reads. Its methods are called one at a time; an
// error of any of them ends the reading.
type Receiver interface {
	// Take stores those rows of one answer that are not archived yet, and notes
	// in fresh which those are. line is valid during the call.
	Take(ctx context.Context, rows []Row, line func(i int) []byte, fresh []bool) error

	// Shown records a stretch that was shown complete, by rows that were taken before.
	Shown(ctx context.Context, c ledger.Claim) error

	// Unread records a stretch that could not be read although the API answered
	// other calls, and the incident that it is about, where that is known. It is
	// not part of what is Shown later in the run, unless by a reading of its own.
	Unread(ctx context.Context, s ledger.Span, id string, why error) error

	// Disordered records that the API's order has been contradicted: what was
	// shown by it is shown no more.
	Disordered(ctx context.Context) error

	// Refused records a provider whose part of the answers the API will never serve.
	Refused(provider string)
}

// Reading says what to read and at what cost.
type Reading struct {
	ledger.Span      // whole seconds, in the past by the settling time at least
	Again       bool // it has been read before: such calls take at most half of the quota
	Long        bool // it may take many calls: several at once, where each takes long
}

// Usage is what reading has cost since it was last asked for.
type Usage struct {
	Calls    int           // every attempt counts
	Requests []string      // request ids that the server gave, not all of many
	Waited   time.Duration // that calls had to wait because of the quota, each of them counted
}

// Source reads the incidents of one tenant. It is used by one run at a time.
type Source interface {
	// Begin begins a run: what was learnt of the server in the last one is
	// forgotten. disorder: its order is not used. Nothing before oldest is asked for.
	Begin(disorder bool, oldest time.Time)

	// Read reads a stretch from its newest end down. A part that cannot be read
	// is Unread, if other calls succeed; if none does, or if credentials or the
	// request are refused, that is an error. Whatever the error, what was shown
	// stays. ErrEnough: it ended early in good order.
	Read(ctx context.Context, what Reading, to Receiver) error

	// Once asks one question about a stretch, once, and says whether it was
	// served, and whether the answer has shown all of it. audit: it was read by
	// the API's order before, which rows that were not archived contradict.
	Once(ctx context.Context, s ledger.Span, audit bool, to Receiver) (served, whole bool, err error)

	// Clock makes one small call, so that Now is of this run.
	Clock(ctx context.Context) error

	// Now is a lower bound for the server's clock: the Date of the newest
	// answer and the time since. false until there has been an answer in this
	// process; a server that sends no Date is taken to share our own clock.
	Now() (time.Time, bool)

	// Reach is how long the API keeps incidents.
	Reach() time.Duration

	// Spent tells the source of calls that another process made.
	Spent(calls map[time.Time]int)

	// Usage returns the usage since the last call of it, and Left how many
	// calls the quota allows at this moment.
	Usage() Usage
	Left() int
}
