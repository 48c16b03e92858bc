package simulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

const graphPath = "/v1.0/security/incidents"

// graphCall is a client that has a token for Graph.
func graphCall(t *testing.T, sim *simulator.Simulator) *caller {
	c := &caller{t: t, sim: sim, client: &http.Client{Transport: simulator.Transport(sim)}}
	_, body := c.post("/"+simulator.DefaultTenant+"/oauth2/v2.0/token", form("scope", simulator.DefaultGraph+"/.default"))
	c.token, _ = body["access_token"].(string)
	return c
}

// ask makes a call of Graph with headers that alternate with their values.
func (c *caller) ask(target string, headers ...string) (*http.Response, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, host+target, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r, body
}

// graphPage is what these tests read of a list answer.
type graphPage struct {
	Count *int              `json:"@odata.count"`
	Next  string            `json:"@odata.nextLink"`
	Value []json.RawMessage `json:"value"`
}

const known = "include-unknown-enum-members"

func (c *caller) graphList(options ...string) graphPage {
	c.t.Helper()
	r, body := c.ask(graphPath+query(options...), "Prefer", known)
	var p graphPage
	if err := json.Unmarshal(body, &p); err != nil || r.StatusCode != http.StatusOK && r.StatusCode != http.StatusPartialContent {
		c.t.Fatalf("list %q: %v %v %s", options, r.Status, err, body)
	}
	return p
}

// lines are a tenant's current incidents as Graph writes them, by id.
func graphLines(sim *simulator.Simulator) map[string]string {
	lines := map[string]string{}
	for _, v := range sim.Final() {
		lines[fmt.Sprint(v.ID)] = string(v.GraphLine())
	}
	return lines
}

func graphID(t *testing.T, raw []byte) string {
	t.Helper()
	var in struct{ ID string }
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return in.ID
}

func TestGraphShowsTheSameTenant(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Incidents: 130})
	sim.Change(func(b *simulator.Behaviour) { b.OrderBy = true })
	c := graphCall(t, sim)
	want, seen := graphLines(sim), 0
	for skip := 0; skip < 150; skip += 50 {
		p := c.graphList("$top", "50", "$skip", fmt.Sprint(skip), "$count", "true", "$expand", "alerts", "$filter", "lastUpdateDateTime ge 2000-01-01T02:00:00+02:00")
		if p.Count == nil || *p.Count != 130 || (p.Next != "") != (skip < 100) {
			t.Fatalf("count %v, next %q", p.Count, p.Next)
		}
		for _, raw := range p.Value {
			if seen++; want[graphID(t, raw)] != string(raw) {
				t.Fatalf("served %s\nwant %s", raw, want[graphID(t, raw)])
			}
		}
	}
	if seen != 130 {
		t.Errorf("%d seen", seen)
	}
	bare := c.graphList("$count", "false", "$orderby", "lastUpdateDateTime asc")
	if len(bare.Value) != 50 || bare.Count != nil || bytes.Contains(bare.Value[0], []byte(`"alerts`)) {
		t.Errorf("without options: %d rows, count %v, %s", len(bare.Value), bare.Count, bare.Value[0])
	}
	for id, line := range want {
		_, body := c.ask(graphPath+"/"+id+"?$expand=alerts", "Prefer", known)
		const head = `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#security/incidents/$entity",`
		if string(body) != head+line[1:] {
			t.Fatalf("by id: %s\nwant %s", body, line)
		}
	}
	c.violations()
}

// The incident by its id without alerts, and the alerts apart, are what the
// list has.
func TestGraphAlertsApart(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Incidents: 40, Size: 9000})
	c := graphCall(t, sim)
	sim.Change(func(b *simulator.Behaviour) { b.GraphQuota = nil })
	for _, v := range sim.Final() {
		at := fmt.Sprintf("%s/%d", graphPath, v.ID)
		_, bare := c.ask(at, "Prefer", known)
		var alerts [][]byte
		for {
			_, body := c.ask(fmt.Sprintf("%s/alerts?$top=2&$skip=%d", at, len(alerts)), "Prefer", known)
			var p graphPage
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatal(err)
			}
			if len(p.Value) == 0 {
				break
			}
			for _, raw := range p.Value {
				alerts = append(alerts, raw)
			}
		}
		_, inner, _ := strings.Cut(string(bare), "$entity\",")
		joined := "{" + strings.TrimSuffix(inner, "}") + `,"alerts":[` + string(bytes.Join(alerts, []byte(","))) + "]}"
		if joined != string(v.GraphApart()) {
			t.Fatalf("joined %s\nwant %s", joined, v.GraphApart())
		}
	}
	c.violations()
}

