package simulator_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

// served is an incident in an answer and when it was asked for.
type served struct {
	row
	at time.Time
}

// TestEveryServedLineIsTrue lets a tenant live while it is read, and holds
// every line that was served to the truth: there, and visible at that moment.
// The other way round, each visible version can be fetched.
func TestEveryServedLineIsTrue(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			sim := simulator.New(simulator.Options{Seed: seed, Incidents: 120, Span: time.Hour, Size: 600})
			c := call(t, sim)
			sim.Change(func(b *simulator.Behaviour) {
				b.Quota, b.ChurnPerCall, b.Latency = nil, 3, time.Second
				b.LateBy = time.Duration(rng.IntN(2)) * time.Minute
				b.Retention = 50 * time.Minute
			})
			var all []served
			newest := make(map[int64]string)
			for range 60 {
				live(t, sim, rng)
				rows := c.list("$skip", fmt.Sprint(rng.IntN(120)))
				at := sim.Now().Add(-500 * time.Millisecond) // half the latency
				for _, r := range rows {
					all = append(all, served{r, at})
					if newest[r.ID] != "" && later(t, newest[r.ID], r.Updated) {
						t.Fatalf("seed %d: incident %d went back from %s to %s", seed, r.ID, newest[r.ID], r.Updated)
					}
					newest[r.ID] = r.Updated
				}
			}
			checkServed(t, seed, sim, all)
			checkCurrent(t, seed, sim, c)
			c.violations()
		})
	}
}

// live lets something happen.
func live(t *testing.T, sim *simulator.Simulator, rng *rand.Rand) {
	t.Helper()
	time.Sleep(time.Duration(rng.IntN(int(30 * time.Second))))
	ids := sim.RandomIDs(3)
	var err error
	switch rng.IntN(6) {
	case 0:
		sim.Create()
	case 1:
		_, err = sim.Update(ids[0])
	case 2:
		sim.Bulk(rng.IntN(60))
	case 3:
		_, _, err = sim.Merge(ids[0], ids[1])
	case 4:
		_, err = sim.AlertChange(ids[0])
	case 5:
		sim.Change(func(b *simulator.Behaviour) { b.Oversize = map[int64]int{ids[2]: 5000 + rng.IntN(3)} })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func checkServed(t *testing.T, seed uint64, sim *simulator.Simulator, all []served) {
	t.Helper()
	truth := make(map[string]simulator.Version)
	for _, v := range sim.Truth() {
		line := string(v.Line())
		if _, twice := truth[line]; twice {
			t.Fatalf("seed %d: the truth has a version of %d twice", seed, v.ID)
		}
		truth[line] = v
	}
	for _, s := range all {
		v, ok := truth[s.line]
		if !ok || v.ID != s.ID || v.Updated != s.Updated {
			t.Fatalf("seed %d: served, but not true: %s", seed, s.line)
		}
		if s.at.Before(v.VisibleFrom) || !v.VisibleUntil.IsZero() && s.at.After(v.VisibleUntil) {
			t.Fatalf("seed %d: incident %d of %s served at %v, visible from %v until %v", seed, v.ID, v.Updated, s.at, v.VisibleFrom, v.VisibleUntil)
		}
	}
}

// checkCurrent compares what can be read now with the versions that the truth
// calls current, and with the final ones.
func checkCurrent(t *testing.T, seed uint64, sim *simulator.Simulator, c *caller) {
	t.Helper()
	sim.Change(func(b *simulator.Behaviour) { b.ChurnPerCall, b.Latency, b.LateBy = 0, 0, 0 })
	time.Sleep(2 * time.Minute) // what is late arrives
	var shown []row
	for skip := 0; ; skip += 100 {
		rows := c.list("$skip", fmt.Sprint(skip))
		shown = append(shown, rows...)
		if len(rows) < 100 {
			break
		}
	}
	current := 0
	for _, v := range sim.Truth() {
		if !v.VisibleUntil.IsZero() {
			continue
		}
		current++
		if !slices.ContainsFunc(shown, func(r row) bool { return r.line == string(v.Line()) }) {
			t.Fatalf("seed %d: incident %d of %s is current, but not shown", seed, v.ID, v.Updated)
		}
		if v.SHA256() != sha256.Sum256(v.Line()) {
			t.Fatalf("seed %d: wrong hash", seed)
		}
	}
	if current != len(shown) {
		t.Fatalf("seed %d: %d are current, %d shown", seed, current, len(shown))
	}
	final := make(map[int64]string)
	for _, v := range sim.Final() {
		final[v.ID] = string(v.Line())
	}
	for _, r := range shown {
		if final[r.ID] != r.line {
			t.Fatalf("seed %d: incident %d is shown otherwise than final", seed, r.ID)
		}
	}
}

func TestSameSeedSameAnswers(t *testing.T) {
	var runs [2][]byte
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 77, Incidents: 100, Size: 600})
			c := call(t, sim)
			sim.Change(func(b *simulator.Behaviour) {
				b.ChurnPerCall, b.Order, b.FailRate = 3, simulator.Shuffled, 0.3
			})
			for range 30 {
				r, body, err := c.get("/api/incidents")
				runs[i] = fmt.Appendf(runs[i], "%v %s %v\n", r != nil, body, err)
			}
		})
	}
	if !bytes.Equal(runs[0], runs[1]) {
		t.Error("two runs of one seed differ")
	}
}

func TestOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 9, Incidents: 40, Size: 600})
		c := call(t, sim)
		newest := func() row { return c.list("$top", "1")[0] }

		time.Sleep(time.Minute)
		made := sim.Create()
		if r := newest(); r.ID != made.ID || r.line != string(made.Line()) || r.Created != r.Updated {
			t.Errorf("created %d, newest is %+v", made.ID, r)
		}
		time.Sleep(time.Minute)
		old := sim.Final()[3]
		updated, err := sim.Update(old.ID)
		if r := newest(); err != nil || r.ID != old.ID || r.Updated != updated.Updated || r.Updated == old.Updated {
			t.Errorf("updated %d: %v, newest is %+v", old.ID, err, r)
		}
		for range 20 { // all in one instant
			before := updated
			if updated, err = sim.Update(old.ID); err != nil || !later(t, updated.Updated, before.Updated) {
				t.Fatalf("updated %s again, now %s: %v", before.Updated, updated.Updated, err)
			}
		}
		changed, err := sim.AlertChange(old.ID)
		if r := newest(); err != nil || r.Updated != updated.Updated || r.line == string(updated.Line()) || r.line != string(changed.Line()) {
			t.Errorf("alert change of %d: %v, newest is %+v", old.ID, err, r)
		}
		if ids := sim.RecentIDs(10, 30*time.Second); len(ids) != 1 || ids[0] != old.ID {
			t.Errorf("recent are %v, want %d", ids, old.ID)
		}

		bulk := sim.Bulk(25)
		ties := c.list("$filter", "lastUpdateTime eq "+bulk[0].Updated)
		if len(bulk) != 25 || len(ties) != 25 {
			t.Errorf("bulk of %d, %d in one tick", len(bulk), len(ties))
		}
		into := sim.Final()[20].ID
		source, target, err := sim.Merge(old.ID, into)
		var merged struct {
			Redirect int64 `json:"redirectIncidentId"`
			Status   string
			Severity string
			Tags     []string
			Alerts   []any
		}
		if err != nil || json.Unmarshal(source.Line(), &merged) != nil {
			t.Fatal(err)
		}
		if merged.Redirect != into || merged.Status != "Redirected" || merged.Severity != "UnSpecified" || len(merged.Tags)+len(merged.Alerts) > 0 {
			t.Errorf("merged incident is %+v", merged)
		}
		if !slices.ContainsFunc(c.list(), func(r row) bool { return r.ID == into && r.Updated == target.Updated }) {
			t.Error("the target of the merge was not updated")
		}
		if _, err := sim.Update(1); err == nil {
			t.Error("an unknown incident was updated")
		}
		if _, _, err := sim.Merge(into, into); err == nil {
			t.Error("an incident was merged into itself")
		}
		if ids := sim.RandomIDs(1000); len(ids) != 41 {
			t.Errorf("%d random ids of 41", len(ids))
		}
	})
}

