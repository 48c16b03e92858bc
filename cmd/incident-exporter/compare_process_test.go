package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// TestCompareCommand compares as a process of its own, which writes nothing.
func TestCompareCommand(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 8, Incidents: 300, FurtherTenants: []string{otherTenant}})
	s.behave(func(b *simulator.Behaviour) { b.GraphQuota = nil })
	compare := func(settings []string, more ...string) result {
		return s.run(settings, append([]string{"compare", "--other-url", s.server.URL}, more...)...)
	}
	text := compare(nil, "--last", "48h")
	if text.code != exitDone || !strings.HasPrefix(text.stdout, "they agree: 300 compared, 0 only in defender, 0 only in graph, 0 differing, 0 changed meanwhile and not compared, 0 unfetched; from ") ||
		!strings.Contains(text.stdout, "\nfields only in defender: activityCount (300), ") || !strings.Contains(text.stdout, "tenantId (300)") || strings.Count(text.stdout, "\n") != 3 {
		t.Errorf("%+v", text)
	}
	found := jsonLines(t, compare(nil, "--last", "48h", "--json").stdout)
	sum, _ := found[len(found)-1]["summary"].(map[string]any)
	if len(found) != 1 {
		t.Errorf("%v", found)
	}
	for _, member := range []string{"compared", "only_defender", "only_graph", "differing", "changed_meanwhile", "unfetched", "fields_differing",
		"fields_only_defender", "fields_only_graph", "from", "to", "tenant"} {
		if _, there := sum[member]; !there {
			t.Errorf("no member %s in %v", member, sum)
		}
	}
	if v := s.sim.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}

	// Graph as the source, the interval by its ends, and a tenant by its name.
	listed := []string{"AZURE_TENANT_ID=", "EXPORTER_SOURCE=graph", "EXPORTER_TENANTS=fabrikam=" + testTenant + ",contoso=" + otherTenant}
	from := time.Now().Add(-20 * time.Hour).UTC().Format(time.RFC3339)
	named := compare(listed, "--from", from, "--to", "1h", "--tenant", "fabrikam")
	if named.code != exitDone || !strings.HasPrefix(named.stdout, "fabrikam ("+testTenant+"): they agree: ") || !strings.Contains(named.stdout, "; from "+from+" to ") {
		t.Errorf("%+v", named)
	}
	all := compare(listed, "--json")
	if all.code != exitFailed || len(jsonLines(t, all.stdout)) != 1 || !strings.Contains(all.stderr, "tenant could not be compared") || !strings.Contains(all.stderr, otherTenant) {
		t.Errorf("%+v", all)
	}
	s.behave(func(b *simulator.Behaviour) { b.GraphRoles = []string{"Incident.Read.All"} })
	if r := compare(nil); r.code != exitFailed || r.stdout != "" || !strings.Contains(r.stderr, "graph: read incidents: ") || !strings.Contains(r.stderr, "\nremedy: ") || !strings.Contains(r.stderr, "SecurityIncident.Read.All") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written to the archive: %v", err)
	}
}

func TestCompareUsage(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 1, Incidents: 3})
	for args, want := range map[string]string{
		"--from yesterday":                       "must be a duration back from now such as 180d, or now, or a timestamp",
		"--last 0s":                              "--last must be more than 0",
		"--last soon":                            "must be a duration with its unit",
		"--last 1h --from 2h":                    "--last and --from are both given",
		"--from 2h --to 3h":                      "there is nothing between --from and --to",
		"--to 2199-01-01T00:00:00Z":              "by the APIs' clock it is only",
		"--other-url http://graph.microsoft.com": "--other-url must begin with https://",
		"--tenant nobody":                        "--tenant names none of the tenants",
		"more":                                   "unknown command",
	} {
		arguments := append([]string{"compare", "--other-url", s.server.URL}, strings.Fields(args)...)
		if r := s.run(nil, arguments...); r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := s.run([]string{"AZURE_CLIENT_ID="}, "compare"); r.code != exitUsage || !strings.Contains(r.stderr, "AZURE_CLIENT_ID is not set") {
		t.Errorf("%+v", r)
	}
}
