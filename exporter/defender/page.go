package defender

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/rawjson"
)

// page is one answer that has been read.
type page struct {
	rows    []row
	lines   [][]byte
	more    string // its nextLink
	partial string // in what way it is one in part
	asked   time.Time
	bad     error // why one of its elements is not an incident
	badID   string
	memory  *use
	chunks  []*[]byte
}

// row is a Row with what only reading needs.
type row struct {
	exporter.Row
	created time.Time // the zero time if it was not served
	lacks   string    // what of its expanded collection is not there
	absent  bool      // all of it
}

// release gives back what the page holds. It may be called twice.
func (p *page) release() {
	for _, c := range p.chunks {
		chunks.Put(c)
	}
	p.chunks, p.lines = nil, nil
	p.memory.end()
}

// chunk is how many bytes of lines are held together: none of them is copied
// when a page grows.
const chunk = 128 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunk); return &b }}

// texts are buffers for the text of answers; larger ones are not kept.
var texts = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

const roomy = 1 << 20

// errTooMany says that an answer holds more rows than were asked for.
var errTooMany = errors.New("the answer holds more incidents than were asked for")

// read reads one answer into p, element by element, of at most limit bytes and
// top rows. An element that is not an incident leaves the others as they are.
func (s *Source) read(ctx context.Context, p *page, body io.Reader, limit int64, top int, partial string) (err error) {
	p.release()
	*p = page{memory: s.share.memory.begin(ctx), partial: partial}
	text := texts.Get().(*[]byte)
	head := &beginning{r: body}
	in := rawjson.NewAnswer(head, s.names, limit, *text)
	in.Grow = func(n int) error { return p.memory.more(int64(n)) }
	defer func() {
		if *text = in.Buffer(); cap(*text) <= roomy {
			texts.Put(text)
		}
	}()
	var room []byte // of the open chunk
	for {
		if cap(room) < 16<<10 {
			if err := p.memory.more(chunk); err != nil {
				return err
			}
			open := chunks.Get().(*[]byte)
			p.chunks = append(p.chunks, open)
			room = (*open)[:0]
		}
		line, incident, err := in.Next(room)
		switch {
		case errors.Is(err, rawjson.ErrNoIncident):
			if p.bad == nil {
				p.bad, p.badID = s.unreadable(err, incident.ID, head.text), incident.ID
			}
			continue
		case err == io.EOF:
			p.more = in.NextLink
			return p.bad
		case err != nil:
			return s.unreadable(err, incident.ID, head.text)
		case len(p.rows) == top:
			return s.unreadable(errTooMany, "", nil)
		}
		if cap(line) == cap(room) {
			room = room[len(line):len(line):cap(room)]
		} else if err := p.memory.more(int64(cap(line))); err != nil { // it has a buffer of its own
			return err
		}
		p.lines = append(p.lines, line)
		r := row{Row: exporter.Row{ID: incident.ID, Updated: incident.Updated, SHA256: sha256.Sum256(line), How: partialHow(partial)}, lacks: incident.Lacks, absent: incident.Absent}
		r.At, _ = rawjson.ParseTime(incident.Updated)
		if incident.Created != "" {
			r.created, _ = rawjson.ParseTime(incident.Created)
		}
		p.rows = append(p.rows, r)
	}
}

func partialHow(partial string) string {
	if partial == "" {
		return ""
	}
	return "partial: " + partial
}

// unreadable turns what is wrong with an answer into an APIError; a connection
// that breaks is not the answer's fault, and stays what it is.
func (s *Source) unreadable(err error, id string, text []byte) error {
	var syntax *rawjson.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, rawjson.ErrNoIncident), errors.Is(err, rawjson.ErrTooLarge),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errTooMany):
		return &APIError{Path: s.cfg.Path, Status: 200, Message: s.client.clean(err.Error(), 300), Incident: id, Err: err, Excerpt: s.client.clean(string(text), 200)}
	}
	return fmt.Errorf("GET %s: %w", s.cfg.Path, err)
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

// list asks one question. The page is whole if there is no error, or if its
// error is that of one element. It must be released.
func (s *Source) list(ctx context.Context, q walk.Question, bare bool, tries int) (*page, error) {
	p := &page{}
	limit := s.cfg.MaxAnswer
	if q.Top == 1 {
		limit *= 8 // one incident alone cannot be asked for in smaller pieces
	}
	bounded := !q.To.IsZero() || !q.Until.IsZero()
	for {
		as := s.dialect.now()
		if as == noBound && bounded {
			return p, walk.ErrNoBound
		}
		path, query := s.cfg.Path, s.options(q, as, bare).Encode()
		if q.Next != "" {
			var err error
			if path, query, err = s.link(q.Next); err != nil {
				return p, err
			}
		}
		at, err := s.client.get(ctx, path, query, tries, func(body io.Reader, partial string) error {
			return s.read(ctx, p, body, limit, q.Top, partial)
		})
		p.asked = at
		s.log.Debug("listed", "incidents", asked(q), "top", q.Top, "skip", q.Skip, "rows", len(p.rows), "error", err)
		if bounded && q.Next == "" {
			if isStatus(err, 400) && s.dialect.refused(as) {
				continue
			}
			if err == nil {
				s.dialect.accept(as)
			}
		}
		return p, err
	}
}

// use is what one answer takes of the memory that all share.
type use struct {
	ctx   context.Context
	m     *memory
	used  int64
	alone bool
}

// memory bounds what answers take together: beyond the limit one of them at a
// time goes on growing, the others wait for it.
type memory struct {
	limit int64
	alone chan struct{} // held by the answer that may go beyond the limit

	mu    sync.Mutex
	used  int64
	freed chan struct{} // closed when something was given back
}

func newMemory(limit int64) *memory {
	return &memory{limit: limit, alone: make(chan struct{}, 1), freed: make(chan struct{})}
}

func (m *memory) begin(ctx context.Context) *use { return &use{ctx: ctx, m: m} }

// more waits for room for n bytes, until the context ends. The first ones are
// there for everybody: there are never more answers than calls in flight.
func (u *use) more(n int64) error {
	for {
		u.m.mu.Lock()
		if u.alone || u.used == 0 || u.m.used+n <= u.m.limit {
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
		case <-u.ctx.Done():
			return u.ctx.Err()
		}
	}
}

// back gives back what was taken since so much was in use.
func (u *use) back(to int64) {
	if u.used == to {
		return
	}
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.m.used -= u.used - to
	u.used = to
	close(u.m.freed)
	u.m.freed = make(chan struct{})
}

func (u *use) end() {
	if u == nil {
		return
	}
	u.back(0)
	if u.alone {
		u.alone = false
		<-u.m.alone
	}
}
