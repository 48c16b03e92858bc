package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// drill is a fault that an operator must be able to tell from what the daemon shows.
type drill struct {
	name  string // its row in the runbook begins with this
	env   []string
	plant func(*drilled) // the fault
	log   string         // a line of the log has this then
	lags  bool           // health is red once the archive lags
	alert string         // that fires; "" for none
}

// drilled is a daemon that goes through a drill.
type drilled struct {
	*scene
	d       *daemon
	second  *daemon     // of the same stream
	more    []string    // settings
	tenants string      // its file of tenants
	denied  atomic.Bool // the store refuses everything

	poisoned atomic.Int64 // an incident that is left as it is
}

const drillLag = 14 * time.Second

func drills() []drill {
	revoked := func(change func(*simulator.Behaviour)) func(*drilled) {
		return func(d *drilled) { d.behave(change); d.sim.RevokeTokens() }
	}
	always := func(fault simulator.Fault) func(*drilled) {
		return func(d *drilled) {
			d.behave(func(b *simulator.Behaviour) {
				b.Fail = func(r *http.Request, _ int) simulator.Fault {
					if strings.HasPrefix(r.URL.Path, "/api/") {
						return fault
					}
					return simulator.NoFault
				}
			})
		}
	}
	return []drill{
		{name: "token revoked", plant: revoked(func(b *simulator.Behaviour) { b.Roles = nil }), log: "carries no roles", lags: true, alert: "IncidentExporterFails"},
		{name: "API down", plant: always(simulator.Error503), log: "status 503", lags: true, alert: "IncidentExporterFails"},
		{name: "bucket denied", plant: func(d *drilled) { d.denied.Store(true) }, log: "AccessDenied", lags: true, alert: "IncidentExporterFails"},
		{name: "disk full", plant: func(d *drilled) { d.fill() }, log: "no space left on device", lags: true, alert: "IncidentExporterStorageFails"},
		{name: "this machine's clock is off", plant: func(d *drilled) { d.behave(func(b *simulator.Behaviour) { b.ClockSkew = 2 * time.Hour }) }, log: "this machine's clock is off", alert: "IncidentExporterLags"},
		{name: "the quota is spent by another tool", plant: always(simulator.ForeignTooMany), log: "too many requests", lags: true, alert: "IncidentExporterThrottled"},
		{name: "secret expired", env: []string{"EXPORTER_SECRET_EXPIRES=" + time.Now().Add(-time.Hour).Format(time.DateOnly)},
			plant: revoked(func(b *simulator.Behaviour) { b.SecretExpired = true }), log: "AADSTS7000222", lags: true, alert: "IncidentExporterCredentialExpires"},
		{name: "one incident cannot be served", plant: func(d *drilled) {
			id := d.sim.RandomIDs(1)[0]
			d.poisoned.Store(id)
			d.behave(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{id: true}, true })
			if _, err := d.sim.Update(id); err != nil {
				d.Fatal(err)
			}
		}, log: "something could not be fetched", alert: "IncidentExporterUnfetched"},
		{name: "a provider refuses", env: []string{"EXPORTER_SOURCE=graph"}, plant: func(d *drilled) {
			d.behave(func(b *simulator.Behaviour) {
				b.PartialRate, b.PartialWarning = 1, `199 - "Microsoft/Microsoft Defender for Identity/403/16"`
			})
		}, log: "providers refuse to serve what they have", alert: "IncidentExporterPartial"},
		{name: "a tenant is taken off the list", plant: func(d *drilled) { d.list(tenantNumber(7)) }, log: "tenant is not listed any more", lags: true},
		{name: "two daemons on one stream", plant: func(d *drilled) { d.second = d.scene.daemon(d.Context(), d.more...) }, log: "another writer was first", alert: "IncidentExporterDoubled"},
	}
}

// TestDrill goes through each fault with a real daemon: the log line, the health, the alert and the
// runbook's entry that name it. `make drill` prints them.
func TestDrill(t *testing.T) {
	if os.Getenv("DRILL") == "" { // it takes a minute of real time
		return
	}
	runbook, err := os.ReadFile("../../deploy/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, drill := range drills() {
		t.Run(drill.name, func(t *testing.T) {
			t.Parallel()
			runDrill(t, drill, string(runbook))
		})
	}
}

