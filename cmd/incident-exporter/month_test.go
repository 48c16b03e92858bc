package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
)

// drawer is an archive in one file, so that its size is not part of the memory of who writes it. It
// notes what its manifests say.
type drawer struct {
	file *os.File

	mu      sync.Mutex
	end     int64
	places  map[string][2]int64 // offset, length
	keys    []string            // in order
	down    bool
	covered time.Time      // of the newest manifest
	stored  map[string]int // versions by hash
}

var errDown = errors.New("made up: the store is down")

func newDrawer(t *testing.T) *drawer {
	file, err := os.Create(filepath.Join(t.TempDir(), "drawer"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &drawer{file: file, places: map[string][2]int64{}, stored: map[string]int{}}
}

func (d *drawer) Close() error { return nil }

func (d *drawer) Exists(_ context.Context, key string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return false, errDown
	}
	_, there := d.places[key]
	return there, nil
}

func (d *drawer) Get(_ context.Context, key string) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	place, there := d.places[key]
	switch {
	case d.down:
		return nil, errDown
	case !there:
		return nil, fmt.Errorf("get %q: %w", key, sinks.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(d.file, place[0], place[1])), nil
}

func (d *drawer) List(_ context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		for {
			d.mu.Lock()
			down := d.down
			i, _ := slices.BinarySearch(d.keys, max(prefix, after+"\x00"))
			var o sinks.Object
			if i < len(d.keys) && strings.HasPrefix(d.keys[i], prefix) {
				o = sinks.Object{Key: d.keys[i], Size: d.places[d.keys[i]][1]}
			}
			d.mu.Unlock()
			if down {
				yield(sinks.Object{}, errDown)
				return
			}
			if o.Key == "" || !yield(o, nil) {
				return
			}
			after = o.Key
		}
	}
}

func (d *drawer) Put(ctx context.Context, key string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch place, there := d.places[key]; {
	case d.down:
		return errDown
	case ctx.Err() != nil:
		return ctx.Err()
	case there:
		old := make([]byte, place[1])
		if _, err := d.file.ReadAt(old, place[0]); err != nil || bytes.Equal(old, data) {
			return err
		}
		return sinks.ErrExists
	}
	if _, err := d.file.WriteAt(data, d.end); err != nil {
		return err
	}
	d.places[key] = [2]int64{d.end, int64(len(data))}
	d.end += int64(len(data))
	at, _ := slices.BinarySearch(d.keys, key)
	d.keys = slices.Insert(d.keys, at, key)
	if strings.HasPrefix(key, "manifests/") {
		var m struct {
			Covered  ledger.Coverage
			Versions []ledger.Version
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		d.covered = m.Covered.Until()
		for _, v := range m.Versions {
			d.stored[v.SHA256]++
		}
	}
	return nil
}

// index is what the drawer itself takes of the memory, and the simulator for the same versions, about.
func (d *drawer) index() (bytes uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range d.keys {
		bytes += uint64(len(key)) + 130
	}
	return bytes + 350*uint64(len(d.stored))
}

// era is a tenant, its archive, and a daemon that exports the one to the other for long.
type era struct {
	*partner
	t     *testing.T
	store *drawer
	rng   *rand.Rand

	daemon *exporter.Daemon
	stop   func()

	trouble string    // that keeps everything from being exported, "" if there is none
	last    string    // the last that there was
	since   time.Time // it has been there
	until   time.Time // it will be there, or was

	reds int // ticks at which it was behind
}

const eraTick = 5 * time.Minute

// start starts a new process, with its schedule in another zone each time.
func (e *era) start(zone string) {
	location, err := time.LoadLocation(zone)
	if err != nil {
		e.t.Fatal(err)
	}
	old := e.passes
	e.passes = &passes{
		app: old.app, cfg: old.cfg, log: slog.New(slog.DiscardHandler), within: slog.New(slog.DiscardHandler), line: &progressLine{}, metrics: newMetrics(),
		transport: old.transport, share: defender.NewShare(mostCalls, int64(old.cfg.Exporter.MaxAnswerBytes)), credentials: old.credentials, streams: map[ledger.Stream]*streamPasses{},
	}
	e.sink = e.metrics.sink(e.store)
	e.watchStreams(nil)
	p := e.passes
	e.daemon = &exporter.Daemon{Schedule: p.cfg.Exporter.Schedule.cron, Location: location, Grace: 20 * time.Second, Log: p.log, Job: p.job}
	ctx, cancel := context.WithCancel(e.t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.daemon.Run(ctx) })
	e.stop = func() { cancel(); running.Wait() }
}

