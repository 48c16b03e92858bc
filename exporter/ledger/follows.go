package ledger

import (
	"fmt"
	"slices"
	"time"
)

// follows says why a manifest's claims do not follow from the one before it,
// nothing if they do. The instants of covered must be those of p's Covered,
// less withdrawn, with read. And each claim must be vouched for by one single
// claim of p that was not withdrawn, or by one single read.
func follows(p *Manifest, withdrawn []Withdrawn, read []Claim, covered Coverage, unfetched []Unfetched) string {
	var end Time
	for i, c := range covered {
		if !c.From.Before(c.To.Time) || i > 0 && c.From.Before(end.Time) {
			return fmt.Sprintf("covered is not in order at %s", c.From.text())
		}
		if (c.After > 0) != c.Asked.IsZero() {
			return fmt.Sprintf("covered says neither asked nor after, or both, at %s", c.From.text())
		}
		end = c.To
	}
	before := p.Covered
	for _, w := range withdrawn {
		if !w.From.Before(w.To.Time) {
			return fmt.Sprintf("withdrawn from %s is empty", w.From.text())
		}
		before = before.Without(Span{w.From, w.To})
	}
	for _, r := range read {
		if !r.From.Before(r.To.Time) || r.Asked.IsZero() || r.After != 0 {
			return fmt.Sprintf("read from %s is empty, or does not say alone when it was asked for", r.From.text())
		}
	}
	want := Joined(append(before.Spans(), Coverage(read).Spans()...))
	got := Joined(covered.Spans())
	if !slices.EqualFunc(want, got, Span.Equal) {
		return fmt.Sprintf("covered is not what was covered before, less what is withdrawn, with what was read: %s, not %s", spansText(got), spansText(want))
	}
	vouching := slices.Concat(before, Coverage(read))
	for _, c := range covered {
		if lone, ok := unvouched(c, vouching); ok {
			return fmt.Sprintf("nothing that was read vouches for what covered says of %s to %s", lone.From.text(), lone.To.text())
		}
	}
	for _, u := range unfetched {
		if !u.From.Before(u.To.Time) {
			return fmt.Sprintf("unfetched from %s is empty", u.From.text())
		}
		for _, c := range covered {
			if u.From.Before(c.To.Time) && c.From.Before(u.To.Time) {
				return fmt.Sprintf("unfetched from %s to %s lies inside of covered", u.From.text(), u.To.text())
			}
		}
	}
	return ""
}

// unvouched returns a part of a claim that no single one of others vouches for.
func unvouched(c Claim, others []Claim) (Span, bool) {
	rest := []Span{{c.From, c.To}}
	for _, o := range others {
		part := c
		if o.From.After(part.From.Time) {
			part.From = o.From
		}
		if o.To.Before(part.To.Time) {
			part.To = o.To
		}
		// Of a time and of so long after, one vouches for the other up to where
		// they are equal, or from there on.
		switch {
		case c.After > 0 && o.After == 0:
			if end := o.Asked.Add(-time.Duration(c.After)); end.Before(part.To.Time) {
				part.To = Time{end}
			}
		case c.After == 0 && o.After > 0:
			if begin := c.Asked.Add(-time.Duration(o.After)); begin.After(part.From.Time) {
				part.From = Time{begin}
			}
		}
		if part.From.Before(part.To.Time) && o.Vouches(part) {
			if rest = Subtract(rest, []Span{{part.From, part.To}}); len(rest) == 0 {
				return Span{}, false
			}
		}
	}
	return rest[0], true
}

func spansText(spans []Span) string {
	text := ""
	for i, s := range spans {
		if i == 3 {
			return text + fmt.Sprintf(" and %d more", len(spans)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += s.From.text() + " to " + s.To.text()
	}
	if text == "" {
		return "nothing"
	}
	return text
}
