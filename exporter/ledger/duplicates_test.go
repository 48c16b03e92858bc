package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"incident-exporter/sinks/sinktest"
)

// TestDuplicatesInBoundedMemory forges chains with repeated versions and
// verifies them with memory for all versions and for few.
func TestDuplicatesInBoundedMemory(t *testing.T) {
	t.Parallel()
	day := instant("2026-03-02T08:00:00Z")
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 5))
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, "none")
		want, seen := []string{}, map[string]bool{}
		for batch := range 30 {
			var lines [][]byte
			for _, id := range rng.Perm(400)[:rng.IntN(20)] {
				line := incident(100+id, day, "x")
				if lines = append(lines, line); seen[string(line)] {
					want = append(want, fmt.Sprintf("%d %s", batch+2, hexSum(line)))
				}
				seen[string(line)] = true
			}
			if batch == 7 && len(lines) > 0 { // it can be neither checked nor counted twice
				commit(t, l, until(l).Add(time.Minute), lines, nil)
				mem.Delete(l.Head().Object.Key)
				continue
			}
			commit(t, l, until(l).Add(time.Minute), lines, nil)
		}
		slices.Sort(want)
		for _, remember := range []int{0, 1000, 150, 100, 40, 7} {
			got := []string{}
			found, _ := verify(t, mem, Check{Remember: remember})
			for _, f := range found {
				if f.Kind == Duplicate {
					got = append(got, fmt.Sprintf("%d %s", f.Seq, f.Got))
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("seed %d, memory for %d: %d duplicates reported, want %d", seed, remember, len(got), len(want))
			}
		}
	}
}
