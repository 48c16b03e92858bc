package defender_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

var proven = regexp.MustCompile(`proven=(\d+)`)

// kept is how many rows of windows that were too large did not have to be read again.
func (tn *tenant) kept() (windows, rows int) {
	for _, m := range proven.FindAllStringSubmatch(tn.log.String(), -1) {
		if n, _ := strconv.Atoi(m[1]); n > 0 {
			windows, rows = windows+1, rows+n
		}
	}
	return windows, rows
}

// The newer part of a window that turns out too large is kept only if it can be shown complete: if
// nothing else is in it, which an order that only begins as one hides, and if none of its incidents
// was updated after it was read, so that another took its place on a page before.
func TestNewerPartOfWhatIsTooLarge(t *testing.T) {
	kept, updates := map[simulator.Order]int{}, 0
	for seed := range uint64(48) {
		in(t, func(t *testing.T) {
			order := []simulator.Order{simulator.NewestFirst, simulator.InGroups, simulator.NewestFirst, simulator.ByID}[seed%4]
			tn := newTenant(t, simulator.Options{Seed: seed, Incidents: 1500, Size: 700, Span: 60 * 24 * time.Hour, Density: simulator.OfficeHours},
				func(b *simulator.Behaviour) {
					b.Order, b.Resolution = order, []time.Duration{0, time.Millisecond, time.Second}[seed%3]
				}, func(c *defender.Config) {
					c.Top, c.Hold, c.Concurrency, c.Quota = 5, 128<<10, 1, []defender.Limit{{Calls: 1 << 20, Per: time.Minute}}
				})
			time.Sleep(2 * time.Hour)
			if seed%4 == 0 {
				tn.updateBehind(int(seed/4), &updates)
			}
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			if ids := missing(tn, g, to); len(ids) > 0 || len(g.unfetched) > 0 {
				t.Errorf("seed %d, order %d: lost: %v; unfetched %v", seed, order, ids, g.unfetched)
			}
			windows, _ := tn.kept()
			kept[order] += windows
		})
	}
	t.Logf("kept, by order: %v; %d updates", kept, updates)
	if kept[simulator.NewestFirst] == 0 || kept[simulator.ByID] > 0 || updates == 0 {
		t.Error("nothing has happened")
	}
}

// updateBehind updates the newest incident of the nth window of several pages, which was on its first
// page, while a later one is asked for.
func (tn *tenant) updateBehind(nth int, updates *int) {
	windows := map[string]bool{}
	tn.sim.Change(func(b *simulator.Behaviour) {
		b.Fail = func(r *http.Request, _ int) simulator.Fault {
			filter, skip := r.URL.Query().Get("$filter"), r.URL.Query().Get("$skip")
			if _, bound, ok := strings.Cut(filter, "lastUpdateTime lt "); ok && skip == "40" && !windows[filter] {
				windows[filter] = true
				end, err := time.Parse(time.RFC3339Nano, bound)
				if err != nil || len(windows) != nth+1 {
					return simulator.NoFault
				}
				var newest simulator.Version
				var newestAt time.Time
				for _, v := range tn.sim.Final() {
					if at, _ := time.Parse(time.RFC3339Nano, v.Updated); at.Before(end) && at.After(newestAt) {
						newest, newestAt = v, at
					}
				}
				if _, err := tn.sim.Update(newest.ID); err == nil {
					*updates++
				}
			}
			return simulator.NoFault
		}
	})
}

// Where it was ever busier the further back, each window turns out too large, and so does what is left
// of it: what is kept of all of them stays within the bound.
func TestNewerPartsHoldLittle(t *testing.T) {
	const hold = 128 << 10
	for _, order := range []simulator.Order{simulator.NewestFirst, simulator.UnstableTies} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Seed: 3, Incidents: 1500, Size: 700, Span: 24 * time.Hour}, func(b *simulator.Behaviour) { b.Order = order },
				func(c *defender.Config) {
					c.Top, c.Hold, c.Concurrency, c.Quota = 5, hold, 1, []defender.Limit{{Calls: 1 << 20, Per: time.Minute}}
				})
			pause := 2 * time.Second
			for range 1200 {
				time.Sleep(pause)
				pause += pause / 200
				if _, err := tn.sim.Update(tn.sim.RandomIDs(1)[0]); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Hour)
			var most int64
			tn.sim.Change(func(b *simulator.Behaviour) {
				b.Latency = 100 * time.Millisecond // what is handed on is taken meanwhile
				b.Fail = func(*http.Request, int) simulator.Fault {
					most = max(most, tn.source.Held())
					return simulator.NoFault
				}
			})
			_, to := tn.all()
			g, err := tn.read(t.Context(), to.Add(-150*24*time.Hour), to)
			if err != nil {
				t.Fatal(err)
			}
			if ids := missing(tn, g, to); len(ids) > 0 || len(g.unfetched) > 0 {
				t.Errorf("lost: %v; unfetched %v", ids, g.unfetched)
			}
			windows, rows := tn.kept()
			t.Logf("kept %d rows of %d windows; held %.2f of what may be at most, in %d calls", rows, windows, float64(most)/hold, tn.sim.Calls().API())
			if most > 2*hold || windows == 0 {
				t.Error("that is too much, or nothing has happened")
			}
		})
	}
}
