// Package rawjson reads the JSON that the incidents APIs serve without
// changing it: it checks the syntax (RFC 8259), removes the whitespace between
// tokens, and says what the few members hold that an archive is ordered by.
//
// It is separate, and not encoding/json, because a decoded incident is a
// changed one: integers above 2^53, the spelling of numbers, the order of
// members, escapes and unknown fields all have to survive, and 100,000
// incidents an hour have to cost next to nothing. Nothing here keeps state;
// everything may be used concurrently on different data.
package rawjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// maxDepth bounds the nesting; what nests deeper is refused as a syntax error.
const maxDepth = 512

// errShort says that the text ends before the value does.
var errShort = errors.New("unexpected end of JSON text")

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset int64 // bytes before the error
	What   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.What)
}

// Line reads a stored line: one JSON object without whitespace between tokens.
func Line(line []byte, names Names) (Incident, error) {
	s := scan{names: &names}
	n, err := s.value(line)
	switch {
	case err != nil:
		return Incident{}, err
	case n != len(line):
		return Incident{}, &SyntaxError{int64(n), "text after the value"}
	case s.spaces:
		return Incident{}, &SyntaxError{0, "whitespace between tokens"}
	case line[0] != '{':
		return Incident{}, fmt.Errorf("%w: not an object", ErrNoIncident)
	}
	return s.members.Incident(names)
}

// Entity reads a by-id answer: it appends the one object in text to dst,
// without whitespace between tokens and without the top-level members whose
// names begin with "@odata.", and returns what it is.
func Entity(dst, text []byte, names Names) ([]byte, Incident, error) {
	s := scan{names: &names, keep: true, drop: true, dst: dst}
	text = Unmarked(text)
	i := spaces(text, 0)
	n, err := s.value(text[i:])
	if err != nil {
		return dst, Incident{}, err
	}
	if rest := spaces(text, i+n); rest != len(text) {
		return dst, Incident{}, &SyntaxError{int64(rest), "text after the value"}
	}
	if text[i] != '{' {
		return dst, Incident{}, fmt.Errorf("%w: not an object", ErrNoIncident)
	}
	in, err := s.members.Incident(names)
	return s.dst, in, err
}

// Has says whether the object in line, a stored line, has a member of that
// name at its top.
func Has(line []byte, name string) bool {
	s := scan{names: &Names{ID: name}}
	_, err := s.value(line)
	return err != nil || s.members.ID != nil
}

// scan checks one JSON value in one pass.
type scan struct {
	names   *Names // members to look for in the outermost object, nil for none
	keep    bool   // append the value to dst
	drop    bool   // leave out the outermost @odata.* members
	dst     []byte
	members Members
	id      string // what of the members is known of a value that was not scanned to its end
	spaces  bool   // whitespace between tokens was met
}

// spaces returns the index of the first byte from i on that is not whitespace.
func spaces(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\n' || src[i] == '\r' || src[i] == '\t') {
		i++
	}
	return i
}

