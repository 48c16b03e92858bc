package simulator_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

// model is what a list answer must be, worked out from the truth.
type model struct {
	rows []row
	at   map[string]time.Time // parsed times
}

func newModel(t *testing.T, sim *simulator.Simulator) *model {
	m := &model{at: make(map[string]time.Time)}
	for _, v := range sim.Truth() {
		if !v.VisibleUntil.IsZero() {
			continue
		}
		r := decode(t, v.Line())
		for _, s := range []string{r.Created, r.Updated} {
			at, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				t.Fatal(err)
			}
			m.at[s] = at
		}
		m.rows = append(m.rows, r)
	}
	return m
}

// term is a comparison, for the model and as text.
type term struct {
	property, op string
	at           time.Time
	text         string
}

func (e term) String() string {
	if e.at.IsZero() {
		return fmt.Sprintf("%s %s '%s'", e.property, e.op, e.text)
	}
	return fmt.Sprintf("%s %s %s", e.property, e.op, e.at.Format("2006-01-02T15:04:05.9999999Z"))
}

// clock is how a server compares times.
type clock struct {
	resolution time.Duration
	of         simulator.ResolutionOf
	ltIsLe     bool
}

func (m *model) holds(e term, r row, by clock) bool {
	switch e.property {
	case "status":
		return r.Status == e.text
	case "assignedTo":
		return r.Assigned == e.text
	}
	at := m.at[r.Updated]
	if e.property == "createdTime" {
		at = m.at[r.Created]
	}
	// Truncate would count from the year 1, not from 1970: the same for
	// divisors of a day.
	literal := e.at
	if by.of != simulator.ResolutionOfLiteral {
		at = at.Truncate(by.resolution)
	}
	if by.of != simulator.ResolutionOfTime {
		literal = literal.Truncate(by.resolution)
	}
	c := at.Compare(literal)
	switch e.op {
	case "ge":
		return c >= 0
	case "gt":
		return c > 0
	case "le":
		return c <= 0
	case "lt":
		return c < 0 || by.ltIsLe && c == 0
	}
	return c == 0
}

func (m *model) list(terms []term, by clock, order simulator.Order) []row {
	var rows []row
	for _, r := range m.rows {
		if !slices.ContainsFunc(terms, func(e term) bool { return !m.holds(e, r, by) }) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		byTime := m.at[a.Updated].Compare(m.at[b.Updated])
		switch order {
		case simulator.NewestFirst, simulator.UnstableTies:
			return cmp.Or(-byTime, cmp.Compare(a.ID, b.ID))
		case simulator.OldestFirst:
			return cmp.Or(byTime, cmp.Compare(a.ID, b.ID))
		case simulator.InGroups:
			return cmp.Or(cmp.Compare(a.ID%2, b.ID%2), -byTime, cmp.Compare(a.ID, b.ID))
		case simulator.ByStatus:
			return cmp.Or(cmp.Compare(a.ID%3, b.ID%3), -byTime, cmp.Compare(a.ID, b.ID))
		case simulator.ByCreation:
			return cmp.Or(m.at[b.Created].Compare(m.at[a.Created]), cmp.Compare(b.ID, a.ID))
		case simulator.ByIDDescending:
			return cmp.Compare(b.ID, a.ID)
		case simulator.ByDay:
			return cmp.Or(cmp.Compare(b.Updated[:10], a.Updated[:10]), cmp.Compare(a.ID, b.ID))
		default:
			return cmp.Compare(a.ID, b.ID)
		}
	})
	return rows
}

// TestListIsTheModel draws options and compares every answer with the model's.
func TestListIsTheModel(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			sim := simulator.New(simulator.Options{Seed: seed, Incidents: rng.IntN(300), Span: 48 * time.Hour,
				Size: 600, TieShare: 0.2, Tie: rng.IntN(150), Density: simulator.Density(rng.IntN(2))})
			c := call(t, sim)
			sim.Change(free)
			for range 20 {
				time.Sleep(time.Duration(rng.IntN(int(time.Minute))))
				sim.Create()
				for _, id := range sim.RandomIDs(3) {
					if _, err := sim.Update(id); err != nil {
						t.Fatal(err)
					}
				}
				sim.Bulk(rng.IntN(20))
				for _, id := range sim.RandomIDs(2) {
					if _, err := sim.Recreate(id); err != nil {
						t.Fatal(err)
					}
				}
				order := simulator.Order(rng.IntN(10))
				by := clock{[]time.Duration{0, time.Millisecond, time.Second}[rng.IntN(3)], simulator.ResolutionOf(rng.IntN(3)), rng.IntN(3) == 0}
				sim.Change(func(b *simulator.Behaviour) {
					b.Order, b.Pretty = order, rng.IntN(2) == 0
					b.Resolution, b.ResolutionOf, b.LtIsLe = by.resolution, by.of, by.ltIsLe
				})
				m := newModel(t, sim)
				checkPages(t, c, m, m.draw(rng), by, order, rng.IntN(120), 1+rng.IntN(100), seed)
			}
			c.violations()
		})
	}
}

