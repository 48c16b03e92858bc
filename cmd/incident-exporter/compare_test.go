package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/auth"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/rawjson"
	"incident-exporter/exporter/simulator"
)

// twin is a tenant that two simulators play, one for each API, in this process and on virtual time.
// They begin with the same incidents, so that what is done to one of them alone is a difference.
type twin struct {
	*testing.T
	sims   [2]*simulator.Simulator // by side
	edit   [2]func(incident string) string
	turn   func(n int) // called when the other side begins to be asked, for the n-th time
	turns  []int
	passes *passes
	out    bytes.Buffer
	log    strings.Builder
}

// newTwin has two simulators, or one that plays both APIs.
func newTwin(t *testing.T, options simulator.Options, sims int, settings ...string) *twin {
	t.Helper()
	w := &twin{T: t}
	w.sims[defenderSide] = simulator.New(options)
	w.sims[graphSide] = w.sims[defenderSide]
	if sims == 2 {
		w.sims[graphSide] = simulator.New(options)
	}
	cfg := load(t, append([]string{"AZURE_TENANT_ID=" + simulator.DefaultTenant, "AZURE_CLIENT_ID=" + simulator.DefaultClientID,
		"AZURE_CLIENT_SECRET=" + simulator.DefaultSecret, "EXPORTER_TOKEN_ENDPOINT=v1"}, settings...)...)
	if len(cfg.problems) > 0 {
		t.Fatal(cfg.problems)
	}
	transport := simulator.Transport(http.HandlerFunc(w.serve))
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	w.passes = &passes{
		app: &app{stdout: &w.out, stderr: &w.log}, cfg: cfg, json: true, log: log, within: log, line: &progressLine{},
		transport: transport, share: defender.NewShare(mostCalls, int64(cfg.Exporter.MaxAnswerBytes)),
		credentials: map[string]auth.Credential{}, streams: map[ledger.Stream]*streamPasses{},
	}
	for _, audience := range []string{simulator.DefaultAudience, simulator.DefaultGraph} {
		credential, err := auth.New(auth.Options{
			Kind: auth.ClientSecret, Endpoint: auth.EndpointV1, ClientID: simulator.DefaultClientID, Secret: cfg.clientSecret,
			Audience: audience, AuthorityHost: "https://login.microsoftonline.com", HTTPClient: &http.Client{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.passes.credentials[audience] = credential
	}
	return w
}

// serve hands a request to the side that it is for, and edits the answer.
func (w *twin) serve(out http.ResponseWriter, r *http.Request) {
	side := defenderSide
	if strings.HasPrefix(r.URL.Path, "/v1.0/") || strings.HasSuffix(r.URL.Path, "/oauth2/token") && r.FormValue("resource") == simulator.DefaultGraph {
		side = graphSide
	}
	if host := [2]string{"api.security.microsoft.com", "graph.microsoft.com"}[side]; r.Host != host && r.Host != "login.microsoftonline.com" {
		w.Errorf("a call of %s to %s", r.URL.Path, r.Host)
	}
	if n := len(w.turns); w.turn != nil && strings.HasSuffix(r.URL.Path, "/incidents") && (n == 0 || w.turns[n-1] != side) {
		w.turns = append(w.turns, side)
		w.turn(n + 1)
	}
	edit := w.edit[side]
	if edit == nil || !strings.HasSuffix(r.URL.Path, "/incidents") {
		w.sims[side].ServeHTTP(out, r)
		return
	}
	answer := httptest.NewRecorder()
	w.sims[side].ServeHTTP(answer, r)
	body := answer.Body.String()
	var list struct{ Value []json.RawMessage }
	if answer.Code == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			w.Error(err)
		}
	}
	for _, incident := range list.Value {
		body = strings.Replace(body, string(incident), edit(string(incident)), 1)
	}
	for name, values := range answer.Header() {
		out.Header()[name] = values
	}
	out.Header().Del("Content-Length")
	out.WriteHeader(answer.Code)
	_, _ = out.Write([]byte(body)) // the caller notices
}

// compare compares and returns the lines that it printed before the summary, and the summary.
func (w *twin) compare(f *compareFlags) (found []map[string]any, sum map[string]any, err error) {
	w.Helper()
	if f.last.Duration == 0 {
		f.last.Duration = 24 * time.Hour
	}
	w.out.Reset()
	err = w.passes.compare(w.Context(), f)
	for _, text := range []string{w.out.String(), w.log.String(), fmt.Sprint(err)} {
		if strings.Contains(text, simulator.DefaultSecret) || strings.Contains(text, "eyJ") {
			w.Errorf("shows the secret or a token: %s", text)
		}
	}
	found = jsonLines(w.T, w.out.String())
	if len(found) == 0 {
		return nil, nil, err
	}
	sum, _ = found[len(found)-1]["summary"].(map[string]any)
	return found[:len(found)-1], sum, err
}

// agreed compares, and wants no difference.
func (w *twin) agreed(f *compareFlags) (sum map[string]any) {
	w.Helper()
	found, sum, err := w.compare(f)
	if err != nil || len(found) > 0 || sum["differing"] != 0.0 || sum["only_defender"] != 0.0 || sum["only_graph"] != 0.0 || sum["unfetched"] != 0.0 {
		w.Fatalf("%v, %.3000v, %v", err, found, sum)
	}
	for _, sim := range w.sims {
		if v := sim.Violations(); len(v) > 0 {
			w.Errorf("violations: %q", v)
		}
	}
	return sum
}

// TestTheTwoAgree: thousands of incidents that nobody touches, some of them merged, are the same in
// the words of both APIs.
func TestTheTwoAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(t, simulator.Options{Seed: 21, Incidents: 2000, Size: 5000, Span: 20 * 24 * time.Hour, TieShare: 0.1, Tie: 120}, 1)
		sim := w.sims[0]
		for _, id := range sim.RandomIDs(400) {
			if _, err := sim.Update(id); err != nil {
				t.Fatal(err)
			}
		}
		ids := sim.RandomIDs(40)
		for i := 0; i < len(ids); i += 2 {
			if _, _, err := sim.Merge(ids[i], ids[i+1]); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		sum := w.agreed(&compareFlags{last: duration{30 * 24 * time.Hour}})
		if sum["compared"] != 2000.0 || sum["changed_meanwhile"] != 0.0 {
			t.Errorf("%v", sum)
		}
	})
}