func runDrill(t *testing.T, drill drill, runbook string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	d := &drilled{scene: newScene(t, simulator.Options{Seed: 21, Incidents: 40, Span: time.Hour}), tenants: filepath.Join(t.TempDir(), "tenants")}
	d.behave(func(b *simulator.Behaviour) { b.ClockSkew = 0 })
	second := simulator.New(simulator.Options{Seed: 22, Tenant: tenantNumber(7), Secret: canary, Incidents: 5, Span: time.Hour})
	second.Change(func(b *simulator.Behaviour) { b.Quota = nil })
	d.serve(simulator.Tenants(d.sim, second))
	d.list(testTenant)
	if drill.name == "a tenant is taken off the list" {
		d.list(testTenant, tenantNumber(7))
	}
	front := sinktest.S3(sinktest.NewMem().Session(), testBucket)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.denied.Load() {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>made up</Message></Error>")
			return
		}
		front.ServeHTTP(w, r)
	}))
	t.Cleanup(store.Close)
	sink := []string{"EXPORTER_SINK=s3://" + testBucket, "EXPORTER_S3_PATH_STYLE=true", "AWS_ENDPOINT_URL_S3=" + store.URL, "AWS_REGION=eu-north-1",
		"AWS_ACCESS_KEY_ID=made-up", "AWS_SECRET_ACCESS_KEY=" + canary}
	if drill.name == "disk full" {
		d.mountDisk()
		sink = []string{"EXPORTER_SINK=file:" + d.dir}
	}
	d.more = append(append([]string{"EXPORTER_TENANTS_FILE=" + d.tenants, "EXPORTER_SETTLE=1s", "EXPORTER_HEARTBEAT=1s", "EXPORTER_SCHEDULE=@every 10s",
		"EXPORTER_MAX_LAG=" + drillLag.String()}, sink...), drill.env...)
	go d.live(ctx)
	d.d = d.scene.daemon(ctx, d.more...)
	moment(ctx, func() bool {
		return strings.Contains(d.d.err.String(), `"msg":"run done"`) && d.run(d.more, "health").code == exitDone
	})
	if r := d.run(d.more, "health"); r.code != exitDone {
		t.Fatalf("before: health %d: %s%s", r.code, r.stdout, r.stderr)
	}
	before := d.scraped()

	drill.plant(d)
	line := ""
	for last := time.Now(); line == "" && ctx.Err() == nil; {
		if time.Since(last) > time.Second { // a pass now, and not only on the schedule
			last = time.Now()
			_ = d.d.Process.Signal(syscall.SIGHUP)
			if d.second != nil {
				_ = d.second.Process.Signal(syscall.SIGHUP)
			}
		}
		moment(ctx, func() bool {
			line = lineWith(d.d.err.String(), drill.log)
			return line != "" || time.Since(last) > time.Second
		})
	}
	if line == "" {
		said := d.d.err.String()
		t.Fatalf("no line of the log has %q: … %s", drill.log, said[max(0, len(said)-2000):])
	}
	health := d.run(d.more, "health")
	moment(ctx, func() bool { health = d.run(d.more, "health"); return drill.lags == (health.code != exitDone) })
	if red := health.code != exitDone; red != drill.lags {
		t.Errorf("health is red: %v, %s", red, health.stdout)
	}
	after := d.scraped()
	firing := d.alerts(before, after, drill.lags && drill.alert != "")
	if drill.alert != "" && !slices.Contains(firing, drill.alert) || drill.alert == "" && len(firing) > 0 {
		t.Errorf("firing are %v, want %q", firing, drill.alert)
	}
	entry := regexp.MustCompile(`(?m)^\| ` + drill.name + `.*$`).FindString(runbook)
	if entry == "" || !strings.Contains(entry, strings.TrimPrefix(drill.alert, "none")) {
		t.Errorf("the runbook has no row %q with %s: %s", drill.name, drill.alert, entry)
	}
	fmt.Printf("== %s\n   log:     %.240s\n   health:  exit %d, %s\n   alerts:  %s\n   runbook: %s\n", drill.name, line, health.code,
		strings.TrimSpace(health.stdout), strings.Join(firing, ", "), entry)
}

