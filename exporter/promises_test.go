package exporter_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
)

// read takes in what the archive has come to hold, as a consumer would that
// reads every object once.
func (w *world) read() {
	for _, key := range w.mem.Keys() {
		if w.objects[key] || !strings.HasPrefix(key, "incidents/") {
			continue
		}
		w.objects[key] = true
		var r io.Reader = bytes.NewReader(w.mem.Bytes(key))
		switch {
		case strings.HasSuffix(key, ".gz"):
			z, err := gzip.NewReader(r)
			if err != nil {
				w.fail("%s: %v", key, err)
			}
			r = z
		case strings.HasSuffix(key, ".zst"):
			z, err := zstd.NewReader(r)
			if err != nil {
				w.fail("%s: %v", key, err)
			}
			defer z.Close()
			r = z
		}
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadBytes('\n')
			if err == io.EOF && len(line) == 0 {
				break
			}
			if err != nil {
				w.fail("%s: %v", key, err)
			}
			sum := sha256.Sum256(line[:len(line)-1])
			if w.stored[sum] != "" {
				w.fail("P2: %s repeats from %s the line %.200s", key, w.stored[sum], line)
			}
			w.stored[sum] = key
		}
	}
}

// whole holds the archive against its own chain, and against the truth.
func (w *world) whole() *ledger.Manifest {
	w.read()
	var faults []string
	_, err := ledger.Verify(context.Background(), w.mem, ledger.Check{}, func(f ledger.Finding) {
		if !f.Note {
			faults = append(faults, string(f.Kind)+": "+f.Text)
		}
	})
	if err != nil && len(w.mem.Keys()) > 0 || len(faults) > 0 {
		w.fail("P4: verify: %v %q", err, faults)
	}
	return w.head()
}

func (w *world) head() *ledger.Manifest {
	head, err := ledger.Head(context.Background(), w.mem, w.stream())
	if err != nil {
		w.fail("head: %v", err)
	}
	return head
}

// sums are the hashes of the lines that a version may be stored as: as the API
// in question serves it. Graph annotates some alerts where it expands them, and
// not where they are served apart.
func (w *world) sums(v *simulator.Version) [][32]byte {
	if !w.graph {
		return [][32]byte{v.SHA256()}
	}
	return [][32]byte{v.GraphSHA256(), sha256.Sum256(v.GraphApart())}
}

// keeps says whether the archive has a version.
func (w *world) keeps(v *simulator.Version) bool {
	for _, sum := range w.sums(v) {
		if w.stored[sum] != "" {
			return true
		}
	}
	return false
}

// complete checks P1: every incident's final version that was updated before
// and visible at seen is in the archive, but for what is named as unfetched.
func (w *world) complete(before, seen time.Time, head *ledger.Manifest) {
	for _, v := range w.sim.Final() {
		at, err := time.Parse(time.RFC3339Nano, v.Updated)
		if err != nil {
			w.fail("%v", err)
		}
		if !at.Before(before) || v.VisibleFrom.After(seen.Add(-w.lag)) || !v.VisibleUntil.IsZero() || w.keeps(&v) {
			continue
		}
		if !unfetched(head, at) && (w.ordered || !byOrder(head, at) && at.Before(head.Covered.Until())) {
			covered, _ := json.Marshal(head.Covered)
			w.fail("P1: incident %d, updated %s, visible from %s, is not in the archive (covered %s)",
				v.ID, v.Updated, v.VisibleFrom.UTC().Format(time.RFC3339Nano), covered)
		}
	}
}

// unfetched says whether an update time lies in a hole that is named, or in one
// that is still to be read for the first time.
func unfetched(head *ledger.Manifest, at time.Time) bool {
	holes := head.Unnamed()
	for _, u := range head.Unfetched {
		holes = append(holes, ledger.Span{From: u.From, To: u.To})
	}
	for _, h := range holes {
		if !at.Before(h.From.Time) && at.Before(h.To.Time) {
			return true
		}
	}
	return false
}

