package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"incident-exporter/sinks"
)

// Check says what Verify holds the archive to beside itself.
type Check struct {
	Since    uint64            // begin at this manifest and trust those before it; 0 for all
	SinceOf  map[Stream]uint64 // the same for single streams, instead
	Kept     []Kept            // heads that someone kept: each must be there
	Remember int               // versions remembered at once, to find those there twice; 0 for a million
	Ahead    int               // objects fetched at once ahead of their turn, at most 16 MiB; 0 for none

	// Observe, if not nil, is told of each manifest that has been looked at:
	// its number, and the last one's, 0 where that is not known.
	Observe func(s Stream, seq, last uint64)
}

// Kept is a head that someone kept.
type Kept struct {
	Stream Stream // the zero Stream: whichever has it
	Seq    uint64
	Hash   string
}

// since is where the verification of a stream begins, 0 for at its beginning.
func (c Check) since(s Stream) uint64 {
	if n, ok := c.SinceOf[s]; ok {
		return n
	}
	return c.Since
}

func (c Check) remember() int {
	if c.Remember > 0 {
		return c.Remember
	}
	return 1 << 20
}

// Verify reads the whole archive and reports everything in it that is not as
// a chain of manifests would have it, from the archive alone. It goes on after
// each finding. It needs only reads and, however large the archive, the memory
// of one manifest and of Check.Remember versions. fs.ErrNotExist: there is no chain at
// all. Any other error means that it could not go on looking; what it could
// look at has been reported.
//
// What no chain can show by itself is that its newest end was cut off, or all
// of it written anew; that is what Check.Kept is for.
func Verify(ctx context.Context, r sinks.Reader, check Check, report func(Finding)) (Summary, error) {
	v := &verifier{ctx: ctx, r: r, check: check, seen: make([]bool, len(check.Kept)), got: make([]string, len(check.Kept))}
	v.report = func(f Finding) {
		if f.Note {
			v.sum.Notes++
		} else {
			v.sum.Faults++
		}
		report(f)
	}
	known := map[Stream]bool{}
	var only Stream
	for s, err := range Streams(ctx, r) {
		if err != nil {
			return v.sum, err
		}
		known[s], only = true, s
		if err := v.chain(s); err != nil {
			return v.sum, err
		}
	}
	v.sum.Streams = len(known)
	if err := v.strangers(known); err != nil {
		return v.sum, err
	}
	if len(known) == 0 {
		return v.sum, fs.ErrNotExist
	}
	for i, kept := range check.Kept {
		if v.seen[i] {
			continue
		}
		f := Finding{
			Kind: WrongHead, Seq: kept.Seq, Want: kept.Hash, Got: v.got[i],
			Text: fmt.Sprintf("the head that was kept, manifest %d, is in no chain here: the newest end was cut off, or the chain was written anew", kept.Seq),
		}
		if of := kept.Stream; of != (Stream{}) {
			f.Text = fmt.Sprintf("the head that was kept, manifest %d, is not in the chain of %s: its newest end was cut off, or it was written anew or removed", kept.Seq, of)
			f.Source, f.Tenant, f.Key = of.Source, of.Tenant, of.ManifestKey(kept.Seq)
		} else if len(known) == 1 {
			f.Source, f.Tenant, f.Key = only.Source, only.Tenant, only.ManifestKey(kept.Seq)
		}
		v.report(f)
	}
	return v.sum, nil
}

type verifier struct {
	ctx    context.Context
	r      sinks.Reader
	check  Check
	report func(Finding)
	sum    Summary
	seen   []bool   // of Check.Kept
	got    []string // what is there instead
}

// strangers reports what lies outside every chain's prefixes. Those that a
// chain has looked at are leapt over.
func (v *verifier) strangers(known map[Stream]bool) error {
	for after, more := "", true; more; {
		more = false
		for o, err := range v.r.List(v.ctx, "", after) {
			if err != nil {
				return err
			}
			if strings.HasPrefix(o.Key, private) {
				continue
			}
			s, ok := streamOf(o.Key)
			if ok && known[s] {
				// The first key that could not be the stream's: 0 comes after the slash.
				prefix := s.ManifestPrefix()
				if strings.HasPrefix(o.Key, dataRoot) {
					prefix = s.DataPrefix()
				}
				after, more = strings.TrimSuffix(prefix, "/")+"0", true
				break
			}
			v.report(Finding{Kind: Foreign, Source: s.Source, Tenant: s.Tenant, Key: o.Key, Text: "no chain knows " + o.Key})
		}
	}
	return nil
}

