package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// promtool finds Prometheus' own checker. Where it is not there the test is left out, but not in CI.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		path, err = filepath.Abs("../../.cache/promtool")
		if err == nil {
			_, err = os.Stat(path)
		}
	}
	if err != nil {
		message := fmt.Sprintf("find promtool: %v; .ci/deployment installs it", err)
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return path
}

// TestAlerts: Prometheus reads the rules and the configuration of Compose, the rules fire when they
// should and only then, and the runbook has an entry for each.
func TestAlerts(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	promtool := promtool(t)
	tool(t, promtool, "check", "rules", "--lint-fatal", "deploy/prometheus/alerts.yaml")
	tool(t, promtool, "test", "rules", "deploy/prometheus/alerts.test.yaml")
	read := func(name string) string {
		content, err := os.ReadFile("../../deploy/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	dir := t.TempDir()
	alerts := read("prometheus/alerts.yaml")
	for name, text := range map[string]string{"prometheus.yml": read("compose/prometheus.yaml"), "alerts.yaml": alerts} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, promtool, "check", "config", "--lint-fatal", filepath.Join(dir, "prometheus.yml"))

	runbook, tests := read("RUNBOOK.md"), read("prometheus/alerts.test.yaml")
	named := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(alerts, -1)
	for _, alert := range named {
		if !strings.Contains(runbook, "\n## "+alert[1]+"\n") {
			t.Errorf("the runbook has no entry for %s", alert[1])
		}
		if strings.Count(tests, "alertname: "+alert[1]) < 2 {
			t.Errorf("%s is not tested both ways", alert[1])
		}
	}
	if headings := strings.Count(runbook, "\n## "); headings != len(named) || len(named) == 0 {
		t.Errorf("%d entries in the runbook, %d alerts", headings, len(named))
	}
}

// TestAlertsNameMetrics: what a daemon says of itself is as Prometheus wants it, and has every metric
// that an alert looks at.
func TestAlertsNameMetrics(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	promtool := promtool(t)
	s := newScene(t, simulator.Options{Seed: 17, Incidents: 20})
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// The credential's expiry is told where it is known.
	expires := time.Now().AddDate(0, 6, 0).Format("2006-01-02")
	p := s.start(ctx, []string{"EXPORTER_LISTEN=" + address, "EXPORTER_SECRET_EXPIRES=" + expires}, "run")
	moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"run done"`) })
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	check := exec.CommandContext(ctx, promtool, "check", "metrics")
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	check.Stdin = bytes.NewReader(metrics)
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, said)
	}
	alerts, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, name := range regexp.MustCompile(`incident_exporter_\w+(\{[^}]*\})?`).FindAllString(string(alerts)+dashboard(t), -1) {
		looked++
		// The job is Prometheus' own label.
		metric, label, _ := strings.Cut(strings.TrimSuffix(strings.ReplaceAll(name, `job="$job"`, ""), "}"), "{")
		if !regexp.MustCompile(`(?m)^` + metric + `(\{.*` + regexp.QuoteMeta(label) + `.*\})? `).Match(metrics) {
			t.Errorf("an alert or the dashboard looks at %s, which is not there", name)
		}
	}
	if looked < 20 {
		t.Errorf("only %d metrics are looked at", looked)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(); r.code != exitDone {
		t.Errorf("%+v", r)
	}
}

// dashboard is what Grafana's dashboard asks, one query a line.
func dashboard(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/prometheus/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Templating struct{ List []struct{ Query string } }
		Panels     []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, v := range board.Templating.List {
		fmt.Fprintln(&all, v.Query)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			fmt.Fprintln(&all, target.Expr)
		}
		if len(panel.Targets) == 0 || panel.Title == "" {
			t.Errorf("%+v", panel)
		}
	}
	return all.String()
}
