package rawjson

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// ErrTooLarge says that an answer is larger than the limit.
var ErrTooLarge = errors.New("answer too large")

// Answer reads a collection as OData serves it, {"value":[…], …}, element by
// element. It holds one element at a time, and checks the whole answer: only
// io.EOF from Next says that it was complete and well-formed.
type Answer struct {
	// NextLink is the answer's @odata.nextLink ("more follows"), empty if it has
	// none. It is known once Next has returned io.EOF.
	NextLink string

	// Grow, if not nil, is told before the buffer grows and by how many
	// bytes; its error ends the reading.
	Grow func(bytes int) error

	r        io.Reader
	names    Names
	limit    int64
	read     int64
	buf      []byte
	pos, end int
	eof      bool
	state    int
	seen     bool // a "value" array was met
}

const (
	atStart = iota
	atMember
	atElement
	afterElement
	atEnd
)

// NewAnswer reads from r, at most limit bytes, using buf (its capacity) first.
func NewAnswer(r io.Reader, names Names, limit int64, buf []byte) *Answer {
	if cap(buf) < 512 {
		buf = make([]byte, 64<<10)
	}
	return &Answer{r: r, names: names, limit: limit, buf: buf[:cap(buf)]}
}

// Buffer returns the buffer for use by another Answer, once this one is done.
func (a *Answer) Buffer() []byte { return a.buf }

// Read returns how many bytes of the answer have been read.
func (a *Answer) Read() int64 { return a.read }

// Next appends the next element to dst, without whitespace between tokens,
// and returns what it is. After the last one it returns io.EOF. An element
// that is not an incident is an error that wraps ErrNoIncident; text that is
// not JSON is a *SyntaxError; a text that ends too early is
// io.ErrUnexpectedEOF; one that is too large is ErrTooLarge. After an
// ErrNoIncident the next element may be asked for; after any other error the
// answer is done with. If an error concerns an element whose id was read, the
// Incident holds that id.
func (a *Answer) Next(dst []byte) ([]byte, Incident, error) {
	for {
		switch a.state {
		case atStart:
			if err := a.mark(); err != nil {
				return dst, Incident{}, err
			}
			if err := a.expect('{', "the answer is not a JSON object"); err != nil {
				return dst, Incident{}, err
			}
			if c, err := a.peek(); err != nil {
				return dst, Incident{}, err
			} else if c == '}' {
				a.pos++
				a.state = atEnd
			} else {
				a.state = atMember
			}
		case atMember:
			if err := a.member(); err != nil {
				return dst, Incident{}, err
			}
		case atElement:
			s := scan{names: &a.names, keep: true, dst: dst}
			from, err := a.value(&s)
			if err != nil {
				return dst, Incident{ID: s.id}, err
			}
			a.state = afterElement
			if a.buf[from] != '{' {
				return dst, Incident{}, ErrNoIncident
			}
			in, err := s.members.Incident(a.names)
			if err != nil {
				return dst, in, err
			}
			return s.dst, in, nil
		case afterElement:
			c, err := a.peek()
			if err != nil {
				return dst, Incident{}, err
			}
			a.pos++
			switch c {
			case ',':
				a.state = atElement
			case ']':
				if err := a.comma(); err != nil {
					return dst, Incident{}, err
				}
			default:
				return dst, Incident{}, a.bad("neither comma nor end")
			}
		case atEnd:
			if _, err := a.peek(); err == nil {
				return dst, Incident{}, a.bad("text after the answer")
			} else if err != io.ErrUnexpectedEOF {
				return dst, Incident{}, err
			}
			if !a.seen {
				return dst, Incident{}, a.bad(`no "value" array`)
			}
			return dst, Incident{}, io.EOF
		}
	}
}

