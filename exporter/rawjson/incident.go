package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// What an incident is known by has to fit into a manifest, 50,000 times, as
// valid UTF-8. Both APIs serve ids of a few digits and times of 28 characters.
const (
	maxID   = 128 // bytes
	maxTime = 64
)

// Names are the names of the members of an incident that are looked at.
type Names struct{ ID, Updated, Created string }

// Members are the values of these members, as raw JSON tokens that alias the
// scanned text; nil where the member is missing.
type Members struct{ ID, Updated, Created []byte }

// ErrNoIncident is wrapped by every error that says why a JSON value is not
// an incident.
var ErrNoIncident = errors.New("not an incident")

// Incident is what the archive needs to know of one version of an incident.
type Incident struct {
	ID      string // the number's digits or the string's content
	Updated string // last update time, as served
	Created string // creation time as served, empty if missing
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
	return in, nil
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
