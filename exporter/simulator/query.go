package simulator

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// equality is one term of a $filter on a text.
type equality struct {
	property string // as Defender names it
	value    string
	graph    bool // the value is one of Graph's
}

// query is what a list request asks for.
type query struct {
	top, skip int  // top -1: not given
	marked    bool // skip is the position of a followed nextLink
	times     []comparison
	texts     []equality

	// Graph only.
	order                  Order
	ordered, expand, count bool
	wall                   int // if not 0, lists end at this position
}

// refusal is a request that gets 400, and why. Kind, if not empty, is that of
// the violation that it is.
type refusal struct{ kind, code, message string }

// maxTop is the largest $top that the API takes.
const maxTop = 100

// parseQuery reads the query options of a list request.
func parseQuery(raw string, bound UpperBound) (query, *refusal) {
	q := query{top: -1}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, &refusal{"option", "BadRequest", "The query string cannot be read."}
	}
	for name, given := range values {
		if len(given) != 1 {
			return q, &refusal{"option", "ODataError", fmt.Sprintf("Query option '%s' was specified more than once.", name)}
		}
		value := given[0]
		switch name {
		case "$top":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return q, &refusal{"top", "ODataError", fmt.Sprintf("Invalid value '%s' for $top query option.", value)}
			}
			if n > maxTop {
				return q, &refusal{"top", "ODataError", fmt.Sprintf("The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'.", maxTop, n)}
			}
			q.top = n
		case "$skip":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return q, &refusal{"option", "ODataError", fmt.Sprintf("Invalid value '%s' for $skip query option.", value)}
			}
			q.skip = n
		case "$filter":
			if refused := q.filter(value, bound); refused != nil {
				return q, refused
			}
		case nextMarker: // below
		default:
			return q, &refusal{"option", "ODataError", fmt.Sprintf("The query parameter '%s' is not supported.", name)}
		}
	}
	return q, q.follow(values, "ODataError")
}

// timeLiteral is a bare UTC time with up to seven fraction digits.
var timeLiteral = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z$`)

// filter reads comparisons joined by "and". What is refused here is no
// violation: clients may find out what a server takes.
func (q *query) filter(text string, bound UpperBound) *refusal {
	words, ok := filterWords(text)
	if !ok || len(words)%4 != 3 {
		return &refusal{"", "ODataError", "Syntax error in $filter."}
	}
	for i := 0; i < len(words); i += 4 {
		if i > 0 && words[i-1] != "and" {
			return &refusal{"", "ODataError", fmt.Sprintf("Operator '%s' is not supported.", words[i-1])}
		}
		property, op, value := words[i], words[i+1], words[i+2]
		switch property {
		case "lastUpdateTime", "createdTime":
			switch {
			case op != "ge" && op != "gt" && op != "le" && op != "lt" && op != "eq",
				op == "lt" && bound != LtAndLe, op == "le" && bound == NoUpperBound:
				return &refusal{"", "ODataError", fmt.Sprintf("Operator '%s' is not supported on '%s'.", op, property)}
			}
			t, err := time.Parse(time.RFC3339Nano, value)
			if err != nil || !timeLiteral.MatchString(value) {
				return &refusal{"", "ODataError", fmt.Sprintf("Value of '%s' is not a UTC date and time.", property)}
			}
			q.times = append(q.times, comparison{property == "createdTime", op, ticksOf(t)})
		case "status", "assignedTo":
			if op != "eq" {
				return &refusal{"", "ODataError", fmt.Sprintf("Operator '%s' is not supported on '%s'.", op, property)}
			}
			if len(value) < 2 || value[0] != '\'' {
				return &refusal{"", "ODataError", fmt.Sprintf("Value of '%s' is not a string.", property)}
			}
			value = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
			q.texts = append(q.texts, equality{property: property, value: value})
		default:
			return &refusal{"", "ODataError", fmt.Sprintf("Filter on property '%s' is not supported.", property)}
		}
	}
	return nil
}

// filterWords splits at spaces outside of '…'; a quote in there is doubled.
func filterWords(text string) (words []string, ok bool) {
	for {
		text = strings.TrimLeft(text, " ")
		if text == "" {
			return words, true
		}
		end := strings.IndexByte(text, ' ')
		if text[0] == '\'' {
			end = 1
			for {
				n := strings.IndexByte(text[end:], '\'')
				if n < 0 {
					return nil, false
				}
				end += n + 1
				if end == len(text) || text[end] != '\'' {
					break
				}
				end++
			}
		} else if end < 0 {
			end = len(text)
		}
		words = append(words, text[:end])
		text = text[end:]
	}
}
