package defender

import (
	"context"
	"errors"
	"slices"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/rawjson"
)

// openPatience is how often an open-ended set may move while it is counted.
const openPatience = 50

// openEnded reads from a server that takes no upper bound: everything from a
// point on, in as many rounds as memory asks for. Each round counts through
// the whole open-ended set, which only grows: D distinct incidents, and then
// nothing at $skip=D, are all of it. It keeps the oldest that fit, hands on
// what it knows to be all up to some instant, and goes on from there.
func (s *Source) openEnded(ctx context.Context, from, to time.Time, hand func(*exporter.Segment) error) error {
	for from.Before(to) {
		f, err := s.round(ctx, from, to)
		if err != nil {
			return err
		}
		if err := hand(f.segment(s.packer)); err != nil {
			return err
		}
		from = f.to
	}
	return nil
}

func (s *Source) round(ctx context.Context, from, to time.Time) (*found, error) {
	s.reads(from)
	q := query{from: from.Truncate(s.resolution())}
	f := &found{from: from, to: to}
	latest := map[string]row{}
	var size int64
	// Rows are counted at the end of what is known. If known ones turn up
	// there, others came in or moved: newest first they are at the top, in any
	// other order anywhere.
	// Pages are asked for several at once while they are full: what is there
	// is the same in whatever order it is seen.
	const atEnd, atTop, anywhere = 0, 1, 2
	for skip, phase, stale, width := 0, atEnd, 0, 1; ; {
		if phase != atEnd {
			width = 1
		}
		if s.cfg.API.ceiling {
			if skip > s.cfg.MaxSkip {
				return nil, errors.New("the API takes no upper bound of time, and counts through fewer incidents than there are from " + rawjson.FormatTime(from) + " on")
			}
			width = min(width, 1+(s.cfg.MaxSkip-skip)/s.pageSize())
		}
		answers, err := s.several(ctx, q, skip, width, attempts)
		if err != nil {
			return nil, err
		}
		if f.asked.IsZero() {
			f.asked = answers[0].asked
		}
		before, changed, rows := len(latest), false, rowsOf(answers)
		for _, r := range rows {
			if old, ok := latest[r.ID]; ok && !old.At.Before(r.At) {
				continue
			}
			changed = true
			if !r.At.Before(f.to) {
				r.at = place{} // only counted
			} else {
				size += int64(r.at.size)
			}
			latest[r.ID] = r
		}
		switch {
		case phase == atEnd && len(latest) > before:
			skip = len(latest)
			if len(rows) < width*s.pageSize() {
				width = 1
			} else {
				width = min(2*width, s.cfg.Concurrency)
			}
		case phase == atEnd && len(answers[0].rows) == 0:
			// Nothing lies behind those known before it was asked: all of them.
			for _, r := range latest {
				if r.At.Before(f.to) && r.at.pile != nil {
					f.rows = append(f.rows, r)
				}
			}
			return f, nil
		case phase == atEnd:
			if stale++; stale > openPatience {
				return nil, errors.New("the API takes no upper bound of time, and its pages move too much to be counted")
			}
			skip, phase = 0, anywhere-stale%2
		case changed || phase == anywhere && len(rows) > 0:
			skip += len(rows)
		default:
			skip, phase = len(latest), atEnd
		}
		if size > 4*s.hold() {
			size = f.keepOldest(latest, size/2)
		}
	}
}

// keepOldest moves the end of what is read back, so that what lies before it
// takes at most limit bytes, and forgets the lines of the rest.
func (f *found) keepOldest(latest map[string]row, limit int64) (held int64) {
	rows := make([]row, 0, len(latest))
	for _, r := range latest {
		if r.at.pile != nil {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return a.At.Compare(b.At) })
	for i, r := range rows {
		if held += int64(r.at.size); held > limit && r.At.After(rows[0].At) {
			f.to = r.At
			for _, r := range rows[i:] {
				r.at = place{}
				latest[r.ID] = r
			}
			return held
		}
	}
	return held
}