// live changes an incident now and then, so that there is something to archive.
func (d *drilled) live(ctx context.Context) {
	for tick := time.NewTicker(400 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			for _, id := range d.sim.RandomIDs(2) {
				if id != d.poisoned.Load() {
					_, _ = d.sim.Update(id)
				}
			}
		}
	}
}

// list writes the file of tenants.
func (d *drilled) list(ids ...string) {
	d.Helper()
	if err := os.WriteFile(d.tenants, []byte(strings.Join(ids, "\n")), 0o600); err != nil {
		d.Fatal(err)
	}
}

// mountDisk puts the archive on a small disk of its own, which takes the rights of root.
func (d *drilled) mountDisk() {
	d.Helper()
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		d.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "none", d.dir).CombinedOutput(); err != nil {
		d.Skipf("a small disk cannot be mounted here: %v %s", err, out)
	}
	d.Cleanup(func() { _ = exec.Command("umount", "-l", d.dir).Run() })
}

// fill leaves nothing of the disk.
func (d *drilled) fill() {
	f, err := os.Create(filepath.Join(d.dir, ".incident-exporter", "filling"))
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(block)
	}
}

func lineWith(log, text string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// scraped is what the daemon tells of itself, by name and labels.
func (d *drilled) scraped() map[string]float64 {
	d.Helper()
	_, body := d.d.get("/metrics")
	metrics := map[string]float64{"now": float64(time.Now().Unix())}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && strings.HasPrefix(name, "incident_exporter_") && !strings.Contains(name, "_bucket{") {
			metrics[name] = v
		}
	}
	return metrics
}

// alerts evaluates the alert rules as if what was seen between two scrapes went on for eight hours.
func (d *drilled) alerts(before, after map[string]float64, stands bool) []string {
	d.Helper()
	var series strings.Builder
	for _, name := range slices.Sorted(maps.Keys(after)) {
		value, step := after[name], 0.0
		switch {
		case name == "now" || value != value || value > 1e300:
			continue
		case strings.Contains(name, "_total"):
			value, step = before[name], (after[name]-before[name])*60/max(1, after["now"]-before["now"])
		case strings.HasPrefix(name, "incident_exporter_covered_until"):
			if value -= after["now"]; !stands {
				step = 60
			}
		case strings.HasPrefix(name, "incident_exporter_lag_seconds"):
			if stands {
				step = 60
			}
		case strings.HasPrefix(name, "incident_exporter_next_run"):
			value, step = value-after["now"], 60
		case strings.Contains(name, "timestamp_seconds"):
			value -= after["now"]
		}
		fmt.Fprintf(&series, "      - series: '%s'\n        values: '%.0f+%fx480'\n", name, value, step)
	}
	fmt.Fprint(&series, "      - series: 'up{job=\"incident-exporter\"}'\n        values: '1x480'\n")
	rules, err := filepath.Abs("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		d.Fatal(err)
	}
	var firing []string
	names, err := os.ReadFile(rules)
	if err != nil {
		d.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(names), -1) {
		test := fmt.Sprintf("rule_files: [%s]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n%s    promql_expr_test:\n"+
			"      - expr: 'count(ALERTS{alertname=\"%s\",alertstate=\"firing\"}) > bool 0'\n        eval_time: 470m\n        exp_samples: [{labels: '{}', value: 1}]\n", rules, series.String(), m[1])
		file := filepath.Join(d.TempDir(), "test.yml")
		if err := os.WriteFile(file, []byte(test), 0o600); err != nil {
			d.Fatal(err)
		}
		out, err := exec.Command(promtool(d.T), "test", "rules", file).CombinedOutput()
		switch {
		case err == nil:
			firing = append(firing, m[1])
		case !strings.Contains(string(out), "got:"):
			d.Fatalf("promtool: %v %s", err, out)
		}
	}
	return firing
}
