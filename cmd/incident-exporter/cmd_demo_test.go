package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"incident-exporter/sinks/local"
)

func TestDemo(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's here")
	// What configures an exporter must not reach the demo's.
	env := []string{"EXPORTER_SINK=file:/nowhere", "EXPORTER_NO_SUCH=1", "AZURE_CLIENT_SECRET=" + canary, "HTTPS_PROXY=http://127.0.0.1:1", "TMPDIR=" + t.TempDir()}
	stdout, stderr, code := program(t, env, "demo", "--dir", dir)
	if code != exitDone {
		t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	hides(t, stdout, stderr)
	for _, want := range []string{"$ EXPORTER_START=91d incident-exporter export", "whole: 1 streams", "3 answers were faulty and 1 was refused", "0 missing", "0 are there twice", `"kind":"altered"`, "rm -rf '"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}

	// The very commands that it prints.
	_, look, _ := strings.Cut(stdout, "== Look for yourself")
	var script strings.Builder
	for line := range strings.Lines(look) {
		if command, ok := strings.CutPrefix(line, "  "); ok {
			script.WriteString(command)
		}
	}
	shown := script.String()
	if _, err := exec.LookPath("jq"); err != nil {
		shown = strings.ReplaceAll(shown, "jq -r .status", "cat") // the archive's part of it needs no jq
		shown = strings.ReplaceAll(shown, "jq -r .incidentId", "cat")
		shown = strings.ReplaceAll(shown, "jq 'del(.versions)'", "cat")
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-ec", shown).CombinedOutput()
	if err != nil || strings.Count(shown, "\n") != 4 || !strings.Contains(string(out), "Resolved") || !strings.Contains(string(out), "prev") {
		t.Errorf("%v\n%s\n%s", err, shown, out)
	}

	// A comparison with another tenant's truth must fail, else it shows nothing.
	r, err := local.OpenReader(filepath.Join(dir, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if said, err := newDemoTenant().compare(t.Context(), r); err == nil {
		t.Errorf("an archive of something else passes: %s", said)
	}
	if _, stderr, code := program(t, env, "demo", "--dir", dir); code != exitUsage || !strings.Contains(stderr, "not empty") {
		t.Errorf("a directory in use: exit %d, %q", code, stderr)
	}
}

func TestNames(t *testing.T) {
	const altered, summary = `{"kind":"altered","key":"a"}` + "\n", `{"summary":{"faults":1}}` + "\n"
	for findings, want := range map[string]string{
		altered + summary:                           "",
		summary:                                     "did not find",
		`{"kind":"missing","key":"a"}` + "\n":       "did not find",
		altered + `{"kind":"altered","key":"b"}`:    "not touched",
		altered + `{"kind":"broken-chain","key":""`: "read a finding",
	} {
		err := names(findings, "a")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", findings, err, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, path := range []string{"/tmp/plain-1.d", "/tmp/a b", "/tmp/it's", "/tmp/$(x)`y`"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(path)).Output()
		if err != nil || string(out) != path {
			t.Errorf("%s becomes %s, %v", path, out, err)
		}
	}
}

func TestDemoTemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := demoDir("")
	if err != nil || !strings.HasPrefix(dir, os.Getenv("TMPDIR")) {
		t.Errorf("%s, %v", dir, err)
	}
}
