package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// pings is a dead man's switch that notes what it is told.
type pings struct {
	*httptest.Server
	mu   sync.Mutex
	got  []string // METHOD PATH BODY
	rids []string
	slow time.Duration
}

const pingPath = "/ping/0d338dcc-" + canary

func newPings(t *testing.T) *pings {
	p := &pings{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		slow := p.slow
		p.got = append(p.got, r.Method+" "+r.URL.Path+" "+string(body))
		p.rids = append(p.rids, r.URL.Query().Get("rid"))
		p.mu.Unlock()
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pings) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// runs returns the run ids that came with what told returns.
func (p *pings) runs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.rids)
}

// TestPing: an export tells the dead man's switch that it begins and how it ends, by a URL that is
// shown nowhere, and neither waits for it nor fails because of it.
func TestPing(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 40})
	p := newPings(t)
	file := filepath.Join(t.TempDir(), "ping")
	if err := os.WriteFile(file, []byte(p.URL+pingPath+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	setting := []string{"EXPORTER_PING_URL_FILE=" + file}
	if r := s.run(setting, "export"); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	if want := []string{"POST " + pingPath + "/start ", "POST " + pingPath + " "}; !slices.Equal(p.told(), want) {
		t.Errorf("told %q, want %q", p.told(), want)
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if runs := p.runs(); len(runs) != 2 || runs[0] != runs[1] || !uuid.MatchString(runs[0]) {
		t.Errorf("rids %q", runs)
	}
	s.behave(func(b *simulator.Behaviour) { b.Consent = false })
	if r := s.run([]string{"EXPORTER_PING_URL=" + p.URL + pingPath + "?create=1"}, "export"); r.code != exitFailed {
		t.Errorf("%+v", r)
	}
	if told := p.told(); len(told) != 4 || !strings.HasPrefix(told[3], "POST "+pingPath+"/fail ") || !strings.Contains(told[3], "AADSTS65001") || !strings.Contains(told[3], "\nremedy: ") ||
		strings.Contains(strings.ReplaceAll(told[3], pingPath, ""), canary) || strings.Contains(told[3], "eyJ") || p.runs()[2] == p.runs()[1] {
		t.Errorf("told %q", told)
	}
	s.behave(func(b *simulator.Behaviour) { b.Consent = true })
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for name, url := range map[string]string{"nobody there": "https://127.0.0.1:1" + pingPath, "another service": other.URL + "/" + canary} {
		r := s.run([]string{"EXPORTER_PING_URL=" + url}, "export")
		if r.code != exitDone || strings.Count(r.stderr, "dead man's switch") != 1 || strings.Contains(r.stderr, "0d338dcc") || !strings.Contains(r.stderr, "ping 127.0.0.1") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s.whole()
}

// TestSlowPingDelaysNoRun: a switch that does not answer holds up the end of the process for its time
// only, and no run at all.
func TestSlowPingDelaysNoRun(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 40})
	p := newPings(t)
	p.slow = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	d := s.start(ctx, []string{"EXPORTER_PING_URL=" + p.URL + pingPath, "EXPORTER_SCHEDULE=@every 10s", "EXPORTER_GRACE=1s"}, "run")
	begun := time.Now()
	moment(ctx, func() bool { return strings.Contains(d.err.String(), `"msg":"run done"`) })
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the first run took %v", took)
	}
	moment(ctx, func() bool { return strings.Count(d.err.String(), `"msg":"run done"`) == 2 })
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := d.wait(); r.code != exitDone || strings.Contains(r.stderr, "0d338dcc") {
		t.Errorf("%+v", r)
	}
	s.whole()
}

// daemon is a daemon that answers questions.
type daemon struct {
	*process
	address string
}

var listening = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

func (s *scene) daemon(ctx context.Context, settings ...string) *daemon {
	s.Helper()
	d := &daemon{process: s.start(ctx, append([]string{"EXPORTER_LISTEN=127.0.0.1:0"}, settings...), "run")}
	moment(ctx, func() bool { return listening.MatchString(d.err.String()) })
	m := listening.FindStringSubmatch(d.err.String())
	if m == nil {
		s.Fatalf("it does not listen: %s", d.err.String())
	}
	d.address = m[1]
	return d
}

// get asks the daemon. What it says is never secret.
func (d *daemon) get(path string) (status int, body string) {
	d.s.Helper()
	resp, err := http.Get("http://" + d.address + path)
	if err != nil {
		d.s.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.s.Fatal(err)
	}
	if strings.Contains(string(text), canary) || strings.Contains(string(text), "eyJ") {
		d.s.Errorf("%s shows a secret: %s", path, text)
	}
	return resp.StatusCode, string(text)
}

// stop ends it with SIGTERM.
func (d *daemon) stop() result {
	d.s.Helper()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		d.s.Fatal(err)
	}
	return d.wait()
}

