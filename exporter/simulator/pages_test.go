package simulator_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"incident-exporter/exporter/simulator"
)

func TestPagesAndLinks(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 2, Incidents: 230, Size: 600})
	c := call(t, sim)
	if n := len(c.list()); n != 100 {
		t.Errorf("a page without $top has %d rows", n)
	}
	sim.Change(func(b *simulator.Behaviour) { b.PageCap, b.NextLink = 30, true })
	rows, next := c.page("$top", "100", "$skip", "190", "$filter", "lastUpdateTime ge 2000-01-01T00:00:00Z")
	if len(rows) != 30 || next == "" {
		t.Errorf("capped page: %d rows, next %q", len(rows), next)
	}
	r, body, err := c.get(next[len(host):])
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err, string(body))
	}
	c.violations()
	if rows, next := c.page("$skip", "220"); len(rows) != 10 || next != "" {
		t.Errorf("last page: %d rows, next %q", len(rows), next)
	}
	if h := r.Header; h.Get("Content-Type") != "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8" || h.Get("Date") == "" {
		t.Errorf("headers are %v", h)
	}
	sim.Change(func(b *simulator.Behaviour) { b.NoDate, b.PageCap, b.IgnoreFilter = true, 0, true })
	if r, _, _ := c.get("/api/incidents"); r.Header.Get("Date") != "" {
		t.Error("there is a Date header")
	}
	if n := len(c.list("$filter", "status eq 'None of these'")); n != 100 {
		t.Errorf("an ignored filter leaves %d rows", n)
	}
}

// asker lists incidents of either API: their ids and the nextLink. Target is a
// link or a query.
type asker func(target string) (ids []string, next string)

// askers are clients of both APIs of one simulator.
func askers(t *testing.T, sim *simulator.Simulator) map[string]asker {
	sim.Change(func(b *simulator.Behaviour) { b.Quota, b.GraphQuota = nil, nil })
	ask := func(c *caller, path string, id func([]byte) string) asker {
		return func(target string) (ids []string, next string) {
			t.Helper()
			target, linked := strings.CutPrefix(target, host)
			if !linked {
				target = path + target
			}
			r, body := c.ask(target)
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d %s", target, r.StatusCode, body)
			}
			p := decodePage(t, body)
			for _, raw := range p.Value {
				ids = append(ids, id(raw))
			}
			return ids, p.Next
		}
	}
	return map[string]asker{
		"defender": ask(call(t, sim), "/api/incidents", func(raw []byte) string { return fmt.Sprint(decode(t, raw).ID) }),
		"graph":    ask(graphCall(t, sim), graphPath, func(raw []byte) string { return graphID(t, raw) }),
	}
}

// TestLinksLeadThroughAQuestion follows the links of both APIs: the pages make
// up the list, whatever their length.
func TestLinksLeadThroughAQuestion(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 130, Size: 600})
	filter := map[string]string{"defender": "lastUpdateTime", "graph": "lastUpdateDateTime"}
	for name, ask := range askers(t, sim) {
		sim.Change(func(b *simulator.Behaviour) { b.TooManyRows, b.EmptyFirst = true, false })
		everything, _ := ask("")
		sim.Change(func(b *simulator.Behaviour) { b.TooManyRows = false })
		filtered := query("$top", "20", "$filter", filter[name]+" ge 2000-01-01T00:00:00Z")
		for _, test := range []struct {
			question      string
			short         int
			empty, links  bool
			skipped, size int
			pages         int
		}{
			{filtered, 0, false, true, 0, 20, 7},
			{filtered, 7, false, false, 0, 7, 19},
			{filtered, 50, false, false, 0, 20, 7},
			{filtered, 0, true, false, 0, 20, 2}, // without links only one of EmptyFirst
			{filtered, 0, true, true, 0, 20, 8},
			{"?$skip=100&$top=7", 4, true, false, 100, 4, 9},
		} {
			sim.Change(func(b *simulator.Behaviour) {
				b.ShortLinks, b.EmptyFirst, b.NextLink, b.NoNextLink = test.short, test.empty, test.links, !test.links
			})
			var got []string
			pages := 0
			for next := test.question; next != ""; pages++ {
				var ids []string
				ids, next = ask(next)
				if len(ids) > test.size || len(ids) > 0 && test.empty && pages == 0 {
					t.Errorf("%s %+v: page %d has %d rows", name, test, pages, len(ids))
				}
				got = append(got, ids...)
			}
			want := everything[test.skipped:]
			if test.empty && !test.links && test.short == 0 {
				want = want[:test.size]
			}
			if !slices.Equal(got, want) || pages != test.pages {
				t.Errorf("%s %+v: %d pages, %d rows, want %d", name, test, pages, len(got), len(want))
			}
		}
	}
	if got := sim.Violations(); len(got) > 0 {
		t.Errorf("violations are %q", got)
	}
}

