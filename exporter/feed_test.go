package exporter_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

func small(t *testing.T, opts simulator.Options) *world {
	w := &world{t: t, mem: sinktest.NewMem(), top: 100, comp: "gzip", stored: map[[32]byte]string{}, objects: map[string]bool{}, trace: []string{""}, ordered: true}
	w.sim = simulator.New(opts)
	start := time.Now().Add(-2 * opts.Span)
	w.cfg = exporter.Config{
		Settle: worldSettle, Overlap: worldOverlap, DeepOverlap: 8 * time.Hour, DeepEvery: 2 * time.Hour,
		Heartbeat: 15 * time.Minute, RunTimeout: time.Hour, BatchRecords: 5000, BatchBytes: 16 << 20,
		Start: func(time.Time) time.Time { return start },
	}
	return w
}

func (w *world) has(id int64) bool {
	w.read()
	for _, v := range w.sim.Final() {
		if v.ID == id {
			return w.keeps(&v)
		}
	}
	return false
}

// However many stretches are open, each is tried again.
func TestEveryUnfetchedStretchHasItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 3, Incidents: 60, Span: 48 * time.Hour, Size: 1000})
		ids := w.sim.RandomIDs(24)
		poison := map[int64]bool{}
		for _, id := range ids {
			poison[id] = true
		}
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = poison, true })
		p := w.process()
		run := func() {
			if _, err := p.Run(t.Context()); err != nil {
				t.Log(err)
			}
			time.Sleep(5 * time.Minute)
		}
		for range 12 {
			run()
		}
		time.Sleep(24 * time.Hour) // behind what is read again deeply
		for range 12 {
			run()
		}
		head := w.head()
		t.Logf("%d stretches unfetched", len(head.Unfetched))
		// The newest of the poisoned can be served from now on.
		var last simulator.Version
		for _, v := range w.sim.Final() {
			if poison[v.ID] && v.Updated > last.Updated {
				last = v
			}
		}
		rest := map[int64]bool{}
		for id := range poison {
			rest[id] = id != last.ID
		}
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison = rest })
		for range 300 {
			run()
		}
		head = w.head()
		if !w.has(last.ID) {
			t.Errorf("incident %d, updated %s, can be served for 300 runs and is not there; %d unfetched", last.ID, last.Updated, len(head.Unfetched))
		}
	})
}

// With hourly passes and twenty open stretches each has its turn as well.
func TestEachStretchHasItsTurnEveryHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 4, Incidents: 60, Span: 48 * time.Hour, Size: 1000})
		poison := map[int64]bool{}
		for _, id := range w.sim.RandomIDs(20) {
			poison[id] = true
		}
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = poison, true })
		hour := func() {
			p := w.process() // by cron: each pass is a new process
			if _, err := p.Run(t.Context()); err != nil {
				t.Log(err)
			}
			time.Sleep(time.Hour)
		}
		for range 30 {
			hour()
		}
		if n := w.head().OpenStretches(); n != 20 {
			t.Fatalf("%d stretches are open, want 20", n)
		}
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison = nil })
		for range 4 {
			hour()
		}
		if head := w.head(); head.OpenStretches() > 0 || len(head.Unnamed()) > 0 {
			t.Errorf("after four passes still open: %v, %v", head.Unfetched, head.Unnamed())
		}
		w.whole()
	})
}

// A poisoned incident costs a call or two a pass once it is known where it is.
func TestKnownPoisonIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 5, Incidents: 500, Span: 48 * time.Hour, Size: 1000})
		ids := w.sim.RandomIDs(1)
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{ids[0]: true}, true })
		p := w.process()
		run := func() int {
			before := w.sim.Calls().API()
			if _, err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			return w.sim.Calls().API() - before
		}
		for range 20 {
			run()
		}
		worst, all := 0, 0
		for range 24 {
			n := run()
			worst, all = max(worst, n), all+n
		}
		t.Logf("%d calls in 24 passes, at most %d", all, worst)
		if all > 24*6 {
			t.Errorf("%d calls in 24 passes with one known poison", all)
		}
	})
}

// An API that does not filter by creation time is read all the same.
func TestCreationCannotBeFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 6, Incidents: 400, Span: 48 * time.Hour, Size: 1000, Tie: 150})
		w.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.Contains(r.URL.Query().Get("$filter"), "createdTime") {
					return simulator.Stray400
				}
				return simulator.NoFault
			}
		})
		p := w.process()
		for range 2 {
			if _, err := p.Run(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Minute)
		}
		head := w.whole()
		if len(head.Unnamed()) > 0 || head.OpenStretches() > 0 {
			t.Errorf("open: %v, %v", head.Unnamed(), head.Unfetched)
		}
	})
}