// TestWhatChangesIsNoDifference: incidents and alerts change at every call, some of it visible late,
// and the pages are shorter than asked for. Nothing of that is taken for a difference.
func TestWhatChangesIsNoDifference(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			w := newTwin(t, simulator.Options{Seed: seed, Incidents: 400, Size: 2500, Span: 23 * time.Hour}, 1)
			sim := w.sims[0]
			for range 60 {
				if _, err := sim.Update(sim.RandomIDs(1)[0]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
			sim.Change(func(b *simulator.Behaviour) {
				b.ChurnPerCall, b.LateBy, b.Latency = 2, time.Hour, time.Second
				if seed == 5 {
					b.PageCap = 9
				}
				b.Fail = func(r *http.Request, n int) simulator.Fault {
					if n%2 == 0 {
						if _, err := sim.AlertChange(sim.RandomIDs(1)[0]); err != nil {
							t.Error(err)
						}
					}
					return simulator.NoFault
				}
			})
			sum := w.agreed(&compareFlags{})
			t.Logf("seed %d: %v compared, %v changed meanwhile", seed, sum["compared"], sum["changed_meanwhile"])
			if sum["compared"].(float64) < 50 || sum["changed_meanwhile"] == 0.0 {
				t.Errorf("%v", sum)
			}
		})
	}
}

// editOf changes an answer's incidents that hold a text.
func editOf(holds, from, to string) func(string) string {
	return func(incident string) string {
		if strings.Contains(incident, holds) {
			return strings.Replace(incident, from, to, 1)
		}
		return incident
	}
}

// between is the text between two others, which must be there.
func between(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, before)
	value, _, found := strings.Cut(rest, after)
	if !ok || !found {
		t.Fatalf("no %s in %s", before, text)
	}
	return value
}