// chain is the walk along one stream.
type chain struct {
	*verifier
	r      sinks.Reader // the verifier's, or one that fetches ahead
	s      Stream
	data   *listing
	expect uint64    // the number that must come next
	prev   *Manifest // nil where the one before is missing or damaged
	last   *Manifest // the newest that could be read
	lost   [2]uint64 // the run of missing or damaged manifests just behind, zero for none
	begun  bool
	dup    *duplicates
	length uint64 // the last number, for Observe
	since  uint64 // where it is begun, 0 for at its beginning
}

func (c *chain) finding(f Finding, text string, args ...any) {
	f.Source, f.Tenant, f.Text = c.s.Source, c.s.Tenant, fmt.Sprintf(text, args...)
	c.report(f)
}

func (v *verifier) chain(s Stream) error {
	c := &chain{verifier: v, r: v.r, s: s, since: v.check.since(s), expect: max(1, v.check.since(s))}
	if v.check.Ahead > 0 {
		a := newAhead(v.r, v.check.Ahead)
		defer a.stop()
		c.r = a
	}
	c.dup = newDuplicates(s, v.check.remember(), func(m *Manifest, line int) {
		ver := m.Versions[line]
		key := s.ManifestKey(m.Seq)
		if m.Object != nil {
			key = m.Object.Key
		}
		c.finding(Finding{Kind: Duplicate, Seq: m.Seq, Key: key, Got: ver.SHA256},
			"line %d, incident %s updated %s, is in the archive twice", line+1, ver.ID, ver.Updated)
	})
	for i, kept := range v.check.Kept {
		if kept.Stream != s && kept.Stream != (Stream{}) {
			continue
		}
		if data, err := readAll(v.ctx, v.r, s.ManifestKey(kept.Seq), maxManifest); err == nil {
			if sum := hexSum(data); sum == kept.Hash {
				v.seen[i] = true
			} else {
				v.got[i] = sum
			}
		}
	}
	var after, from string
	if c.expect > 1 {
		// What the first one must follow from.
		after = s.ManifestKey(c.expect - 1)
		if c.prev, _ = readManifest(v.ctx, v.r, s, c.expect-1); c.prev != nil && c.prev.Object != nil {
			from = c.prev.Object.Key
		}
		if c.prev == nil {
			c.lose(1, c.expect-1) // their objects may have been kept
		}
	}
	if v.check.Observe != nil {
		_, c.length, _ = findHead(v.ctx, v.r, s, 0) // only to be shown; what is wrong is found below
	}
	c.data = newListing(v.ctx, c.r, s.DataPrefix(), from)
	defer c.data.stop()
	for o, err := range c.r.List(v.ctx, s.ManifestPrefix(), after) {
		if err != nil {
			return err
		}
		if err := c.manifest(o); err != nil {
			return err
		}
		if v.check.Observe != nil {
			v.check.Observe(s, c.expect-1, c.length)
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.dup.rest(v.ctx, v.r, max(1, c.since))
}

// manifest looks at the next key of the chain.
func (c *chain) manifest(o sinks.Object) error {
	seq := c.s.manifestSeq(o.Key)
	if seq == 0 {
		c.finding(Finding{Kind: Foreign, Key: o.Key}, "the chain does not know %s", o.Key)
		return nil
	}
	if seq > c.expect {
		if err := c.skipped(seq); err != nil {
			return err
		}
	}
	c.begun, c.expect = true, seq+1
	c.sum.Manifests++
	m, fault, err := c.read(o.Key, seq)
	if err != nil {
		return err
	}
	if m == nil {
		c.finding(*fault, "%s", fault.Text)
		// The key of its own object is still known, and nothing after it.
		if c.prev != nil {
			if _, err := c.locate(c.prev.Next); err != nil {
				return err
			}
		}
		c.lose(seq, seq)
		return nil
	}
	c.follows(m, o.Key)
	if m.Object != nil {
		if err := c.object(m); err != nil {
			return err
		}
	}
	if m.Void == "" {
		c.dup.add(m)
	}
	c.prev, c.last, c.lost = m, m, [2]uint64{}
	return nil
}

// lose notes that these manifests are missing or damaged.
func (c *chain) lose(from, to uint64) {
	c.prev = nil
	if c.lost[0] == 0 {
		c.lost[0] = from
	}
	c.lost[1] = to
}

// maxMissing is how many missing manifests of one hole are named one by one.
const maxMissing = 1000

// skipped reports that the manifests before seq are not there.
func (c *chain) skipped(seq uint64) error {
	if !c.begun && c.since == 0 {
		c.finding(Finding{Kind: Pruned, Seq: seq, Key: c.s.ManifestKey(seq), Want: "1", Got: fmt.Sprint(seq)},
			"the chain begins with manifest %d: what came before was removed; if that was meant, verify with --since %s=%d", seq, c.s, seq)
	} else {
		for n := c.expect; n < seq; n++ {
			f := Finding{Kind: Missing, Seq: n, Key: c.s.ManifestKey(n)}
			if n == c.expect+maxMissing {
				c.finding(f, "manifests %d to %d are missing", n, seq-1)
				break
			}
			c.finding(f, "manifest %d is missing", n)
		}
	}
	if c.prev != nil { // the object of the first one missing
		if _, err := c.locate(c.prev.Next); err != nil {
			return err
		}
	}
	c.lose(c.expect, seq-1)
	return nil
}

// read gets a manifest, or says why it is none.
func (c *chain) read(key string, seq uint64) (*Manifest, *Finding, error) {
	f := &Finding{Kind: Unreadable, Seq: seq, Key: key}
	data, err := readAll(c.ctx, c.r, key, maxManifest)
	if err != nil {
		f.Text = fmt.Sprintf("manifest %d cannot be read: %v", seq, err)
		return nil, f, c.ctx.Err()
	}
	m, err := decode(data)
	switch {
	case errors.Is(err, ErrFormat):
		f.Kind = Unknown
	case errors.Is(err, ErrCut):
		f.Kind = Cut
	case err != nil:
		f.Kind = Altered
	case m.Stream != c.s || m.Seq != seq:
		f.Kind, f.Want, f.Got = Foreign, fmt.Sprintf("%s %d", c.s, seq), fmt.Sprintf("%s %d", m.Stream, m.Seq)
		err = fmt.Errorf("it is number %d of %s", m.Seq, m.Stream)
	default:
		return m, nil, nil
	}
	f.Text = fmt.Sprintf("manifest %d: %v", seq, err)
	return nil, f, nil
}

// follows checks a manifest against the rules and the one before.
func (c *chain) follows(m *Manifest, key string) {
	bad := func(k Kind, want, got, text string, args ...any) {
		c.finding(Finding{Kind: k, Seq: m.Seq, Key: key, Want: want, Got: got}, text, args...)
	}
	if p := c.prev; p != nil {
		if m.Prev != p.Hash {
			bad(BrokenChain, p.Hash, m.Prev, "manifest %d does not follow from manifest %d as it is here", m.Seq, p.Seq)
		}
		if m.Object != nil && m.Object.Key != p.Next {
			bad(BrokenChain, p.Next, m.Object.Key, "manifest %d names another data object than manifest %d left to it", m.Seq, p.Seq)
		}
		if fault := follows(p, m.Withdrawn, m.Read, m.Covered, m.Unfetched); fault != "" {
			bad(Gap, "", "", "manifest %d: %s", m.Seq, fault)
		}
		if !m.Start.Equal(p.Start.Time) {
			bad(Unknown, p.Start.text(), m.Start.text(), "manifest %d says that the chain begins at another time", m.Seq)
		}
		if m.Committed.Before(p.Committed.Time) {
			bad(Unknown, p.Committed.text(), m.Committed.text(), "manifest %d says that it was committed before manifest %d", m.Seq, p.Seq)
		}
		want := Manifest{Seq: m.Seq, Latest: p.Latest, Filled: p.Filled, Adopted: m.Adopted, Committed: m.Committed}
		rows := make([]Row, len(m.Versions))
		for i, ver := range m.Versions {
			rows[i].At = rawTime(ver.Updated)
		}
		want.advance(rows)
		if !want.Latest.Equal(m.Latest.Time) {
			bad(Unknown, want.Latest.text(), m.Latest.text(), "manifest %d is wrong about the latest update time so far", m.Seq)
		}
		if want.Filled != m.Filled {
			bad(Unknown, fmt.Sprint(want.Filled), fmt.Sprint(m.Filled), "manifest %d is wrong about the newest manifest with lines", m.Seq)
		}
	}
	if m.Seq == 1 && (m.Prev != "" || m.Object != nil || len(m.Covered)+len(m.Read)+len(m.Withdrawn)+len(m.Unfetched) > 0 || m.Filled > 0 || !m.Latest.IsZero()) {
		bad(Unknown, "", "", "manifest 1 is not the beginning of a chain")
	}
	if m.Object == nil && len(m.Versions) > 0 {
		bad(Unknown, "", "", "manifest %d lists versions of no data object", m.Seq)
	}
	if m.Seq > 1 && m.Object == nil {
		bad(Unknown, "", "", "manifest %d has no data object", m.Seq)
	}
	if (m.Adopted || m.Void != "") && len(m.Read) > 0 {
		bad(Gap, "", "", "manifest %d adopts an object and claims coverage for it", m.Seq)
	}
	if want := c.s.dataKey(m.Seq+1, m.Committed.Time, compressionOf(m.Next)); m.Next != want {
		bad(Unknown, want, m.Next, "manifest %d leaves a wrong key to the next", m.Seq)
	}
	if m.Void != "" && len(m.Versions) > 0 {
		bad(Unknown, "", "", "manifest %d lists versions of an object that is no batch", m.Seq)
	}
	if m.Void != "" && m.Object != nil {
		c.finding(Finding{Kind: Void, Note: true, Seq: m.Seq, Key: m.Object.Key}, "an object that is no batch was found and is left out: %s", m.Void)
	}
}

// locate moves the listing of data objects to key, reports what lies before
// it as foreign, and returns the size of what is there, -1 for nothing.
func (c *chain) locate(key string) (int64, error) {
	for {
		o, ok, err := c.data.peek()
		switch {
		case err != nil:
			return 0, err
		case !ok || o.Key > key:
			return -1, nil
		case o.Key == key:
			c.data.next()
			return o.Size, nil
		}
		c.data.next()
		if !c.unjudged(o.Key) {
			c.finding(Finding{Kind: Foreign, Key: o.Key}, "the chain does not know %s", o.Key)
		}
	}
}

// unjudged says whether an object may be that of a manifest that is missing
// or damaged: that has been reported, and nothing can be said of its object.
func (c *chain) unjudged(key string) bool {
	seq := c.s.dataSeq(key)
	return seq > 0 && seq >= c.lost[0] && seq <= c.lost[1]
}

// end reports what lies behind the chain.
func (c *chain) end() error {
	if !c.begun && c.since > 0 {
		c.finding(Finding{Kind: Missing, Seq: c.expect, Key: c.s.ManifestKey(c.expect)}, "manifest %d is missing", c.expect)
		c.lose(c.expect, c.expect)
	}
	if c.last != nil {
		c.newest()
	}
	if c.prev != nil {
		size, err := c.locate(c.prev.Next)
		if err != nil {
			return err
		}
		if size >= 0 {
			c.finding(Finding{Kind: Pending, Note: true, Seq: c.prev.Seq + 1, Key: c.prev.Next}, "%s has no manifest yet: the next run records it", c.prev.Next)
		}
	}
	if c.lost[0] > 0 {
		c.lost[1]++ // what is pending behind a damaged end
	}
	_, err := c.locate("\x7f") // everything that is left
	return err
}

// newest reports what the newest manifest that could be read says.
func (c *chain) newest() {
	c.sum.Heads = append(c.sum.Heads, ChainHead{c.s.Source, c.s.Tenant, c.last.Head()})
	for _, u := range c.last.Unfetched {
		what := fmt.Sprintf("what was updated from %s to %s", u.From.text(), u.To.text())
		if u.ID != "" {
			what = "incident " + u.ID + ", updated from " + u.From.text() + " to " + u.To.text()
		}
		c.finding(Finding{Kind: Unread, Note: true, Seq: u.Since, Key: c.s.ManifestKey(u.Since)}, "%s is still to be fetched: %s", what, u.Error)
	}
	if len(c.last.Partial) > 0 {
		c.finding(Finding{Kind: Partial, Note: true, Seq: c.last.Seq, Key: c.s.ManifestKey(c.last.Seq)},
			"answers lack what these providers refuse to serve: %s", strings.Join(c.last.Partial, ", "))
	}
}
