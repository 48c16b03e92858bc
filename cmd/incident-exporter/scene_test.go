package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/local"
)

// scene is a simulated tenant behind TLS, and a directory to export it to.
type scene struct {
	*testing.T
	sim    *simulator.Simulator
	front  *atomic.Pointer[http.Handler] // what the server serves
	server *httptest.Server
	dir    string
	env    []string
}

// newScene has no quota, and a server whose clock is ahead by more than what is not read yet, so
// that a pass covers everything there is.
func newScene(t *testing.T, opts simulator.Options) *scene {
	t.Helper()
	opts.Secret = canary
	if opts.Span == 0 {
		opts.Span = 36 * time.Hour
	}
	s := &scene{T: t, sim: simulator.New(opts), dir: filepath.Join(t.TempDir(), "archive"), front: &atomic.Pointer[http.Handler]{}}
	s.serve(s.sim)
	front := s.front
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*front.Load()).ServeHTTP(w, r) }))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.behave(func(b *simulator.Behaviour) { b.Quota = nil })
	s.later()
	s.env = []string{trust(t, s.server), "AZURE_AUTHORITY_HOST=" + s.server.URL, "EXPORTER_API_URL=" + s.server.URL,
		"AZURE_TENANT_ID=" + testTenant, "AZURE_CLIENT_ID=" + simulator.DefaultClientID, "AZURE_CLIENT_SECRET=" + canary,
		"EXPORTER_SINK=file:" + s.dir, "EXPORTER_QUOTA=100000/1m"}
	return s
}

// serve has the server serve something else.
func (s *scene) serve(h http.Handler) { s.front.Store(&h) }

func (s *scene) behave(change func(*simulator.Behaviour)) { s.sim.Change(change) }

// later lets so much time pass by the server's clock that what was updated until then is read. What
// that clock says is not believed once it is five minutes ahead of ours: four times are as many as
// there may be.
func (s *scene) later() {
	s.behave(func(b *simulator.Behaviour) {
		if b.ClockSkew += 63 * time.Second; b.ClockSkew > 5*time.Minute {
			s.Errorf("the server's clock is ahead by %v", b.ClockSkew)
		}
	})
}

// result is how a process ended.
type result struct {
	stdout, stderr string
	code           int
}

// process is a process of the program that runs.
type process struct {
	*exec.Cmd
	s        *scene
	out, err output
}

// output is what a process says, readable while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// prepare makes a process that is yet to be started.
func (s *scene) prepare(ctx context.Context, settings []string, args ...string) *process {
	s.Helper()
	p := &process{Cmd: programCommand(ctx, s.T, append(append([]string{}, s.env...), settings...), args...), s: s}
	p.Stdout, p.Stderr = &p.out, &p.err
	return p
}

// start starts the program with settings beside those of the scene.
func (s *scene) start(ctx context.Context, settings []string, args ...string) *process {
	s.Helper()
	p := s.prepare(ctx, settings, args...)
	if err := p.Start(); err != nil {
		s.Fatal(err)
	}
	return p
}

// wait waits for the end. Whatever a process says, it never shows a secret or a token.
func (p *process) wait() result {
	p.s.Helper()
	err := p.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.s.Fatal(err)
	}
	r := result{p.out.String(), p.err.String(), p.ProcessState.ExitCode()}
	if all := r.stdout + r.stderr; strings.Contains(all, canary) || strings.Contains(all, "eyJ") {
		p.s.Errorf("shows the secret or a token: %s", all)
	}
	return r
}

// run runs the program to its end.
func (s *scene) run(settings []string, args ...string) result {
	s.Helper()
	return s.start(s.Context(), settings, args...).wait()
}

// done runs the program, which must succeed.
func (s *scene) done(args ...string) result {
	s.Helper()
	r := s.run(nil, args...)
	if r.code != exitDone {
		s.Fatalf("%v: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

// whole checks that verify finds nothing, that all that is final is in the archive, that nothing
// is there twice, and that all of it was served.
func (s *scene) whole() {
	s.Helper()
	r := s.done("verify", "--strict")
	if !strings.HasPrefix(r.stdout, "whole: 1 streams, ") {
		s.Errorf("verify says %q", r.stdout)
	}
	archived := s.archived()
	missing := 0
	for _, v := range s.sim.Final() {
		if archived[hash(v)] == 0 {
			missing++
		}
	}
	served := map[string]bool{}
	for _, v := range s.sim.Truth() {
		served[hash(v)] = true
	}
	twice, strange := 0, 0
	for h, n := range archived {
		if n > 1 {
			twice++
		}
		if !served[h] {
			strange++
		}
	}
	if missing+twice+strange > 0 {
		s.Errorf("%d versions are missing, %d are there twice, %d were never served", missing, twice, strange)
	}
	if v := s.sim.Violations(); len(v) > 0 {
		s.Errorf("violations: %v", v)
	}
}

func hash(v simulator.Version) string {
	sum := v.SHA256()
	return hex.EncodeToString(sum[:])
}

// archived counts the lines of all data objects by their hashes.
func (s *scene) archived() map[string]int {
	s.Helper()
	r, err := local.OpenReader(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	lines := map[string]int{}
	stream := ledger.Stream{Source: "defender", Tenant: testTenant}
	for m, err := range ledger.Manifests(s.Context(), r, stream, 0, 0) {
		if err != nil {
			s.Fatal(err)
		}
		err := ledger.Lines(s.Context(), r, m, func(_ int, _ ledger.Version, line []byte) error {
			sum := sha256.Sum256(line)
			lines[hex.EncodeToString(sum[:])]++
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
	}
	return lines
}

// content is every file of the archive with a hash of its bytes.
func (s *scene) content() string {
	s.Helper()
	var b strings.Builder
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || entry != nil && entry.Name() == ".incident-exporter" {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(data))
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return b.String()
}

// files returns the paths of the archive's files with this name's end, in order.
func (s *scene) files(suffix string) []string {
	s.Helper()
	var found []string
	for line := range strings.Lines(s.content()) {
		if path, _, _ := strings.Cut(line, " "); strings.HasSuffix(path, suffix) {
			found = append(found, path)
		}
	}
	return found
}