// A false order costs time, also where each pass is a new process: the audit goes on.
func TestAuditByCron(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 7, Incidents: 400, Span: 48 * time.Hour, Size: 1000})
		for range 200 {
			_, _ = w.sim.Update(w.sim.RandomIDs(1)[0])
			time.Sleep(time.Minute)
		}
		passes := 0
		for ; passes < 40; passes++ {
			if _, err := w.process().Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if head := w.head(); passes > 0 && len(head.Covered.Ordered()) == 0 {
				break
			}
			time.Sleep(5 * time.Minute)
		}
		if left := w.head().Covered.Ordered(); len(left) > 0 {
			t.Errorf("after %d passes not audited: %v", passes, left)
		}
		t.Logf("%d passes", passes)
		w.whole()
	})
}

// An alert changes whose incident is stored in an object that is damaged or gone.
func TestDamagedObjectDoesNotStopTheFeed(t *testing.T) {
	for _, how := range []string{"cut", "deleted"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := small(t, simulator.Options{Seed: 3, Incidents: 60, Span: 48 * time.Hour, Size: 1000})
				v := w.sim.Create()
				time.Sleep(2 * time.Minute)
				p := w.process()
				if _, err := p.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, key := range w.mem.Keys() {
					if strings.HasPrefix(key, "incidents/") {
						if how == "cut" {
							w.mem.Set(key, w.mem.Bytes(key)[:len(w.mem.Bytes(key))/2])
						} else {
							w.mem.Delete(key)
						}
					}
				}
				_, _ = w.sim.AlertChange(v.ID)
				n := w.sim.Create()
				var err error
				failed := 0
				for range 100 {
					time.Sleep(5 * time.Minute)
					p = w.process()
					if _, err = p.Run(t.Context()); err != nil {
						failed++
					}
				}
				if failed > 0 {
					t.Errorf("%s: %d of 100 runs failed, covered until %v of %v: %v", how, failed, w.head().Covered.Until(), w.sim.Now(), err)
				}
				_ = n
			})
		})
	}
}

// The API's clock is ahead of ours, and each run is a new process.
func TestCallsOfOthersByAnotherClock(t *testing.T) {
	for _, skew := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := small(t, simulator.Options{Seed: 3, Incidents: 3000, Span: 48 * time.Hour, Size: 1000})
				w.cfg.RunTimeout = 30 * time.Minute
				w.sim.Change(func(b *simulator.Behaviour) { b.ClockSkew = skew })
				var worst time.Duration
				failed := 0
				var last error
				for range 48 {
					p := w.process()
					if _, err := p.Run(t.Context()); err != nil {
						failed++
						last = err
					}
					worst = max(worst, w.sim.Now().Sub(w.head().Covered.Until()))
					w.sim.Create()
					time.Sleep(time.Minute)
				}
				var limited *defender.LimitedError
				t.Logf("skew %v: %d runs failed (limited: %v), worst lag %v, %d violations", skew, failed, errors.As(last, &limited), worst, len(w.sim.Violations()))
				if failed > 0 || len(w.sim.Violations()) > 0 {
					t.Error(last, w.sim.Violations()[:min(1, len(w.sim.Violations()))])
				}
			})
		})
	}
}

// A stretch is older than what is left of a pruned chain.
func TestPrunedChainForgetsNoStretch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := small(t, simulator.Options{Seed: 3, Incidents: 10, Span: 48 * time.Hour, Size: 1000})
		time.Sleep(time.Hour)
		v := w.sim.Create()
		w.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{v.ID: true}, true })
		p := w.process()
		for range 200 {
			time.Sleep(15 * time.Minute)
			if _, err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		head := w.head()
		t.Log(head.Unfetched, head.Latest)
		first := head.Seq - 5
		for _, key := range w.mem.Keys() {
			for seq := uint64(1); seq < first; seq++ {
				if strings.Contains(key, fmt.Sprintf("%012d.", seq)) {
					w.mem.Delete(key)
				}
			}
		}
		p = w.process()
		for range 3 {
			time.Sleep(15 * time.Minute)
			if _, err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if w.head().OpenStretches() == 0 && !w.has(v.ID) {
			t.Error("closed as fetched, and never read")
		}
	})
}