// byOrder says whether an update time was read by the API's order and not
// audited so far: a false order costs time.
func byOrder(head *ledger.Manifest, at time.Time) bool {
	for _, s := range head.Covered.Ordered() {
		if !at.Before(s.From.Time) && at.Before(s.To.Time) {
			return true
		}
	}
	return false
}

// acceptable says which errors a pass may end with.
func (w *world) acceptable(err error) {
	var refusal *ledger.Refusal
	if errors.As(err, &refusal) {
		w.fail("refused: %v", err)
	}
	var ignored *defender.IgnoredFilterError
	if errors.As(err, &ignored) {
		w.fail("%v", err)
	}
}

// unstuck checks P5: in a run in which nothing else goes wrong, incidents that
// the API cannot serve do not keep the feed from going on.
func (w *world) unstuck(err error) {
	var unfinished *exporter.Unfinished
	var limited *defender.LimitedError
	if err != nil && !errors.As(err, &unfinished) && !errors.As(err, &limited) {
		w.fail("P5: %v", err)
	}
}

// end: once nothing happens any more and nothing fails, one pass after the
// overlap makes everything whole.
func (w *world) end(p *process, clean bool) {
	w.sim.Change(func(b *simulator.Behaviour) {
		b.ChurnPerCall, b.FailRate, b.Poison, b.LateBy, b.PartialRate, b.Stray400Rate = 0, 0, nil, 0, 0, 0
	})
	time.Sleep(worldOverlap + worldSettle + 3*time.Second)
	if w.deep { // what is promised of changes that come late needs time, and passes in it
		for range 2 * int((w.cfg.DeepOverlap+w.cfg.DeepEvery)/time.Hour) {
			_, _ = w.run(p, false, 0)
			time.Sleep(30 * time.Minute)
		}
	}
	begin := w.sim.Now()
	for n := 0; ; n++ {
		got, err := w.run(p, false, 0)
		w.say("end: %s, %d calls, unfetched %d: %v", got.Head, got.Calls, got.Unfetched, err)
		var unfinished *exporter.Unfinished
		var limited *defender.LimitedError
		if (errors.As(err, &unfinished) || errors.As(err, &limited)) && n < 200 {
			time.Sleep(10 * time.Minute)
			continue // what a short run does not manage the next one does
		}
		if err != nil {
			w.fail("the last pass: %v", err)
		}
		head := w.head()
		audited := w.ordered || len(head.Covered.Ordered()) == 0
		due := head.Covered.DeepDue(ledger.Lateness{Settle: w.cfg.Settle, Overlap: w.cfg.Overlap, Deep: w.cfg.DeepOverlap, Every: w.cfg.DeepEvery})
		audited = audited && (!w.deep || due.After(w.sim.Now())) // a deep reading takes as many passes as it needs
		if n < 1000 && (got.Unfetched > 0 || len(head.Unnamed()) > 0 || !audited) {
			if w.unbounded && n > 0 {
				w.sim.Create() // an end at a round number is not believed
			}
			time.Sleep(time.Minute)
			continue
		}
		break
	}
	head := w.whole()
	if head.OpenStretches() > 0 || len(head.Unnamed()) > 0 {
		w.fail("P5: still unfetched: %v, and not read: %v", head.Unfetched, head.Unnamed())
	}
	if !w.ordered && !w.graph && len(head.Covered.Ordered()) > 0 { // Graph has some that no list can serve
		w.fail("P1: not audited: %v", head.Covered.Ordered())
	}
	w.complete(begin.Add(-worldSettle-2*time.Second), begin, head)
	served := map[[32]byte]bool{}
	for _, v := range w.sim.Truth() {
		for _, sum := range w.sums(&v) {
			served[sum] = true
		}
	}
	for sum := range w.stored {
		if !served[sum] {
			w.fail("P3: a line was never served: %x", sum)
		}
	}
	for _, v := range w.sim.Violations() {
		if clean || !strings.HasPrefix(v, "quota: ") {
			w.fail("P8, P6: %s", v)
		}
	}
	if v := w.mem.Violations(); len(v) > 0 {
		w.fail("P3: %q", v)
	}
}
