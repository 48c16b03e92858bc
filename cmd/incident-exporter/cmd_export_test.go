package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
)

func TestExportVerifyListShow(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 1, Incidents: 1500, Tie: 130})
	first := s.done("export")
	head := strings.TrimSpace(first.stdout)
	if strings.Count(first.stdout, "\n") != 1 || !strings.Contains(first.stderr, head) || !strings.Contains(first.stderr, `"msg":"committed"`) {
		t.Errorf("stdout %q, stderr %s", first.stdout, first.stderr)
	}
	s.whole()

	s.later()
	s.sim.Bulk(120)
	changed, err := s.sim.Update(s.sim.RandomIDs(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	s.later()
	second := s.done("export", "--json")
	lines := jsonLines(t, second.stdout)
	if len(lines) != 1 {
		t.Fatalf("stdout %q", second.stdout)
	}
	for _, member := range []string{"source", "tenant", "head", "covered_since", "covered_until", "holes", "versions", "commits", "calls", "unfetched"} {
		if _, there := lines[0][member]; !there {
			t.Errorf("no member %s in %s", member, second.stdout)
		}
	}
	if n := lines[0]["versions"]; n != 120.0 && n != 121.0 {
		t.Errorf("%v new versions", n)
	}
	s.whole()

	// What was read by the API's order is audited in the runs that follow.
	for range 20 {
		next := jsonLines(t, s.done("export", "--json").stdout)
		if next[0]["commits"] == 0.0 {
			break
		}
		lines = next
	}

	// Readers need no settings but where the archive is.
	env := s.env
	s.env = []string{"EXPORTER_SINK=file:" + s.dir}
	before := s.content()
	verified := s.done("verify", "--head", head, "--json")
	found := jsonLines(t, verified.stdout)
	summary, _ := found[len(found)-1]["summary"].(map[string]any)
	heads, _ := summary["heads"].([]any)
	if len(found) != 1 || summary["faults"] != 0.0 || len(heads) != 1 || heads[0].(map[string]any)["head"] != lines[0]["head"] {
		t.Errorf("verify says %s", verified.stdout)
	}
	s.listShows(changed)
	if s.content() != before {
		t.Error("a reader has changed the archive")
	}
	s.env = env

	// Nothing new: one line all the same, and the same archive.
	third := s.run([]string{"EXPORTER_START=now"}, "export", "--json")
	if again := jsonLines(t, third.stdout); third.code != 0 || again[0]["head"] != lines[0]["head"] || !strings.Contains(third.stderr, "EXPORTER_START is ignored") {
		t.Errorf("exit %d, %s, %s", third.code, third.stdout, third.stderr)
	}
	if s.content() != before {
		t.Error("an idle export has changed the archive")
	}
}

// listShows holds list and show to what is known of one version.
func (s *scene) listShows(v simulator.Version) {
	s.Helper()
	id := strings.Split(string(v.Line()), `"incidentId":`)[1]
	id = id[:strings.IndexAny(id, ",}")]
	shown := s.done("show", id, "--json").stdout
	versions := jsonLines(s.T, shown)
	if len(versions) < 2 || !strings.HasSuffix(strings.TrimSpace(shown), `,"incident":`+string(v.Line())+"}") {
		s.Fatalf("show %s says %s", id, shown)
	}
	last := versions[len(versions)-1]
	if last["id"] != id || last["updated"] != v.Updated || last["sha256"] != hash(v) || last["tenant"] != testTenant || last["source"] != "defender" {
		s.Errorf("show says %v", last)
	}
	plain := s.done("show", id)
	if !strings.HasSuffix(plain.stdout, string(v.Line())+"\n") || strings.Count(plain.stdout, "\n") != len(versions) || !strings.Contains(plain.stderr, v.Updated) {
		s.Errorf("show says %s, %s", plain.stdout, plain.stderr)
	}
	since := jsonLines(s.T, s.done("show", id, "--json", "--since", json.Number(jsonText(last["seq"])).String()).stdout)
	if len(since) != 1 {
		s.Errorf("show --since says %v", since)
	}
	if r := s.run(nil, "show", "999999999"); r.code != exitFailed || r.stdout != "" || !strings.Contains(r.stderr, "no incident") {
		s.Errorf("show of what is not there: %+v", r)
	}

	list := jsonLines(s.T, s.done("list", "--json").stdout)
	for i, row := range list {
		read, covered := s.spans(row["read"]), s.spans(row["covered"])
		if row["seq"] != float64(i+1) || row["committed"] == "" || (row["key"] == "") != (i == 0) || len(covered) == 0 != (i == 0) || i == 0 && len(read) > 0 {
			s.Errorf("list says %v", row)
		}
		if left := ledger.Subtract(read, covered); len(left) > 0 {
			s.Errorf("manifest %v has read %v, which is not covered", row["seq"], left)
		}
		if row["seq"] == last["seq"] && row["key"] != last["key"] {
			s.Errorf("list says %v, show %v", row["key"], last["key"])
		}
	}
	if table := s.done("list").stdout; strings.Count(table, "\n") != len(list)+1 || !strings.Contains(table, "incidents/source=defender/tenant="+testTenant+"/date=") {
		s.Errorf("list says %s", table)
	}
	if rest := jsonLines(s.T, s.done("list", "--json", "--since", "2").stdout); len(rest) != len(list)-1 {
		s.Errorf("list --since 2 has %d of %d lines", len(rest), len(list))
	}
}

// spans are the stretches of claims as JSON has them.
func (s *scene) spans(claims any) (spans []ledger.Span) {
	s.Helper()
	if err := json.Unmarshal([]byte(jsonText(claims)), &spans); err != nil || spans == nil {
		s.Errorf("%v: %v", claims, err)
	}
	return spans
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestServedBytesAreShown: what was served is printed as it is, also where an encoder would spell
// it in another way.
func TestServedBytesAreShown(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	line := []byte("{\"incidentId\":9007199254740993,\"a\":1.0e5,\"b\":\"<&>\u2028\\u003c\\/\"}")
	if err := a.printVersion(shownVersion{ID: "9007199254740993"}, line, true); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), `,"incident":`+string(line)+"}\n") || !json.Valid(out.Bytes()) {
		t.Errorf("printed %s", out.String())
	}
}