// later says whether a time as served is after another.
func later(t *testing.T, one, than string) bool {
	t.Helper()
	a, err := time.Parse(time.RFC3339Nano, one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := time.Parse(time.RFC3339Nano, than)
	if err != nil {
		t.Fatal(err)
	}
	return a.After(b)
}

func TestLateVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 4, Incidents: 40, Size: 600})
		c := call(t, sim)
		sim.Change(func(b *simulator.Behaviour) { b.LateBy = time.Minute })
		late := 0
		for _, id := range sim.RandomIDs(40) {
			v, err := sim.Update(id)
			if err != nil {
				t.Fatal(err)
			}
			if v.VisibleFrom.After(sim.Now()) {
				late++
			}
			// A change of a late version is late as well.
			if changed, err := sim.AlertChange(id); err != nil || !changed.VisibleFrom.Equal(v.VisibleFrom) {
				t.Errorf("incident %d is visible from %v, its change from %v: %v", id, v.VisibleFrom, changed.VisibleFrom, err)
			}
		}
		if n := len(c.list("$filter", "lastUpdateTime gt "+sim.Now().Add(-time.Second).Format(time.RFC3339))); n != 40-late || late < 5 || late > 35 {
			t.Errorf("%d of 40 are late, %d are visible", late, n)
		}
		time.Sleep(time.Minute)
		if n := len(c.list("$filter", "lastUpdateTime gt "+sim.Now().Add(-61*time.Second).Format(time.RFC3339))); n != 40 {
			t.Errorf("%d are visible in the end", n)
		}
	})
}

func TestBrokenIncidents(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 4, Incidents: 5, Size: 600})
	c := call(t, sim)
	id := c.list()[2].ID
	sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{id: true} })
	if status, _ := c.status("/api/incidents"); status != http.StatusInternalServerError {
		t.Errorf("poisoned page: %d", status)
	}
	if n := len(c.list("$top", "2")) + len(c.list("$skip", "3")); n != 4 {
		t.Errorf("%d rows around the poison", n)
	}
	if status, _ := c.status(path(id)); status != http.StatusOK {
		t.Errorf("by id: %d", status)
	}
	sim.Change(func(b *simulator.Behaviour) { b.PoisonByID = true })
	if status, _ := c.status(path(id)); status != http.StatusInternalServerError {
		t.Errorf("poisoned by id: %d", status)
	}

	sim.Change(func(b *simulator.Behaviour) { b.Poison, b.Oversize = nil, map[int64]int{id: 1 << 20} })
	if r := c.list()[2]; r.ID != id || len(r.line) != 1<<20 {
		t.Errorf("oversize incident %d has %d bytes", r.ID, len(r.line))
	}
	sim.Change(func(b *simulator.Behaviour) { b.Oversize = nil })

	for kind, want := range map[simulator.Malformation]string{
		simulator.WithoutID: `[{"incidentUri":`, simulator.NotAnObject: `["the incident could not be rendered"]`,
	} {
		sim.Change(func(b *simulator.Behaviour) { b.Malformed = map[int64]simulator.Malformation{id: kind} })
		_, body, err := c.get("/api/incidents?$skip=2&$top=1")
		if err != nil || !bytes.Contains(body, []byte(want)) || !json.Valid(body) {
			t.Errorf("malformation %d: %v %s", kind, err, body)
		}
	}
	sim.Change(func(b *simulator.Behaviour) {
		b.Malformed = map[int64]simulator.Malformation{id: simulator.WithoutUpdated}
	})
	if r := c.list()[2]; r.ID != id || r.Updated != "" {
		t.Errorf("incident without update time: %+v", r)
	}
	if _, body, err := c.get(path(id)); err != nil || !json.Valid(body) || bytes.Contains(body, []byte(`"lastUpdateTime"`)) {
		t.Errorf("by id without update time: %v %s", err, body)
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 4, Incidents: 200, Size: 600})
	c := call(t, sim)
	sim.Change(func(b *simulator.Behaviour) { b.Quota, b.ChurnPerCall, b.LateBy = nil, 2, time.Microsecond })
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for range 20 {
				switch n {
				case 0:
					sim.Bulk(50)
				case 1:
					sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{1: true} })
				default:
					if _, _, err := c.get("/api/incidents"); err != nil {
						t.Error(err)
					}
				}
				sim.Truth()
			}
		})
	}
	group.Wait()
	c.violations()
}
