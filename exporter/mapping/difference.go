package mapping

import (
	"maps"
	"strings"
)

// Difference is one field that the two APIs disagree about. The values are as
// served, no longer than a line; "" where a side has none. Of fields that hold
// several texts (tags, comments, alerts) only those are given that the other
// side has not.
type Difference struct {
	Field           string // the name that this package has for it, of an alert with "alerts." before it
	Alert           string // the alert's id, if it is about one
	Defender, Graph string
}

// Compare says in what an incident of Defender's own API and the same one of
// Graph disagree, in a fixed order of the fields.
func Compare(d, g *Record) (found []Difference) {
	found = compare(found, "", "", incidentFields[:], d.values[:], g.values[:])
	found = compareLists(found, "tags", d.tags, g.tags)
	found = compareLists(found, commentsName, d.comments, g.comments)
	found = compareLists(found, alertsName, d.alertIDs(), g.alertIDs())
	for a, b := d.alerts, g.alerts; len(a) > 0 && len(b) > 0; {
		switch strings.Compare(a[0].id, b[0].id) {
		case -1:
			a = a[1:]
		case 1:
			b = b[1:]
		default:
			found = compare(found, alertsName+".", clip(a[0].id), alertFields[:], a[0].values[:], b[0].values[:])
			a, b = a[1:], b[1:]
		}
	}
	return found
}

func compare(found []Difference, prefix, alert string, fields []field, d, g []string) []Difference {
	for i, f := range fields {
		if d[i] != g[i] && f.same(d[i]) != f.same(g[i]) {
			found = append(found, Difference{prefix + f.name, alert, clip(d[i]), clip(g[i])})
		}
	}
	return found
}

// compareLists compares sorted texts, however often each is there.
func compareLists(found []Difference, name string, d, g []string) []Difference {
	var onlyD, onlyG []string
	for len(d) > 0 || len(g) > 0 {
		switch {
		case len(g) == 0 || len(d) > 0 && d[0] < g[0]:
			onlyD, d = append(onlyD, d[0]), d[1:]
		case len(d) == 0 || g[0] < d[0]:
			onlyG, g = append(onlyG, g[0]), g[1:]
		default:
			d, g = d[1:], g[1:]
		}
	}
	if len(onlyD)+len(onlyG) == 0 {
		return found
	}
	return append(found, Difference{Field: name, Defender: clip(strings.Join(onlyD, ", ")), Graph: clip(strings.Join(onlyG, ", "))})
}

func (r *Record) alertIDs() []string {
	ids := make([]string, len(r.alerts))
	for i := range r.alerts {
		ids[i] = r.alerts[i].id
	}
	return ids
}

// longest is how much of a value is shown, in bytes.
const longest = 200

// clip makes a text fit a line of a report.
func clip(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// Unmatched are the members that one API has and the other does not, under
// neither name, with how many incidents have them.
func Unmatched(d, g Members) (onlyDefender, onlyGraph Members) {
	return unmatched(d, g, defender), unmatched(g, d, graph)
}

func unmatched(own, other Members, on side) Members {
	only := maps.Clone(own)
	if only == nil {
		only = Members{}
	}
	drop := func(prefix string, names [2]string) { delete(only, prefix+names[on]) }
	for _, f := range incidentFields {
		drop("", f.names)
	}
	for _, names := range [][2]string{idNames, tagNames, {commentsName, commentsName}, {alertsName, alertsName}} {
		drop("", names)
	}
	for _, f := range alertFields {
		drop(alertsName+".", f.names)
	}
	drop(alertsName+".", alertIDNames)
	for _, names := range furtherAlertNames {
		drop(alertsName+".", names)
	}
	for name := range other {
		delete(only, name)
	}
	return only
}