func TestManyExportersOfOneDirectory(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 4} {
		s := newScene(t, simulator.Options{Seed: uint64(n), Incidents: 800})
		var processes []*process
		for range n {
			processes = append(processes, s.start(t.Context(), []string{"EXPORTER_BATCH_RECORDS=50"}, "export"))
		}
		for _, p := range processes {
			if r := p.wait(); r.code != exitDone || !strings.Contains(r.stdout, ":") {
				t.Errorf("%d at once: %+v", n, r)
			}
		}
		s.whole()
	}
}

func TestSecretExpiry(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 1, Incidents: 20})
	for expires, want := range map[string]string{"2020-01-31": `"level":"ERROR","msg":"the client secret has expired`, "2199-01-01": ""} {
		r := s.run([]string{"EXPORTER_SECRET_EXPIRES=" + expires}, "export")
		if r.code != exitDone || !strings.Contains(r.stderr, want) || want == "" && strings.Contains(r.stderr, "client secret") {
			t.Errorf("%s: %+v", expires, r)
		}
	}
}

func TestNoArchive(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for _, dir := range []string{empty, empty + "/none"} {
		for _, args := range [][]string{{"verify"}, {"list"}, {"list", "--json"}, {"show", "1"}} {
			stdout, stderr, code := program(t, []string{"EXPORTER_SINK=file:" + dir}, args...)
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, "no archive there") || !strings.Contains(stderr, "remedy: set EXPORTER_SINK") {
				t.Errorf("%v of %s: exit %d, %q, %q", args, dir, code, stdout, stderr)
			}
		}
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("a reader wrote %v, %v", entries, err)
	}
}
