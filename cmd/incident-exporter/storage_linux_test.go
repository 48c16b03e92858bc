package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"incident-exporter/exporter/simulator"
)

// mountsRole mounts filesystems and runs the program on them.
const mountsRole = "mounts"

const notPermitted = 77

// playRole is what the test binary does in the place of the program where a test needs more of
// the system than the program itself asks of it. It returns the exit code.
func playRole(role string, args []string) int {
	if role != mountsRole || len(args) != 1 {
		return exitUsage
	}
	if err := playMounts(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return notPermitted
	}
	return 0
}

// mountStep is how the program ended on a filesystem.
type mountStep struct {
	Step, Stdout, Stderr string
	Code                 int
}

// playMounts runs the program on a filesystem that is full, then larger, then read-only, and on
// two filesystems that are one archive.
func playMounts(dir string) error {
	mount := func(target string, flags uintptr, data string) error {
		kind := "tmpfs"
		if data == "" {
			kind = ""
		}
		return syscall.Mount("none", target, kind, flags, data)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := func(step string, args ...string) error {
		var out, errs strings.Builder
		command := exec.Command(self, args...)
		command.Env = append(os.Environ(), programSwitch+"=1")
		command.Stdout, command.Stderr = &out, &errs
		if err := command.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(mountStep{step, out.String(), errs.String(), command.ProcessState.ExitCode()})
	}
	other := filepath.Join(dir, "incidents")
	for _, do := range []func() error{
		func() error { return mount("/", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return mount(dir, 0, "size=192k,mode=0700") },
		func() error { return program("full", "export") },
		func() error { return program("full, verified", "verify") },
		func() error { return mount(dir, syscall.MS_REMOUNT, "size=64m") },
		func() error { return program("roomy", "export") },
		func() error { return program("roomy, verified", "verify", "--strict", "--json") },
		func() error { return mount(dir, syscall.MS_REMOUNT|syscall.MS_RDONLY, "") },
		func() error { return program("read-only", "export") },
		func() error { return program("read-only, verified", "verify", "--strict") },
		func() error { return mount(dir, 0, "size=16m,mode=0700") },
		func() error { return os.Mkdir(other, 0o700) },
		func() error { return mount(other, 0, "size=16m,mode=0700") },
		func() error { return program("two", "export") },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// TestStorageFailures runs mountsRole in a mount namespace of its own, as root or, where that is
// allowed, as any user. Where it is not, TestFilesTooLarge shows what can be shown.
func TestStorageFailures(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 9, Incidents: 1500, Size: 700})
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, UidMappings: onlyUser(0), GidMappings: onlyGroup(0)},
	} {
		p := s.prepare(t.Context(), []string{programSwitch + "=" + mountsRole, "EXPORTER_BATCH_RECORDS=100"}, s.dir)
		p.SysProcAttr = attr
		if err := p.Start(); err != nil {
			t.Logf("clone flags %#x: %v", attr.Cloneflags, err)
			continue
		}
		r := p.wait()
		if r.code != 0 {
			t.Logf("clone flags %#x: exit %d, %s", attr.Cloneflags, r.code, r.stderr)
			continue
		}
		checkMounts(t, len(s.sim.Final()), r.stdout)
		return
	}
	t.Log("mounting is not permitted here")
}

func checkMounts(t *testing.T, versions int, said string) {
	want := map[string]struct {
		code int
		says string
	}{
		"full":                {exitFailed, "remedy: make room on the filesystem of"},
		"full, verified":      {exitDone, "whole: 1 streams"},
		"roomy":               {exitDone, "run done"},
		"roomy, verified":     {exitDone, fmt.Sprintf(`"versions":%d,"faults":0`, versions)},
		"read-only":           {exitFailed, "remedy: mount the filesystem of"},
		"read-only, verified": {exitDone, "whole: 1 streams"},
		"two":                 {exitFailed, "remedy: set EXPORTER_SINK to a directory on one filesystem"},
	}
	for line := range strings.Lines(said) {
		var step mountStep
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		w := want[step.Step]
		delete(want, step.Step)
		if step.Code != w.code || !strings.Contains(step.Stdout+step.Stderr, w.says) {
			t.Errorf("%s: exit %d, want %d, %s%s", step.Step, step.Code, w.code, step.Stdout, step.Stderr)
		}
	}
	if len(want) > 0 {
		t.Errorf("not seen: %v", want)
	}
}

func onlyUser(inside int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getuid(), Size: 1}}
}

func onlyGroup(inside int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getgid(), Size: 1}}
}

// TestUnwritableDirectory: root may write everywhere, so root becomes somebody else for it.
func TestUnwritableDirectory(t *testing.T) {
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
	s.later()
	s.sim.Bulk(10)
	s.later()
	p := s.prepare(t.Context(), nil, "export")
	if os.Getuid() == 0 {
		p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: onlyUser(1000), GidMappings: onlyGroup(1000)}
	}
	if err := p.Start(); err != nil {
		t.Logf("root may not become somebody else here: %v", err)
		return
	}
	if r := p.wait(); r.code != exitFailed || !strings.Contains(r.stderr, "permission denied") || !strings.Contains(r.stderr, "remedy: let this program's user write to") {
		t.Errorf("%+v", r)
	}
	if s.content() != before {
		t.Error("the archive has been changed")
	}
	s.done("verify", "--strict")
}

// TestNoHardLinks: a filesystem without hard links is refused with a remedy of its own, not taken
// for one without permission. The program meets such a refusal in TestStorageFailures ("two").
func TestNoHardLinks(t *testing.T) {
	p := &passes{cfg: load(t, "EXPORTER_SINK=file:/srv/archive")}
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EXDEV} {
		err := fmt.Errorf("open archive: %w", &os.LinkError{Op: "linkat", Old: "a", New: "b", Err: errno})
		if text, remedy := p.explain(t.Context(), nil, err); !strings.HasPrefix(text, "open archive: linkat") || !strings.Contains(remedy, "one filesystem that has hard links") {
			t.Errorf("%v: %q, %q", errno, text, remedy)
		}
	}
}

// TestFilesTooLarge: a limit on the size of files is met like a full disk, and needs no
// permission. Once it is gone the next export completes.
func TestFilesTooLarge(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 12, Incidents: 600, Size: 4000})
	limited := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -f 20; exec "$0" export`)
	p := s.prepare(t.Context(), []string{"EXPORTER_BATCH_RECORDS=500"}, "export")
	p.Args, p.Path = append(limited.Args, p.Path), limited.Path
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(); r.code != exitFailed || !strings.Contains(r.stderr, "file too large") || !strings.Contains(r.stderr, "remedy: raise the limit on the size of files") {
		t.Errorf("%+v", r)
	}
	s.done("verify")
	s.done("export")
	s.whole()
}
