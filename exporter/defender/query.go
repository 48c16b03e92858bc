package defender

import (
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/rawjson"
)

// bound is how the server takes an upper bound of time: which of these it
// knows is not documented.
type bound int

const (
	lessThan    bound = iota // updated lt to
	lessOrEqual              // updated le to: that takes in one instant too much, which does no harm
	reversed                 // to gt updated
	negated                  // not (updated ge to)
	noBound                  // it takes none of them
)

var boundNames = [...]string{"lt", "le", "gt, reversed", "not ge", ""}

// text is the bound as a term of $filter (OData 4.01 URL conventions, 5.1.1.1).
func (b bound) text(name string, to time.Time) string {
	t := rawjson.FormatTime(to)
	switch b {
	case lessThan:
		return name + " lt " + t
	case lessOrEqual:
		return name + " le " + t
	case reversed:
		return t + " gt " + name
	case negated:
		return "not (" + name + " ge " + t + ")"
	}
	return ""
}

// dialect is what is learnt of how the server takes upper bounds. A run begins
// with nothing learnt: a stray refusal must not be remembered.
type dialect struct {
	mu       sync.Mutex
	bound    bound
	accepted bool
}

func (d *dialect) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound, d.accepted = lessThan, false
}

func (d *dialect) now() bound {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bound
}

// known says whether an upper bound has been taken in this run.
func (d *dialect) known() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accepted
}

func (d *dialect) accept(b bound) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bound == b {
		d.accepted = true
	}
}

// refused goes on to the next way to say an upper bound, and reports whether
// there is one to try. Several calls may find out at the same time.
func (d *dialect) refused(b bound) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bound == b && !d.accepted && b < noBound {
		d.bound++
	}
	return d.bound != b
}

// options are a question's query options: only ge, one upper bound and `and`
// in $filter; times UTC with Z and unquoted, as both APIs document.
func (s *Source) options(q walk.Question, b bound, bare bool) url.Values {
	filter := ""
	add := func(text string) {
		if filter != "" && text != "" {
			filter += " and "
		}
		filter += text
	}
	between := func(name string, from, to time.Time) {
		if !from.IsZero() {
			add(name + " ge " + rawjson.FormatTime(from))
		}
		if !to.IsZero() {
			add(b.text(name, to))
		}
	}
	between(s.names.Updated, q.From, q.To)
	between(s.names.Created, q.Since, q.Until)
	v := url.Values{"$filter": {filter}, "$top": {strconv.Itoa(q.Top)}}
	if q.Skip > 0 {
		v.Set("$skip", strconv.Itoa(q.Skip))
	}
	if s.names.Expanded != "" && !bare {
		v.Set("$expand", s.names.Expanded)
	}
	return v
}

// asked is a question in words.
func asked(q walk.Question) string {
	text := "updated " + rawjson.FormatTime(q.From) + " to " + rawjson.FormatTime(q.To)
	if !q.Since.IsZero() || !q.Until.IsZero() {
		text += fmt.Sprintf(", created %s to %s", rawjson.FormatTime(q.Since), rawjson.FormatTime(q.Until))
	}
	return text
}
