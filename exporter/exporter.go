// Package exporter is the job: it decides what of a stream to read next, in
// which order, and what may be claimed once it has been read, and commits it.
//
// It keeps no state but the chain. A pass begins by loading the chain's end and
// adopting what a dead or rival writer left there. Then it reads what is due by
// the map of what is covered (pass.go). Lines are stored as they come, and what
// was shown complete is claimed with them (writer.go). Whatever ends a pass,
// what is committed stays true, and the next pass goes on from it.
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
	Settle       time.Duration // how far behind now a pass reads
	Overlap      time.Duration // how long a change may take to become visible, and is read again
	DeepOverlap  time.Duration // how long at the most, and is read again
	DeepEvery    time.Duration // so often
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

// lateness is the part of the configuration that coverage depends on.
func (c *Config) lateness() ledger.Lateness {
	return ledger.Lateness{Settle: c.Settle, Overlap: c.Overlap, Deep: c.DeepOverlap, Every: c.DeepEvery}
}

// Progress is what a pass has come to.
type Progress struct {
	Head  string // SEQ:HASH of the newest manifest
	Seq   uint64
	Start time.Time // of the chain
	Since time.Time // everything updated from here to Until is archived; zero: nothing is
	Until time.Time
	Holes int // stretches between Start and Until that are not covered

	Target time.Time     // what Until will be at the end of the pass
	Done   time.Duration // update time that is covered
	Begun  time.Duration // what Done was when the pass began
	First  bool          // the backfill of a new archive is under way

	Versions  int // committed in this pass
	Commits   int
	Bytes     int64 // of the data objects committed, as stored
	Calls     int
	Waited    time.Duration // that calls had to wait because of the quota, each of them counted
	Lost      int           // races lost to another writer of the stream
	Left      int           // calls that the quota allows at this moment
	Unfetched int           // stretches still to be fetched
	Withdrawn int           // claims taken back in this pass
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

	told   bool          // the source knows of other processes' calls
	usage  Usage         // not yet in a manifest
	audits []ledger.Span // to be audited next, oldest first
}

// New returns an Exporter; nothing is read or written before Run.
func New(cfg Config, source Source, l *ledger.Ledger) *Exporter {
	return &Exporter{cfg: cfg, source: source, ledger: l}
}

// rivalPause is how much longer each lost race waits than the one before:
// rivals that are as fast as each other would else spend the quota on racing.
const rivalPause = 200 * time.Millisecond

// Run makes one pass. A lost race is not a failure: the chain is loaded again
// and the pass begins again. Errors: *ledger.Refusal (the chain cannot be
// continued), *Unfinished, those of the source and of the sink. In any case
// what Progress says is committed.
func (e *Exporter) Run(ctx context.Context) (Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.RunTimeout)
	defer cancel()
	p := &pass{writer: writer{e: e}}
	defer e.ledger.Rest()
	for lost := 0; ; lost++ {
		err := p.run(ctx)
		if errors.Is(err, ledger.ErrRival) && ctx.Err() == nil {
			p.lost++
			e.cfg.Log.Info("another writer was first", "error", err)
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
