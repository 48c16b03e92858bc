package defender

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/rawjson"
)

// object is an incident as it is served by its id.
type object struct {
	rawjson.Incident
	line    []byte
	asked   time.Time
	partial string // in what way it is, if it is
}

// object asks for one incident by its id, with its alerts or without.
func (s *Source) object(ctx context.Context, id string, bare bool) (*object, error) {
	v := url.Values{}
	if s.cfg.API.expand != "" && !bare {
		v.Set("$expand", s.cfg.API.expand)
	}
	o := &object{}
	path := s.cfg.Path + "/" + url.PathEscape(id)
	limit := 8 * s.cfg.MaxAnswer
	asked, err := s.client.get(ctx, path, v.Encode(), narrowAttempts, func(body io.Reader, partial string) error {
		use := s.memory.begin()
		defer use.end()
		text, err := io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(text)) > limit {
			err = rawjson.ErrTooLarge
		}
		if err != nil {
			return unreadable(path, err, id, text[:min(len(text), 256)])
		}
		line, incident, err := rawjson.Entity(nil, text, s.names)
		if err == nil && incident.ID != id {
			err = fmt.Errorf("%w: it is incident %s", rawjson.ErrNoIncident, incident.ID)
		}
		if err != nil {
			return unreadable(path, err, id, text[:min(len(text), 256)])
		}
		*o = object{Incident: incident, line: line, partial: partial}
		return nil
	})
	o.asked = asked
	return o, err
}

// answer is an object as if it had been listed.
func (s *Source) answer(o *object, how string) *answer {
	if o.partial != "" {
		how += ", " + o.partial
	}
	p := &pile{open: o.line}
	r := row{Row: exporter.Row{ID: o.ID, Updated: o.Updated, SHA256: sha256.Sum256(o.line), How: how}}
	r.At, _ = rawjson.ParseTime(o.Updated)
	var scratch []byte
	r.at = p.added(len(o.line), s.packer, &scratch)
	p.seal(s.packer, &scratch)
	p.open = nil
	return &answer{rows: []row{r}, pile: p, asked: o.asked, count: -1}
}

// entity asks for one incident by its id. Where the API leaves alerts out if
// it is asked to, and cannot serve the incident with them, they are asked for
// apart.
func (s *Source) entity(ctx context.Context, id string) (*answer, error) {
	o, err := s.object(ctx, id, false)
	if err == nil {
		return s.answer(o, "by-id"), nil
	}
	if s.cfg.API.expand == "" || !oneCannot(err) {
		return nil, err
	}
	o, apart := s.apart(ctx, id)
	if apart != nil {
		return nil, fmt.Errorf("%w; %s apart: %w", err, s.cfg.API.expand, apart)
	}
	return s.answer(o, "by-id, "+s.cfg.API.expand+" apart"), nil
}

// apart puts an incident together from what is served of it without its alerts
// and its alerts, with each byte of them as served. If the incident is the
// same before and after, the alerts between are its own of that time.
func (s *Source) apart(ctx context.Context, id string) (*object, error) {
	for range patience {
		before, err := s.object(ctx, id, true)
		if err != nil {
			return nil, err
		}
		if rawjson.Has(before.line, s.cfg.API.expand) {
			return nil, fmt.Errorf("incident %s has %s that were not asked for", id, s.cfg.API.expand)
		}
		alerts, partial, err := s.alerts(ctx, id)
		if err != nil {
			return nil, err
		}
		after, err := s.object(ctx, id, true)
		if err != nil {
			return nil, err
		}
		if alerts == nil || !bytes.Equal(before.line, after.line) {
			continue
		}
		line := append(before.line[:len(before.line)-1], `,"`+s.cfg.API.expand+`":[`...)
		before.line = append(append(line, bytes.Join(alerts, []byte(","))...), "]}"...)
		if before.partial == "" {
			before.partial = partial
		}
		return before, nil
	}
	return nil, fmt.Errorf("incident %s changes while its %s are read", id, s.cfg.API.expand)
}

// alerts reads the alerts of one incident page by page, until nothing lies
// behind them: nil if they move while they are read.
func (s *Source) alerts(ctx context.Context, id string) (alerts [][]byte, partial string, err error) {
	path := s.cfg.Path + "/" + url.PathEscape(id) + "/" + s.cfg.API.expand
	limit := 8 * s.cfg.MaxAnswer
	alerts, ids := [][]byte{}, map[string]bool{}
	var size int64
	for {
		if len(alerts) > s.cfg.MaxSkip {
			return nil, "", &APIError{Path: path, Status: http.StatusOK, Incident: id, Message: "more of them than can be counted through"}
		}
		v := url.Values{"$top": {strconv.Itoa(s.cfg.API.top)}}
		if len(alerts) > 0 {
			v.Set("$skip", strconv.Itoa(len(alerts)))
		}
		var page [][]byte
		var names []string
		_, err := s.client.get(ctx, path, v.Encode(), narrowAttempts, func(body io.Reader, why string) error {
			page, names = nil, nil
			// An alert has an id and a time like an incident.
			in := rawjson.NewAnswer(body, s.names, limit-size, nil)
			for {
				alert, a, err := in.Next(nil)
				if err == io.EOF {
					partial = why
					return nil
				}
				if err != nil {
					return unreadable(path, err, id, nil)
				}
				page, names = append(page, alert), append(names, a.ID)
			}
		})
		if err != nil {
			return nil, "", err
		}
		if len(page) == 0 {
			return alerts, partial, nil
		}
		for i, name := range names {
			if ids[name] {
				return nil, "", nil
			}
			ids[name] = true
			size += int64(len(page[i]))
		}
		alerts = append(alerts, page...)
	}
}

// mostByID is how many incidents of a stretch are fetched by their ids.
const mostByID = 10

// singly reads a query by the ids of its incidents, which are listed without
// their alerts, and this list shown complete. One that has left the stretch by
// the time it is fetched is not of it any more. found is nil where that is not
// possible.
func (s *Source) singly(ctx context.Context, q query) (*found, error) {
	f, fail, err := s.window(ctx, q.without(), 0, s.pageSize(), narrowAttempts)
	if err != nil || fail != nil {
		return nil, err
	}
	defer s.held.add(-f.held)
	if len(f.rows) > mostByID {
		return nil, nil
	}
	out := q.found()
	out.asked = f.asked
	for i := range f.rows {
		r := &f.rows[i]
		a, err := s.entity(ctx, r.ID)
		switch {
		case err == nil && (a.rows[0].At.Equal(r.At) || !a.rows[0].At.Before(q.from) && a.rows[0].At.Before(q.to)):
			out.rows = append(out.rows, a.rows[0]) // also what a coarse server listed outside of it
		case err == nil:
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case oneCannot(err) || isStatus(err, http.StatusNotFound):
			at := query{from: r.At, to: r.At.Add(rawjson.Tick)}.aligned(coarsest)
			out.unfetched = append(out.unfetched, s.stretchOf(at, r.ID, err.Error()))
		default:
			return nil, err
		}
	}
	return out, nil
}

// stretchOf names what cannot be read.
func (s *Source) stretchOf(q query, id, text string) exporter.Stretch {
	s.log.Warn("a stretch cannot be read; later runs try again", "stretch", q, "incident", id, "error", text)
	return exporter.Stretch{From: q.from, To: q.to, ID: id, Error: fmt.Sprintf("%.500s", text)}
}
