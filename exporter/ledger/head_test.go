package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks"
	"incident-exporter/sinks/sinktest"
)

var chainStart = instant("2026-03-01T00:00:00Z")

// longChain is an archive of tiny manifests that are made when they are asked
// for. It counts requests as an object store does: 1,000 keys a listing.
type longChain struct {
	first, last uint64
	missing     []uint64 // in order
	junk        []string // names beside the manifests
	latest      func(seq uint64) time.Time
	covered     Coverage
	unfetched   []Unfetched
	grow        func(requests int) // called before each request
	requests    int
}

func (c *longChain) request() {
	c.requests++
	if c.grow != nil {
		c.grow(c.requests)
	}
}

func (c *longChain) key(seq uint64) (string, bool) {
	return stream.ManifestKey(seq), seq >= c.first && seq <= c.last && !slices.Contains(c.missing, seq)
}

func (c *longChain) List(_ context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		// The first number whose key may be greater than after.
		seq := c.first
		if n := stream.manifestSeq(after); n > 0 {
			seq = max(seq, n)
		} else if after > stream.ManifestKey(c.last) {
			seq = c.last + 1
		}
		junk := []string{}
		for _, name := range c.junk {
			if key := stream.ManifestPrefix() + name; key > after {
				junk = append(junk, key)
			}
		}
		slices.Sort(junk)
		for n := 0; ; n++ {
			if n%page == 0 {
				c.request()
			}
			key, ok := "", false
			for ; seq <= c.last && !ok; seq++ {
				key, ok = c.key(seq)
				ok = ok && key > after
			}
			switch {
			case len(junk) > 0 && (!ok || junk[0] < key):
				if ok {
					seq--
				}
				key, junk = junk[0], junk[1:]
			case !ok:
				return
			}
			if !yield(sinks.Object{Key: key, Size: 1}, nil) {
				return
			}
		}
	}
}

func (c *longChain) Get(_ context.Context, key string) (io.ReadCloser, error) {
	c.request()
	seq := stream.manifestSeq(key)
	if _, ok := c.key(seq); !ok {
		return nil, fmt.Errorf("get %q: %w", key, sinks.ErrNotExist)
	}
	m := &Manifest{Format: Format, Stream: stream, Seq: seq, Start: Time{chainStart}, Covered: c.covered, Unfetched: c.unfetched}
	if c.latest != nil {
		m.Latest = Time{c.latest(seq)}
	}
	data, err := m.encode()
	return io.NopCloser(bytes.NewReader(data)), err
}

func (c *longChain) Put(context.Context, string, []byte) error {
	return errors.New("nothing is put here")
}

func TestHeadIsFoundInFewRequests(t *testing.T) {
	lengths := []uint64{1, 2, 3, 998, 999, 1000, 1001, 1002, 1999, 2000, 2001, 2999, 3000, 3001, 10_000, 99_999, 100_000, 100_001, 1_000_000}
	for n := uint64(1003); n < 20_000; n += 977 {
		lengths = append(lengths, n)
	}
	for _, length := range lengths {
		for _, first := range []uint64{1, length} {
			c := &longChain{first: first, last: first + length - 1}
			l := New(c, stream, writer, "gzip")
			if err := l.Load(t.Context()); err != nil {
				t.Fatalf("%d manifests from %d: %v", length, first, err)
			}
			if l.Head().Seq != c.last || l.first != first {
				t.Errorf("%d manifests from %d: found %d to %d", length, first, l.first, l.Head().Seq)
			}
			if c.requests > 40 {
				t.Errorf("%d manifests from %d: %d requests", length, first, c.requests)
			}
			if length == 100_000 && first == 1 {
				t.Logf("%d manifests: %d requests", length, c.requests)
			}
			// What is known already costs one.
			c.requests = 0
			if err := l.Load(t.Context()); err != nil || l.Head().Seq != c.last || c.requests != 1 {
				t.Errorf("%d manifests again: %d, %d requests, %v", length, l.Head().Seq, c.requests, err)
			}
			c.last += 3
			if err := l.Load(t.Context()); err != nil || l.Head().Seq != c.last {
				t.Errorf("%d manifests and 3 more: %d, %v", length, l.Head().Seq, err)
			}
		}
	}
}

func TestNoChainHasNoHead(t *testing.T) {
	c := &longChain{first: 1, junk: []string{"README", "000000000001.json.bak"}}
	l := New(c, stream, writer, "gzip")
	if err := l.Load(t.Context()); err != nil || l.Head() != nil {
		t.Errorf("head %v, %v", l.Head(), err)
	}
}

