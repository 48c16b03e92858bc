package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// What an incident is known by has to fit into a manifest, 50,000 times, as
// valid UTF-8. Both APIs serve ids of a few digits and times of 28 characters.
const (
	maxID   = 128 // bytes
	maxTime = 64
)

// Names are the names of the members of an incident that are looked at.
// Expanded is the collection that was asked to be expanded, empty for none.
type Names struct{ ID, Updated, Created, Expanded string }

// Members are the values of these members, as raw JSON tokens that alias the
// scanned text; nil where the member is missing. Link and Count are the
// annotations of the expanded collection (OData JSON Format 4.01, 4.5.5 and 4.5.11).
type Members struct{ ID, Updated, Created, Expanded, Link, Count []byte }

// ErrNoIncident is wrapped by every error that says why a JSON value is not
// an incident.
var ErrNoIncident = errors.New("not an incident")

// Incident is what the archive needs to know of one version of an incident.
type Incident struct {
	ID      string // the number's digits or the string's content
	Updated string // last update time, as served
	Created string // creation time as served, empty if missing
	Lacks   string // what of the expanded collection was not served, empty if nothing
	Absent  bool   // all of it, without a word
}

// Incident reads the members, which the caller's buffer may overwrite later.
func (m *Members) Incident(names Names) (Incident, error) {
	var in Incident
	id, err := text(m.ID, true)
	if err != nil || id == "" || len(id) > maxID || !utf8.ValidString(id) {
		return in, fmt.Errorf("%w: no usable %s", ErrNoIncident, names.ID)
	}
	in.ID = id
	if in.Updated, err = text(m.Updated, false); err != nil || in.Updated == "" || len(in.Updated) > maxTime {
		return in, fmt.Errorf("%w: incident %s has no usable %s", ErrNoIncident, id, names.Updated)
	}
	if _, err := ParseTime(in.Updated); err != nil {
		return in, fmt.Errorf("%w: incident %s: %s: %w", ErrNoIncident, id, names.Updated, err)
	}
	if in.Created, err = text(m.Created, false); err != nil {
		in.Created = ""
	}
	if names.Expanded != "" {
		in.Lacks = m.lacks(names.Expanded)
		in.Absent = len(m.Expanded) == 0 || m.Expanded[0] != '['
	}
	return in, nil
}

// lacks says what of the expanded collection was announced, or asked for, and
// not served.
func (m *Members) lacks(name string) string {
	link, _ := text(m.Link, false)
	served := elements(m.Expanded)
	switch count, _ := strconv.Atoi(string(m.Count)); {
	case len(m.Expanded) == 0 || m.Expanded[0] != '[':
		return "its " + name + " were asked for and are not there"
	case link != "":
		return fmt.Sprintf("%d of its %s were served, with a link to more", served, name)
	case count > served:
		return fmt.Sprintf("%d of its %d %s were served", served, count, name)
	}
	return ""
}

// elements counts the elements of an array, whose syntax is known to be right.
func elements(array []byte) (n int) {
	depth := 0
	for i := 0; i < len(array); i++ {
		switch array[i] {
		case '"':
			end, _ := str(array, i)
			i = end - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
			continue
		case ',':
			if depth == 1 {
				n++
			}
			continue
		case ' ', '\t', '\r', '\n':
			continue
		}
		if n == 0 && i > 0 {
			n = 1
		}
	}
	return n
}

// text is the content of a string token, or, if number is allowed, the digits
// of a number.
func text(token []byte, number bool) (string, error) {
	if len(token) == 0 {
		return "", errors.New("missing")
	}
	if token[0] == '"' {
		if bytes.IndexByte(token, '\\') < 0 {
			return string(token[1 : len(token)-1]), nil
		}
		var s string
		err := json.Unmarshal(token, &s)
		return s, err
	}
	if number && (token[0] == '-' || token[0] >= '0' && token[0] <= '9') {
		return string(token), nil
	}
	return "", errors.New("neither string nor number")
}
