package exporter_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutation breaks one clause of the way the archive is made.
type mutation struct {
	name, file, old, new string
	noticed              noticed
}

// noticed says who sees it: a world, tried first because others are mostly
// blind to it, the tests of a package, or one test of this package.
type noticed struct {
	seed int
	pkg  string
	run  string
}

// The packages whose own tests notice.
var (
	byWalk   = noticed{pkg: "./defender/internal/walk"}
	byLedger = noticed{pkg: "./ledger"}
	byWorld  = noticed{}
)

// mutations are the clauses that the design and comments call necessary. Each is
// broken in turn, and somebody has to notice.
var mutations = []mutation{
	{"a partial answer shows something", "defender/internal/walk/walk.go", "case a.Partial != nil:\n\t\t\terr, to = r.World.Unread", "case a.Partial != nil && false:\n\t\t\terr, to = r.World.Unread", byWalk},
	{"an answer with a link is whole", "defender/internal/walk/walk.go", "return a.More == \"\" && (", "return (", byWalk},
	{"a short answer is whole before a longer one was seen", "defender/internal/walk/walk.go", "len(a.Rows) < min(max(r.Know.Longest, 2), a.Top))", "len(a.Rows) < a.Top)", byWalk},
	{"rows in order are enough", "defender/internal/walk/walk.go", "return r.Know.told && !r.Know.Disorder", "return !r.Know.Disorder", byWalk},
	{"in order a walk ends with a short answer", "defender/internal/walk/walk.go", "case r.whole(a) && !(r.orderly() && a.inOrder()):", "case r.whole(a):", byWalk},
	{"the second of the oldest row counts as read", "defender/internal/walk/walk.go", "begin := a.oldest().Add(time.Second)\n\t\t\tif begin.Before(to) {", "begin := a.oldest()\n\t\t\tif begin.Before(to) {", byWalk},
	{"one second is taken as it was cut", "defender/internal/walk/walk.go", "err, to = r.second(begin, a, nil), begin", "err, to = r.World.Shown(begin, to, a.Asked, false), begin", byWalk},
	{"a cut span is taken for whole", "defender/internal/walk/walk.go", "if done, err = r.linked(a); done {", "if done = true; done {", byWalk},
	{"a piece of a second is taken as it was cut", "defender/internal/walk/second.go", "if r.whole(a) {\n\t\t\t\tcontinue", "if r.whole(a) || n > 2 {\n\t\t\t\tcontinue", byWalk},
	{"one sweep is enough", "defender/internal/walk/second.go", "_, second, why, id, err := r.sweep(q)\n", "second := first\n", byWalk},
	{"two answers of a link are one moment", "defender/internal/walk/second.go", " || divisible && len(rows) > 0 && a.More != \"\" {", " {", byWalk},
	{"a link followed once is enough", "defender/internal/walk/second.go", "second, err := r.follow(b, divisible)\n", "second := first\n_ = b\n", byWalk},
	{"what is poisoned is stepped over in silence", "defender/internal/walk/second.go", "if !fetched && trouble == nil {", "if fetched && trouble == nil {", byWalk},

	{"what may come late is not read again", "ledger/coverage.go", "if end := x.Asked.Add(-after - settle).Truncate(time.Second); end.After(from) {", "if end := x.Asked.Time; end.After(from) {", byLedger},
	{"a claim of another time vouches", "ledger/coverage.go", "return !b.Asked.After(a.Asked.Time)", "return true", byLedger},
	{"what was read by order vouches for more", "ledger/coverage.go", "|| a.Order && !b.Order {", "|| false {", byLedger},
	{"what is withdrawn stays covered", "ledger/follows.go", "before = before.Without(Span{w.From, w.To})", "_ = before", byLedger},
	{"the walk back stops at the first manifest", "ledger/index.go", "if m.Latest.Before(from) {", "if m.Latest.Before(from) || m != l.head {", byLedger},
	{"what a rival committed is not known", "ledger/head.go", "l.index = &index{} // it does not know", "// it does not know", byWorld},
	{"what was not committed counts as known", "ledger/commit.go", "if l.index.pending {", "if false {", byWorld},
	{"an adopted object is believed", "ledger/verify.go", "if (m.Adopted || m.Void != \"\") && len(m.Read) > 0 {", "if false {", byLedger},
	{"a manifest is put without its data key held", "ledger/commit.go", "if err := l.sink.Put(ctx, l.head.Next, data); err != nil {\n\t\treturn rival(err)", "if err := l.sink.Put(ctx, l.head.Next, data); err != nil && !errors.Is(err, sinks.ErrExists) {\n\t\treturn err", byLedger},
	{"a lost race for the manifest is taken for won", "ledger/commit.go", "if err := l.sink.Put(ctx, l.stream.ManifestKey(m.Seq), data); err != nil {", "if err := l.sink.Put(ctx, l.stream.ManifestKey(m.Seq), data); err != nil && !errors.Is(err, sinks.ErrExists) {", byWorld},

	{"what is read is not held against the chain", "writer.go", "if known {\n\t\t\tcontinue", "if known && rows == nil {\n\t\t\tcontinue", byWorld},
	{"claims reach up to now", "writer.go", "if limit := c.Asked.Add(-w.e.cfg.Settle).Truncate(time.Second); c.To.After(limit) {", "if limit := c.Asked.Time; false {", noticed{run: "^TestNothingUnsettledIsClaimed$"}},
	{"what could not be read is claimed", "writer.go", "range ledger.Subtract([]ledger.Span{{From: c.From, To: c.To}}, w.unread) {", "range []ledger.Span{{From: c.From, To: c.To}} {", byWorld},
	{"what could not be read is not named", "writer.go", "w.name(s, id, fmt.Sprintf(\"%.500s\", why))", "_ = fmt.Sprint(id, why)", byWorld},
	{"the unsettled is not read again", "pass.go", "from = unsettled[n-1].From.Time\n", "", byWorld},
	{"holes are not read", "pass.go", "if len(holes) == 0 || p.exhausted {", "if len(holes) < 1<<20 || p.exhausted {", byWorld},
	{"there is no deep reading", "pass.go", "due.IsZero() || p.now().Before(due) || p.exhausted {", "!due.IsZero() || p.exhausted {", byWorld},
	{"what could not be fetched is not tried again", "pass.go", "if tried++; tried > mostRetried {", "if tried++; tried > 0 {", byWorld},
	{"there is no audit", "pass.go", "if len(ordered) == 0 {\n\t\tp.e.audits", "if len(ordered) < 1<<20 {\n\t\tp.e.audits", byWorld},
}

