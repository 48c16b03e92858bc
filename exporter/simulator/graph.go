package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// graphIncidents is where Graph has its incidents. One by its id lies below
// it, and the alerts of one below that: alerts is a navigation property of an
// incident in the published schema. The other way to them, alerts_v2 with a
// filter on incidentId, is not among the properties that its page says can be
// filtered on, and asks for another permission.
const graphIncidents = "/v1.0/security/incidents"

// graphAdmitted checks a call of Graph; it returns nil if it may go on.
func (s *Simulator) graphAdmitted(r *http.Request, now ticks) *answer {
	return s.admit(r, now, gate{
		s.refusing(r, graphAPI, now), "InvalidAuthenticationToken", s.graphAccepts,
		[]string{"SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"},
	})
}

// graphError is an error of Graph: innerError is nested in some and spelled in
// two ways. It draws ids: the caller holds the lock.
func (s *Simulator) graphError(r *http.Request, now ticks, status int, code, message string) *answer {
	id := s.guid()
	inner := map[string]any{
		"date": now.time().Format("2006-01-02T15:04:05"), "request-id": id, "client-request-id": clientRequest(r, id),
	}
	name := []string{"innerError", "innererror"}[s.rng.IntN(2)]
	if s.rng.IntN(2) == 0 {
		inner = map[string]any{"code": code, "message": message, name: inner}
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, name: inner}})
	if err != nil {
		panic(err) // strings and maps of them always encode
	}
	return &answer{status: status, contentType: jsonType, body: body, header: http.Header{"Request-Id": {id}}}
}

// clientRequest is the id that the caller gave the request, if it did.
func clientRequest(r *http.Request, id string) string {
	if own := r.Header.Get("client-request-id"); own != "" {
		return own
	}
	return id
}

// stamp gives an answer of Graph its ids, and now and then calls it partial.
func (s *Simulator) stamp(r *http.Request, a *answer) {
	if a.header.Get("request-id") == "" {
		a.set("request-id", s.guid())
	}
	a.set("client-request-id", clientRequest(r, a.header.Get("request-id")))
	if a.status == http.StatusOK && a.contentType == graphType && s.behaviour.PartialRate > 0 && s.rng.Float64() < s.behaviour.PartialRate {
		a.status = http.StatusPartialContent
		a.set("Warning", cmp.Or(s.behaviour.PartialWarning, partialWarning))
		s.drop(a)
	}
}

// partialWarning names a provider that did not answer in time.
const partialWarning = `199 - "Microsoft/Microsoft Defender for Identity/504/10000"`

// drop leaves rows out of a partial list.
func (s *Simulator) drop(a *answer) {
	if a.list == nil || s.behaviour.PartialDrops <= 0 {
		return
	}
	a.list.rows = slices.DeleteFunc(a.list.rows, func(row) bool { return s.rng.Float64() < s.behaviour.PartialDrops })
	if a.cut || a.stall > 0 { // it must still happen within the body
		a.breakAt = min(a.breakAt, a.shortest()-1)
	}
}

// written is how an incident is to be written for a caller.
func (s *Simulator) written(r *http.Request, expand bool) *rendering {
	known := slices.ContainsFunc(r.Header.Values("Prefer"), func(v string) bool {
		return strings.Contains(v, "include-unknown-enum-members")
	})
	b := &s.behaviour
	return &rendering{expand: expand, known: known, most: b.AlertsPerExpand, tally: b.AlertsCount, request: r}
}

// graphList answers a list request.
func (s *Simulator) graphList(r *http.Request, now ticks) *answer {
	if a := s.graphAdmitted(r, now); a != nil {
		return a
	}
	refuse := s.refusing(r, graphAPI, now)
	q, refused := parseGraphQuery(r.URL.RawQuery, s.behaviour.UpperBound, s.behaviour.OrderBy)
	if refused == nil {
		refused = s.refuseSkip(q, "BadRequest")
	}
	if refused != nil {
		if refused.kind != "" {
			s.violation(refused.kind, "%s", refused.message)
		}
		return refuse(http.StatusBadRequest, refused.code, refused.message)
	}
	s.churn(now, s.behaviour.ChurnPerCall)
	q.wall = s.behaviour.SkipWall
	p := s.list(q, now)
	if p.poisoned || q.expand && s.unexpandable(&p) {
		return refuse(http.StatusInternalServerError, "InternalServerError", "An internal server error occurred.")
	}
	a := &answer{status: http.StatusOK, contentType: graphType, list: &p, graph: s.written(r, q.expand)}
	if q.count {
		a.graph.count, a.graph.counted = s.counted(&p)
	}
	if s.linked(&p, !s.behaviour.NoNextLink) {
		a.next = link(r, p.next)
	}
	return a
}

