package simulator_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

func TestVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 9, Incidents: 40, Size: 600})
		c := call(t, sim)
		sim.Change(func(b *simulator.Behaviour) { b.TokenLifetime = 24 * time.Hour })
		c.login()
		old := sim.Final()[3]
		time.Sleep(time.Minute)
		late, err := sim.UpdateLate(old.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := sim.Vanish(old.ID); err != nil {
			t.Fatal(err)
		}
		at := sim.Now()
		time.Sleep(2 * time.Hour)
		sim.Change(func(b *simulator.Behaviour) { b.Oversize, b.ChurnPerCall = map[int64]int{old.ID: 5000}, 20 })
		for range 10 {
			if rows := c.list(); len(rows) != 39 || slices.ContainsFunc(rows, func(r row) bool { return r.ID == old.ID }) {
				t.Fatalf("%d rows are listed", len(rows))
			}
		}
		if status, code := c.status(path(old.ID)); status != http.StatusNotFound || code != "ResourceNotFound" {
			t.Errorf("by id: %d %s", status, code)
		}
		gone := func(v simulator.Version) bool { return v.ID == old.ID }
		if slices.ContainsFunc(sim.Final(), gone) {
			t.Error("it is among the final ones")
		}
		truth := slices.DeleteFunc(sim.Truth(), func(v simulator.Version) bool { return !gone(v) })
		if len(truth) != 1 || truth[0].Updated != old.Updated || !truth[0].VisibleUntil.Equal(at) {
			t.Errorf("the truth has %d versions: %+v; deleted at %v, a late one is of %s", len(truth), truth, at, late.Updated)
		}
		bulk := sim.Bulk(1000)
		ids := sim.RandomIDs(1000)
		if len(ids) != 39 || slices.Contains(ids, old.ID) || len(bulk) != 39 || slices.ContainsFunc(bulk, gone) {
			t.Errorf("%d random ids, bulk of %d", len(ids), len(bulk))
		}
		_, updated := sim.Update(old.ID)
		_, changed := sim.AlertChange(old.ID)
		_, recreated := sim.Recreate(old.ID)
		_, postponed := sim.UpdateLate(old.ID, time.Hour)
		_, _, merged := sim.Merge(old.ID, old.ID+1)
		for i, err := range []error{sim.Vanish(old.ID), updated, changed, recreated, postponed, merged} {
			if err == nil {
				t.Errorf("operation %d works on a deleted incident", i)
			}
		}
		c.violations()
	})
}

func TestRecreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 9, Incidents: 40, Size: 600})
		c := call(t, sim)
		sim.Change(free)
		lines := map[string]bool{}
		backwards, forwards := 0, 0
		for _, old := range sim.Final() {
			before := decode(t, old.Line())
			lines[before.line] = true
			for range 5 {
				time.Sleep(time.Second)
				v, err := sim.Recreate(old.ID)
				r := decode(t, v.Line())
				if err != nil || r.Updated != before.Updated || r.Created == before.Created ||
					later(t, r.Created, r.Updated) || lines[r.line] {
					t.Fatalf("%v\n%s\n%s", err, before.line, r.line)
				}
				if r.Created < before.Created {
					backwards++
				} else {
					forwards++
				}
				lines[r.line] = true
				if rows := c.list("$filter", "createdTime eq "+r.Created+" and lastUpdateTime eq "+r.Updated); len(rows) != 1 || rows[0] != r {
					t.Fatalf("listed %+v, want %s", rows, r.line)
				}
				rows := c.list("$filter", "createdTime eq "+before.Created)
				if slices.ContainsFunc(rows, func(r row) bool { return r.ID == old.ID }) {
					t.Fatalf("still created at %s", before.Created)
				}
				before = r
			}
		}
		if backwards < 50 || forwards < 20 {
			t.Errorf("%d times earlier, %d times later", backwards, forwards)
		}
		m := newModel(t, sim) // one version of each is current
		if rows := m.list(nil, clock{}, simulator.NewestFirst); !slices.Equal(rows, c.list()) {
			t.Error("the list is not the truth's")
		}
		v, err := sim.Update(40_001)
		if r := decode(t, v.Line()); err != nil || r.Created != decode(t, sim.Final()[0].Line()).Created {
			t.Errorf("the update has another creation time: %v %s", err, r.line)
		}
		c.violations()
	})
}

func TestLateByChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 9, Incidents: 40, Size: 600})
		c := call(t, sim)
		sim.Change(func(b *simulator.Behaviour) { b.TokenLifetime = 24 * time.Hour })
		c.login()
		old := sim.Final()[7]
		served := func() string {
			_, body, err := c.get(path(old.ID))
			if err != nil {
				t.Fatal(err)
			}
			return "{" + strings.SplitN(string(body), `$entity",`, 2)[1]
		}
		time.Sleep(time.Minute)
		begin := sim.Now()
		v, err := sim.UpdateLate(old.ID, time.Hour)
		if err != nil || !later(t, v.Updated, old.Updated) || !v.VisibleFrom.Equal(begin.Add(time.Hour)) {
			t.Fatalf("%v, visible from %v, of %s", err, v.VisibleFrom, v.Updated)
		}
		changed, err := sim.AlertChange(old.ID)
		if err != nil || !changed.VisibleFrom.Equal(v.VisibleFrom) {
			t.Errorf("a change of it is visible from %v: %v", changed.VisibleFrom, err)
		}
		made := sim.CreateLate(30 * time.Minute)
		if !made.VisibleFrom.Equal(begin.Add(30 * time.Minute)) {
			t.Errorf("the new one is visible from %v", made.VisibleFrom)
		}
		time.Sleep(30*time.Minute - time.Second)
		if rows := c.list(); len(rows) != 40 || served() != string(old.Line()) {
			t.Errorf("%d rows, and by id %s", len(rows), served())
		}
		time.Sleep(2 * time.Second)
		if rows := c.list(); len(rows) != 41 || rows[0].line != string(made.Line()) || served() != string(old.Line()) {
			t.Errorf("%d rows, and by id %s", len(rows), served())
		}
		time.Sleep(30 * time.Minute)
		// It was updated before the other was created, and is visible after it.
		if rows := c.list(); rows[1].line != string(changed.Line()) || served() != string(changed.Line()) {
			t.Errorf("second is %s, by id %s", rows[1].line, served())
		}
		// One that is overtaken is never seen.
		overtaken, err := sim.UpdateLate(old.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := sim.Update(old.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		seen := func(v simulator.Version) bool { return v.ID == old.ID && v.Updated == overtaken.Updated }
		if slices.ContainsFunc(sim.Truth(), seen) {
			t.Error("the truth has a version that was overtaken")
		}
		if v, err := sim.UpdateLate(old.ID, 0); err != nil || served() != string(v.Line()) {
			t.Errorf("late by nothing: %v, by id %s", err, served())
		}
		c.violations()
	})
}

// TestReplicaLag holds every answer to the state of now or of a minute ago.
func TestReplicaLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lag = time.Minute
		sim := simulator.New(simulator.Options{Seed: 9, Incidents: 80, Span: time.Hour, Size: 600})
		c := call(t, sim)
		sim.Change(func(b *simulator.Behaviour) { b.Quota, b.ReplicaLag, b.Retention = nil, lag, 50*time.Minute })
		begin := sim.Now()
		kinds := map[string]int{}
		for n := range 120 {
			time.Sleep(12 * time.Second) // a fifth of the lag, so that changes are seen at their very moment
			ids := sim.RandomIDs(3)
			_, err := sim.Update(ids[0])
			switch n % 4 {
			case 0:
				_, err = sim.AlertChange(ids[1])
			case 1:
				_, err = sim.UpdateLate(ids[1], 40*time.Second)
			case 2:
				sim.Create()
			case 3:
				err = sim.Vanish(ids[1])
			}
			if err != nil {
				t.Fatal(err)
			}
			ago := sim.Now().Add(-lag)
			if ago.Before(begin) {
				ago = begin
			}
			fresh, stale := stateAt(t, sim, sim.Now()), stateAt(t, sim, ago)
			rows := c.list()
			switch {
			case slices.Equal(rows, fresh):
				kinds["fresh list"]++
			case slices.Equal(rows, stale):
				kinds["stale list"]++
			default:
				t.Fatalf("round %d: the list is neither fresh nor stale", n)
			}
			// The oldest may have aged out of the fresh state.
			for _, id := range []int64{ids[1], stale[len(stale)-1].ID} {
				r, body, err := c.get(path(id))
				if err != nil {
					t.Fatal(err)
				}
				is := func(rows []row) bool {
					i := slices.IndexFunc(rows, func(r row) bool { return r.ID == id })
					if i < 0 {
						return r.StatusCode == http.StatusNotFound
					}
					return strings.HasSuffix(string(body), rows[i].line[1:])
				}
				switch now, before := is(fresh), is(stale); {
				case now && !before:
					kinds["fresh by id"]++
				case before && !now:
					kinds["stale by id"]++
				case !now:
					t.Fatalf("round %d: by id neither fresh nor stale: %s", n, body)
				}
				if !slices.ContainsFunc(fresh, func(r row) bool { return r.ID == id }) && r.StatusCode == http.StatusOK {
					kinds["gone, but served"]++
				}
			}
		}
		for _, kind := range []string{"fresh list", "stale list", "fresh by id", "stale by id", "gone, but served"} {
			if kinds[kind] < 10 {
				t.Errorf("%s: %d answers", kind, kinds[kind])
			}
		}
		c.violations()
	})
}

// stateAt is the list of everything at a moment, newest first.
func stateAt(t *testing.T, sim *simulator.Simulator, at time.Time) []row {
	t.Helper()
	m := &model{at: map[string]time.Time{}}
	for _, v := range sim.Truth() {
		if v.VisibleFrom.After(at) || !v.VisibleUntil.IsZero() && !v.VisibleUntil.After(at) {
			continue
		}
		r := decode(t, v.Line())
		updated, err := time.Parse(time.RFC3339Nano, r.Updated)
		if err != nil {
			t.Fatal(err)
		}
		m.at[r.Updated] = updated
		m.rows = append(m.rows, r)
	}
	if len(m.rows) > 100 {
		t.Fatal(fmt.Sprint("more than a page: ", len(m.rows)))
	}
	return m.list(nil, clock{}, simulator.NewestFirst)
}