// value scans the value that src begins with and returns its length. errShort
// means that src ends before the value does; dst is then as it was.
func (s *scan) value(src []byte) (n int, err error) {
	var (
		stack    [maxDepth]byte // '{' or '[' of what is open
		depth    int
		i, run   int // run: where the bytes not yet appended begin
		key      []byte
		at       int // where the value of key begins
		undo     = len(s.dst)
		memberAt int // length of dst before the member that may be dropped
		dropping = s.drop && s.keep
	)
	s.members, s.spaces = Members{}, false
	bad := func(what string) (int, error) {
		s.dst = s.dst[:undo]
		return i, &SyntaxError{int64(i), what}
	}
	short := func() (int, error) {
		s.dst = s.dst[:undo]
		return i, errShort
	}
	flush := func() {
		if s.keep {
			s.dst = append(s.dst, src[run:i]...)
		}
		run = i
	}
	// space moves to the next token.
	space := func() bool {
		if i < len(src) && src[i] > ' ' {
			return true
		}
		if j := spaces(src, i); j != i {
			s.spaces = true
			flush()
			i, run = j, j
		}
		return i < len(src)
	}

value:
	if !space() {
		return short()
	}
	if depth == 1 {
		at = i
	}
	switch c := src[i]; c {
	case '{', '[':
		if depth == maxDepth {
			return bad("nested too deeply")
		}
		stack[depth] = c
		depth++
		i++
		if !space() {
			return short()
		}
		if src[i] == c+2 { // } is { + 2, ] is [ + 2
			i++
			depth--
			goto after
		}
		if c == '[' {
			goto value
		}
		goto member
	case '"':
		j, what := str(src, i)
		if what != "" {
			if j >= len(src) {
				return short()
			}
			i = j
			return bad(what)
		}
		i = j
	case 't', 'f', 'n':
		word := "true"
		if c == 'f' {
			word = "false"
		} else if c == 'n' {
			word = "null"
		}
		if len(src)-i < len(word) {
			if string(src[i:]) == word[:len(src)-i] {
				return short()
			}
			return bad("unknown literal")
		}
		if string(src[i:i+len(word)]) != word {
			return bad("unknown literal")
		}
		i += len(word)
	default:
		j, what := number(src, i)
		if what != "" {
			if j >= len(src) {
				return short()
			}
			i = j
			return bad(what)
		}
		if j == len(src) && depth > 0 {
			return short()
		}
		i = j
	}

after:
	if depth == 0 {
		flush()
		return i, nil
	}
	if depth == 1 && stack[0] == '{' {
		if what := s.member(key, src[at:i]); what != "" {
			return bad(what)
		}
		if dropping && bytes.HasPrefix(key, []byte(`"@odata.`)) {
			s.dst = s.dst[:memberAt]
			run = i
		}
	}
	if !space() {
		return short()
	}
	switch c := src[i]; {
	case c == ',':
		if dropping && depth == 1 {
			flush()
			memberAt = len(s.dst)
			if s.dst[len(s.dst)-1] == '{' { // everything so far was dropped
				run = i + 1
			}
		}
		i++
		if stack[depth-1] == '{' {
			if !space() {
				return short()
			}
			goto member
		}
		goto value
	case c == stack[depth-1]+2:
		i++
		depth--
		goto after
	}
	return bad("neither comma nor end")

member:
	if src[i] != '"' {
		return bad("no member name")
	}
	if dropping && depth == 1 && memberAt == 0 {
		flush()
		memberAt = len(s.dst)
	}
	{
		j, what := str(src, i)
		if what != "" {
			if j >= len(src) {
				return short()
			}
			i = j
			return bad(what)
		}
		if depth == 1 {
			key = src[i:j]
		}
		i = j
	}
	if !space() {
		return short()
	}
	if src[i] != ':' {
		return bad("no colon after a member name")
	}
	i++
	goto value
}

// member notes the value of one of the named members.
func (s *scan) member(key, value []byte) (what string) {
	if s.names == nil {
		return ""
	}
	var to *[]byte
	switch name := key[1 : len(key)-1]; string(name) {
	case s.names.ID:
		to = &s.members.ID
	case s.names.Updated:
		to = &s.members.Updated
	case s.names.Created:
		to = &s.members.Created
	default:
		if s.names.Expanded == "" || !bytes.HasPrefix(name, []byte(s.names.Expanded)) {
			return ""
		}
		switch string(name[len(s.names.Expanded):]) {
		case "":
			to = &s.members.Expanded
		case "@odata.nextLink":
			to = &s.members.Link
		case "@odata.count":
			to = &s.members.Count
		default:
			return ""
		}
	}
	if *to != nil {
		return "member " + string(key) + " twice"
	}
	*to = value
	return ""
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str returns the index behind the string that begins at i. If what is not
// empty the string is wrong at the index returned, or, when that is len(src),
// not at its end.
func str(src []byte, i int) (end int, what string) {
	i++
	for {
		for len(src)-i >= 8 {
			w := binary.LittleEndian.Uint64(src[i:])
			quote := w ^ ones*'"'
			slash := w ^ ones*'\\'
			// The high bit of the lowest byte that is a quote, a backslash
			// or below 0x20 is exact; higher ones may be false, none missing.
			m := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & highs
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
			break
		}
		for i < len(src) && src[i] != '"' && src[i] != '\\' && src[i] >= 0x20 {
			i++
		}
		if i >= len(src) {
			return len(src), "unterminated string"
		}
		switch src[i] {
		case '"':
			return i + 1, ""
		case '\\':
			if i+1 >= len(src) {
				return len(src), "unterminated string"
			}
			switch src[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				for k := 2; k < 6; k++ {
					if i+k >= len(src) {
						return len(src), "unterminated string"
					}
					if c := src[i+k] | 0x20; (c < '0' || c > '9' || src[i+k] < '0') && (c < 'a' || c > 'f') {
						return i + k, "not a hexadecimal digit"
					}
				}
				i += 6
			default:
				return i + 1, "unknown escape"
			}
		default:
			return i, "control character in a string"
		}
	}
}

// number returns the index behind the number that begins at i, in the same
// way as str.
func number(src []byte, i int) (end int, what string) {
	digits := func() bool {
		from := i
		for i < len(src) && src[i] >= '0' && src[i] <= '9' {
			i++
		}
		return i > from
	}
	if src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if !digits() {
		return i, "no value"
	}
	if i < len(src) && src[i] == '.' {
		if i++; !digits() {
			return i, "no digit after the decimal point"
		}
	}
	if i < len(src) && src[i]|0x20 == 'e' {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		if !digits() {
			return i, "no digit in the exponent"
		}
	}
	return i, ""
}
