package defender

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/rawjson"
)

// object is an incident as it is served by its id.
type object struct {
	rawjson.Incident
	line    []byte
	partial string // in what way it is one in part, if it is
	how     string // it was read
}

// row is an object as if it had been listed.
func (o *object) row() row {
	r := row{Row: exporter.Row{ID: o.ID, Updated: o.Updated, SHA256: sha256.Sum256(o.line), How: o.how}}
	if o.partial != "" {
		r.How += ", " + partialHow(o.partial)
	}
	r.At, _ = rawjson.ParseTime(o.Updated)
	if o.Created != "" {
		r.created, _ = rawjson.ParseTime(o.Created)
	}
	return r
}

// path is that of an incident, escaped.
func (s *Source) path(id string) string { return s.cfg.Path + "/" + url.PathEscape(id) }

// object asks for one incident by its id, with its alerts or without. It is
// counted in memory, like what is asked for below.
func (s *Source) object(ctx context.Context, id string, bare bool, memory *use) (*object, error) {
	v := url.Values{}
	names := s.names
	if bare {
		names.Expanded = ""
	} else if names.Expanded != "" {
		v.Set("$expand", names.Expanded)
	}
	o := &object{how: "by-id"}
	limit, mark := 8*s.cfg.MaxAnswer, memory.used
	_, err := s.client.get(ctx, s.path(id), v.Encode(), narrowAttempts, func(body io.Reader, partial string) error {
		memory.back(mark)
		text, err := readWithin(body, limit, memory)
		if err == nil {
			o.line, o.Incident, err = rawjson.Entity(nil, text, names)
		}
		if err == nil && o.ID != id {
			err = fmt.Errorf("%w: it is incident %s", rawjson.ErrNoIncident, o.ID)
		}
		if err != nil {
			return s.unreadable(err, id, text[:min(len(text), 256)])
		}
		o.partial = partial
		return nil
	})
	if err != nil {
		memory.back(mark)
		return nil, err
	}
	return o, nil
}

// readWithin reads all of a body, of at most limit bytes, in memory that is
// accounted for: twice, because the line is as long.
func readWithin(body io.Reader, limit int64, memory *use) ([]byte, error) {
	text := make([]byte, 0, 64<<10)
	for {
		if len(text) == cap(text) {
			if err := memory.more(3 * int64(cap(text))); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, 2*cap(text)), text...)
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case int64(len(text)) > limit:
			return text, rawjson.ErrTooLarge
		case err == io.EOF:
			return text, nil
		case err != nil:
			return text, err
		}
	}
}

func tooLarge(err error) bool { return errors.Is(err, rawjson.ErrTooLarge) }

// entity asks for one incident by its id. Its alerts are asked for apart where
// the API leaves them out if it is asked to, and cannot serve all of them together.
func (s *Source) entity(ctx context.Context, id string, memory *use) (*object, error) {
	ctx, mark := context.WithValue(ctx, holdsKey{}, memory), memory.used
	o, err := s.object(ctx, id, false, memory)
	if err == nil && (o.Lacks == "" || o.Absent) {
		return o, nil // what is absent here as well is what the API serves
	}
	if s.names.Expanded == "" || err != nil && !oneCannot(err) {
		return nil, err
	}
	lacks := ""
	if o != nil {
		lacks = o.Lacks
	}
	memory.back(mark)
	whole, apart := s.apart(ctx, id, memory)
	if apart == nil {
		return whole, nil
	}
	memory.back(mark)
	if err == nil {
		err = errors.New(lacks)
	}
	return nil, fmt.Errorf("%w; %s apart: %w", err, s.names.Expanded, apart)
}

// apart puts an incident together from what is served of it without its alerts
// and its alerts, with each byte of them as served. If the incident is the
// same before and after, the alerts between are its own of that time.
func (s *Source) apart(ctx context.Context, id string, memory *use) (*object, error) {
	name, mark := s.names.Expanded, memory.used
	for range narrowAttempts {
		memory.back(mark)
		before, err := s.object(ctx, id, true, memory)
		if err != nil {
			return nil, err
		}
		if rawjson.Has(before.line, name) {
			return nil, fmt.Errorf("incident %s has %s that were not asked for", id, name)
		}
		alerts, partial, err := s.alerts(ctx, id, memory)
		if err != nil {
			return nil, err
		}
		after, err := s.object(ctx, id, true, memory)
		if err != nil {
			return nil, err
		}
		if alerts == nil || !bytes.Equal(before.line, after.line) {
			continue
		}
		line := append(before.line[:len(before.line)-1], `,"`+name+`":[`...)
		before.line = append(append(line, bytes.Join(alerts, []byte(","))...), "]}"...)
		if before.partial == "" {
			before.partial = partial
		}
		before.how += ", " + name + " apart"
		return before, nil
	}
	return nil, fmt.Errorf("incident %s changes while its %s are read", id, name)
}

