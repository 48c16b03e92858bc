package simulator

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What Graph's lists take: 50 a page, which is the default as well, and a
// $skip of 500.
const (
	graphTop  = 50
	graphSkip = 500
)

// parseGraphQuery reads the query options of a list request. A page that is
// too long is refused with an empty code.
func parseGraphQuery(raw string, bound UpperBound, orderBy bool) (query, *refusal) {
	q := query{top: graphTop}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, &refusal{"option", "BadRequest", "The query string cannot be read."}
	}
	for name, given := range values {
		if len(given) != 1 {
			return q, &refusal{"option", "BadRequest", fmt.Sprintf("Query option '%s' was specified more than once.", name)}
		}
		if refused := q.option(name, given[0], bound, orderBy); refused != nil {
			return q, refused
		}
	}
	return q, q.follow(values, "BadRequest")
}

func (q *query) option(name, value string, bound UpperBound, orderBy bool) *refusal {
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 0
	switch {
	case name == "$top" && !number:
		return &refusal{"top", "BadRequest", fmt.Sprintf("Invalid value '%s' for $top query option.", value)}
	case name == "$top" && n > graphTop:
		return &refusal{"top", "", fmt.Sprintf("The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'.", graphTop, n)}
	case name == "$top":
		q.top = n
	case name == "$skip" && !number:
		return &refusal{"option", "BadRequest", fmt.Sprintf("Invalid value '%s' for $skip query option.", value)}
	case name == "$skip" && n > graphSkip:
		return &refusal{"skip", "BadRequest", fmt.Sprintf("The limit of '%d' for Skip query has been exceeded. The value from the incoming request is '%d'.", graphSkip, n)}
	case name == "$skip":
		q.skip = n
	case name == "$count" && (value == "true" || value == "false"):
		q.count = value == "true"
	case name == "$expand" && value == "alerts":
		q.expand = true
	case name == "$orderby" && orderBy:
		property, way, _ := strings.Cut(value, " ")
		if property != "lastUpdateDateTime" || way != "" && way != "asc" && way != "desc" {
			return &refusal{"option", "BadRequest", "The $orderby expression is not supported."}
		}
		q.ordered, q.order = true, OldestFirst
		if way == "desc" {
			q.order = NewestFirst
		}
	case name == "$filter":
		return q.graphFilter(value, bound)
	case name == nextMarker: // follow reads it
	default:
		return &refusal{"option", "BadRequest", fmt.Sprintf("The query parameter '%s' with the value '%s' is not supported.", name, value)}
	}
	return nil
}

// graphTime is a bare time with a zone and up to seven fraction digits.
var graphTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)$`)

// graphProperties are those that can be filtered on, as Defender names them.
var graphProperties = map[string]string{
	"assignedTo": "assignedTo", "classification": "classification", "determination": "determination",
	"severity": "severity", "status": "status",
}

// graphFilter reads comparisons joined by "and". What is refused here is no
// violation: clients may find out what a server takes.
func (q *query) graphFilter(text string, bound UpperBound) *refusal {
	bad := func(format string, args ...any) *refusal {
		return &refusal{"", "BadRequest", fmt.Sprintf(format, args...)}
	}
	words, ok := filterWords(text)
	if !ok || len(words)%4 != 3 {
		return bad("Invalid filter clause: syntax error.")
	}
	for i := 0; i < len(words); i += 4 {
		if i > 0 && words[i-1] != "and" {
			return bad("Invalid filter clause: operator '%s' is not supported.", words[i-1])
		}
		property, op, value := words[i], words[i+1], words[i+2]
		quoted := value[0] == '\''
		switch {
		case property == "lastUpdateDateTime" || property == "createdDateTime":
			if !slices.Contains([]string{"ge", "gt", "le", "lt", "eq"}, op) || op == "lt" && bound != LtAndLe || op == "le" && bound == NoUpperBound {
				return bad("Invalid filter clause: operator '%s' is not supported on '%s'.", op, property)
			}
			if quoted {
				return bad("Invalid filter clause: a binary operator with incompatible types was detected. Found operand types 'Edm.DateTimeOffset' and 'Edm.String' for operator kind '%s'.", op)
			}
			t, err := time.Parse(time.RFC3339Nano, value)
			if err != nil || !graphTime.MatchString(value) {
				return bad("Invalid filter clause: '%s' is not a date and time of the form yyyy-mm-ddThh:mm:ss[.ffff][Z|(+|-)hh:mm].", value)
			}
			q.times = append(q.times, comparison{property == "createdDateTime", op, ticksOf(t)})
		case graphProperties[property] == "":
			return bad("Invalid filter clause: could not find a property named '%s' that can be filtered on.", property)
		case op != "eq":
			return bad("Invalid filter clause: operator '%s' is not supported on '%s'.", op, property)
		case !quoted:
			return bad("Invalid filter clause: the value of '%s' is not a string.", property)
		default:
			value = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
			q.texts = append(q.texts, equality{graphProperties[property], value, true})
		}
	}
	return nil
}