// troubles are what keeps everything from being exported, each with how it begins and ends.
func (e *era) troubles(secret string) map[string]func(on bool) {
	api := func(on bool, kind simulator.Fault) {
		e.sims[0].Change(func(b *simulator.Behaviour) {
			b.Fail = nil
			if on {
				b.Fail = func(r *http.Request, _ int) simulator.Fault {
					if strings.HasPrefix(r.URL.Path, "/api/") {
						return kind
					}
					return simulator.NoFault
				}
			}
		})
	}
	return map[string]func(on bool){
		"API down":        func(on bool) { api(on, simulator.Error502) },
		"API unreachable": func(on bool) { api(on, simulator.Reset) },
		"quota of others": func(on bool) { api(on, simulator.ForeignTooMany) },
		"store down": func(on bool) {
			e.store.mu.Lock()
			defer e.store.mu.Unlock()
			e.store.down = on
		},
		"consent revoked": func(on bool) {
			e.sims[0].Change(func(b *simulator.Behaviour) { b.Consent = !on })
			e.sims[0].RevokeTokens()
		},
		"secret expired and rotated": func(on bool) {
			content := simulator.DefaultSecret
			if on {
				content = "not-this-one"
			}
			if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
				e.t.Error(err)
			}
			e.sims[0].RevokeTokens()
		},
	}
}

// check holds the health to the truth, in the middle between two ticks.
func (e *era) check() {
	e.t.Helper()
	most := e.cfg.Exporter.MaxLag.Duration
	e.store.mu.Lock()
	covered, down := e.store.covered, e.store.down
	e.store.mu.Unlock()
	lag := time.Since(covered)
	red := lag > most
	if red {
		e.reds++
	}
	at := time.Now().UTC().Format("2006-01-02 15:04")
	state := e.states()[0]
	if known := state.known(); known && (state.lag() > most) != red && (lag-most).Abs() > 2*time.Second {
		e.t.Fatalf("%s: the daemon says %v behind, it is %v (%s)", at, state.lag(), lag, e.trouble)
	} else if !known && !down {
		e.t.Fatalf("%s: nothing is known (%s)", at, e.trouble)
	}
	all, err := e.cfg.health(context.Background(), e.store, e.cfg.Exporter.MaxLag, true)
	if err != nil || len(all) != 1 || all[0].OK != (!red && !down) && (lag-most).Abs() > 2*time.Second {
		e.t.Fatalf("%s: health says %+v, %v; it is %v behind (%s)", at, all, err, lag, e.trouble)
	}
	// What may be, by what has happened.
	if e.trouble != "" && time.Since(e.since) > most+time.Minute && !red {
		e.t.Fatalf("%s: green, with %s since %s", at, e.trouble, e.since)
	}
	if e.trouble == "" && time.Since(e.until) > 3*eraTick && red {
		e.t.Fatalf("%s: red, %v behind, with no trouble (%s) since %s, %d calls left: %s", at, lag, e.last, e.until, state.quotaLeft, state.failure)
	}
	if err := e.daemon.Alive(); err != nil {
		e.t.Fatalf("%s: %v", at, err)
	}
}

// complete checks that all is archived that was updated longer ago than the lag.
func (e *era) complete(before time.Time) {
	e.t.Helper()
	e.store.mu.Lock()
	defer e.store.mu.Unlock()
	for _, v := range e.sims[0].Final() {
		at, err := time.Parse(time.RFC3339Nano, v.Updated)
		if err != nil {
			e.t.Fatal(err)
		}
		if n := e.store.stored[hash(v)]; at.Before(before) && n != 1 {
			e.t.Fatalf("incident %d, updated %s, is there %d times", v.ID, v.Updated, n)
		}
	}
}

// heap is what this process holds, but for the archive.
func (e *era) heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc - min(m.HeapAlloc, e.store.index())
}

