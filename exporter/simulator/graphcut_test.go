package simulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"incident-exporter/exporter/simulator"
)

func decodePage(t *testing.T, body []byte) graphPage {
	t.Helper()
	var p graphPage
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return p
}

func TestPartialAnswersDropRows(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 6, Incidents: 300, Size: 600})
	c := graphCall(t, sim)
	partial := func(drops float64, warning string) {
		sim.Change(func(b *simulator.Behaviour) {
			b.GraphQuota, b.PartialRate, b.PartialDrops, b.PartialWarning = nil, 1, drops, warning
		})
	}
	want := graphLines(sim)
	const mine = `199 - "Microsoft/MDATP/504/10020"`
	for drops, bounds := range map[float64][2]int{0: {250, 250}, 0.5: {100, 150}, 1: {0, 0}} {
		partial(drops, mine)
		rows := 0
		for skip := 0; skip < 250; skip += 50 {
			r, body := c.ask(graphPath+query("$skip", fmt.Sprint(skip), "$expand", "alerts", "$count", "true"), "Prefer", known)
			p := decodePage(t, body)
			if r.StatusCode != http.StatusPartialContent || r.Header.Get("Warning") != mine || *p.Count != 300 || p.Next == "" {
				t.Fatalf("status %d, headers %v, count %d, next %q", r.StatusCode, r.Header, *p.Count, p.Next)
			}
			for _, raw := range p.Value {
				if string(raw) != want[graphID(t, raw)] {
					t.Fatalf("served, but not true: %s", raw)
				}
			}
			rows += len(p.Value)
		}
		if rows < bounds[0] || rows > bounds[1] {
			t.Errorf("share %v dropped: %d of 250 rows are left", drops, rows)
		}
	}
	partial(1, "")
	if r, _ := c.ask(graphPath); r.Header.Get("Warning") != `199 - "Microsoft/Microsoft Defender for Identity/504/10000"` {
		t.Errorf("default warning %q", r.Header.Get("Warning"))
	}
	// A body that is cut as well breaks within what is left of it.
	sim.Change(fails(simulator.CutBody))
	for range 10 {
		if _, body, err := c.get(graphPath); err == nil {
			t.Fatalf("the body is whole: %s", body)
		}
	}
	c.violations()
}

// expanded is an incident with its alerts and what is said beside them.
type expanded struct {
	ID     string
	Count  *int              `json:"alerts@odata.count"`
	Next   string            `json:"alerts@odata.nextLink"`
	Alerts []json.RawMessage `json:"alerts"`
}

// TestExpandedAlertsAreCut puts incidents together again from what is served
// inside of them and what the links lead to.
func TestExpandedAlertsAreCut(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Incidents: 40, Size: 9000})
	c := graphCall(t, sim)
	sim.Change(func(b *simulator.Behaviour) { b.GraphQuota, b.AlertsPerExpand = nil, 2 })
	for _, counted := range []bool{false, true} {
		sim.Change(func(b *simulator.Behaviour) { b.AlertsCount = counted })
		listed := map[string]json.RawMessage{}
		for _, raw := range c.graphList("$expand", "alerts").Value {
			listed[graphID(t, raw)] = raw
		}
		cut := 0
		for _, v := range sim.Final() {
			id := fmt.Sprint(v.ID)
			_, one := c.ask(graphPath+"/"+id+"?$expand=alerts", "Prefer", known)
			if _, inner, _ := bytes.Cut(one, []byte(`$entity",`)); !bytes.HasSuffix(listed[id], inner) {
				t.Fatalf("by id %s\nlisted %s", one, listed[id])
			}
			var whole, part expanded
			if json.Unmarshal(v.GraphLine(), &whole) != nil || json.Unmarshal(one, &part) != nil {
				t.Fatalf("unreadable: %s", one)
			}
			if whole.Count != nil || whole.Next != "" {
				t.Fatalf("annotations in the truth: %s", v.GraphLine())
			}
			if (part.Count != nil) != counted || counted && *part.Count != len(whole.Alerts) || len(part.Alerts) != min(2, len(whole.Alerts)) ||
				(part.Next != "") != (len(whole.Alerts) > 2) {
				t.Fatalf("%d alerts: %s", len(whole.Alerts), one)
			}
			got := part.Alerts
			if part.Next != "" {
				cut++
				r, rest := c.ask(part.Next[len(host):], "Prefer", known)
				if r.StatusCode != http.StatusOK {
					t.Fatalf("%s: %d %s", part.Next, r.StatusCode, rest)
				}
				got = append(got, decodePage(t, rest).Value...)
			}
			if string(bytes.Join(raws(got), nil)) != string(bytes.Join(raws(whole.Alerts), nil)) {
				t.Fatalf("incident %s has %d alerts, served %d", id, len(whole.Alerts), len(got))
			}
		}
		if cut < 10 {
			t.Errorf("%d incidents are cut", cut)
		}
	}
	c.violations()
}

func raws(list []json.RawMessage) [][]byte {
	var out [][]byte
	for _, raw := range list {
		out = append(out, raw)
	}
	return out
}

// The alerts alone are paged by links as well.
func TestAlertsAreLinked(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Incidents: 3, Size: 40_000})
	c := graphCall(t, sim)
	id := fmt.Sprint(sim.Final()[1].ID)
	_, body := c.ask(graphPath + "/" + id + "/alerts?$count=true")
	all := decodePage(t, body)
	sim.Change(func(b *simulator.Behaviour) { b.NoNextLink = true })
	if _, body := c.ask(graphPath + "/" + id + "/alerts?$top=2"); decodePage(t, body).Next != "" {
		t.Errorf("there is a link: %s", body)
	}
	sim.Change(func(b *simulator.Behaviour) { b.NoNextLink = false })
	seen := 0
	for next := host + graphPath + "/" + id + "/alerts?$top=2"; next != ""; {
		_, body := c.ask(next[len(host):])
		p := decodePage(t, body)
		for _, raw := range p.Value {
			if string(raw) != string(all.Value[seen]) {
				t.Fatalf("alert %d is %s", seen, raw)
			}
			seen++
		}
		next = p.Next
	}
	if seen != *all.Count || seen < 5 {
		t.Errorf("%d alerts of %d", seen, *all.Count)
	}
	c.violations()
}

func TestAlertsMissing(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Incidents: 10, Size: 9000})
	c := graphCall(t, sim)
	v := sim.Final()[4]
	sim.Change(func(b *simulator.Behaviour) { b.AlertsMissing = map[int64]bool{v.ID: true} })
	want, nulls := graphLines(sim), 0
	for _, raw := range c.graphList("$expand", "alerts").Value {
		id := graphID(t, raw)
		if bytes.HasSuffix(raw, []byte(`,"alerts":null}`)) && id == fmt.Sprint(v.ID) {
			nulls++
		} else if string(raw) != want[id] {
			t.Errorf("served %s", raw)
		}
	}
	_, one := c.ask(fmt.Sprintf("%s/%d?$expand=alerts", graphPath, v.ID), "Prefer", known)
	if nulls != 1 || !bytes.HasSuffix(one, v.GraphLine()[1:]) {
		t.Errorf("%d without alerts; by id %s", nulls, one)
	}
}