// TestEachDifferenceIsFound changes one thing in what one of the APIs answers.
func TestEachDifferenceIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(t, simulator.Options{Seed: 3, Incidents: 60, Size: 4000, Span: 20 * time.Hour}, 1)
		sim := w.sims[0]
		sim.Change(func(b *simulator.Behaviour) { b.Quota, b.GraphQuota = nil, nil }) // each comparison counts as a process of its own
		var chosen simulator.Version                                                  // open, assigned, with alerts and a comment
		for _, v := range sim.Final() {
			changed, err := sim.Update(v.ID)
			if err != nil {
				t.Fatal(err)
			}
			line := string(changed.GraphLine())
			if strings.Contains(line, `"evidence":`) && !strings.Contains(line, `"assignedTo":null,"classification`) {
				chosen = changed
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		d, g := string(chosen.Line()), string(chosen.GraphLine())
		id := fmt.Sprint(chosen.ID)
		inGraph, inDefender := `"id":"`+id+`"`, `"incidentId":`+id+`,"incidentUri"`
		alert := between(t, g, `"alerts":[{"id":"`, `"`)
		of := func(text, name string) string { return between(t, text, `"`+name+`":"`, `"`) }
		tick := func(at string) string {
			moved, err := rawjson.ParseTime(at)
			if err != nil {
				t.Fatal(err)
			}
			return rawjson.FormatTime(moved.Add(rawjson.Tick))
		}
		updated, firstActivity := of(g, "lastUpdateDateTime"), of(g, "firstActivityDateTime")
		for _, c := range []struct {
			side         int
			from, to     string
			field, alert string
			d, g         any
		}{
			{graphSide, `"severity":"` + of(g, "severity"), `"severity":"extreme`, "severity", "", of(d, "severity"), "extreme"},
			{graphSide, `"displayName":"`, `"displayName":"Z`, "name", "", of(d, "incidentName"), "Z" + of(g, "displayName")},
			{defenderSide, `"status":"` + of(d, "status"), `"status":"Reopened`, "status", "", "Reopened", of(g, "status")},
			{defenderSide, `"classification":"` + of(d, "classification"), `"classification":"BenignPositive`, "classification", "", "BenignPositive", of(g, "classification")},
			{graphSide, `"determination":"` + of(g, "determination"), `"determination":"apt`, "determination", "", of(d, "determination"), "apt"},
			{graphSide, `"assignedTo":"` + of(g, "assignedTo") + `"`, `"assignedTo":null`, "assignedTo", "", of(d, "assignedTo"), nil},
			{graphSide, `"assignedTo":"` + of(g, "assignedTo") + `",`, ``, "assignedTo", "", of(d, "assignedTo"), nil},
			{graphSide, `"redirectIncidentId":null`, `"redirectIncidentId":"7"`, "redirectIncidentId", "", nil, "7"},
			{defenderSide, `"createdTime":"` + of(d, "createdTime"), `"createdTime":"2000-01-01T00:00:00.0000001Z`, "created", "", "2000-01-01T00:00:00.0000001Z", of(g, "createdDateTime")},
			{graphSide, `?tid=`, `?tenant=`, "url", "", of(d, "incidentUri"), strings.Replace(of(g, "incidentWebUrl"), "?tid=", "?tenant=", 1)},
			{graphSide, `"customTags":[`, `"customTags":["` + "é" + `",`, "tags", "", nil, nil},
			{graphSide, `"comment":"reviewed`, `"comment":"looked at`, "comments", "", "reviewed, revision 0", "looked at, revision 0"},
			{graphSide, `"lastUpdateDateTime":"` + updated, `"lastUpdateDateTime":"` + tick(updated), "updated", "", chosen.Updated, tick(updated)},
			{graphSide, firstActivity, tick(firstActivity), "alerts.firstActivity", alert, firstActivity, tick(firstActivity)},
			{graphSide, `"alerts":[{"id":"`, `"alerts":[{"id":"x`, "alerts", "", alert, "x" + alert},
			{graphSide, `"status":"` + of(g[strings.Index(g, `"alerts":[`):], "status") + `","severity`, `"status":"unheardOf","severity`, "alerts.status", alert, nil, "unheardOf"},
		} {
			changed := strings.Replace(map[int]string{defenderSide: d, graphSide: g}[c.side], c.from, c.to, 1)
			if c.field == "tags" {
				changed = strings.Replace(changed, `["é",]`, `["é"]`, 1)
				c.g = "é"
			}
			if !json.Valid([]byte(changed)) {
				t.Fatalf("%s makes %s", c.field, changed)
			}
			w.edit = [2]func(string) string{}
			w.edit[c.side] = func(incident string) string {
				if strings.Contains(incident, inGraph) || strings.Contains(incident, inDefender) {
					return changed
				}
				return incident
			}
			found, sum, err := w.compare(&compareFlags{})
			if code := w.exit(err); code != exitFailed || len(found) != 1 || sum["differing"] != 1.0 || sum["compared"] != 60.0 {
				t.Fatalf("%s: exit %d, %v, %v", c.field, code, found, sum)
			}
			if c.field == "alerts.status" {
				c.d = found[0]["defender"] // whichever it is
			}
			want := map[string]any{"kind": "differs", "tenant": simulator.DefaultTenant, "id": id, "updated": chosen.Updated, "field": c.field, "defender": c.d, "graph": c.g}
			if c.alert != "" {
				want["alert"] = c.alert
			}
			if got := found[0]; jsonText(got) != jsonText(want) {
				t.Errorf("found %s, want %s", jsonText(got), jsonText(want))
			}
			if fields, _ := sum["fields_differing"].(map[string]any); len(fields) != 1 || fields[c.field] != 1.0 {
				t.Errorf("%v", sum)
			}
		}
		// What one side alone has is listed, and no difference; null is absent; ticks and words may be
		// written in the other way.
		w.edit = [2]func(string) string{editOf(`"`, `"assignedTo":null,`, ``), editOf(`"`, `Z"`, `+00:00"`)}
		sum := w.agreed(&compareFlags{})
		onlyD, _ := sum["fields_only_defender"].(map[string]any)
		onlyG, _ := sum["fields_only_graph"].(map[string]any)
		if onlyG["tenantId"] != 60.0 || onlyD["activityCount"] != 60.0 || onlyD["alerts.entities"] == nil || onlyG["alerts.evidence"] == nil || onlyG["displayName"] != nil || onlyD["incidentName"] != nil {
			t.Errorf("%v", sum)
		}
	})
}

