package simulator

import "io"

// breaking is a writer at which something happens behind so many bytes; it
// goes on if that returns true.
type breaking struct {
	w    io.Writer
	left int
	at   func() bool
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.at == nil || len(p) < b.left {
		b.left -= len(p)
		return b.w.Write(p)
	}
	n, err := b.w.Write(p[:b.left])
	if err != nil {
		return n, err
	}
	at := b.at
	b.at = nil
	if !at() {
		return n, io.ErrClosedPipe
	}
	m, err := b.w.Write(p[n:])
	return n + m, err
}

// spacing is a writer that puts whitespace between the tokens of JSON.
type spacing struct {
	w       io.Writer
	buf     []byte
	depth   int
	inside  bool // a string
	escaped bool // the next byte of the string
}

func (s *spacing) Write(p []byte) (int, error) {
	s.buf = s.buf[:0]
	line := func() {
		s.buf = append(s.buf, "\r\n"...)
		for range s.depth {
			s.buf = append(s.buf, '\t')
		}
	}
	for _, c := range p {
		if s.inside {
			s.buf = append(s.buf, c)
			s.inside = s.escaped || c != '"'
			s.escaped = !s.escaped && c == '\\'
			continue
		}
		if c == '}' || c == ']' {
			s.depth--
			line()
		}
		s.buf = append(s.buf, c)
		switch c {
		case '"':
			s.inside = true
		case '{', '[':
			s.depth++
			line()
		case ',':
			line()
		case ':':
			s.buf = append(s.buf, ' ')
		}
	}
	if _, err := s.w.Write(s.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}
