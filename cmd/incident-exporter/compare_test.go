package main

import (
	"bytes"
	"encoding/json"
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
	"incident-exporter/exporter/simulator"
)

// twin is a tenant that two simulators play, one for each API, in this process and on virtual time.
// They begin with the same incidents, so that what is done to one of them alone is a difference.
type twin struct {
	*testing.T
	sims   [2]*simulator.Simulator // by side
	edit   [2]func(incident string) string
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
		w := newTwin(t, simulator.Options{Seed: 21, Incidents: 3000, Size: 9000, Span: 20 * 24 * time.Hour, TieShare: 0.1, Tie: 120}, 1)
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
		if sum["compared"] != 3000.0 || sum["changed_meanwhile"] != 0.0 {
			t.Errorf("%v", sum)
		}
	})
}
