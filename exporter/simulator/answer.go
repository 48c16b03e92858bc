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

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\ufeff"

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
	bom     bool
	breakAt int           // byte of the body at which Cut or Stalled strikes
	cut     bool          // break the connection there
	stall   time.Duration // pause there
	reset   bool          // break the connection instead
	delay   time.Duration // before anything is sent
}

// json reports whether the answer has a body of JSON.
func (a *answer) json() bool {
	return a.contentType != htmlType && (a.list != nil || a.one != nil || len(a.body) > 0)
}

// set sets a header.
func (a *answer) set(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
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
	whole := a.list == nil && a.one == nil
	if !whole {
		flush() // the headers, so that the body is chunked
	}
	// In what follows an error means that the client has gone away: nobody to
	// tell.
	if a.bom {
		if _, err := io.WriteString(out, byteOrderMark); err != nil {
			return
		}
	}
	if whole {
		_, _ = out.Write(a.body)
		return
	}
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
	head, context := listHead, entityHead
	if a.graph != nil {
		head, context = graphListHead(a), graphEntityHead
	}
	render := func(in *row) {
		if a.graph != nil {
			buf = a.graph.line(buf, c, in)
			return
		}
		buf = c.render(buf, &in.record, in.broken)
	}
	if p := a.one; p != nil {
		buf = append(buf, context...)
		at := len(buf)
		render(&p.rows[0])
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
	for i := range p.rows {
		if i > 0 {
			buf = append(buf, ',')
		}
		render(&p.rows[i])
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
