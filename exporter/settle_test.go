package exporter_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// eager is a Source of an empty tenant that claims all up to now, more than it was asked for.
type eager struct{}

func (eager) Begin(bool, time.Time)       {}
func (eager) Clock(context.Context) error { return nil }
func (eager) Now() (time.Time, bool)      { return time.Now(), true }
func (eager) Reach() time.Duration        { return 180 * 24 * time.Hour }
func (eager) Spent(map[time.Time]int)     {}
func (eager) Usage() exporter.Usage       { return exporter.Usage{} }
func (eager) Left() int                   { return 1000 }

func (eager) Read(ctx context.Context, what exporter.Reading, to exporter.Receiver) error {
	now := ledger.Time{Time: time.Now().UTC()}
	return to.Shown(ctx, ledger.Claim{From: what.From, To: now, Asked: now})
}

func (eager) Once(context.Context, ledger.Span, bool, exporter.Receiver) (served, whole bool, err error) {
	return true, false, nil
}

// Whatever a source claims, nothing later than the settling time before it asked is covered.
func TestNothingUnsettledIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, now := sinktest.NewMem(), time.Now()
		cfg := exporter.Config{
			Settle: worldSettle, Overlap: worldOverlap, DeepOverlap: 8 * time.Hour, DeepEvery: 2 * time.Hour,
			Heartbeat: 15 * time.Minute, RunTimeout: time.Hour, BatchRecords: 5000, BatchBytes: 16 << 20,
			Log: slog.New(slog.DiscardHandler), Start: func(time.Time) time.Time { return now.Add(-time.Hour) },
		}
		stream := ledger.Stream{Source: "defender", Tenant: simulator.DefaultTenant}
		l := ledger.New(mem.Session(), stream, ledger.By{Version: "test", Client: simulator.DefaultClientID}, "gzip")
		if _, err := exporter.New(cfg, eager{}, l).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if until, want := l.Head().Covered.Until(), now.Add(-worldSettle).Truncate(time.Second); !until.Equal(want) {
			t.Errorf("covered until %v, want %v", until, want)
		}
	})
}