// Count is what Graph answers to $count=true.
type Count int

const (
	CountRight      Count = iota // how many incidents there are
	NoCount                      // nothing
	CountOfPage                  // how many there are in the answer
	CountShort                   // one less than there are
	CountLong                    // one more
	CountGlobal                  // how many there are without the filter
	CountSaturating              // how many there are, at most 100
)

// counted is what $count=true is answered with, if it is.
func (s *Simulator) counted(p *page) (n int, ok bool) {
	switch s.behaviour.Count {
	case NoCount:
		return 0, false
	case CountOfPage:
		return len(p.rows), true
	case CountShort:
		return max(0, p.total-1), true
	case CountLong:
		return p.total + 1, true
	case CountGlobal:
		return p.visible, true
	case CountSaturating:
		return min(p.total, 100), true
	}
	return p.total, true
}

// unexpandable says whether the alerts of one of a page's incidents cannot be
// expanded.
func (s *Simulator) unexpandable(p *page) bool {
	return slices.ContainsFunc(p.rows, func(in row) bool {
		return s.behaviour.Unexpandable[firstID+int64(in.incident)]
	})
}

// graphByID answers a request for one incident.
func (s *Simulator) graphByID(r *http.Request, now ticks, text string) *answer {
	if a := s.graphAdmitted(r, now); a != nil {
		return a
	}
	refuse := s.refusing(r, graphAPI, now)
	expand := false
	for name, given := range r.URL.Query() {
		if name != "$expand" || len(given) != 1 || given[0] != "alerts" {
			s.violation("option", "%s on one incident", r.URL.RawQuery)
			return refuse(http.StatusBadRequest, "BadRequest", fmt.Sprintf("The query parameter '%s' is not supported here.", name))
		}
		expand = true
	}
	p, refused := s.one(text, now, refuse)
	if refused != nil {
		return refused
	}
	if p.poisoned && s.behaviour.PoisonByID || expand && s.behaviour.UnexpandableByID && s.unexpandable(p) {
		return refuse(http.StatusInternalServerError, "", "")
	}
	return &answer{status: http.StatusOK, contentType: graphType, one: p, graph: s.written(r, expand)}
}

// graphAlerts answers a request for the alerts of one incident.
func (s *Simulator) graphAlerts(r *http.Request, now ticks, text string) *answer {
	if a := s.graphAdmitted(r, now); a != nil {
		return a
	}
	refuse := s.refusing(r, graphAPI, now)
	q, refused := parseGraphQuery(r.URL.RawQuery, s.behaviour.UpperBound, false)
	if refused == nil && (q.expand || len(q.times)+len(q.texts) > 0) {
		refused = &refusal{"option", "BadRequest", "The query parameter is not supported on alerts."}
	}
	if refused != nil {
		if refused.kind != "" {
			s.violation(refused.kind, "%s", refused.message)
		}
		return refuse(http.StatusBadRequest, refused.code, refused.message)
	}
	p, a := s.one(text, now, refuse)
	if a != nil {
		return a
	}
	if p.poisoned && s.behaviour.PoisonByID {
		return refuse(http.StatusInternalServerError, "", "")
	}
	l := &alertList{}
	l.alerts(&s.content, &p.rows[0].record, s.written(r, true).known)
	next := ""
	if end := q.skip + q.top; end < len(l.ends) && q.top > 0 && (q.marked || !s.behaviour.NoNextLink) {
		next = link(r, end)
	}
	return &answer{status: http.StatusOK, contentType: graphType, body: l.page(text, q, next)}
}