func TestGraphRefuses(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 2, Incidents: 10})
	c := graphCall(t, sim)
	refused := func(status int, code string, kinds []string, target string) {
		t.Helper()
		before := len(sim.Violations())
		r, body := c.ask(target, "client-request-id", "mine")
		var e struct {
			Error map[string]any
		}
		if err := json.Unmarshal(body, &e); err != nil || r.StatusCode != status || e.Error["code"] != code {
			t.Errorf("%s: %d %s", target, r.StatusCode, body)
		}
		if r.Header.Get("client-request-id") != "mine" || !strings.Contains(string(body), r.Header.Get("request-id")) {
			t.Errorf("%s: headers %v, body %s", target, r.Header, body)
		}
		got := sim.Violations()[before:]
		if len(got) != len(kinds) || len(got) > 0 && !strings.HasPrefix(got[0], kinds[0]+": ") {
			t.Errorf("%s: violations are %q, want %q", target, got, kinds)
		}
	}
	list := func(options ...string) string { return graphPath + query(options...) }
	refused(400, "", []string{"top"}, list("$top", "51"))
	refused(400, "BadRequest", []string{"skip"}, list("$skip", "501"))
	refused(400, "BadRequest", []string{"option"}, list("$orderby", "lastUpdateDateTime asc"))
	refused(400, "BadRequest", []string{"option"}, list("$expand", "evidence"))
	refused(400, "BadRequest", []string{"option"}, list("$count", "yes"))
	refused(400, "BadRequest", []string{"option"}, list("$select", "id"))
	for _, filter := range []string{
		"lastUpdateDateTime ge '2026-01-01T00:00:00Z'", "lastUpdateDateTime ge 2026-01-01T00:00:00", "createdDateTime ge 2026-01-01",
		"lastUpdateTime ge 2026-01-01T00:00:00Z", "status eq active", "displayName eq 'x'", "severity ne 'high'", "status eq 'active' or status eq 'resolved'",
	} {
		refused(400, "BadRequest", nil, list("$filter", filter))
	}
	refused(404, "ResourceNotFound", nil, graphPath+"/1")
	refused(400, "BadRequest", []string{"option"}, graphPath+"/40001?$select=id")
	for _, filter := range []string{"status eq 'active'", "severity eq 'low'", "classification eq 'truePositive'", "determination eq 'phishing'", "assignedTo eq 'ana@fabrikam.example'"} {
		property, value, _ := strings.Cut(filter, " eq ")
		p := c.graphList("$filter", filter, "$count", "true")
		all, held := c.graphList(), 0
		for _, raw := range all.Value {
			if bytes.Contains(raw, fmt.Appendf(nil, `"%s":"%s"`, property, strings.Trim(value, "'"))) {
				held++
			}
		}
		if *p.Count != held || len(p.Value) != held {
			t.Errorf("%s: %d rows, counted %d, want %d", filter, len(p.Value), *p.Count, held)
		}
	}
	sim.Change(func(b *simulator.Behaviour) { b.GraphRoles = nil })
	c.token = graphCall(t, sim).token
	refused(403, "Forbidden", nil, graphPath)
	c.login() // for Defender
	refused(401, "InvalidAuthenticationToken", []string{"audience"}, graphPath)
	c.token = "nobody's"
	refused(401, "InvalidAuthenticationToken", []string{"auth"}, graphPath+"/40001/alerts")
}

func TestGraphQuota(t *testing.T) {
	for dialect, want := range map[simulator.QuotaDialect]string{simulator.RetryDecimal: `^60\.000$`, simulator.RetryBodyOnly: `^$`} {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 2, Incidents: 3})
			sim.Change(func(b *simulator.Behaviour) { b.QuotaDialect = dialect })
			c, other := graphCall(t, sim), call(t, sim)
			for range 150 {
				c.graphList()
			}
			c.violations()
			r, body := c.ask(graphPath)
			if after := r.Header.Get("Retry-After"); r.StatusCode != 429 || !regexp.MustCompile(want).MatchString(after) || bytes.Contains(body, []byte("00:01:00")) {
				t.Errorf("dialect %d: %d, after %q, %s", dialect, r.StatusCode, after, body)
			}
			c.violations("quota")
			other.list() // which has a quota of its own
			time.Sleep(time.Minute + time.Second)
			c.graphList()
			c.violations("quota")
		})
	}
}

