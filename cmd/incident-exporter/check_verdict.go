package main

import (
	"errors"
	"fmt"
	"strings"
)

// The states of a verdict. Its zero value is a check that passed.
const (
	passed  = ""
	warning = "warning"
	failed  = "FAILED"
	skipped = "skipped" // what it waits for is its detail
)

// verdict is what came of one check. The first four members of what is printed are fixed by the
// contract.
type verdict struct {
	Name   string
	State  string
	Detail string
	Remedy string // empty where nothing is to be done
	of     tenant // the zero value: of all
}

// verdicts prints verdicts and counts the failures.
type verdicts struct {
	app    *app
	json   bool
	failed int
	err    error // of printing
}

// say prints a verdict.
func (v *verdicts) say(one verdict) {
	one.Detail, one.Remedy = strings.ReplaceAll(one.Detail, "\n", "; "), strings.ReplaceAll(one.Remedy, "\n", "; ")
	if one.State == failed {
		v.failed++
	}
	if err := v.print(one); v.err == nil {
		v.err = err
	}
}

// nameWidth is that of the longest name and one space.
const nameWidth = len("authority clock") + 2

func (v *verdicts) print(one verdict) error {
	state := strings.ToLower(one.State)
	if one.State == passed {
		state = "ok"
	}
	if v.json {
		return v.app.printJSON(struct {
			Name   string `json:"name"`
			OK     bool   `json:"ok"` // it passed, with a warning or without
			Detail string `json:"detail"`
			Remedy string `json:"remedy"`
			State  string `json:"state"` // ok, warning, failed or skipped
			Source string `json:"source,omitempty"`
			Tenant string `json:"tenant,omitempty"`
		}{one.Name, one.State == passed || one.State == warning, one.Detail, one.Remedy, state, one.of.source, one.of.id})
	}
	word := one.State
	if word == passed {
		word = "ok"
	}
	detail := one.Detail
	if one.of.id != "" {
		whose := one.of.String()
		if one.of.source != "" {
			whose = one.of.source + " of " + whose
		}
		detail = whose + ": " + detail
	}
	_, err := fmt.Fprintf(v.app.stdout, "%s  %-*s%s\n", v.app.coloured(word), nameWidth, one.Name, detail)
	if one.Remedy != "" && err == nil {
		_, err = fmt.Fprintf(v.app.stdout, "%-*sremedy: %s\n", len("skipped")+2+nameWidth, "", one.Remedy)
	}
	return err
}

// coloured is a state in a column of its own, on a terminal in its colour unless NO_COLOR is set
// (no-color.org).
func (a *app) coloured(word string) string {
	padded := fmt.Sprintf("%-*s", len("skipped"), word)
	colour := map[string]string{"ok": "32", warning: "33", failed: "31"}[word]
	if colour == "" || !a.isTerminal(a.stdout) || a.getenv("NO_COLOR") != "" {
		return padded
	}
	return "\x1b[" + colour + "m" + padded + "\x1b[0m"
}

// misconfigured tells all that is wrong with the configuration: each problem is a verdict in JSON;
// for people the error says them all.
func (v *verdicts) misconfigured(err error) error {
	var config *configError
	if !v.json || !errors.As(err, &config) {
		return err
	}
	for _, p := range config.problems {
		v.say(verdict{Name: "configuration", State: failed, Detail: p.name + " " + p.text, Remedy: "correct " + p.name})
	}
	if v.err != nil {
		return v.err
	}
	return &exitError{code: exitUsage}
}