// TestMonth lets a daemon export a tenant for a month of five-minute ticks (SOAK_DAYS makes it longer),
// with outages of everything it needs, days of throttling, rotated secrets, restarts, and the change
// to summer time: the health is right at every tick, the archive is exact, and the memory stays what it was.
func TestMonth(t *testing.T) {
	days := 30
	if n, err := strconv.Atoi(os.Getenv("SOAK_DAYS")); err == nil {
		days = n
	} else if testing.Short() {
		days = 8
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(simulator.DefaultSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	store := newDrawer(t)
	// A source has a compressor a core, which take their memory as they are used first.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 3, 10, 0, 0, 0, 0, time.UTC)))
		e := &era{
			partner: newPartner(t, []int{60}, "AZURE_CLIENT_SECRET=", "AZURE_CLIENT_SECRET_FILE="+secret, "EXPORTER_RUN_TIMEOUT=1h", "EXPORTER_SOURCE=defender"),
			t:       t, store: store, rng: rand.New(rand.NewPCG(7, 7)), until: time.Now(),
		}
		sim, troubles := e.sims[0], e.troubles(secret)
		var names []string
		for name := range troubles {
			names = append(names, name)
		}
		slices.Sort(names)
		zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}
		e.start(zones[0])
		time.Sleep(eraTick / 2)
		var first uint64
		restarts := 0
		ticks := days * int(24*time.Hour/eraTick)
		for tick := range ticks {
			week := tick / (7 * 24 * 12)
			e.check()
			if tick%(24*12) == 0 && e.trouble == "" && time.Since(e.until) > 3*eraTick {
				e.complete(time.Now().Add(-e.cfg.Exporter.MaxLag.Duration))
			}
			if tick == 7*24*12 {
				first = e.heap()
			}
			switch {
			case e.trouble != "" && !time.Now().Before(e.until):
				troubles[e.trouble](false)
				e.last, e.trouble = e.trouble, ""
			case e.trouble == "" && e.rng.IntN(150) == 0: // about twice a day
				e.trouble, e.since = names[e.rng.IntN(len(names))], time.Now()
				e.until = e.since.Add(time.Duration(1+e.rng.IntN(50)) * eraTick)
				troubles[e.trouble](true)
			}
			if tick%(7*24*12) < 24*12 && e.trouble == "" { // one day of the week others use the quota as well
				calls := 0
				sim.Change(func(b *simulator.Behaviour) {
					b.Fail = func(r *http.Request, _ int) simulator.Fault {
						if calls++; calls%3 == 0 && strings.HasPrefix(r.URL.Path, "/api/") {
							return simulator.ForeignTooMany
						}
						return simulator.NoFault
					}
				})
			} else if e.trouble == "" {
				sim.Change(func(b *simulator.Behaviour) { b.Fail = nil })
			}
			for range max(0, e.rng.IntN(6)-3) {
				if e.rng.IntN(4) == 0 {
					sim.Create()
				} else if ids := sim.RandomIDs(1); len(ids) > 0 {
					_, _ = sim.Update(ids[0])
				}
			}
			// In some weeks often, in others never, so that a process has the time to grow.
			if e.rng.IntN(200) == 0 && e.trouble != "store down" && week%4 == 0 && tick < ticks*3/4 {
				restarts++
				e.stop()
				e.start(zones[restarts%len(zones)])
				time.Sleep(time.Minute)
			}
			time.Sleep(eraTick - time.Since(time.Now().Truncate(eraTick).Add(eraTick/2)))
		}
		if e.trouble != "" {
			troubles[e.trouble](false)
		}
		sim.Change(func(b *simulator.Behaviour) { b.Fail = nil })
		time.Sleep(2 * time.Hour)
		e.stop()
		if err := e.make(t.Context()); err != nil {
			t.Error(err)
		}
		e.complete(time.Now().Add(-time.Minute - 2*time.Second))
		last := e.heap()
		t.Logf("%d days: %d manifests, %d versions, %d ticks red, %d restarts, heap after a week %d KiB, at the end %d KiB, %d calls", days, len(store.keys)/2, len(store.stored), e.reds, restarts, first>>10, last>>10, sim.Calls().API())
		if limit := first + first/5 + 1<<20; last > limit {
			t.Errorf("the heap grew from %d to %d bytes", first, last)
		}
		if e.reds == 0 || restarts == 0 && days > 20 {
			t.Error("nothing has happened")
		}
		sum, err := ledger.Verify(t.Context(), store, ledger.Check{}, func(f ledger.Finding) { t.Errorf("%s %s: %s", f.Kind, f.Key, f.Text) })
		if err != nil || int(sum.Versions) != len(store.stored) {
			t.Errorf("verify: %+v, %v; %d versions were stored", sum, err, len(store.stored))
		}
		served := map[string]bool{}
		for _, v := range sim.Truth() {
			served[hash(v)] = true
		}
		for h, n := range store.stored {
			if n != 1 || !served[h] {
				t.Errorf("version %s is there %d times, served: %v", h, n, served[h])
			}
		}
		if v := sim.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v[:min(len(v), 5)])
		}
	})
}
