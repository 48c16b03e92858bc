package simulator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// The media types that the services answer with.
const (
	odataType = "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8"
	graphType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
	jsonType  = "application/json; charset=utf-8"
	htmlType  = "text/html; charset=utf-8"
)

const htmlPage = `<!DOCTYPE html><html><head><title>Service unavailable</title></head>
<body><h2>Our services aren't available right now</h2><p>We're working to restore all services as soon as possible.</p></body></html>
`

// answer is what was decided to be answered.
type answer struct {
	status      int
	contentType string
	header      http.Header // further ones
	body        []byte      // the whole body, unless
	list, one   *page       // these are to be rendered
	next        string      // nextLink, escaped for JSON
	graph       *rendering  // in Graph's words

	date    time.Time // zero: none is sent
	pretty  bool
	breakAt int           // byte of the body at which Cut or Stalled strikes
	cut     bool          // break the connection there
	stall   time.Duration // pause there
	reset   bool          // break the connection instead
	delay   time.Duration // before anything is sent
}

// set sets a header.
func (a *answer) set(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
}

// minLine is less than the length of any incident.
const minLine = 300

// shortest is a lower bound of the body's length.
func (a *answer) shortest() int {
	p := a.list
	if p == nil {
		p = a.one
	}
	if p == nil {
		return len(a.body)
	}
	n := len(listHead) + len("]}")
	for _, b := range p.broken {
		if b != NotAnObject {
			n += minLine
		}
	}
	return n
}

// afflict turns an answer into a faulty one; the caller holds the lock.
func (s *Simulator) afflict(a *answer, f Fault, now ticks, on service, refuse refusing) *answer {
	switch f {
	case Error500:
		return refuse(http.StatusInternalServerError, "InternalServerError", "An internal server error has occurred.")
	case Error500Empty:
		return &answer{status: http.StatusInternalServerError}
	case Error502:
		return &answer{status: http.StatusBadGateway, contentType: htmlType, body: []byte(htmlPage)}
	case Error503:
		return refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is temporarily unavailable.")
	case Error504:
		if on == graphAPI {
			return refuse(http.StatusGatewayTimeout, "UnknownError", "")
		}
		return &answer{status: http.StatusGatewayTimeout}
	case HTML200:
		return &answer{status: http.StatusOK, contentType: htmlType, body: []byte(htmlPage)}
	case EmptyBody:
		return &answer{status: http.StatusOK, contentType: odataType}
	case ForeignTooMany:
		wait := time.Duration(1+s.rng.IntN(10)) * time.Second
		return s.tooMany(&excess{Limit{50, time.Minute}, wait}, now, on, refuse)
	case Reset:
		a.reset = true
	case Slow:
		a.delay = s.behaviour.SlowBy
	case CutBody:
		a.cut = true
		a.breakAt = s.rng.IntN(max(1, a.shortest()))
	case Stalled:
		a.stall = s.behaviour.SlowBy
		a.breakAt = s.rng.IntN(max(1, a.shortest()))
	}
	return a
}

// sleep returns early if the client has gone away, with its reason.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send writes the answer. It ends in http.ErrAbortHandler where the
// connection is to break.
func (a *answer) send(ctx context.Context, w http.ResponseWriter, c *content) {
	if sleep(ctx, a.delay) != nil || a.reset {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h["Date"] = nil // none of the server's own
	if !a.date.IsZero() {
		h.Set("Date", a.date.Format(http.TimeFormat))
	}
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	} else {
		h["Content-Type"] = nil
	}
	if a.contentType == odataType || a.contentType == graphType {
		h.Set("OData-Version", "4.0")
	}
	w.WriteHeader(a.status)

	flush := func() {
		// The error means that w cannot flush, and then it need not.
		_ = http.NewResponseController(w).Flush()
	}
	var out io.Writer = w
	if a.cut || a.stall > 0 {
		out = &breaking{out, a.breakAt, func() bool {
			flush()
			if a.cut {
				panic(http.ErrAbortHandler)
			}
			return sleep(ctx, a.stall) == nil
		}}
	}
	if a.pretty {
		out = &spacing{w: out}
	}
	if a.list == nil && a.one == nil {
		_, _ = out.Write(a.body) // the client has gone away: nobody to tell
		return
	}
	flush() // the headers, so that the body is chunked
	_ = a.render(out, c)
}

const (
	listHead   = `{"@odata.context":"https://api.security.microsoft.com/api/$metadata#Incidents","value":[`
	entityHead = `{"@odata.context":"https://api.security.microsoft.com/api/$metadata#Incidents/$entity"`
)

// chunk is how many bytes are gathered before they are written.
const chunk = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2*chunk); return &b }}

// render writes the incidents' bodies, each generated on the way.
func (a *answer) render(out io.Writer, c *content) error {
	pooled := buffers.Get().(*[]byte)
	buf := (*pooled)[:0]
	defer func() {
		if cap(buf) <= 16*chunk {
			*pooled = buf
		}
		buffers.Put(pooled)
	}()
	render, head, context := c.render, listHead, entityHead
	if a.graph != nil {
		render, head, context = a.graph.line(c), graphListHead(a), graphEntityHead
	}
	if p := a.one; p != nil {
		buf = append(buf, context...)
		at := len(buf)
		buf = render(buf, &p.records[0], p.created[0], p.broken[0])
		if buf[at] != '{' { // no members to put the context in front of
			_, err := out.Write(buf[at:])
			return err
		}
		buf[at] = ',' // its brace is in entityHead
		_, err := out.Write(buf)
		return err
	}
	p := a.list
	buf = append(buf, head...)
	for i := range p.records {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = render(buf, &p.records[i], p.created[i], p.broken[i])
		if len(buf) >= chunk {
			if _, err := out.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	buf = append(buf, ']')
	if a.next != "" && a.graph == nil {
		buf = fmt.Appendf(buf, `,"@odata.nextLink":"%s"`, a.next)
	}
	buf = append(buf, '}')
	_, err := out.Write(buf)
	return err
}

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