func TestGraphOnABadDay(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 6, Incidents: 120, Size: 3000})
	c := graphCall(t, sim)
	change := func(f func(*simulator.Behaviour)) {
		sim.Change(func(b *simulator.Behaviour) {
			*b = simulator.DefaultBehaviour()
			f(b)
		})
	}
	status := func(target string, headers ...string) int {
		r, _ := c.ask(target, headers...)
		return r.StatusCode
	}
	id := graphID(t, c.graphList("$skip", "7", "$top", "1").Value[0])
	var n int64
	_, _ = fmt.Sscan(id, &n)
	change(func(b *simulator.Behaviour) { b.Unexpandable = map[int64]bool{n: true} })
	one := graphPath + "/" + id
	newest := slices.MaxFunc(sim.Final(), func(a, b simulator.Version) int {
		return map[bool]int{true: 1, false: -1}[later(t, a.Updated, b.Updated)]
	}).Updated
	for target, want := range map[string]int{
		graphPath + "?$expand=alerts": 500, graphPath + "?$expand=alerts&$skip=8": 200, graphPath: 200,
		one: 200, one + "?$expand=alerts": 200, one + "/alerts": 200,
	} {
		if got := status(target); got != want {
			t.Errorf("%s: %d, want %d", target, got, want)
		}
	}
	sim.Change(func(b *simulator.Behaviour) { b.UnexpandableByID = true })
	if status(one+"?$expand=alerts") != 500 || status(one) != 200 || status(one+"/alerts") != 200 {
		t.Error("by id")
	}
	for kind, want := range map[simulator.Count]int{
		simulator.CountRight: 119, simulator.CountOfPage: 5, simulator.CountShort: 118, simulator.CountLong: 120,
		simulator.CountGlobal: 120, simulator.CountSaturating: 100,
	} {
		change(func(b *simulator.Behaviour) { b.Count = kind })
		if p := c.graphList("$top", "5", "$count", "true", "$filter", "lastUpdateDateTime lt "+newest); *p.Count != want {
			t.Errorf("count %d is %d, want %d", kind, *p.Count, want)
		}
	}
	change(func(b *simulator.Behaviour) { b.Count, b.PageCap, b.NoNextLink = simulator.NoCount, 7, true })
	if p := c.graphList("$count", "true"); p.Count != nil || len(p.Value) != 7 || p.Next != "" {
		t.Errorf("count %v, %d rows, next %q", p.Count, len(p.Value), p.Next)
	}
	change(func(b *simulator.Behaviour) { b.SkipWall = 60 })
	p, q := c.graphList("$skip", "50", "$count", "true"), c.graphList("$skip", "60")
	if len(p.Value) != 10 || p.Next != "" || *p.Count != 120 || len(q.Value) != 0 {
		t.Errorf("at the wall %d rows, next %q, count %d; behind it %d rows", len(p.Value), p.Next, *p.Count, len(q.Value))
	}
	change(func(b *simulator.Behaviour) { b.PartialRate = 1 })
	r, body := c.ask(graphPath)
	if r.StatusCode != 206 || !regexp.MustCompile(`^199 - "[^/]+/[^/]+/\d+/\d+"$`).MatchString(r.Header.Get("Warning")) || !json.Valid(body) {
		t.Errorf("partial: %d %v", r.StatusCode, r.Header)
	}
	change(func(b *simulator.Behaviour) {
		b.Fail = func(*http.Request, int) simulator.Fault { return simulator.Error504 }
	})
	if r, body := c.ask(graphPath); r.StatusCode != 504 || !bytes.Contains(body, []byte(`"code":"UnknownError"`)) || !bytes.Contains(body, []byte(`"message":""`)) {
		t.Errorf("504: %s", body)
	}
	c.violations()
}

// Who does not say that he knows of newer enum members is not shown them.
func TestGraphUnknownMembers(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 6, Incidents: 50, Size: 4000})
	c := graphCall(t, sim)
	_, plain := c.ask(graphPath + "?$expand=alerts")
	_, full := c.ask(graphPath+"?$expand=alerts", "Prefer", known)
	for _, word := range []string{`"status":"awaitingAction"`, `"serviceSource":"microsoftSentinel"`} {
		name, _, _ := strings.Cut(word, ":")
		n := bytes.Count(full, []byte(word))
		if n == 0 || bytes.Contains(plain, []byte(word)) || bytes.Count(plain, []byte(name+`:"unknownFutureValue"`)) != n {
			t.Errorf("%s: %d times, %d times without the header", word, n, bytes.Count(plain, []byte(word)))
		}
	}
}

// Both APIs show the same alerts of an incident, however many it has.
func TestGraphHasTheSameAlerts(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 17, Incidents: 60, Size: 12_000})
	if _, _, err := sim.Merge(40_001, 40_002); err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, v := range sim.Final() {
		var d struct{ Alerts []struct{ AlertID string } }
		var g struct{ Alerts []struct{ ID string } }
		if err := errors.Join(json.Unmarshal(v.Line(), &d), json.Unmarshal(v.GraphLine(), &g)); err != nil {
			t.Fatal(err)
		}
		if len(d.Alerts) != len(g.Alerts) {
			t.Fatalf("incident %d has %d alerts and in Graph %d", v.ID, len(d.Alerts), len(g.Alerts))
		}
		for i := range d.Alerts {
			if d.Alerts[i].AlertID != g.Alerts[i].ID {
				t.Errorf("alert %s of incident %d is %s in Graph", d.Alerts[i].AlertID, v.ID, g.Alerts[i].ID)
			}
		}
		most = max(most, len(d.Alerts))
	}
	if most < 5 {
		t.Errorf("at most %d alerts", most)
	}
}
