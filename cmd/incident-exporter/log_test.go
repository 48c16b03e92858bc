package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// TestLogLeadsToManifests: the line of a commit names the head and a request that its manifest names,
// and there is one such line a manifest.
func TestLogLeadsToManifests(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 9, Incidents: 300})
	r := s.run([]string{"EXPORTER_SOURCE=graph", "EXPORTER_BATCH_RECORDS=100"}, "export")
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	lines := map[string]map[string]any{} // by sequence number
	for _, line := range jsonLines(t, r.stderr) {
		if line["msg"] == "committed" {
			seq, _, _ := strings.Cut(fmt.Sprint(line["head"]), ":")
			lines[seq] = line
		}
	}
	named := 0
	for _, path := range s.files(".json") {
		content, err := os.ReadFile(path)
		var m ledger.Manifest
		if err != nil || json.Unmarshal(content, &m) != nil {
			t.Fatal(err)
		}
		line := lines[fmt.Sprint(m.Seq)]
		if m.Seq == 1 {
			continue
		}
		if line == nil || line["run"] == nil || line["source"] != "graph" || line["tenant"] != testTenant {
			t.Errorf("the line of manifest %d: %v", m.Seq, line)
		}
		if len(m.Requests) > 0 && line["request"] != m.Requests[0] {
			t.Errorf("manifest %d names %v, its line %v", m.Seq, m.Requests, line["request"])
		}
		named += min(1, len(m.Requests))
	}
	if named == 0 || len(lines) != len(s.files(".json"))-1 {
		t.Errorf("%d manifests name requests, %d lines, manifests %v", named, len(lines), s.files(".json"))
	}
}

// TestHealthTakesFewRequests at a chain of three weeks.
func TestHealthTakesFewRequests(t *testing.T) {
	mem := sinktest.NewMem()
	makeChain(t, mem, 6000)
	before := mem.Counts()
	cfg := load(t, "AZURE_TENANT_ID="+demoStream().Tenant)
	all, err := cfg.health(t.Context(), mem, duration{time.Hour}, false)
	if err != nil || len(all) != 1 || !all[0].OK {
		t.Fatalf("%+v, %v", all, err)
	}
	after := mem.Counts()
	if n := after.Lists - before.Lists + after.Gets - before.Gets; n > 15 || after.Puts != before.Puts {
		t.Errorf("%d requests", n)
	} else {
		t.Logf("%d requests at a chain of 6000", n)
	}
}
