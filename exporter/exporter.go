// Package exporter is the job: it decides what of a stream to read next, in
// which order, and what may be claimed once it has been read, and commits it.
//
// It keeps no state but the chain. A pass begins by loading the chain's end
// and adopting what a dead or rival writer left there; then it reads what is
// new, reads again what may have changed late, tries again what could not be
// fetched, and, when it is due, reads again deeply. Whatever ends a pass, what
// is committed stays true and the next pass goes on from it.
package exporter

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"incident-exporter/exporter/ledger"
)

// Config says how one stream is exported. All durations are by the server's clock.
type Config struct {
	Settle       time.Duration // how far behind now a window ends
	Overlap      time.Duration // how long a change may take to become visible, and is read again
	DeepOverlap  time.Duration
	DeepEvery    time.Duration
	Heartbeat    time.Duration // longest time without a manifest
	RunTimeout   time.Duration // longest pass
	BatchRecords int
	BatchBytes   int64
	Log          *slog.Logger

	// Start is where a new chain begins, given the server's time.
	Start func(now time.Time) time.Time

	// Begin, if not nil, is asked before a new chain is begun. Its error ends
	// the pass, and nothing is written.
	Begin func(ctx context.Context) error

	// Observe, if not nil, is told once the chain's end is known, and after
	// each commit.
	Observe func(Progress)
}

// Progress is what a pass has come to.
type Progress struct {
	Head    string    // SEQ:HASH of the newest manifest
	Covered time.Time // everything updated before it is archived
	Target  time.Time // what Covered will be at the end of the pass, the zero time if not known yet
	From    time.Time // what Covered was when the pass began
	Seq     uint64

	Versions  int // committed in this pass
	Commits   int
	Bytes     int64 // of the data objects committed, as stored
	Calls     int
	Waited    time.Duration // that calls had to wait because of the quota, each of them counted
	Split     int           // windows that could not be shown complete in one piece
	Lost      int           // races lost to another writer of the stream
	Left      int           // calls that the quota allows at this moment
	Unfetched int           // stretches still to be fetched
}

// Unfinished is the error of a pass that was ended before its end, by its
// time or its context, in good order: the next one goes on.
type Unfinished struct{ Err error }

func (u *Unfinished) Error() string { return "unfinished: " + u.Err.Error() }
func (u *Unfinished) Unwrap() error { return u.Err }

// Exporter exports one stream. It runs one pass at a time.
type Exporter struct {
	cfg    Config
	source Source
	ledger *ledger.Ledger

	told  bool  // the source knows of other processes' calls
	usage Usage // not yet in a manifest
}

// New returns an Exporter; nothing is read or written before Run.
func New(cfg Config, source Source, l *ledger.Ledger) *Exporter {
	return &Exporter{cfg: cfg, source: source, ledger: l}
}

// rivalPause is how much longer is waited after each lost race: rivals that
// are as fast as each other would else spend the quota on racing.
const rivalPause = 200 * time.Millisecond

// Run makes one pass. A lost race is no failure: the chain is loaded again
// and the pass begins anew. Errors: *ledger.Refusal (the chain cannot be gone
// on with), *Unfinished, those of the source and of the sink. In any case
// what Progress says is committed.
func (e *Exporter) Run(ctx context.Context) (Progress, error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, e.cfg.RunTimeout)
	defer cancel()
	p := &pass{e: e, begun: begun}
	defer e.ledger.Rest()
	for lost := 0; ; lost++ {
		err := p.run(ctx)
		if errors.Is(err, ledger.ErrRival) && ctx.Err() == nil {
			p.lost++
			e.cfg.Log.Info("another writer was first, going on from its end", "error", err)
			select {
			case <-time.After(min(time.Duration(lost)*rivalPause, time.Minute)):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil && ctx.Err() != nil {
			err = &Unfinished{ctx.Err()}
		}
		return p.progress(), err
	}
}
