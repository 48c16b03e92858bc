package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"incident-exporter/exporter/simulator"
)

// TestCheckOfAnUnwritableDirectory: root may write everywhere, so root becomes somebody else for it.
// The chain is looked at all the same.
func TestCheckOfAnUnwritableDirectory(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 10, Incidents: 100})
	s.done("export")
	before := s.content()
	if err := filepath.WalkDir(s.dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o500)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	p := s.prepare(t.Context(), nil, "check")
	if os.Getuid() == 0 {
		p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: onlyUser(1000), GidMappings: onlyGroup(1000)}
	}
	if err := p.Start(); err != nil {
		t.Logf("root may not become somebody else here: %v", err)
		return
	}
	r := p.wait()
	if r.code != exitFailed || !strings.Contains(r.stdout, "\nFAILED   archive ") || !strings.Contains(r.stdout, "permission denied") ||
		!strings.Contains(r.stdout, "remedy: let this program's user write to") || !strings.Contains(r.stdout, "\nok       chain ") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if s.content() != before {
		t.Error("the archive has been changed")
	}
}