// draw makes up a filter whose times are often exactly those of an incident.
func (m *model) draw(rng *rand.Rand) []term {
	var terms []term
	for range rng.IntN(4) {
		r := m.rows[rng.IntN(len(m.rows))]
		e := term{op: []string{"ge", "gt", "le", "lt", "eq"}[rng.IntN(5)]}
		switch rng.IntN(12) {
		case 0:
			e = term{"status", "eq", time.Time{}, r.Status}
		case 1:
			e = term{"assignedTo", "eq", time.Time{}, "ana@fabrikam.example"}
		case 2, 3, 4:
			e.property, e.at = "createdTime", m.at[r.Created]
		default:
			e.property, e.at = "lastUpdateTime", m.at[r.Updated]
		}
		if !e.at.IsZero() && rng.IntN(2) == 0 {
			e.at = e.at.Add(time.Duration(rng.IntN(2e9)-1e9) / 100 * 100)
		}
		terms = append(terms, e)
	}
	return terms
}

func checkPages(t *testing.T, c *caller, m *model, terms []term, by clock, order simulator.Order, skip, top int, seed uint64) {
	t.Helper()
	want := m.list(terms, by, order)
	options := []string{"$skip", fmt.Sprint(skip), "$top", fmt.Sprint(top)}
	if len(terms) > 0 {
		filter := terms[0].String()
		for _, e := range terms[1:] {
			filter += " and " + e.String()
		}
		options = append(options, "$filter", filter)
	}
	got := c.list(options...)
	rest := want[min(skip, len(want)):]
	rest = rest[:min(top, len(rest))]
	if len(got) != len(rest) {
		t.Fatalf("seed %d: %q answers %d rows, want %d", seed, options, len(got), len(rest))
	}
	seen := make(map[int64]bool)
	for i, r := range got {
		ok := r == rest[i]
		switch order {
		case simulator.UnstableTies:
			ok = r.Updated == rest[i].Updated && slices.Contains(want, r)
		case simulator.Shuffled:
			ok = slices.Contains(want, r)
		}
		if !ok || seen[r.ID] {
			t.Fatalf("seed %d: %q, order %d, row %d is\n%s\nwant\n%s", seed, options, order, i, r.line, rest[i].line)
		}
		seen[r.ID] = true
	}
}

func TestRefusedOptions(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 2, Incidents: 10})
	c := call(t, sim)
	refused := func(kinds []string, options ...string) {
		t.Helper()
		before := len(sim.Violations())
		if status, code := c.status("/api/incidents" + query(options...)); status != http.StatusBadRequest || code != "ODataError" {
			t.Errorf("%q: %d %s", options, status, code)
		}
		if got := sim.Violations()[before:]; len(got) != len(kinds) || len(got) > 0 && got[0][:len(kinds[0])] != kinds[0] {
			t.Errorf("%q: violations are %q, want %q", options, got, kinds)
		}
	}
	refused([]string{"top"}, "$top", "101")
	refused([]string{"top"}, "$top", "many")
	refused([]string{"option"}, "$skip", "-1")
	refused([]string{"option"}, "$orderby", "lastUpdateTime")
	refused([]string{"option"}, "$count", "true")
	for _, filter := range []string{
		"lastUpdateTime ge '2026-01-01T00:00:00Z'", "lastUpdateTime ge 2026-01-01T00:00:00", "lastUpdateTime ge 2026-01-01",
		"lastUpdateTime ge 2026-01-01T00:00:00.12345678Z", "lastUpdateTime ge 2026-01-01T00:00:00+00:00",
		"lastUpdateTime ge 2026-13-01T00:00:00Z", "lastUpdateTime ne 2026-01-01T00:00:00Z", "severity eq 'High'",
		"status ge 'Active'", "status eq Active", "status eq 'Active", "lastUpdateTime", "status eq 'a' or status eq 'b'", "",
	} {
		refused(nil, "$filter", filter)
	}
	const lt, le = "lastUpdateTime lt 2026-01-01T00:00:00Z", "createdTime le 2026-01-01T00:00:00Z"
	c.list("$filter", lt+" and "+le)
	sim.Change(func(b *simulator.Behaviour) { b.UpperBound = simulator.LeOnly })
	refused(nil, "$filter", lt)
	c.list("$filter", le)
	sim.Change(func(b *simulator.Behaviour) { b.UpperBound = simulator.NoUpperBound })
	refused(nil, "$filter", le)
}

func TestOneIncident(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 5, Incidents: 50})
	c := call(t, sim)
	want := sim.Final()[7]
	r, body, err := c.get(path(want.ID))
	const head = `{"@odata.context":"https://api.security.microsoft.com/api/$metadata#Incidents/$entity",`
	if err != nil || r.StatusCode != http.StatusOK || string(body) != head+string(want.Line()[1:]) {
		t.Errorf("by id: %v %v\n%s\nwant\n%s", r, err, body, want.Line())
	}
	if status, code := c.status(path(1)); status != http.StatusNotFound || code != "ResourceNotFound" {
		t.Errorf("unknown incident: %d %s", status, code)
	}
	if status, code := c.status("/api/incidents/x"); status != http.StatusBadRequest || code != "InvalidInput" {
		t.Errorf("odd id: %d %s", status, code)
	}
	c.violations()
	c.status(path(want.ID) + "?$expand=alerts")
	c.violations("option")
	if n := sim.Calls(); n.ByID != 4 || n.API() != 4 || n.Token != 1 {
		t.Errorf("calls are %+v", n)
	}
}