// TestMutations breaks the program on purpose and sees the world fail: a
// clause that can be broken unnoticed is not tested.
func TestMutations(t *testing.T) {
	if os.Getenv("MUTATIONS") == "" { // make mutations
		return
	}
	dir := t.TempDir()
	for i, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			source, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.old); n != 1 {
				t.Fatalf("%s holds %q %d times: bring the mutation up to date", m.file, m.old, n)
			}
			mutant := filepath.Join(dir, fmt.Sprintf("mutant%d.go", i))
			if err := os.WriteFile(mutant, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{source: mutant}})
			overlayFile := filepath.Join(dir, fmt.Sprintf("overlay%d.json", i))
			if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, fmt.Sprintf("mutant%d.test", i))
			pkg, run := ".", "^TestWorld$"
			if m.noticed.pkg != "" {
				pkg, run = m.noticed.pkg, "."
			}
			if m.noticed.run != "" {
				run = m.noticed.run
			}
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlayFile, "-o", binary, pkg)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			defer os.Remove(binary)
			try := func(from, seeds int) ([]byte, error) {
				world := exec.CommandContext(t.Context(), binary, "-test.run", run, "-test.timeout", "400s", "-test.parallel", "2", "-test.failfast")
				world.Dir = pkg
				world.Env = append(os.Environ(), "SOAK_FAILFAST=1", fmt.Sprintf("SOAK_FROM=%d", from), fmt.Sprintf("SOAK_SEEDS=%d", seeds), "WORLD_LOG=", "WORLD_DUMP=")
				return world.CombinedOutput()
			}
			var out []byte
			err = nil
			// What goroutines do in which order is not in the seed: a few tries.
			for n := 0; n < 12 && err == nil && m.noticed.seed > 0; n++ {
				out, err = try(m.noticed.seed, 1)
			}
			if err == nil {
				out, err = try(1, 200)
			}
			if err == nil {
				t.Fatal("nobody noticed")
			}
			if strings.Contains(string(out), "test timed out") {
				t.Fatalf("it was not noticed in time")
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "--- FAIL: Test") || strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "panic:") {
					t.Logf("noticed: %.200s", strings.TrimSpace(line))
				}
			}
		})
	}
}
