package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programSwitch makes the test binary be the program, so that tests can start real processes with
// an environment of their own.
const programSwitch = "INCIDENT_EXPORTER_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch role := os.Getenv(programSwitch); role {
	case "":
	case "1":
		main()
		return
	default:
		os.Exit(playRole(role, os.Args[1:]))
	}
	// Most tests wait for processes, and those for the next attempt of a call.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// programCommand prepares a process of the program whose environment is env and nothing else.
func programCommand(ctx context.Context, t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, self, args...)
	command.Dir = t.TempDir()
	// A test binary built for coverage warns on standard error without a directory for it.
	command.Env = append([]string{programSwitch + "=1", "GOCOVERDIR=" + t.TempDir()}, env...)
	return command
}

// program runs the program to its end.
func program(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	command := programCommand(t.Context(), t, env, args...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// trust writes the certificate of a TLS test server to a file and returns the variable that makes
// the program trust it.
func trust(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return "SSL_CERT_FILE=" + path
}

// jsonLines decodes one JSON object a line.
func jsonLines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		objects = append(objects, object)
	}
	return objects
}
