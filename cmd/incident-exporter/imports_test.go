package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "incident-exporter"

// ownEdges says which packages of ours a package may import; what is not
// named may import none and must be added here. "*" is all of them.
func ownEdges() map[string][]string {
	return map[string][]string{
		"auth":                  {},
		"cmd/incident-exporter": {"*"},
		"exporter":              {"exporter/ledger", "exporter/rawjson", "sinks"},
		"exporter/defender":     {"exporter", "exporter/defender/internal/walk", "exporter/ledger", "exporter/rawjson"},
		"exporter/ledger":       {"exporter/rawjson", "sinks"},
		"exporter/mapping":      {"exporter/rawjson"},
		"exporter/rawjson":      {},
		"exporter/simulator":    {},
		"sinks":                 {},
		"sinks/local":           {"sinks"},
		"sinks/s3":              {"sinks"},
		"sinks/sinktest":        {"sinks"},

		"exporter/defender/internal/walk": {},

		"sinks/sinktest/s3server":      {},
		"sinks/sinktest/s3server/demo": {"sinks/sinktest/s3server"},
	}
}

// foreignEdges says which packages of ours may import a module of others,
// named by the beginning of its import path. A module that is not named here
// has no place yet.
func foreignEdges() map[string][]string {
	return map[string][]string{
		"github.com/Azure/azure-sdk-for-go/sdk/azcore":     {"auth"},
		"github.com/Azure/azure-sdk-for-go/sdk/azidentity": {"auth"},
		"github.com/aws/":                       {"sinks/s3", "sinks/sinktest/s3server", "sinks/sinktest/s3server/demo"},
		"github.com/hashicorp/go-retryablehttp": {"auth", "exporter/defender"},
		"github.com/kelseyhightower/envconfig":  {"cmd/incident-exporter"},
		"github.com/klauspost/compress":         {"exporter/defender", "exporter/ledger"},
		"github.com/prometheus/client_golang":   {"cmd/incident-exporter"},
		"github.com/robfig/cron/v3":             {"cmd/incident-exporter", "exporter"},
		"github.com/spf13/":                     {"cmd/incident-exporter"},
		"golang.org/x/oauth2":                   {"auth"},
		"golang.org/x/sync":                     {"exporter", "exporter/defender"},
		"golang.org/x/term":                     {"cmd/incident-exporter"},
		"software.sslmate.com/src/go-pkcs12":    {"auth"},
	}
}

// edge is one import of one package, tests not included: those may use any
// other package to set a scene.
type edge struct{ from, to string }

// wrongEdge says what is wrong with an edge, "" if nothing is.
func wrongEdge(e edge, standard bool) string {
	allowed, known := ownEdges()[e.from]
	if !known {
		return e.from + " is not in the table of packages"
	}
	if own, ok := strings.CutPrefix(e.to, module+"/"); ok {
		if !slices.Contains(allowed, own) && !slices.Contains(allowed, "*") {
			return e.from + " -> " + own + ": imports run one way; " + e.from + " may import " + list(allowed)
		}
		return ""
	}
	if standard {
		return ""
	}
	for path, users := range foreignEdges() {
		if strings.HasSuffix(path, "/") && strings.HasPrefix(e.to, path) || e.to == path || strings.HasPrefix(e.to, path+"/") {
			if !slices.Contains(users, e.from) {
				return e.from + " -> " + e.to + ": its place is " + list(users)
			}
			return ""
		}
	}
	return e.from + " -> " + e.to + ": it is not in the table of modules"
}

func list(names []string) string {
	if len(names) == 0 {
		return "none of ours"
	}
	return strings.Join(names, ", ")
}

func TestImportGraph(t *testing.T) {
	out := run(t, "go", "list", "-e", "-json=ImportPath,Imports,Standard", "-deps", "./...")
	standard := map[string]bool{"C": true}
	var edges []edge
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode the package list: %v", err)
		}
		standard[p.ImportPath] = p.Standard
		if from, ours := strings.CutPrefix(p.ImportPath, module+"/"); ours {
			for _, to := range p.Imports {
				edges = append(edges, edge{from, to})
			}
		}
	}
	if len(edges) == 0 {
		t.Fatal("go list shows no import of ours")
	}
	for _, e := range edges {
		if wrong := wrongEdge(e, standard[e.to]); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestWrongEdgesAreNamed breaks the graph on purpose.
func TestWrongEdgesAreNamed(t *testing.T) {
	for _, e := range []edge{
		{"exporter/ledger", module + "/exporter"},
		{"exporter", module + "/exporter/defender"},
		{"exporter", module + "/sinks/local"},
		{"sinks/local", module + "/exporter/ledger"},
		{"auth", module + "/exporter/simulator"},
		{"exporter", "github.com/spf13/cobra"},
		{"exporter/defender", "github.com/robfig/cron/v3"},
		{"exporter/defender", "golang.org/x/oauth2/clientcredentials"},
		{"sinks", "github.com/klauspost/compress/zstd"},
		{"auth", "github.com/nobody/anything"},
		{"exporter/utilities", module + "/sinks"},
	} {
		if wrong := wrongEdge(e, false); !strings.Contains(wrong, e.from) {
			t.Errorf("%s -> %s: %q, want it refused by name", e.from, e.to, wrong)
		}
	}
	for _, e := range []edge{
		{"cmd/incident-exporter", module + "/exporter/simulator"},
		{"exporter/ledger", "github.com/klauspost/compress/gzip"},
		{"cmd/incident-exporter", "github.com/spf13/cobra"},
	} {
		if wrong := wrongEdge(e, false); wrong != "" {
			t.Errorf("%s -> %s: %s, want it allowed", e.from, e.to, wrong)
		}
	}
}

// TestTopLevel keeps the house as the README draws it.
func TestTopLevel(t *testing.T) {
	allowed := []string{"LICENSE", "Makefile", "README.md", "auth", "cmd", "deploy", "exporter", "go.mod", "go.sum", "sinks"}
	seen := map[string]bool{}
	for _, file := range strings.Split(strings.TrimSuffix(string(run(t, "git", "ls-files", "-z")), "\x00"), "\x00") {
		top, _, _ := strings.Cut(file, "/")
		if !seen[top] && !strings.HasPrefix(top, ".") && !slices.Contains(allowed, top) {
			t.Errorf("%q does not belong at the top level", top)
		}
		seen[top] = true
	}
	if !seen["go.mod"] {
		t.Error("git does not list go.mod")
	}
}

// run runs a command at the top of the module.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}
