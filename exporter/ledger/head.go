package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"incident-exporter/sinks"
)

// Refusal says why a chain is not written to, and what to do about it.
// Nothing has been touched.
type Refusal struct {
	Text   string
	Remedy string
	Err    error // the cause, may be nil
}

func (r *Refusal) Error() string { return r.Text }
func (r *Refusal) Unwrap() error { return r.Err }

// page is how many keys one request lists (S3's ListObjectsV2).
const page = 1000

// findHead returns the first and the last number in the chain, 0 and 0 if
// there is none. It lists from known, the number of a manifest that is known
// to exist, or 0. It takes some 2·log2(n/1000) listings of a page.
//
// A number counts as the last only if the listing after it is empty; a number
// missing in between is refused.
func findHead(ctx context.Context, r sinks.Reader, s Stream, known uint64) (first, last uint64, err error) {
	// after lists up to a page of numbers behind seq, and says whether they end there.
	after := func(seq uint64) (from, to uint64, end bool, err error) {
		key := ""
		if seq > 0 {
			key = s.ManifestKey(seq)
		}
		n := 0
		for o, err := range r.List(ctx, s.ManifestPrefix(), key) {
			if err != nil {
				return 0, 0, false, err
			}
			got := s.manifestSeq(o.Key)
			if got == 0 {
				continue // not a manifest's name; verify reports it
			}
			if from == 0 {
				from = got
			} else if got != to+1 {
				return 0, 0, false, hole(s, to+1, got)
			}
			to = got
			if n++; n == page {
				return from, to, false, nil
			}
		}
		return from, to, true, nil
	}
	from, to, end, err := after(known)
	if err != nil {
		return 0, 0, err
	}
	first, last = from, to
	if known > 0 {
		if from == 0 {
			return known, known, nil
		}
		if from != known+1 {
			return 0, 0, hole(s, known+1, from)
		}
		first = known
	}
	// Everything up to last is there, nothing listed yet behind it. Leap until
	// a leap lands behind the end, then halve.
	low, high, leap := last, uint64(0), uint64(page)
	if p, ok := r.(sinks.Prober); ok && !end {
		// A listing only for what the end must be shown by.
		if low, err = probeHead(ctx, p, s, last); err != nil {
			return 0, 0, err
		}
		leap = 0
	}
	for !end {
		at := low + leap
		if high > 0 {
			if high-low <= page {
				at = low
			} else {
				at = low + (high-low)/2
			}
		}
		from, to, end, err = after(at)
		switch {
		case err != nil:
			return 0, 0, err
		case from == 0 && at == low:
			return first, low, nil
		case from == 0: // the end lies before at
			high, end = at, false
		case from != at+1:
			return 0, 0, hole(s, at+1, from)
		default:
			low = to
			leap *= 2
			if high > 0 && low >= high {
				high = 0 // rivals have written past what was the end
			}
		}
	}
	return first, low, nil
}

// probeHead returns a number, low or higher, that is there while the next one
// is not: the end, or one before a hole.
func probeHead(ctx context.Context, p sinks.Prober, s Stream, low uint64) (uint64, error) {
	high := uint64(0) // not there
	for leap := uint64(page); high == 0 || high-low > 1; leap *= 2 {
		at := low + leap
		if high > 0 {
			at = low + (high-low)/2
		}
		there, err := p.Exists(ctx, s.ManifestKey(at))
		switch {
		case err != nil:
			return 0, err
		case there:
			low = at
		default:
			high = at
		}
	}
	return low, nil
}

func hole(s Stream, missing, found uint64) error {
	return &Refusal{
		Text:   fmt.Sprintf("the chain of %s has a hole: manifest %d is missing, manifest %d is there", s, missing, found),
		Remedy: "restore the missing objects from a copy of the archive, and run verify",
	}
}

// load reads the chain's end, and refuses a chain that cannot be gone on with.
func (l *Ledger) load(ctx context.Context) error {
	known := uint64(0)
	if l.head != nil {
		known = l.head.Seq
	}
	first, last, err := findHead(ctx, l.sink, l.stream, known)
	if err != nil {
		return err
	}
	if last == 0 {
		l.head = nil
		return nil
	}
	if l.head != nil && last == l.head.Seq {
		return nil
	}
	m, err := readManifest(ctx, l.sink, l.stream, last)
	if err != nil {
		return refuse(l.stream, err)
	}
	if l.head == nil {
		l.first = first
	}
	l.head = m
	l.index = &index{} // it does not know what others have committed meanwhile
	return l.pruned(ctx)
}

// refuse turns what is wrong with a manifest into a refusal; what is wrong
// with the sink stays what it is.
func refuse(s Stream, err error) error {
	switch {
	case errors.Is(err, ErrFormat):
		return &Refusal{err.Error(), "use the version of incident-exporter that wrote it, or a later one", err}
	case errors.Is(err, ErrForeign):
		return &Refusal{err.Error(), "give every tenant its own archive or prefix, and move no objects between them", err}
	case errors.Is(err, ErrAltered), errors.Is(err, ErrCut):
		return &Refusal{err.Error(), "restore this object from a copy of the archive, and run verify", err}
	case errors.Is(err, sinks.ErrNotExist):
		return &Refusal{fmt.Sprintf("the chain of %s has a hole: %v", s, err), "restore the missing object from a copy of the archive, and run verify", err}
	}
	return err
}

// pruned refuses a chain whose beginning is gone, unless nothing that is gone
// will be asked for again: everything in it was updated before what is read
// again, deeply or because it could not be fetched.
func (l *Ledger) pruned(ctx context.Context) error {
	if l.first == 1 {
		return nil
	}
	m, err := readManifest(ctx, l.sink, l.stream, l.first)
	if err != nil {
		return refuse(l.stream, err)
	}
	// The first manifest left counts what is gone and itself.
	if need := l.head.needed(); !m.Latest.Before(need) {
		return &Refusal{
			Text:   fmt.Sprintf("the chain of %s begins with manifest %d, and what is missing before it is still needed", l.stream, l.first),
			Remedy: "restore the older objects, or make the lifecycle rule keep them longer than EXPORTER_DEEP_OVERLAP and every unfetched stretch",
		}
	}
	return nil
}

// needed is the earliest update time that will be read again: of a hole that
// is not beyond the API's reach, and of what may still come late or be audited.
func (m *Manifest) needed() time.Time {
	var beyond []Span
	for _, u := range m.Unfetched {
		if u.Error == BeyondReach {
			beyond = append(beyond, Span{u.From, u.To})
		}
	}
	need := m.Covered.Until()
	if need.IsZero() {
		need = m.Start.Time
	}
	for _, s := range Subtract(m.Covered.Holes(m.Start.Time, need), beyond) {
		need = s.From.Time
		break
	}
	var deepest Duration // what is settled deeply says the longest After
	for _, c := range m.Covered {
		deepest = max(deepest, c.After)
	}
	for _, c := range m.Covered {
		if (c.Order || c.After < deepest || deepest == 0) && c.From.Before(need) {
			need = c.From.Time
		}
	}
	return need
}
