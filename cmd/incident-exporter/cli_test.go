package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"incident-exporter/auth"
)

func TestUsageErrorsExit2AndArePrintedOnce(t *testing.T) {
	for _, args := range [][]string{{}, {"exprot"}, {"config", "--jsn"}, {"config", "extra"}, {"token", "extra"}, {"--nonsense"}} {
		stdout, stderr, code := program(t, nil, args...)
		if code != exitUsage || stdout != "" {
			t.Errorf("%q: exit %d, stdout %q", args, code, stdout)
		}
		if strings.Count(stderr, "incident-exporter: ") != 1 || !strings.Contains(stderr, "\nremedy: ") {
			t.Errorf("%q: stderr %q", args, stderr)
		}
	}
}

func TestHelpIsAResult(t *testing.T) {
	stdout, stderr, code := program(t, nil, "--help")
	if code != exitDone || stderr != "" || !strings.Contains(stdout, "token") || strings.Contains(stdout, "completion") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestVersion(t *testing.T) {
	stdout, _, code := program(t, []string{"EXPORTER_SETTLE=nonsense"}, "version")
	if code != exitDone || !strings.HasPrefix(stdout, "incident-exporter ") || !strings.Contains(stdout, "commit ") || !strings.Contains(stdout, runtime.Version()) {
		t.Errorf("exit %d, %q", code, stdout)
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"none":          {nil, 0, ""},
		"plain":         {errors.New("disk full"), 1, "incident-exporter: disk full\n"},
		"typed":         {fmt.Errorf("verify: %w", &exitError{exitFaults, errors.New("2 faults"), "look"}), 3, "incident-exporter: verify: 2 faults\nremedy: look\n"},
		"silent":        {&exitError{code: exitPartial}, 4, ""},
		"configuration": {&configError{[]problem{{"EXPORTER_X", "must be y"}}}, 2, "incident-exporter: configuration: EXPORTER_X must be y\n"},
		"token":         {fmt.Errorf("export: %w", &auth.Error{Summary: "no", Remedy: "yes"}), 1, "incident-exporter: export: get token: no\nremedy: yes\n"},
		"token, typed":  {&exitError{code: exitPartial, err: &auth.Error{Summary: "no", Remedy: "yes"}}, 4, "incident-exporter: get token: no\nremedy: yes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			a := &app{stderr: &stderr, started: true}
			if code := a.report(test.err); code != test.code || stderr.String() != test.stderr {
				t.Errorf("exit %d, stderr %q", code, stderr.String())
			}
		})
	}
}

func TestCommandsHaveHelp(t *testing.T) {
	var check func(*cobra.Command)
	check = func(command *cobra.Command) {
		if command.Short == "" || command.Args == nil && !command.HasSubCommands() {
			t.Errorf("%s has no short help or does not check its arguments", command.CommandPath())
		}
		for _, sub := range command.Commands() {
			check(sub)
		}
	}
	check((&app{}).newRoot())
}

func TestRunInProcess(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"version"}, os.Environ(), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
}

func TestIsTerminal(t *testing.T) {
	a := &app{environ: []string{"TERM=dumb", "TERM=xterm", "X"}}
	if a.getenv("TERM") != "xterm" || a.getenv("X") != "" {
		t.Error("getenv")
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if a.isTerminal(null) || a.isTerminal(&bytes.Buffer{}) {
		t.Error("what is no terminal is taken for one")
	}
}