// TestHoleIsRefusedWithItsNumber has holes that the search comes across; one
// that it leaps over is met by whoever walks back that far.
func TestHoleIsRefusedWithItsNumber(t *testing.T) {
	refused := func(err error, hole uint64) bool {
		var refusal *Refusal
		return errors.As(err, &refusal) && refusal.Remedy != "" && strings.Contains(err.Error(), stream.ManifestKey(hole)) ||
			refusal != nil && strings.Contains(err.Error(), fmt.Sprintf("manifest %d is missing", hole))
	}
	for _, c := range []struct{ last, hole uint64 }{
		{3, 2}, {1000, 999}, {1001, 1000}, {1002, 1001}, {2000, 1001}, {2500, 2001}, {2500, 2499}, {100_000, 99_999}, {100_000, 99_500},
	} {
		chain := &longChain{first: 1, last: c.last, missing: []uint64{c.hole}}
		if _, _, err := findHead(t.Context(), chain, stream, 0); !refused(err, c.hole) {
			t.Errorf("hole at %d of %d: %v", c.hole, c.last, err)
		}
	}
	if _, _, err := findHead(t.Context(), &longChain{first: 1, last: 9, missing: []uint64{6}}, stream, 5); !refused(err, 6) {
		t.Errorf("hole behind what is known: %v", err)
	}
	mem := intact(t)
	l := begin(t, mem, stream, time.Time{}, "gzip")
	mem.Delete(stream.ManifestKey(4))
	if err := l.LoadIndex(t.Context(), chainStart); !refused(err, 4) {
		t.Errorf("hole on the way back: %v", err)
	}
}

func TestNamesThatAreNoManifestsAreIgnored(t *testing.T) {
	junk := []string{"!", "000000000000.json", "000000000001.json.tmp", "000000000500.jsonx", "0000000009999.json", "000000100000.bak", "README", "~"}
	for _, last := range []uint64{1, 500, 1000, 1001, 5000, 100_000} {
		c := &longChain{first: 1, last: last, junk: junk}
		if first, got, err := findHead(t.Context(), c, stream, 0); first != 1 || got != last || err != nil {
			t.Errorf("%d manifests: %d to %d, %v", last, first, got, err)
		}
	}
}

// TestHeadWhileRivalsWrite lets the chain grow by so many before each request.
func TestHeadWhileRivalsWrite(t *testing.T) {
	for _, start := range []uint64{1, 999, 1000, 2001, 5400, 100_000} {
		for _, by := range []uint64{1, 7, 400, 999} {
			c := &longChain{first: 1, last: start}
			c.grow = func(requests int) {
				if requests < 15 {
					c.last += by
				}
			}
			first, got, err := findHead(t.Context(), c, stream, 0)
			if err != nil || first != 1 || got < start || got > c.last || c.requests > 60 {
				t.Errorf("%d, growing by %d: %d to %d of %d in %d requests, %v", start, by, first, got, c.last, c.requests, err)
			}
		}
	}
}

// TestPrunedChain: the first manifest left is the fiftieth, so what is gone was
// updated in the first fifty hours. Each hour below is one of update time.
func TestPrunedChain(t *testing.T) {
	hour := func(n int) Time { return Time{chainStart.Add(time.Duration(n) * time.Hour)} }
	deep := func(from, to int) Claim {
		return Claim{From: hour(from), To: hour(to), After: Duration(168 * time.Hour)}
	}
	after := func(from, to int) Claim {
		return Claim{From: hour(from), To: hour(to), After: Duration(time.Hour)}
	}
	asked := func(from, to int) Claim { return Claim{From: hour(from), To: hour(to), Asked: hour(to)} }
	ordered := func(c Claim) Claim { c.Order = true; return c }
	open := func(from, to int, why string) Unfetched {
		return Unfetched{From: hour(from), To: hour(to), Error: why, Since: 40}
	}
	for name, c := range map[string]struct {
		covered   Coverage
		unfetched []Unfetched
		refuse    bool
	}{
		"nothing that is gone is needed":         {Coverage{deep(0, 51), after(51, 99), asked(99, 100)}, nil, false},
		"a deep reading needs it":                {Coverage{deep(0, 50), after(50, 99), asked(99, 100)}, nil, true},
		"a deep reading is at it":                {Coverage{deep(0, 50), asked(50, 100)}, nil, true},
		"a deep reading is behind it":            {Coverage{deep(0, 51), asked(51, 100)}, nil, false},
		"nothing is settled":                     {Coverage{asked(0, 100)}, nil, true},
		"nothing that is left is settled":        {Coverage{asked(51, 100)}, nil, true},
		"all is settled deeply":                  {Coverage{deep(0, 100)}, nil, false},
		"nothing is covered":                     {nil, nil, true},
		"the audit needs it":                     {Coverage{deep(0, 40), ordered(deep(40, 50)), deep(50, 99), asked(99, 100)}, nil, true},
		"the audit needs what is not gone":       {Coverage{deep(0, 60), ordered(deep(60, 61)), deep(61, 99), asked(99, 100)}, nil, false},
		"a hole needs it":                        {Coverage{deep(0, 49), deep(70, 99), asked(99, 100)}, nil, true},
		"a hole lies after it":                   {Coverage{deep(0, 51), deep(70, 99), asked(99, 100)}, nil, false},
		"an unfetched stretch needs it":          {Coverage{deep(0, 49), deep(70, 99), asked(99, 100)}, []Unfetched{open(49, 70, "500")}, true},
		"an unfetched stretch lies after it":     {Coverage{deep(0, 51), deep(70, 99), asked(99, 100)}, []Unfetched{open(51, 70, "500")}, false},
		"the backfill needs it":                  {Coverage{deep(60, 99), asked(99, 100)}, nil, true},
		"the rest of it is beyond reach":         {Coverage{deep(60, 99), asked(99, 100)}, []Unfetched{open(0, 60, BeyondReach)}, false},
		"not all of the rest is beyond reach":    {Coverage{deep(60, 99), asked(99, 100)}, []Unfetched{open(0, 49, BeyondReach)}, true},
		"beyond reach, and a hole that is gone":  {Coverage{deep(20, 30), deep(31, 99), asked(99, 100)}, []Unfetched{open(0, 20, BeyondReach)}, true},
		"beyond reach, and a hole that is there": {Coverage{deep(20, 60), deep(61, 99), asked(99, 100)}, []Unfetched{open(0, 20, BeyondReach)}, false},
	} {
		for _, first := range []uint64{50, 1} {
			chain := &longChain{first: first, last: 100, covered: c.covered, unfetched: c.unfetched, latest: func(seq uint64) time.Time { return hour(int(seq)).Time }}
			err := New(chain, stream, writer, "gzip").Load(t.Context())
			var refusal *Refusal
			want := c.refuse && first > 1 // a whole chain lacks nothing
			if refused := errors.As(err, &refusal) && refusal.Remedy != ""; refused != want || !refused && err != nil {
				t.Errorf("%s, from %d: %v", name, first, err)
			}
		}
	}
}

