package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// moment waits until a condition holds that changes without telling anybody.
func moment(ctx context.Context, holds func() bool) {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// countFiles is how many files lie below a directory.
func countFiles(dir string) int {
	paths, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*"))
	deeper, _ := filepath.Glob(filepath.Join(dir, "incidents", "*", "*", "*", "*"))
	return len(paths) + len(deeper)
}

// TestKilled kills twenty exports of one backfill, each at another moment: in the middle of the
// n-th call of the API, or when the n-th file appears in the archive, which is between a data
// object and its manifest as often as not.
func TestKilled(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	for name, scene := range map[string]func(*testing.T, simulator.Options) *scene{"directory": newScene, "S3": newS3Scene} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kill(scene(t, simulator.Options{Seed: 3, Incidents: 4000, Tie: 120, Size: 700}))
		})
	}
}

func kill(s *scene) {
	t := s.T
	settings := []string{"EXPORTER_BATCH_RECORDS=60", "EXPORTER_CONCURRENCY=3"}
	for i := range 20 {
		reached := make(chan struct{})
		var once sync.Once
		reach := func() { once.Do(func() { close(reached) }) }
		calls := 0
		var mu sync.Mutex
		s.behave(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(r.URL.Path, "/api/") {
					calls++
				}
				if i%2 == 0 && calls > i/2 {
					reach()
				}
				return simulator.NoFault
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		p := s.start(ctx, settings, "export")
		if i%2 == 1 {
			before := countFiles(s.dir)
			go moment(ctx, func() bool {
				if countFiles(s.dir) > before+i/4 {
					reach()
				}
				select {
				case <-reached:
					return true
				default:
					return false
				}
			})
		}
		ended := make(chan result)
		go func() { ended <- p.wait() }()
		select {
		case <-reached:
			_ = p.Process.Kill() // it may have ended just now
			<-ended
		case r := <-ended:
			t.Errorf("export %d ended before its moment: %+v", i, r)
		}
		cancel()
		if i%5 == 4 && countFiles(s.dir) > 0 {
			s.done("verify")
		}
	}
	s.behave(func(b *simulator.Behaviour) { b.Fail = nil })
	for range 2 {
		s.done("export")
		s.whole()
	}
}

// TestTerminated ends an export and a daemon in the middle of a backfill, and a daemon that waits
// for its next run.
func TestTerminated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command string
		when    string // what is said or, if empty, the second call of the API
		code    int
		says    string
	}{
		{"export", `"msg":"committed"`, exitDone, "run ended early, the next one goes on"},
		{"export", "", exitFailed, "incident-exporter: stopped by a signal before its end"},
		{"run", `"msg":"committed"`, exitDone, "run ended early, the next one goes on"},
		{"run", "", exitDone, "stopped by a signal before its end"},
		{"run", `"msg":"run done"`, exitDone, "daemon stopped"},
	} {
		t.Run(test.command+test.when, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, simulator.Options{Seed: 4, Incidents: 3000, Size: 700})
			s.behave(func(b *simulator.Behaviour) { b.Latency = 20 * time.Millisecond })
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			p := s.start(ctx, []string{"EXPORTER_BATCH_RECORDS=100", "EXPORTER_CONCURRENCY=1"}, test.command)
			moment(ctx, func() bool {
				if test.when == "" {
					return s.sim.Calls().API() >= 2
				}
				return strings.Contains(p.err.String(), test.when)
			})
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r := p.wait()
			if ctx.Err() != nil || r.code != test.code || !strings.Contains(r.stderr, test.says) {
				t.Errorf("exit %d, %v\n%s%s", r.code, ctx.Err(), r.stdout, r.stderr)
			}
			if len(s.files(".json")) > 0 {
				s.done("verify")
			}
			s.done("export")
			s.whole()
		})
	}
}

// TestDaemonOutlivesFailures: a run that fails is logged with its remedy, and the next one goes on.
func TestDaemonOutlivesFailures(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 8, Incidents: 50})
	s.behave(func(b *simulator.Behaviour) { b.Consent = false })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p := s.start(ctx, []string{"EXPORTER_SCHEDULE=@every 10s"}, "run", "--json")
	moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"run failed"`) })
	s.behave(func(b *simulator.Behaviour) { b.Consent = true })
	moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"run done"`) })
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r := p.wait()
	if r.code != exitDone || !strings.Contains(r.stderr, "AADSTS65001") || !strings.Contains(r.stderr, `"remedy":"`) || len(jsonLines(t, r.stdout)) != 1 {
		t.Errorf("%+v", r)
	}
	s.whole()
}
