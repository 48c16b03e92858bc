package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// benchIdle is how long an idle daemon is watched.
const benchIdle = 60 * time.Second

// TestBenchDaemon measures what the real program takes before it has said anything to the API, and
// what a daemon takes between two ticks.
func TestBenchDaemon(t *testing.T) {
	if !benching() {
		return
	}
	program, err := filepath.Abs(builtProgram)
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, simulator.Options{Seed: 4, Incidents: 200, Size: 700})
	s.behave(func(b *simulator.Behaviour) { b.Latency = time.Hour }) // so that it comes no further than its first request
	var least time.Duration
	for n := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		calls := s.sim.Calls().Discovery
		command := exec.CommandContext(ctx, program, "export")
		command.Env = append(slices.Clone(s.env), "EXPORTER_SINK=file:"+filepath.Join(t.TempDir(), "archive"))
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		moment(ctx, func() bool { return s.sim.Calls().Discovery > calls })
		_ = command.Process.Signal(syscall.SIGKILL)
		_ = command.Wait()
		cancel()
		if cpu := command.ProcessState.UserTime() + command.ProcessState.SystemTime(); n == 0 || cpu < least {
			least = cpu
		}
	}
	figure("CPU from a cold start to the first request", float64(least)/float64(time.Millisecond), 150, "ms", "")

	s.behave(func(b *simulator.Behaviour) { b.Latency = 0 })
	var said output
	command := exec.CommandContext(t.Context(), program, "run")
	command.Env = append(slices.Clone(s.env), "EXPORTER_SCHEDULE=@every 1h", "EXPORTER_MAX_LAG=2h", "EXPORTER_LISTEN=127.0.0.1:0")
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	moment(t.Context(), func() bool { return strings.Contains(said.String(), `"msg":"run done"`) })
	before, begun := cpuOf(t, command.Process.Pid), time.Now()
	moment(t.Context(), func() bool { return time.Since(begun) > benchIdle })
	used := cpuOf(t, command.Process.Pid) - before
	_ = command.Process.Signal(syscall.SIGTERM)
	_ = command.Wait()
	figure("CPU of a daemon between ticks", float64(used)/float64(time.Millisecond)/benchIdle.Minutes(), 20, "ms", fmt.Sprintf("a minute; the system counts in steps of 10 ms, watched for %v", benchIdle))
}

// cpuOf is what a process that runs has used, by proc(5); nothing where there is none.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if os.IsNotExist(err) {
		return 0
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 13 {
		t.Fatalf("%q: %v", stat, err)
	}
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
