package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeNamesEveryVariable holds the table of the README to what the program does by default.
func TestReadmeNamesEveryVariable(t *testing.T) {
	content, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `((?:AZURE|EXPORTER)_[A-Z0-9_]+)` \\| (?:`([^`]*)`)? ?\\| ")
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(content), -1) {
		documented[m[1]] = m[2]
	}
	cfg := load(t)
	for _, r := range cfg.rows {
		value, ok := documented[r.name]
		switch {
		case !ok:
			t.Errorf("%s is not documented", r.name)
		case value != cfg.show(r):
			t.Errorf("%s: the default is %q, documented is %q", r.name, cfg.show(r), value)
		}
		delete(documented, r.name)
	}
	for name := range documented {
		t.Errorf("%s is documented, and does not exist", name)
	}
}

// TestReadmeNamesEveryCommand holds the table of commands to what there is.
func TestReadmeNamesEveryCommand(t *testing.T) {
	content, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## Commands\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| [^|]+\|`).FindAllString(section, -1) {
		for _, name := range regexp.MustCompile("`([a-z-]+)(?: [A-Z]+)?`").FindAllStringSubmatch(m, -1) {
			documented[name[1]] = true
		}
	}
	for _, command := range (&app{}).commands() {
		if !documented[command.Name()] {
			t.Errorf("%s is not documented", command.Name())
		}
		delete(documented, command.Name())
	}
	for name := range documented {
		t.Errorf("%s is documented, and does not exist", name)
	}
}
