package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
)

const (
	demoIncidents = 3000
	demoDays      = 90
	demoBulk      = 43 // incidents that one edit changes in one instant
	demoLatency   = 60 * time.Millisecond

	// demoQuota is a quota to hold all of a demo, where the real one is 50 calls a minute.
	demoQuota = "1000/1m"
)

// demoTenant is a simulated tenant with some bad luck: a simulator, and in front of it another
// client of the same tenant, who has used up the quota once.
type demoTenant struct {
	sim     *simulator.Simulator
	calls   atomic.Int64 // API calls
	refused atomic.Int64
	faults  atomic.Int64
	edits   atomic.Int64
}

func newDemoTenant() *demoTenant {
	t := &demoTenant{sim: simulator.New(simulator.Options{
		Seed: 7, Incidents: demoIncidents, Size: 4000, Span: demoDays * 24 * time.Hour, Density: simulator.OfficeHours, Tie: 2 * demoBulk,
	})}
	t.sim.Change(func(b *simulator.Behaviour) {
		b.Latency = demoLatency
		b.Quota = []simulator.Limit{{N: 1000, Per: time.Minute}}
		// By the number of the request. The first few get the token.
		b.Fail = func(_ *http.Request, n int) simulator.Fault {
			fault := map[int]simulator.Fault{12: simulator.Error503, 23: simulator.CutBody, 37: simulator.Reset}[n]
			if fault != simulator.NoFault {
				t.faults.Add(1)
			}
			return fault
		}
	})
	return t
}

// demoRefused is the API call that is refused with 429.
const demoRefused = 17

// ServeHTTP implements http.Handler. The simulator draws how long its own 429 for the calls of
// others lasts; a demo has a second.
func (t *demoTenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") && t.calls.Add(1) == demoRefused {
		t.refused.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":{"code":"TooManyRequests","message":"API calls quota exceeded! maximum allowed 1000 per 00:01:00","target":"demo"}}`)
		return
	}
	t.sim.ServeHTTP(w, r)
}

// live has incidents opened, updated, edited in bulk and merged until stop is called, which returns
// when that has ended.
func (t *demoTenant) live() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			case <-tick.C:
				t.happen(n)
			}
		}
	}()
	return func() { close(end); <-ended }
}

// happen is the n-th thing that happens in the tenant.
func (t *demoTenant) happen(n int) {
	switch {
	case n%20 == 10:
		t.edits.Add(int64(len(t.sim.Bulk(demoBulk))))
		return
	case n%10 == 5:
		if two := t.sim.RandomIDs(2); len(two) == 2 {
			if _, _, err := t.sim.Merge(two[0], two[1]); err == nil {
				t.edits.Add(2)
			}
		}
		return
	case n%4 == 0:
		t.sim.Create()
		t.edits.Add(1)
		return
	}
	for _, id := range t.sim.RandomIDs(1) {
		if _, err := t.sim.Update(id); err == nil {
			t.edits.Add(1)
		}
	}
}

// said is what happened while the tenant was read.
func (t *demoTenant) said() string {
	return fmt.Sprintf("Meanwhile %d new versions were made, %d answers were faulty and %d was refused.", t.edits.Load(), t.faults.Load(), t.refused.Load())
}

// compare says what it counted when it held the archive to what the simulator knows, or what is
// wrong.
func (t *demoTenant) compare(ctx context.Context, archive sinks.Reader) (string, error) {
	c, err := compareArchive(ctx, archive, t.sim)
	if err != nil {
		return "", err
	}
	violations := t.sim.Violations()
	if c.missing+c.twice+c.invented+len(violations) > 0 {
		return "", fmt.Errorf("compare the archive: of %d incidents the last version of %d is missing; of %d versions %d are there twice and %d were never served; violations: %q",
			c.incidents, c.missing, c.versions, c.twice, c.invented, violations)
	}
	return fmt.Sprintf("%d incidents: the last version of each is there, 0 missing.\n"+
		"%d versions: 0 are there twice, 0 were never served.\n"+
		"%d API calls, %d of them refused for the calls of others, none for our own.",
		c.incidents, c.versions, t.calls.Load(), t.refused.Load()), nil
}

// comparison is how an archive compares to the truth.
type comparison struct {
	incidents, versions int // in the tenant, in the archive

	missing  int // incidents whose last version is not there
	twice    int // versions that are there again
	invented int // versions that were never served
}

// compareArchive holds an archive to what a simulator knows. That the manifests tell the truth
// about their objects is for verify to say.
func compareArchive(ctx context.Context, archive sinks.Reader, sim *simulator.Simulator) (c comparison, err error) {
	type version struct{ id, updated, sha256 string }
	told := func(v *simulator.Version) version {
		hash := v.SHA256()
		return version{strconv.FormatInt(v.ID, 10), v.Updated, hex.EncodeToString(hash[:])}
	}
	stored := map[version]bool{}
	for m, err := range ledger.Manifests(ctx, archive, demoStream(), 1, 0) {
		if err != nil {
			return c, err
		}
		for _, v := range m.Versions {
			key := version{v.ID, v.Updated, v.SHA256}
			if stored[key] {
				c.twice++
			}
			stored[key] = true
		}
	}
	c.versions = len(stored)
	final := sim.Final()
	c.incidents = len(final)
	for i := range final {
		if !stored[told(&final[i])] {
			c.missing++
		}
	}
	served := map[version]bool{}
	for _, v := range sim.Truth() {
		served[told(&v)] = true
	}
	for v := range stored {
		if !served[v] {
			c.invented++
		}
	}
	return c, nil
}

// demoStream is the simulated tenant's stream.
func demoStream() ledger.Stream {
	return ledger.Stream{Source: "defender", Tenant: simulator.DefaultTenant}
}

// change is a byte that was changed.
type change struct {
	key      string
	at, size int
}

// tamper copies an archive and changes one byte of the copy, in the middle of its largest object.
func tamper(ctx context.Context, archive sinks.Reader, copied string) (change, error) {
	for o, err := range archive.List(ctx, "", "") {
		if err == nil {
			err = fetchTo(ctx, archive, o.Key, filepath.Join(copied, filepath.FromSlash(o.Key)))
		}
		if err != nil {
			return change{}, fmt.Errorf("copy the archive: %w", err)
		}
	}
	var largest ledger.Object
	for m, err := range ledger.Manifests(ctx, archive, demoStream(), 1, 0) {
		if err != nil {
			return change{}, err
		}
		if m.Object != nil && m.Object.Bytes > largest.Bytes {
			largest = *m.Object
		}
	}
	path := filepath.Join(copied, filepath.FromSlash(largest.Key))
	content, err := os.ReadFile(path)
	if err != nil {
		return change{}, fmt.Errorf("change the copy: %w", err)
	}
	at := len(content) / 2
	content[at] ^= 0x20
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return change{}, fmt.Errorf("change the copy: %w", err)
	}
	return change{key: largest.Key, at: at, size: len(content)}, nil
}

// fetchTo copies an object to a file.
func fetchTo(ctx context.Context, archive sinks.Reader, key, path string) error {
	from, err := archive.Get(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // read only
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	content, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