// TestStatus asks a real daemon: before it has reached its archive, while all is well, and while it
// lags, which makes it neither dead nor unready.
func TestStatus(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 9, Incidents: 120})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := os.WriteFile(s.dir, nil, 0o600); err != nil { // where the archive belongs
		t.Fatal(err)
	}
	d := s.daemon(ctx, "EXPORTER_SCHEDULE=@every 10s")
	var code int
	var body string
	moment(ctx, func() bool { return strings.Contains(d.err.String(), `"msg":"run failed"`) })
	if code, body = d.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the archive cannot be opened") || !strings.Contains(body, "not a directory") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body = d.get("/healthz?verbose"); code != http.StatusOK || !strings.HasPrefix(body, "ok\nLAGS defender/"+testTenant+" not known yet") {
		t.Errorf("healthz: %d %s", code, body)
	}
	if _, body = d.get("/metrics"); !strings.Contains(body, `incident_exporter_lag_seconds{source="defender",tenant="`+testTenant+`"} +Inf`) {
		t.Errorf("metrics: %s", body)
	}
	if err := os.Remove(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Process.Signal(syscall.SIGHUP); err != nil { // a pass now
		t.Fatal(err)
	}
	moment(ctx, func() bool { return strings.Contains(d.err.String(), `"msg":"run done"`) })
	if code, body = d.get("/readyz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body = d.get("/healthz?verbose"); code != http.StatusOK || !strings.HasPrefix(body, "ok\nok defender/"+testTenant+" covered from ") || !strings.Contains(body, "Z until ") || !strings.Contains(body, "\nnext run ") {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body = d.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	code, body = d.get("/metrics")
	for _, line := range []string{
		`incident_exporter_versions_total 120`, `incident_exporter_runs_total{outcome="done"} `, `incident_exporter_build_info{commit="`, `goversion="` + runtime.Version() + `"`,
		`incident_exporter_api_calls_total{class="2xx",source="defender"} `, `incident_exporter_sink_put_duration_seconds_bucket{le="0.001"} `, `go_goroutines `,
		`incident_exporter_covered_until_timestamp_seconds{source="defender",tenant="` + testTenant + `"} `,
		`incident_exporter_holes{source="defender",tenant="` + testTenant + `"} 0`, `incident_exporter_backfill{source="defender",tenant="` + testTenant + `"} 0`, "incident_exporter_next_run_timestamp_seconds ",
	} {
		if code != http.StatusOK || !strings.Contains(body, line) {
			t.Errorf("no %q in: %d %s", line, code, body)
		}
	}
	s.behave(func(b *simulator.Behaviour) { b.ClockSkew += 3 * time.Hour; b.Consent = false })
	for path, want := range map[string]int{"/": 404, "/debug/pprof/": 404, "/metrics/": 404} {
		if code, _ := d.get(path); code != want {
			t.Errorf("%s: %d", path, code)
		}
	}
	if resp, err := http.Post("http://"+d.address+"/metrics", "text/plain", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if r := s.run([]string{"EXPORTER_LISTEN=" + d.address}, "run"); r.code != exitFailed || !strings.Contains(r.stderr, "EXPORTER_LISTEN") || !strings.Contains(r.stderr, "remedy: ") {
		t.Errorf("the address is taken: %+v", r)
	}
	r := d.stop()
	if r.code != exitDone || !strings.Contains(r.stderr, `"msg":"hangup: tenants and secrets are read again`) {
		t.Errorf("%+v", r)
	}
	if _, err := net.Dial("tcp", d.address); err == nil {
		t.Error("it still listens")
	}
	s.behave(func(b *simulator.Behaviour) { b.ClockSkew -= 3 * time.Hour; b.Consent = true })
	s.whole()
}

// TestHealth: of what the archive alone says.
func TestHealth(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 9, Incidents: 50})
	if r := s.run(nil, "health"); r.code != exitFailed || !strings.Contains(r.stderr, "no archive there") {
		t.Errorf("%+v", r)
	}
	s.behave(func(b *simulator.Behaviour) { b.ClockSkew = 0 }) // covered until a minute ago
	s.done("export")
	alone := []string{"AZURE_TENANT_ID=", "AZURE_CLIENT_ID=", "AZURE_CLIENT_SECRET="}
	r := s.run(alone, "health", "--json")
	got := jsonLines(t, r.stdout)
	if r.code != exitDone || len(got) != 1 || got[0]["source"] != "defender" || got[0]["tenant"] != testTenant || got[0]["ok"] != true {
		t.Fatalf("%+v", r)
	}
	covered, err := time.Parse(time.RFC3339, fmt.Sprint(got[0]["covered_until"]))
	lag, isNumber := got[0]["lag_seconds"].(float64)
	if err != nil || !isNumber || time.Since(covered).Seconds()-lag > 30 || time.Since(covered).Seconds()-lag < -1 {
		t.Errorf("%v, %v", got[0], err)
	}
	since, err := time.Parse(time.RFC3339, fmt.Sprint(got[0]["covered_since"]))
	if begins := time.Since(since) - 180*24*time.Hour; err != nil || begins < 0 || begins > time.Minute || got[0]["holes"] != 0.0 || got[0]["name"] != "" {
		t.Errorf("%v, %v", got[0], err)
	}
	if r := s.run(alone, "health"); r.code != exitDone || !strings.HasPrefix(r.stdout, "ok  defender/"+testTenant+"  covered from ") || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	for _, test := range []struct {
		settings []string
		args     []string
		code     int
		says     string
	}{
		{nil, []string{"--max-lag", "45m"}, exitDone, "ok"},
		{[]string{"AZURE_TENANT_ID=" + otherTenant}, nil, exitFailed, "LAGS  defender/" + otherTenant + "  it is configured, and has no archive yet"},
		{[]string{"AZURE_TENANT_ID=" + otherTenant}, nil, exitFailed, "ok    defender/" + testTenant + "  covered from "},
		{[]string{"AZURE_TENANT_ID=", "EXPORTER_TENANTS=" + testTenant + "," + otherTenant}, []string{"--json"}, exitFailed, `"name":"","covered_since":"","covered_until":"","holes":0,"lag_seconds":null,"ok":false`},
		{[]string{"AZURE_TENANT_ID=", "EXPORTER_TENANTS=contoso=" + testTenant}, []string{"--json"}, exitDone, `"name":"contoso","covered_since":"2`},
		{[]string{"AZURE_TENANT_ID=", "EXPORTER_TENANTS=contoso=" + testTenant}, nil, exitDone, testTenant + " contoso  covered from "},
		{nil, []string{"--configured"}, exitDone, "ok"},
		{[]string{"AZURE_TENANT_ID=" + otherTenant}, []string{"--configured"}, exitFailed, "LAGS"},
		{[]string{"AZURE_TENANT_ID="}, []string{"--configured"}, exitUsage, "no tenant is configured"},
		{nil, []string{"--max-lag", "often"}, exitUsage, "--max-lag must be a duration"},
		{nil, []string{"--max-lag=1h", "extra"}, exitUsage, "extra"},
	} {
		if r := s.run(test.settings, append([]string{"health"}, test.args...)...); r.code != test.code || !strings.Contains(r.stdout+r.stderr, test.says) {
			t.Errorf("%v %v: %+v", test.settings, test.args, r)
		}
	}
	// What another part of the tenants does is its own business.
	parts := 0
	for _, part := range []string{"1/2", "2/2"} {
		r := s.run([]string{"AZURE_TENANT_ID=", "EXPORTER_TENANTS=" + testTenant, "EXPORTER_SHARD=" + part}, "health", "--json")
		parts += len(jsonLines(t, r.stdout))
		if r.code != exitDone {
			t.Errorf("part %s: %+v", part, r)
		}
	}
	if parts != 1 {
		t.Errorf("the stream is in %d parts", parts)
	}
	if r := s.run(alone, "health", "--max-lag", "1s", "--json"); r.code != exitFailed || !strings.Contains(r.stdout, `"ok":false,"why":"it is behind by more than 1s"`) {
		t.Errorf("%+v", r)
	}
	s.change(s.last(".json"), func(b []byte) []byte { return b[:len(b)/2] })
	if r := s.run(alone, "health"); r.code != exitFailed || !strings.Contains(r.stdout, "manifest") {
		t.Errorf("%+v", r)
	}
}