// TestLoadRefuses says why, with a remedy, and touches nothing.
func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		damage string
		want   error
	}{
		"altered": {"flip 100 m10", ErrAltered}, "cut": {"truncate 100 m10", ErrCut},
		"future": {"forge 10 {\"format\":2}", ErrFormat}, "foreign": {"swap m9 m10", ErrForeign},
	} {
		e := &exhibit{mem: intact(t)}
		e.apply(t, c.damage)
		before := e.mem.Clone()
		err := New(e.mem, stream, writer, "gzip").Load(t.Context())
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Remedy == "" || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(before.Keys(), e.mem.Keys()) || e.mem.Counts().Puts > 0 {
			t.Errorf("%s: the archive was touched", name)
		}
	}
}

// probedChain is one in a directory: it can be asked for single objects.
type probedChain struct {
	*longChain
	probes int
}

func (c *probedChain) Exists(_ context.Context, key string) (bool, error) {
	c.probes++
	_, ok := c.key(stream.manifestSeq(key))
	return ok, nil
}

// TestHeadIsFoundByProbing: where single objects can be asked for, few
// listings are made however long the chain is, and the same is found.
func TestHeadIsFoundByProbing(t *testing.T) {
	for _, length := range []uint64{1, 2, 999, 1000, 1001, 2000, 2001, 3500, 99_999, 100_000, 1_000_000} {
		for _, start := range []uint64{1, 77} {
			c := &probedChain{longChain: &longChain{first: start, last: start + length - 1}}
			first, last, err := findHead(t.Context(), c, stream, 0)
			if first != start || last != c.last || err != nil || c.requests > 3 || c.probes > 50 {
				t.Errorf("%d manifests from %d: %d to %d in %d listings and %d probes, %v", length, start, first, last, c.requests, c.probes, err)
			}
			c.grow = func(int) { c.last++ }
			if first, last, err = findHead(t.Context(), c, stream, 0); first != start || last < start+length || last > c.last || err != nil {
				t.Errorf("%d manifests from %d, growing: %d to %d of %d, %v", length, start, first, last, c.last, err)
			}
		}
	}
	for _, hole := range []uint64{999, 1500, 99_500, 99_999} {
		c := &probedChain{longChain: &longChain{first: 1, last: 100_000, missing: []uint64{hole}}}
		_, last, err := findHead(t.Context(), c, stream, 0)
		var refusal *Refusal
		if !errors.As(err, &refusal) && last != c.last {
			t.Errorf("a hole at %d: %d, %v", hole, last, err)
		}
	}
}

// TestStranger: an archive begins where nothing lies.
func TestStranger(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string
		want string
	}{
		"nothing":         {nil, ""},
		"ours":            {[]string{".incident-exporter/s3/conditional-put"}, ""},
		"something":       {[]string{".incident-exporter/x", "photos/cat.jpeg"}, "photos/cat.jpeg"},
		"begun meanwhile": {[]string{stream.DataPrefix() + "date=2026-03-02/000000000002.ndjson.gz", stream.ManifestKey(1)}, ""},
		"data alone":      {[]string{stream.DataPrefix() + "date=2026-03-02/000000000002.ndjson.gz"}, stream.DataPrefix() + "date=2026-03-02/000000000002.ndjson.gz"},
	} {
		mem := sinktest.NewMem()
		for _, key := range c.keys {
			mem.Set(key, []byte("x"))
		}
		if got, err := Stranger(t.Context(), mem); got != c.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