// exit is the exit code that an error stands for.
func (w *twin) exit(err error) int {
	var stderr bytes.Buffer
	return (&app{stderr: &stderr, started: true}).report(err)
}

// TestOnOneSideOnly: incidents that one API knows and the other does not.
func TestOnOneSideOnly(t *testing.T) {
	for side, source := range sideNames {
		synctest.Test(t, func(t *testing.T) {
			w := newTwin(t, simulator.Options{Seed: 9, Incidents: 200, Size: 3000, Span: 20 * time.Hour}, 2)
			time.Sleep(time.Minute)
			extra := []simulator.Version{w.sims[side].Create(), w.sims[side].Create()}
			time.Sleep(time.Hour)
			found, sum, err := w.compare(&compareFlags{})
			if w.exit(err) != exitFailed || len(found) != 2 || sum["only_"+source] != 2.0 || sum["compared"] != 200.0 || sum["differing"] != 0.0 {
				t.Fatalf("%v, %v", found, sum)
			}
			for i, v := range extra {
				want := onlyLine{"only", source, simulator.DefaultTenant, fmt.Sprint(v.ID), v.Updated}
				if got := strings.Split(w.out.String(), "\n")[i]; got != jsonText(want) {
					t.Errorf("found %s, want %s", got, jsonText(want))
				}
			}
		})
	}
}

// TestSeenInBetween: what turns up late, so that Graph is the first to be asked for it, and is gone
// again before Defender is asked once more, is no difference.
func TestSeenInBetween(t *testing.T) {
	between := 0
	for try := 0; try < 5 && between == 0; try++ {
		synctest.Test(t, func(t *testing.T) {
			w := newTwin(t, simulator.Options{Seed: 4, Incidents: 20, Size: 700, Span: 20 * time.Hour}, 1)
			sim := w.sims[0]
			sim.Change(func(b *simulator.Behaviour) { b.LateBy = 25 * time.Minute })
			var late []simulator.Version
			for range 60 {
				if v := sim.Create(); v.VisibleFrom.After(time.Now()) {
					late = append(late, v)
				}
			}
			time.Sleep(2 * time.Minute)
			w.turn = func(n int) {
				if n == 3 { // both clocks have been asked
					sim.Change(func(b *simulator.Behaviour) { b.Latency = 100 * time.Second })
				}
				if n != 5 { // Defender again
					return
				}
				sim.Change(func(b *simulator.Behaviour) { b.LateBy = 0 })
				for _, v := range late {
					if v.VisibleFrom.Before(time.Now()) {
						if _, err := sim.Update(v.ID); err != nil {
							t.Error(err)
						}
					}
				}
			}
			sum := w.agreed(&compareFlags{})
			// Whether Graph is the first to see one hangs on which of its calls that are sent at once is answered first.
			order := fmt.Sprint(w.turns)
			if order == "[0 1 0 1 0 1]" {
				between++
			} else if order != "[0 1 0 1 0]" {
				t.Errorf("asked in order %s", order)
			}
			if sum["changed_meanwhile"].(float64) < 5 {
				t.Errorf("%v", sum)
			}
		})
	}
	if between == 0 {
		t.Error("Graph was never the first")
	}
}

