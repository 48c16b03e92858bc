package simulator_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"incident-exporter/exporter/simulator"
)

// TestStray400 asks for it by the hook and by the rate; FailRate never draws it.
func TestStray400(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10, Size: 600})
	c, g := call(t, sim), graphCall(t, sim)
	sim.Change(func(b *simulator.Behaviour) { b.Quota, b.GraphQuota, b.Stray400Rate = nil, nil, 0.5 })
	strays := 0
	for range 40 {
		if status, code := c.status("/api/incidents"); status == http.StatusBadRequest && code == "ODataError" {
			strays++
		}
		if status, _ := c.status(path(40001)); status != http.StatusOK {
			t.Errorf("by id: %d", status)
		}
	}
	if strays < 10 || strays > 30 {
		t.Errorf("%d of 40 lists are refused", strays)
	}
	sim.Change(func(b *simulator.Behaviour) {
		b.Stray400Rate, b.Fail = 0, func(*http.Request, int) simulator.Fault { return simulator.Stray400 }
	})
	r, body := g.ask(graphPath)
	if r.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte(`"BadRequest"`)) || !bytes.Contains(body, []byte("$filter")) {
		t.Errorf("%d %s", r.StatusCode, body)
	}
	sim.Change(func(b *simulator.Behaviour) { b.Fail, b.FailRate, b.SlowBy = nil, 1, 0 })
	for range 300 {
		if r, _, err := c.get(path(40001)); err == nil && r.StatusCode == http.StatusBadRequest {
			t.Fatal("FailRate draws it")
		}
	}
	c.violations()
}

// TestByteOrderMark finds it in front of all JSON and of nothing else.
func TestByteOrderMark(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10, Size: 600})
	c, g := call(t, sim), graphCall(t, sim)
	targets := []string{"/api/incidents", path(40001), path(1), "/api/incidents?$top=x"}
	graphTargets := []string{graphPath, graphPath + "/40001", graphPath + "/1", graphPath + "/40001/alerts"}
	get := func() (bodies [][]byte) {
		for _, target := range targets {
			_, body, err := c.get(target)
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, body)
		}
		for _, target := range graphTargets {
			_, body := g.ask(target)
			bodies = append(bodies, body)
		}
		for _, secret := range []string{simulator.DefaultSecret, "wrong"} {
			r, err := c.client.PostForm(host+"/"+simulator.DefaultTenant+"/oauth2/v2.0/token", form("scope", simulator.DefaultAudience+"/.default", "client_secret", secret))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			bodies = append(bodies, body)
		}
		return bodies
	}
	plain := get()
	for _, pretty := range []bool{false, true} {
		sim.Change(func(b *simulator.Behaviour) { b.BOM, b.Pretty = true, pretty })
		for i, body := range get() {
			inner, ok := bytes.CutPrefix(body, []byte("\xef\xbb\xbf"))
			if !ok || !json.Valid(inner) || bytes.HasPrefix(inner, []byte("\xef")) || !pretty && len(inner) != len(plain[i]) {
				t.Errorf("body %d is %q", i, body)
			}
		}
	}
	for fault, want := range map[simulator.Fault]string{simulator.EmptyBody: "", simulator.HTML200: "<!DOCTYPE"} {
		sim.Change(fails(fault))
		if _, body, err := c.get("/api/incidents"); err != nil || want == "" && len(body) > 0 || !bytes.HasPrefix(body, []byte(want)) {
			t.Errorf("fault %d: %v %q", fault, err, body)
		}
	}
}