// A link says where its page ended: what has moved since is not accounted for.
func TestLinksKeepTheirPosition(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 30, Size: 600})
	c := call(t, sim)
	sim.Change(func(b *simulator.Behaviour) { b.NextLink = true })
	if _, next := c.page("$top", "0"); next != "" {
		t.Errorf("a page of no rows links to %s", next) // which would lead nowhere
	}
	first, next := c.page("$top", "10", "$skip", "0")
	if strings.Contains(next, "skip=") {
		t.Errorf("the link has two positions: %s", next)
	}
	sim.Create()
	r, body, err := c.get(next[len(host):])
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	if p := decodePage(t, body); decode(t, p.Value[0]) != first[9] || len(p.Value) != 10 {
		t.Errorf("the next page begins with %s, want %s", p.Value[0], first[9].line)
	}
	c.violations()
	if status, code := c.status("/api/incidents?$skiptoken=mine"); status != http.StatusBadRequest || code != "ODataError" {
		t.Errorf("a marker of no link: %d %s", status, code)
	}
	c.violations("option")
}

func TestSkipLimit(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 130, Size: 600})
	for name, ask := range askers(t, sim) {
		sim.Change(func(b *simulator.Behaviour) { b.SkipLimit, b.NextLink = 90, true })
		before, next := ask("?$skip=89&$top=5")
		if at, none := ask("?$skip=90&$top=5"); len(before) != 5 || len(at) != 0 || none != "" {
			t.Errorf("%s: %d rows before the limit, %d at it, next %q", name, len(before), len(at), none)
		}
		if linked, _ := ask(next); len(linked) != 5 {
			t.Errorf("%s: %d rows behind a link", name, len(linked))
		}
	}
	sim.Change(func(b *simulator.Behaviour) { b.SkipRefused = true })
	c := call(t, sim)
	if status, code := c.status("/api/incidents?$skip=90"); status != http.StatusBadRequest || code != "ODataError" {
		t.Errorf("at the limit: %d %s", status, code)
	}
	r, body := graphCall(t, sim).ask(graphPath + "?$skip=90")
	if r.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "BadRequest") {
		t.Errorf("at the limit of Graph: %d %s", r.StatusCode, body)
	}
	c.list("$skip", "89")
	c.violations()
}

func TestCapVaries(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 130, Size: 600})
	for name, ask := range askers(t, sim) {
		sim.Change(func(b *simulator.Behaviour) { b.PageCap, b.CapVaries = 5, true })
		seen := map[int]bool{}
		for range 60 {
			ids, _ := ask("?$top=50")
			seen[len(ids)] = true
		}
		if len(seen) != 5 || seen[0] || !seen[5] {
			t.Errorf("%s: pages are of %v rows", name, seen)
		}
	}
}

func TestTooManyRows(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 130, Size: 600})
	for name, ask := range askers(t, sim) {
		sim.Change(func(b *simulator.Behaviour) { b.TooManyRows, b.PageCap, b.NextLink = true, 3, true })
		if ids, next := ask("?$top=10&$skip=5"); len(ids) != 125 || next != "" {
			t.Errorf("%s: %d rows, next %q", name, len(ids), next)
		}
	}
}

func TestZeroTime(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 7, Incidents: 130, Size: 600})
	v := sim.Final()[40]
	zero := func(s string) string { return strings.ReplaceAll(s, v.Updated, "0001-01-01T00:00:00Z") }
	for name, ask := range askers(t, sim) {
		sim.Change(func(b *simulator.Behaviour) { b.ZeroTime, b.NextLink = 0, true })
		plain, _ := ask("?$top=50")
		sim.Change(func(b *simulator.Behaviour) { b.ZeroTime = v.ID })
		first, next := ask("?$top=21")
		second, _ := ask(next)
		want := append([]string{fmt.Sprint(v.ID)}, plain[:20]...)
		want = append(append(want, fmt.Sprint(v.ID)), plain[20:40]...)
		if !slices.Equal(append(first, second...), want) {
			t.Errorf("%s: %v and %v, want %v", name, first, second, want)
		}
		if alone, _ := ask("?$top=1"); !slices.Equal(alone, plain[:1]) {
			t.Errorf("%s: a page of one is %v", name, alone)
		}
	}
	c, g := call(t, sim), graphCall(t, sim)
	rows := c.list("$filter", "lastUpdateTime ge 2100-01-01T00:00:00Z")
	if len(rows) != 1 || rows[0].Updated != "0001-01-01T00:00:00Z" || zero(rows[0].line) != zero(string(v.Line())) {
		t.Errorf("against the filter: %+v", rows)
	}
	p := g.graphList("$filter", "lastUpdateDateTime ge 2100-01-01T00:00:00Z", "$expand", "alerts", "$count", "true")
	if len(p.Value) != 1 || *p.Count != 0 || string(p.Value[0]) == string(v.GraphLine()) ||
		zero(string(p.Value[0])) != zero(string(v.GraphLine())) {
		t.Errorf("against the filter of Graph: %s", p.Value)
	}
	if _, body, err := c.get(path(v.ID)); err != nil || !strings.HasSuffix(string(body), string(v.Line()[1:])) {
		t.Errorf("by id: %v %s", err, body)
	}
	if err := sim.Vanish(v.ID); err != nil || len(c.list("$filter", "lastUpdateTime ge 2100-01-01T00:00:00Z")) != 0 {
		t.Errorf("the row outlives its incident: %v", err)
	}
	c.violations()
}