// TestWhatCannotBeServed is named, and is no difference, but no agreement either; what Graph can
// serve with the alerts apart only is compared.
func TestWhatCannotBeServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(t, simulator.Options{Seed: 6, Incidents: 120, Size: 3000, Span: 20 * time.Hour}, 2)
		ids := w.sims[0].RandomIDs(3)
		w.sims[defenderSide].Change(func(b *simulator.Behaviour) {
			b.Poison, b.PoisonByID = map[int64]bool{ids[0]: true}, true
		})
		w.sims[graphSide].Change(func(b *simulator.Behaviour) {
			b.Poison, b.PoisonByID = map[int64]bool{ids[1]: true}, true
			b.Unexpandable, b.UnexpandableByID = map[int64]bool{ids[2]: true}, true
		})
		time.Sleep(time.Hour)
		found, sum, err := w.compare(&compareFlags{})
		if w.exit(err) != exitFailed || len(found) != 2 || sum["compared"] != 118.0 || sum["unfetched"] != 2.0 || sum["changed_meanwhile"] != 0.0 {
			t.Fatalf("%v, %v, %v", found, sum, err)
		}
		for i, f := range found {
			if f["kind"] != "unfetched" || f["source"] != sideNames[i] || f["from"] == "" || f["to"] == "" || f["text"] == "" {
				t.Errorf("%v", f)
			}
		}
		w.passes.json = false
		w.out.Reset()
		if err := w.passes.compare(t.Context(), &compareFlags{last: duration{24 * time.Hour}}); w.exit(err) != exitFailed {
			t.Error(err)
		}
		text := w.out.String()
		if strings.Count(text, "\nunfetched: graph: from 1999-12-31T") != 1 || !strings.Contains(text, "\nnot all could be read: 118 compared, 0 only in defender") || strings.Count(text, "\n") != 5 {
			t.Error(text)
		}
	})
}

// TestAPermissionIsMissing: the one app has the permission of one API only, of none, or the token
// endpoint refuses it. What is to be done is said for each API.
func TestAPermissionIsMissing(t *testing.T) {
	for _, c := range []struct {
		change func(*simulator.Behaviour)
		says   []string
		remedy []string
	}{
		{func(b *simulator.Behaviour) { b.GraphRoles = nil }, []string{"graph: read incidents: GET /v1.0/security/incidents: status 403", "no roles"}, []string{"SecurityIncident.Read.All", "Microsoft Graph"}},
		{func(b *simulator.Behaviour) { b.Roles = nil }, []string{"defender: read incidents: GET /api/incidents: status 403", "no roles"}, []string{"Incident.Read.All", "Microsoft Threat Protection"}},
		{func(b *simulator.Behaviour) { b.Roles, b.GraphRoles = nil, nil }, []string{"defender: read incidents", "; graph: read incidents"}, []string{"defender: ", "; graph: ", "SecurityIncident.Read.All"}},
		{func(b *simulator.Behaviour) { b.SecretExpired = true }, []string{"AADSTS7000222"}, []string{"secret"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newTwin(t, simulator.Options{Seed: 1, Incidents: 20, Span: time.Hour}, 1)
			w.sims[0].Change(c.change)
			time.Sleep(time.Hour)
			found, sum, err := w.compare(&compareFlags{})
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != exitFailed || found != nil || sum != nil {
				t.Fatalf("%v, %v, %v", found, sum, err)
			}
			for _, want := range c.says {
				if !strings.Contains(exit.Error(), want) {
					t.Errorf("%q is not in %q", want, exit.Error())
				}
			}
			for _, want := range c.remedy {
				if !strings.Contains(exit.remedy, want) {
					t.Errorf("%q is not in %q", want, exit.remedy)
				}
			}
		})
	}
}

