package mapping

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Record is what is compared of one incident: some 700 bytes and some 500 for
// each of its alerts, however much evidence they have.
type Record struct {
	side     side
	values   [len(incidentFields)]string
	tags     []string // sorted
	comments []string // sorted texts
	alerts   []alert  // by id
}

type alert struct {
	id     string
	values [len(alertFields)]string
}

// Members counts the members by name that incidents of one API have: with
// "alerts." before it, those of an alert, once an incident. Annotations (with
// an @) are left out. It is not safe for concurrent use.
type Members map[string]int

// Defender reads an incident as Defender's own API serves it, and counts its
// members in seen, which may be nil.
func Defender(line []byte, seen Members) (*Record, error) { return read(line, defender, seen) }

// Graph reads an incident as Microsoft Graph serves it, alerts expanded.
func Graph(line []byte, seen Members) (*Record, error) { return read(line, graph, seen) }

func read(line []byte, on side, seen Members) (*Record, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	r := &Record{side: on}
	if err := r.fill(members); err != nil {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	alerts, err := list[map[string]json.RawMessage](members, alertsName)
	if err != nil {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	there := map[string]bool{}
	for name := range members {
		there[name] = true
	}
	r.alerts = make([]alert, 0, len(alerts))
	for _, members := range alerts {
		a, err := readAlert(members, on)
		if err != nil {
			return nil, fmt.Errorf("read incident: %w", err)
		}
		r.alerts = append(r.alerts, a)
		for name := range members {
			there[alertsName+"."+name] = true
		}
	}
	slices.SortStableFunc(r.alerts, func(a, b alert) int { return strings.Compare(a.id, b.id) })
	for name := range there {
		if seen != nil && !strings.Contains(name, "@") {
			seen[name]++
		}
	}
	return r, nil
}

// fill reads all but the alerts.
func (r *Record) fill(members map[string]json.RawMessage) (err error) {
	if err := fill(r.values[:], incidentFields[:], members, r.side); err != nil {
		return err
	}
	tags, err := list[json.RawMessage](members, tagNames[r.side])
	if err != nil {
		return err
	}
	for _, raw := range tags {
		tag, err := scalar(raw)
		if err != nil {
			return err
		}
		r.tags = append(r.tags, tag)
	}
	slices.Sort(r.tags)
	comments, err := list[map[string]json.RawMessage](members, commentsName)
	if err != nil {
		return err
	}
	for _, c := range comments {
		text, err := scalar(c[commentName])
		if err != nil {
			return err
		}
		r.comments = append(r.comments, text)
	}
	slices.Sort(r.comments)
	return nil
}

func readAlert(members map[string]json.RawMessage, on side) (a alert, err error) {
	if a.id, err = scalar(members[alertIDNames[on]]); err != nil {
		return a, err
	}
	return a, fill(a.values[:], alertFields[:], members, on)
}

func fill(values []string, fields []field, members map[string]json.RawMessage, on side) error {
	for i, f := range fields {
		value, err := scalar(members[f.names[on]])
		if err != nil {
			return fmt.Errorf("read %s: %w", f.names[on], err)
		}
		values[i] = value
	}
	return nil
}

// Sum is a hash of all that is compared. Two readings of one API with the same
// sum are the same as far as this package can tell; sums of different APIs have
// nothing in common.
func (r *Record) Sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	write := func(texts ...string) {
		fmt.Fprintf(h, "%d:", len(texts))
		for _, t := range texts {
			fmt.Fprintf(h, "%d:", len(t))
			_, _ = io.WriteString(h, t) // a hash takes everything
		}
	}
	write(r.values[:]...)
	write(r.tags...)
	write(r.comments...)
	for i := range r.alerts {
		write(r.alerts[i].id)
		write(r.alerts[i].values[:]...)
	}
	h.Sum(sum[:0])
	return sum
}
