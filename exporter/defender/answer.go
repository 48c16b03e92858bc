package defender

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/rawjson"
)

// row is a Row with what only reading needs.
type row struct {
	exporter.Row
	created time.Time // the zero time if it was not served
	at      place
}

// answer is one page that has been read whole.
type answer struct {
	rows  []row
	pile  *pile
	more  bool // it had a nextLink
	count int  // of all incidents, -1 if it does not say
	asked time.Time
}

// list asks for one page.
func (s *Source) list(ctx context.Context, q query, top, skip, tries int) (*answer, error) {
	v := url.Values{"$top": {strconv.Itoa(top)}}
	if skip > 0 {
		v.Set("$skip", strconv.Itoa(skip))
	}
	if s.cfg.API.counts {
		v.Set("$count", "true")
	}
	if s.cfg.API.expand != "" && !q.bare {
		v.Set("$expand", s.cfg.API.expand)
	}
	limit := s.cfg.MaxAnswer
	if top == 1 {
		limit *= 8 // one incident alone cannot be asked for in smaller pieces
	}
	for {
		as := s.dialect()
		v.Set("$filter", q.filter(s.names, as))
		a := &answer{}
		asked, err := s.client.get(ctx, s.cfg.Path, v.Encode(), tries, func(body io.Reader, partial string) error {
			return s.read(a, body, limit, partial)
		})
		a.asked = asked
		if err == nil {
			err = s.outside(q, a)
		}
		if q.bounded() && isStatus(err, http.StatusBadRequest) && s.refuseBound(as) {
			continue
		}
		if q.bounded() && err == nil {
			s.acceptBound(as)
		}
		if err == nil {
			s.judge(skip, a)
			s.served(q, len(a.rows))
		}
		s.log.Debug("listed", "incidents", q, "top", top, "skip", skip, "rows", len(a.rows), "count", a.count, "error", err)
		return a, err
	}
}

// buffers are what a call needs while it reads.
type buffers struct {
	text    []byte // of the answer
	lines   []byte // of the pile's open chunk
	scratch []byte
}

// roomy is how large a buffer may be to be kept for the next call.
const roomy = 1 << 20

var bufferPool = sync.Pool{New: func() any { return &buffers{text: make([]byte, 64<<10)} }}

// read reads one answer, element by element. partial is how its rows were read
// if it is not whole.
func (s *Source) read(a *answer, body io.Reader, limit int64, partial string) (err error) {
	b := bufferPool.Get().(*buffers)
	use := s.memory.begin()
	defer func() {
		use.end()
		if cap(b.text) <= roomy && cap(b.lines) <= roomy && cap(b.scratch) <= roomy {
			bufferPool.Put(b)
		}
	}()
	p := &pile{open: b.lines[:0]}
	*a = answer{pile: p, count: -1}
	head := &beginning{r: body}
	in := rawjson.NewAnswer(head, s.names, limit, b.text)
	// What the buffer grows by is needed again for the line, and for its
	// compressed form.
	in.Grow = func(n int) error { return use.more(3 * int64(n)) }
	for {
		before := len(p.open)
		text, incident, err := in.Next(p.open)
		if err != nil {
			b.text = in.Buffer()
			if err != io.EOF {
				return unreadable(s.cfg.Path, err, incident.ID, head.text)
			}
			a.more, a.count = in.NextLink, in.Count
			p.seal(s.packer, &b.scratch)
			b.lines, p.open = p.open[:0], nil
			return nil
		}
		p.open = text
		line := text[before:]
		r := row{Row: exporter.Row{ID: incident.ID, Updated: incident.Updated, SHA256: sha256.Sum256(line), How: partial}}
		r.At, _ = rawjson.ParseTime(incident.Updated)
		if incident.Created != "" {
			r.created, _ = rawjson.ParseTime(incident.Created)
		}
		r.at = p.added(len(line), s.packer, &b.scratch)
		a.rows = append(a.rows, r)
	}
}

// unreadable turns what is wrong with an answer into an APIError; a
// connection that breaks is not the answer's fault, and stays what it is.
func unreadable(path string, err error, id string, text []byte) error {
	var syntax *rawjson.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, rawjson.ErrNoIncident), errors.Is(err, rawjson.ErrTooLarge), errors.Is(err, io.ErrUnexpectedEOF):
		return &APIError{
			Path: path, Status: http.StatusOK, Message: err.Error(), Incident: id, Err: err,
			Excerpt: clean(string(text), 200),
		}
	}
	return fmt.Errorf("GET %s: %w", path, err)
}

// beginning keeps the first bytes that are read through it.
type beginning struct {
	r    io.Reader
	text []byte
}

func (b *beginning) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if room := 256 - len(b.text); room > 0 {
		b.text = append(b.text, p[:min(n, room)]...)
	}
	return n, err
}

// memory bounds what answers that are being read take together: beyond the
// limit one call at a time goes on growing, the others wait for it.
type memory struct {
	limit int64
	alone chan struct{} // held by the call that may go beyond the limit

	mu    sync.Mutex
	used  int64
	freed chan struct{} // closed when something was given back
}

func newMemory(limit int64) *memory {
	return &memory{limit: limit, alone: make(chan struct{}, 1), freed: make(chan struct{})}
}

type use struct {
	m     *memory
	used  int64
	alone bool
}

func (m *memory) begin() *use { return &use{m: m} }

func (u *use) more(n int64) error {
	for {
		u.m.mu.Lock()
		if u.alone || u.m.used+n <= u.m.limit {
			u.m.used += n
			u.used += n
			u.m.mu.Unlock()
			return nil
		}
		freed := u.m.freed
		u.m.mu.Unlock()
		select {
		case u.m.alone <- struct{}{}:
			u.alone = true
		case <-freed:
		}
	}
}

func (u *use) end() {
	u.m.mu.Lock()
	u.m.used -= u.used
	close(u.m.freed)
	u.m.freed = make(chan struct{})
	u.m.mu.Unlock()
	if u.alone {
		<-u.m.alone
	}
}
