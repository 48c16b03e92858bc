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

// noticed says who sees it: the world of a seed, tried first because others
// are mostly blind to it, or a test of package defender.
type noticed struct {
	seed int
	test string
}

// mutations are the clauses that design and comments call necessary. Each is
// broken in turn, and the world has to notice.
var mutations = []mutation{
	{"the check begins without its margin", "defender/window.go", "from:  clock.Add(-s.cfg.Overlap).Truncate(unit),", "from:  clock.Truncate(unit),", noticed{test: "^TestLateUpdates"}},
	{"several pages are believed without the check", "defender/window.go", "if why != \"\" {", "if why == \"-\" {", noticed{}},
	{"a short answer is believed before a longer one was seen", "defender/source.go", "return n < s.longest[q.bare && s.cfg.API.expand != \"\"]", "return true", noticed{test: "^TestShortPages"}},
	{"$skip=N is not asked", "defender/window.go", "if len(behind.rows) > 0 || behind.more {", "if len(behind.rows) < 0 {", noticed{seed: 120}},
	{"rows read twice are believed", "defender/window.go", "if f.twice() != \"\" {\n\t\treturn nil, &failure{why: busy, rows: f.rows}, nil", "if false {\n\t\treturn nil, nil, nil", noticed{}},
	{"what vanishes at the retention's edge is not looked at again", "defender/window.go", "if r.created.Before(edge) || r.At.Before(edge) {", "if false {", noticed{test: "^TestWhatVanishes"}},
	{"a size is believed where late ones may have come in", "defender/count.go", "if !rows[i].At.Before(old) {", "if rows[i].At.After(old.AddDate(9, 0, 0)) {", noticed{test: "^TestLateOne"}},
	{"a count is believed that was not seen to be right", "defender/count.go", "return a.count, a.count >= 0 && s.counts == right", "return a.count, a.count >= 0", noticed{test: "^TestCounts"}},
	{"as many rows as are counted need not be", "defender/count.go", "if n, ok := s.size(p.answers[0]); !ok || n != len(rows) {", "if _, ok := s.size(p.answers[0]); !ok {", noticed{test: "^TestRowsThatLeave"}},
	{"an end at the highest $skip is one", "defender/window.go", "if n >= s.cfg.MaxSkip {", "if n > s.cfg.MaxSkip {", noticed{test: "^TestSkipWall"}},
	{"what a short answer held need not be there still", "defender/window.go", "!ok || !at.Equal(rows[i].At)", "ok && !at.Equal(rows[i].At)", noticed{test: "^TestShortPages"}},
	{"the newer part is kept though something lies behind it", "defender/newest.go", "len(behind.rows) == 0 && !behind.more", "true", noticed{test: "^TestNewerPart"}},
	{"the newer part is kept without the check", "defender/newest.go", "err == nil && why == \"\" {", "err == nil && why != \"-\" {", noticed{test: "^TestNewerPart"}},
	{"alerts apart are taken for those of another time", "defender/one.go", "if alerts == nil || !bytes.Equal(before.line, after.line) {", "if alerts == nil {\n\t\t\t_ = after", noticed{test: "^TestAlertsApart"}},
	{"an instant in parts is covered by its first part", "defender/narrow.go", "q.part || !last", "q.part && last", noticed{test: "^TestWhatIsCovered"}},
	{"rows outside of the window are dropped", "take.go", "if fresh && !r.At.Before(p.target) {", "if fresh && !r.At.Before(p.target) || r.At.Before(seg.From) {", noticed{seed: 178}},
	{"two windows of the quota count as one", "defender/quota.go", "const margin = time.Second", "const margin = -10 * time.Second", noticed{test: "^TestQuotaIsKept"}},
	{"settled moves as if everything were visible at once", "take.go", "to := asked.Add(-overlap)", "to := asked.Add(-overlap * 0)", noticed{}},
	{"settled jumps over what was not read again", "take.go", "if settled.Before(seg.From) {", "if false {", noticed{seed: 168}},
	{"what is new is not held against the chain", "take.go", "if known {", "if known && !fresh {", noticed{}},
	{"what is read again is not held against the chain", "take.go", "if known {", "if known && fresh {", noticed{}},
	{"there is no deep pass", "pass.go", "if now.Before(last.Add(e.cfg.DeepEvery)) {", "if now.Before(last.AddDate(1, 0, 0)) {", noticed{seed: 168}},
	{"a deep pass counts as done when it begins", "pass.go", "done := p.claim.Deep.Since.Add(-e.cfg.DeepOverlap)", "done := p.claim.To", noticed{seed: 174}},
	{"what cannot be fetched is not written down", "take.go", "\tp.unfetched(seg)\n", "", noticed{seed: 124}},
	{"what could not be fetched is not tried again", "pass.go", "open := p.e.ledger.Head().Unfetched\n", "open := p.e.ledger.Head().Unfetched[:0]\n", noticed{seed: 118}},
	{"an adopted object is believed", "ledger/commit.go", "m.Adopted, m.Versions = true, b.versions()\n", "m.Adopted, m.Versions = true, b.versions()\n\t\tif len(rows) > 0 { m.Window.To = Time{rows[len(rows)-1].At}; m.Adopted = false; m.Next = l.stream.dataKey(m.Seq+1, m.Window.To.Time, l.compress) }\n", noticed{seed: 124}},
	{"a manifest is put without its data key held", "ledger/commit.go", "if err := l.sink.Put(ctx, l.head.Next, data); err != nil {\n\t\treturn rival(err)", "if err := l.sink.Put(ctx, l.head.Next, data); err != nil && !errors.Is(err, sinks.ErrExists) {\n\t\treturn err", noticed{seed: 129}},
	{"the manifest is put before the data", "ledger/commit.go", "if err := l.sink.Put(ctx, l.head.Next, data); err != nil {\n\t\treturn rival(err)\n\t}\n", "key := l.head.Next\n\tdefer func() { _ = l.sink.Put(ctx, key, data) }()\n", noticed{}},
	{"a lost race for the manifest is taken for won", "ledger/commit.go", "if err := l.sink.Put(ctx, l.stream.ManifestKey(m.Seq), data); err != nil {", "if err := l.sink.Put(ctx, l.stream.ManifestKey(m.Seq), data); err != nil && !errors.Is(err, sinks.ErrExists) {", noticed{}},
	{"what a rival committed is not known", "ledger/head.go", "l.index.reset() // it does not know", "// it does not know", noticed{seed: 152}},
	{"what was not committed counts as known", "ledger/index.go", "if x.pending != 0 {\n\t\tx.reset()", "if x.pending != 0 {\n\t\tx.pending = 0", noticed{seed: 129}},
	{"the walk back stops at the first manifest", "ledger/index.go", "if m.newest().Before(from) {\n\t\t\treturn false", "if m.newest().Before(from) || m != l.head {\n\t\t\treturn false", noticed{}},
}

// TestMutations breaks the program on purpose and sees the world fail: a
// clause that can be broken unnoticed is not tested.
func TestMutations(t *testing.T) {
	if testing.Short() { // the race detector's pass: the one without it tries all
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
			if m.noticed.test != "" {
				pkg, run = "./defender", m.noticed.test
			}
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlayFile, "-o", binary, pkg)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			defer os.Remove(binary)
			try := func(from, seeds int) ([]byte, error) {
				world := exec.CommandContext(t.Context(), binary, "-test.run", run, "-test.timeout", "400s", "-test.parallel", "2")
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
				out, err = try(1, 300)
			}
			if err == nil {
				t.Fatal("nobody noticed")
			}
			if strings.Contains(string(out), "test timed out") {
				t.Fatalf("it was not noticed in time")
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "--- FAIL: TestWorld/") || strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "panic:") {
					t.Logf("noticed: %.200s", strings.TrimSpace(line))
				}
			}
		})
	}
}