// member reads one member of the outermost object; of "value" only the
// bracket and, if it is empty, its end.
func (a *Answer) member() error {
	if c, err := a.peek(); err != nil {
		return err
	} else if c != '"' {
		return a.bad("no member name")
	}
	var s scan
	from, err := a.value(&s)
	if err != nil {
		return err
	}
	key := string(a.buf[from+1 : a.pos-1])
	if err := a.expect(':', "no colon after a member name"); err != nil {
		return err
	}
	c, err := a.peek()
	if err != nil {
		return err
	}
	if key == "value" {
		if c != '[' || a.seen {
			return a.bad(`"value" is not one array`)
		}
		a.seen = true
		a.pos++
		if c, err = a.peek(); err != nil {
			return err
		}
		if c != ']' {
			a.state = atElement
			return nil
		}
		a.pos++
		return a.comma()
	}
	if from, err = a.value(&s); err != nil {
		return err
	}
	if key == "@odata.nextLink" && a.buf[from] == '"' {
		a.NextLink, _ = text(a.buf[from:a.pos], false)
	}
	return a.comma()
}

// comma reads what stands between two members, or the end of the object.
func (a *Answer) comma() error {
	c, err := a.peek()
	if err != nil {
		return err
	}
	a.pos++
	switch c {
	case ',':
		a.state = atMember
	case '}':
		a.state = atEnd
	default:
		return a.bad("neither comma nor end")
	}
	return nil
}

func (a *Answer) bad(what string) error {
	return &SyntaxError{a.read - int64(a.end-a.pos), what}
}

func (a *Answer) expect(want byte, what string) error {
	c, err := a.peek()
	if err != nil {
		return err
	}
	if c != want {
		return a.bad(what)
	}
	a.pos++
	return nil
}

// mark skips a byte order mark, which a receiver may ignore (RFC 8259, 8.1).
func (a *Answer) mark() error {
	if _, err := a.peek(); err != nil {
		return err
	}
	for a.end-a.pos < len(byteOrderMark) && !a.eof {
		if err := a.fill(); err != nil {
			return err
		}
	}
	if bytes.HasPrefix(a.buf[a.pos:a.end], byteOrderMark) {
		a.pos += len(byteOrderMark)
	}
	return nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// Unmarked returns a text without the byte order mark that it may begin with.
func Unmarked(text []byte) []byte { return bytes.TrimPrefix(text, byteOrderMark) }

// peek skips whitespace and returns the next byte without taking it.
func (a *Answer) peek() (byte, error) {
	for {
		if a.pos = spaces(a.buf[:a.end], a.pos); a.pos < a.end {
			return a.buf[a.pos], nil
		}
		if err := a.fill(); err != nil {
			return 0, err
		}
	}
}

// value scans the next value, reading as much as it needs, and returns where
// in the buffer it begins; it ends at pos.
func (a *Answer) value(s *scan) (from int, err error) {
	if _, err := a.peek(); err != nil {
		return 0, err
	}
	for {
		n, err := s.value(a.buf[a.pos:a.end])
		if err != nil {
			// Before the buffer moves, which the members alias.
			s.id, _ = text(s.members.ID, true)
		}
		switch {
		case err == errShort:
			// Scanned again with more text: at a buffer's edge once, for a
			// large element as often as the buffer doubles.
			if err := a.fill(); err != nil {
				return 0, err
			}
		case err != nil:
			if se, ok := errors.AsType[*SyntaxError](err); ok {
				se.Offset += a.read - int64(a.end-a.pos)
			}
			return 0, err
		default:
			from = a.pos
			a.pos += n
			return from, nil
		}
	}
}

// fill reads more text behind what the buffer still holds.
func (a *Answer) fill() error {
	if a.eof {
		return io.ErrUnexpectedEOF
	}
	if a.pos > 0 {
		a.end = copy(a.buf, a.buf[a.pos:a.end])
		a.pos = 0
	}
	if a.end == len(a.buf) {
		size := min(2*int64(len(a.buf)), math.MaxInt32)
		if a.Grow != nil {
			if err := a.Grow(int(size) - len(a.buf)); err != nil {
				return err
			}
		}
		buf := make([]byte, size)
		copy(buf, a.buf[:a.end])
		a.buf = buf
	}
	// As much as there is room for, so that a large element is not scanned
	// anew for every small read.
	want := a.end + (len(a.buf)-a.end+1)/2
	for a.end < want && !a.eof {
		n, err := a.r.Read(a.buf[a.end:])
		a.end += n
		a.read += int64(n)
		switch {
		case a.read > a.limit:
			return ErrTooLarge
		case err == io.EOF:
			a.eof = true
		case err != nil:
			return err
		}
	}
	return nil
}
