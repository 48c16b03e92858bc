package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/local"
)

// simulating is a process that serves a simulator.
type simulating struct {
	command *exec.Cmd
	stderr  *bufio.Reader
	said    bytes.Buffer // what it wrote to stderr
	out     string       // file that has what it wrote to stdout
}

// simulate starts a simulator and returns when it serves.
func simulate(t *testing.T, args ...string) *simulating {
	t.Helper()
	s := &simulating{command: programCommand(t.Context(), t, []string{"TMPDIR=" + t.TempDir()}, append([]string{"simulate"}, args...)...)}
	// A file, so that what was written before the line on stderr is there once that has come.
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	s.out, s.command.Stdout = out.Name(), out
	pipe, err := s.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stderr = bufio.NewReader(io.TeeReader(pipe, &s.said))
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.command.Process.Kill() })
	if line, err := s.stderr.ReadString('\n'); err != nil || !strings.Contains(line, "until interrupted") {
		t.Fatalf("%q, %v", line, err)
	}
	return s
}

// stop ends it as an operator does, and returns what it said.
func (s *simulating) stop(t *testing.T) string {
	t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s.stderr); err != nil {
		t.Error(err)
	}
	if err := s.command.Wait(); err != nil {
		t.Errorf("simulate: %v, %s", err, s.said.String())
	}
	return s.said.String()
}

// printed is what it wrote to stdout so far.
func (s *simulating) printed(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(s.out)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// sourced is the environment that a shell has once it has sourced a file of settings.
func sourced(t *testing.T, file string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", "-ec", `. "$0"; env`, file)
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestSimulate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim.env")
	sim := simulate(t, "--settings", file, "--incidents", "500", "--size", "1000", "--churn", "1", "--tie", "43", "--no-quota", "--density", "office-hours", "--dialect", "decimal")
	archive := t.TempDir()
	env := append(sourced(t, file), "EXPORTER_SINK=file:"+archive, "EXPORTER_SETTLE=1s")
	for _, step := range [][]string{{"token"}, {"export"}, {"export"}, {"verify"}} {
		if stdout, stderr, code := program(t, env, step...); code != exitDone {
			t.Fatalf("%s: exit %d, %s, %s", step, code, stdout, stderr)
		}
	}
	said := sim.stop(t)
	if !strings.Contains(said, " 0 violations") || sim.printed(t) != "" {
		t.Errorf("%s, %s", said, sim.printed(t))
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the settings outlive the simulator: %v", err)
	}
}

func TestSimulatePrintsSettingsAndPolices(t *testing.T) {
	sim := simulate(t, "--incidents", "10", "--dir", t.TempDir())
	settings := strings.Split(strings.TrimSpace(strings.NewReplacer("export ", "", "'", "").Replace(sim.printed(t))), "\n")
	env := slices.DeleteFunc(settings, func(s string) bool { return strings.HasPrefix(s, "AZURE_CLIENT_SECRET=") })
	if len(settings) != 6 || len(env) != 5 {
		t.Fatalf("%q", settings)
	}
	stdout, stderr, code := program(t, append(env, "AZURE_CLIENT_SECRET="+canary), "token")
	if code != exitFailed || !strings.Contains(stderr, "AADSTS7000215") {
		t.Errorf("a wrong secret: exit %d, %s, %s", code, stdout, stderr)
	}
	sim.stop(t)
}

func TestSimulateRefusesFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"loopback address":       {"--listen", "0.0.0.0:0"},
		"this machine only":      {"--listen", ":8443"},
		"with a port":            {"--listen", "127.0.0.1"},
		"bulky, dense-month":     {"--density", "lumpy"},
		"seconds, decimal":       {"--dialect", "stardate"},
		"a share of the calls":   {"--misbehave", "2"},
		"must not be negative":   {"--incidents", "-1"},
		"a duration with":        {"--span", "long"},
		"--size and --span must": {"--size", "0"},
	} {
		stdout, stderr, code := program(t, nil, append([]string{"simulate"}, args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestShell(t *testing.T) {
	for _, value := range []string{"plain", "a b", "it's", `$HOME "x" \ ; & |`, "~/+=<>"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-ec", shell([]setting{{"VALUE", value}})+`printf %s "$VALUE"`).Output()
		if err != nil || string(out) != value {
			t.Errorf("%q becomes %q, %v", value, out, err)
		}
	}
}

// TestTwentyThousandWithChurn exports a tenant of 20,000 incidents of which three change at every
// call and some calls fail, through the real program, until everything is covered that was ever
// updated. Nothing may be missing, nothing there twice.
func TestTwentyThousandWithChurn(t *testing.T) {
	t.Parallel()
	incidents := 20_000
	if testing.Short() { // under the race detector
		incidents = 4000
	}
	flags := simulateFlags{
		tenants: 1, incidents: incidents, size: 700, tie: 450, churn: 3, seed: 11, span: duration{170 * 24 * time.Hour},
		density: "office-hours", dialect: "seconds", noQuota: true,
	}
	sim := flags.simulators()[0]
	sim.Change(func(b *simulator.Behaviour) {
		b.FailRate = 0.01
		b.FailKinds = []simulator.Fault{simulator.Error503, simulator.CutBody, simulator.Reset, simulator.EmptyBody}
	})
	var complaints bytes.Buffer
	served, err := serveSimulation(sim, "localhost:0", t.TempDir(), &complaints)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := served.Close(); err != nil {
			t.Error(err)
		}
	}()
	archive := t.TempDir()
	env := []string{"EXPORTER_SINK=file:" + archive, "EXPORTER_SETTLE=0s", "EXPORTER_HEARTBEAT=1s", "EXPORTER_QUOTA=" + unlimited}
	for _, s := range append(served.settings(), setting{"AZURE_CLIENT_SECRET", simulator.DefaultSecret}) {
		env = append(env, s.name+"="+s.value)
	}
	var last time.Time
	for n := 0; ; n++ {
		stdout, stderr, code := program(t, env, "export", "--json")
		if code != exitDone {
			t.Fatalf("export %d: exit %d, %s, %s", n, code, stdout, stderr)
		}
		covered, err := time.Parse(time.RFC3339Nano, fmt.Sprint(jsonLines(t, stdout)[0]["covered_until"]))
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 { // two passes under churn; from now on the tenant is quiet
			sim.Change(func(b *simulator.Behaviour) { b.ChurnPerCall = 0 })
			last = sim.Now().Add(10 * time.Millisecond) // versions are ahead of the clock by some milliseconds
		}
		if n > 1 && covered.After(last) {
			break
		}
		if n > 500 { // each takes a moment, and two seconds are enough
			t.Fatalf("covered until %s, updated until %s", covered, last)
		}
	}
	if stdout, stderr, code := program(t, env, "verify", "--strict"); code != exitDone {
		t.Errorf("verify: exit %d, %s, %s", code, stdout, stderr)
	}
	r, err := local.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	c, err := compareArchive(t.Context(), r, sim)
	if err != nil || c.incidents != flags.incidents || c.missing+c.twice+c.invented > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if violations := sim.Violations(); len(violations) > 0 {
		t.Errorf("violations: %q", violations)
	}
}