// TestSystemd plays systemd: a daemon says when it is ready and when it stops, and keeps the watchdog
// quiet.
func TestSystemd(t *testing.T) {
	t.Parallel()
	names := map[string]string{"path": filepath.Join(t.TempDir(), "notify")}
	if runtime.GOOS == "linux" {
		names["abstract"] = "@incident-exporter-test-" + fmt.Sprint(os.Getpid())
	}
	for kind, name := range names {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = socket.Close() }()
			s := newScene(t, simulator.Options{Seed: 9, Incidents: 20})
			var said output
			go func() {
				buffer := make([]byte, 4096)
				for {
					n, err := socket.Read(buffer)
					if err != nil {
						return
					}
					_, _ = said.Write(append(buffer[:n:n], '\n'))
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			p := s.start(ctx, []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=200000"}, "run")
			for _, want := range []string{"READY=1\n", "WATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1\n", "STATUS=1 streams, 0 failed, 0 behind by more than 1h; next run 2"} {
				moment(ctx, func() bool { return strings.Contains(said.String(), want) })
			}
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r := p.wait()
			moment(ctx, func() bool { return strings.Contains(said.String(), "STOPPING=1\n") })
			if ctx.Err() != nil || r.code != exitDone {
				t.Errorf("%v, %+v, told %q", ctx.Err(), r, said.String())
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		s := newScene(t, simulator.Options{Seed: 9, Incidents: 20})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		p := s.start(ctx, []string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "nobody")}, "run")
		moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"run done"`) })
		_ = p.Process.Signal(syscall.SIGTERM)
		if r := p.wait(); r.code != exitDone || !strings.Contains(r.stderr, "systemd cannot be told") {
			t.Errorf("%+v", r)
		}
	})
}
