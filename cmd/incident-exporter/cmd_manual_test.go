package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestManual: the page has every command with its flags and every variable, and groff, where it is
// there, has nothing to say about it.
func TestManual(t *testing.T) {
	page, stderr, code := program(t, nil, "manual")
	if code != exitDone || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	a := &app{}
	wanted := []string{"EXIT STATUS", `.B \-\-strict`}
	for _, command := range a.commands() {
		wanted = append(wanted, "\n.SS incident\\-exporter "+roff(command.Name()))
	}
	for _, row := range load(t).rows {
		wanted = append(wanted, "\n"+row.name+"\n")
	}
	for _, want := range wanted {
		if !strings.Contains(page, want) {
			t.Errorf("the manual page lacks %q", want)
		}
	}
	if strings.Contains(page, "completion") || strings.Contains(page, `.SS incident\-exporter manual`) {
		t.Error("it has what only packagers call")
	}
	if groff, err := exec.LookPath("groff"); err == nil {
		command := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-z", "-Tutf8")
		command.Stdin = strings.NewReader(page)
		if said, err := command.CombinedOutput(); err != nil || len(said) > 0 {
			t.Errorf("groff: %v: %s", err, said)
		}
	}
}

// TestRoff: text stays text.
func TestRoff(t *testing.T) {
	if got, want := roff(".TH\n'b\na\\-b\n\n  c"), "\\&.TH\n\\&'b\na\\e\\-b\n.PP\n.br\n  c"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestCompletion: for the shells, and no word of it in the help.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, stderr, code := program(t, nil, "completion", shell); code != exitDone || !strings.Contains(out, "incident-exporter") {
			t.Errorf("%s: exit %d, %s, %s", shell, code, out, stderr)
		}
	}
	if out, _, _ := program(t, nil, "__complete", "ver"); !strings.Contains(out, "verify") || !strings.Contains(out, "version") {
		t.Errorf("completes %q", out)
	}
	if help, _, _ := program(t, nil, "--help"); strings.Contains(help, "completion") || strings.Contains(help, "manual") {
		t.Errorf("the help has what only packagers call: %s", help)
	}
}