// alerts reads the alerts of one incident page by page: by links where the
// answers have them, else by $skip until nothing lies behind them. nil: they
// move while they are read.
func (s *Source) alerts(ctx context.Context, id string, memory *use) (alerts [][]byte, partial string, err error) {
	path := s.path(id) + "/" + s.names.Expanded
	alerts, ids := [][]byte{}, map[string]bool{}
	names := s.names
	names.Expanded = ""
	left := 8 * s.cfg.MaxAnswer
	next, followed := "", map[string]bool{}
	for {
		v := url.Values{"$top": {fmt.Sprint(s.cfg.API.top)}}
		if len(alerts) > 0 {
			v.Set("$skip", fmt.Sprint(len(alerts)))
		}
		at, query := path, v.Encode()
		if next != "" {
			if at, query, err = s.link(next); err != nil {
				return nil, "", err
			}
		}
		var page [][]byte
		var known []string
		more := ""
		_, err := s.client.get(ctx, at, query, narrowAttempts, func(body io.Reader, why string) error {
			page, known = nil, nil
			// An alert has an id and a time like an incident.
			in := rawjson.NewAnswer(body, names, left, nil)
			in.Grow = func(n int) error { return memory.more(int64(n)) }
			for {
				alert, a, err := in.Next(nil)
				if err == io.EOF {
					partial, more = why, in.NextLink
					return nil
				}
				if err == nil {
					err = memory.more(2 * int64(cap(alert))) // with the line that it becomes part of
				}
				if err != nil {
					return s.unreadable(err, id, nil)
				}
				page, known = append(page, alert), append(known, a.ID)
			}
		})
		if err != nil {
			return nil, "", err
		}
		for i, name := range known {
			if ids[name] {
				return nil, "", nil
			}
			ids[name] = true
			left -= int64(len(page[i]))
		}
		alerts = append(alerts, page...)
		switch {
		case more != "":
			if followed[more] {
				return nil, "", nil
			}
			followed[more] = true
		case len(page) == 0 || next != "":
			return alerts, partial, nil
		}
		next = more
	}
}

// link is the path and query of a link to more, which must be of the API.
func (s *Source) link(next string) (path, query string, err error) {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != s.cfg.Origin.Scheme || u.Host != s.cfg.Origin.Host || u.User != nil {
		return "", "", &APIError{Path: s.cfg.Path, Status: http.StatusOK, Message: "its link to more leads to another origin: it is not followed"}
	}
	return u.EscapedPath(), u.RawQuery, nil
}

// lack is an incident that a list served in part and that cannot be had whole.
type lack struct {
	id  string
	at  time.Time
	why error
}

// complete asks by id for what a page serves in part, and leaves out what
// cannot be had whole.
func (s *Source) complete(ctx context.Context, p *page) (lacking []lack, err error) {
	rows, lines := p.rows[:0], p.lines[:0]
	for i := range p.rows {
		r, line := p.rows[i], p.lines[i]
		if r.lacks != "" {
			o, err := s.entity(ctx, r.ID, p.memory)
			switch {
			case err == nil && o.Absent && r.absent: // the API serves it so
			case err == nil:
				r, line = o.row(), o.line
				if o.partial != "" {
					lacking = append(lacking, lack{r.ID, r.At, errors.New(o.partial)})
				}
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case oneCannot(err) || isStatus(err, http.StatusNotFound) || !errors.As(err, new(*APIError)):
				lacking = append(lacking, lack{r.ID, r.At, fmt.Errorf("%s: %w", r.lacks, err)})
				continue
			default:
				return nil, err
			}
		}
		rows, lines = append(rows, r), append(lines, line)
	}
	p.rows, p.lines = rows, lines
	return lacking, nil
}

// mostByID is how many incidents of a second are fetched by their ids.
const mostByID = 50

// Singly implements walk.World, where the API can leave alerts out.
func (l *lane) Singly(q walk.Question) (asked time.Time, ok bool, id string, why, err error) {
	s := l.s
	if s.names.Expanded == "" {
		return asked, false, "", nil, nil
	}
	var p *page
	l.away(func() { p, err = s.list(l.ctx, q, true, narrowAttempts) })
	p.release() // only its rows are looked at
	if err != nil {
		return asked, false, "", nil, cannot(l.ctx, err)
	}
	if p.partial != "" || p.more != "" || len(p.rows) > mostByID || len(p.rows) >= min(l.s.know.Longest, s.cfg.Top) {
		return asked, false, "", nil, nil
	}
	for i := range p.rows {
		of := p.rows[i].ID
		fetched, cause, err := l.one(of)
		if err != nil {
			return asked, true, "", nil, err
		}
		if !fetched && why == nil {
			id, why = of, cause
		}
	}
	return p.asked, true, id, why, nil
}

// Fetch implements walk.World.
func (l *lane) Fetch(id string) (bool, error) {
	ok, _, err := l.one(id)
	return ok, err
}

// one fetches and stores an incident by its id. cause says why it cannot, or
// not whole.
func (l *lane) one(id string) (ok bool, cause, err error) {
	memory := l.s.share.memory.begin(l.ctx)
	defer memory.end()
	var o *object
	l.away(func() { o, err = l.s.entity(l.ctx, id, memory) })
	if err != nil {
		return false, err, cannot(l.ctx, err)
	}
	if o.partial != "" {
		cause = errors.New(o.partial)
	}
	return cause == nil, cause, l.reading.to.Take(l.ctx, []exporter.Row{o.row().Row}, func(int) []byte { return o.line }, make([]bool, 1))
}

// cannot is what an error of a call about one incident comes to: nothing, if
// it may be the incident's.
func cannot(ctx context.Context, err error) error {
	var api *APIError
	if ctx.Err() == nil && (oneCannot(err) || isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) || !errors.As(err, &api) && !errors.As(err, new(*LimitedError)) && !errors.As(err, new(final))) {
		return nil
	}
	return err
}