func TestIntervals(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 15, 30, 123456789, time.UTC)
	at := func(text string) startFlag {
		var f startFlag
		if err := f.Set(text); err != nil {
			t.Fatal(err)
		}
		return f
	}
	day := duration{24 * time.Hour}
	for _, c := range []struct {
		f              compareFlags
		from, to, says string
	}{
		{compareFlags{last: day}, "2026-03-01T08:14:30Z", "2026-03-02T08:14:30Z", ""},
		{compareFlags{last: duration{time.Hour}, to: at("2026-03-01T00:00:00.12345678Z")}, "2026-02-28T23:00:00.1234567Z", "2026-03-01T00:00:00.1234567Z", ""},
		{compareFlags{last: day, from: at("7d")}, "2026-02-23T08:15:30Z", "2026-03-02T08:14:30Z", ""},
		{compareFlags{last: day, from: at("2026-03-02T00:00:00+01:00"), to: at("now")}, "2026-03-01T23:00:00Z", "2026-03-02T08:14:30Z", ""},
		{compareFlags{last: day, from: at("30s")}, "", "", "there is nothing between"},
		{compareFlags{last: day, from: at("1h"), to: at("2h")}, "", "", "2026-03-02T07:15:30Z is not before 2026-03-02T06:15:30Z"},
		{compareFlags{last: day, to: at("2026-03-02T08:15:31Z")}, "", "", "by the APIs' clock it is only 2026-03-02T08:15:30Z"},
	} {
		from, to, err := c.f.interval(now, time.Minute)
		if err != nil || c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v, want %s", c.f, err, c.says)
			}
			continue
		}
		if got := rawjson.FormatTime(from) + " " + rawjson.FormatTime(to); got != c.from+" "+c.to {
			t.Errorf("%+v: %s", c.f, got)
		}
	}
}

func TestCompareIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(t, simulator.Options{Seed: 1, Incidents: 300, Span: 20 * time.Hour}, 1)
		ctx, stop := context.WithCancel(t.Context())
		w.turn = func(n int) {
			if n == 4 { // Graph
				stop()
			}
		}
		err := w.passes.compare(ctx, &compareFlags{last: duration{24 * time.Hour}})
		if w.exit(err) != exitFailed || err.Error() != "stopped by a signal before its end" || w.out.Len() > 0 {
			t.Errorf("%v, %s", err, w.out.String())
		}
	})
}

// TestFindingsAsText: one line each, whatever the API called things.
func TestFindingsAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwin(t, simulator.Options{Seed: 2, Incidents: 1, Size: 700, Span: time.Hour}, 2)
		w.passes.json = false
		time.Sleep(time.Minute)
		extra := w.sims[graphSide].Create()
		w.edit[graphSide] = editOf(`"id":"40001"`, `"displayName":"`, `"new\nmember\u001b[31m":1,"displayName":"two\nlines\u001b[31m`)
		time.Sleep(time.Hour)
		if err := w.passes.compare(t.Context(), &compareFlags{last: duration{24 * time.Hour}}); w.exit(err) != exitFailed {
			t.Error(err)
		}
		first := w.sims[graphSide].Final()[0]
		title := between(t, string(first.Line()), `"incidentName":"`, `"`)
		want := "only in graph: incident " + fmt.Sprint(extra.ID) + ", updated " + extra.Updated + "\n" +
			"differs: incident 40001, updated " + first.Updated + `: name: defender "` + title + `", graph "two\nlines\x1b[31m` + title + `"` + "\n" +
			"they differ: 1 compared, 0 only in defender, 1 only in graph, 1 differing, 0 changed meanwhile and not compared, 0 unfetched; from 1999-12-31T01:00:00Z to 2000-01-01T01:00:00Z\n" +
			"fields that differ: name (1)\n"
		if got := w.out.String(); !strings.HasPrefix(got, want) || !strings.Contains(got, "new member[31m (1)") || strings.Count(got, "\n") != 6 {
			t.Errorf("printed %s, want %s", got, want)
		}
	})
}
