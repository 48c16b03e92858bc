package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers a request to either service; the path decides which.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	decide, on, list := s.route(r)
	if on == entraID {
		if err := r.ParseForm(); err != nil {
			http.Error(w, "unreadable form", http.StatusBadRequest)
			return
		}
	}

	// The call counts when it arrives; the state is looked at half-way.
	s.mu.Lock()
	n, over := s.count(r, on, list)
	fail, latency := s.behaviour.Fail, s.behaviour.Latency
	s.mu.Unlock()
	fault := NoFault
	if fail != nil {
		fault = fail(r, n)
	}
	if sleep(r.Context(), latency/2) != nil {
		panic(http.ErrAbortHandler)
	}

	s.mu.Lock()
	now := s.begin()
	var a *answer
	refuse := s.refusing(r, on, now)
	if over != nil {
		a = s.tooMany(over, now, on, refuse)
	} else {
		a = decide(r, now)
		if fault == NoFault && on != entraID && s.behaviour.FailRate > 0 && s.rng.Float64() < s.behaviour.FailRate {
			fault = s.drawFault()
		}
		if fault == NoFault && list && s.behaviour.Stray400Rate > 0 && s.rng.Float64() < s.behaviour.Stray400Rate {
			fault = Stray400
		}
		a = s.afflict(a, fault, now, on, refuse)
	}
	if on == graphAPI {
		s.stamp(r, a)
	}
	if !s.behaviour.NoDate {
		a.date = now.time()
	}
	a.bom = s.behaviour.BOM && a.json()
	a.pretty = s.behaviour.Pretty && a.status < http.StatusMultipleChoices
	a.delay += latency - latency/2
	s.mu.Unlock()
	a.send(r.Context(), w, &s.content)
}

// service is who answers.
type service int

const (
	entraID service = iota
	defenderAPI
	graphAPI
)

// route says who answers a request, and whether it asks for a list of incidents.
func (s *Simulator) route(r *http.Request) (decide func(*http.Request, ticks) *answer, on service, list bool) {
	if r.URL.Path == "/api/incidents" {
		return s.incidents, defenderAPI, true
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/api/incidents/"); ok {
		return func(r *http.Request, now ticks) *answer { return s.byID(r, now, id) }, defenderAPI, false
	}
	if r.URL.Path == graphIncidents {
		return s.graphList, graphAPI, true
	}
	if id, ok := strings.CutPrefix(r.URL.Path, graphIncidents+"/"); ok {
		if id, ok := strings.CutSuffix(id, "/alerts"); ok {
			return func(r *http.Request, now ticks) *answer { return s.graphAlerts(r, now, id) }, graphAPI, false
		}
		return func(r *http.Request, now ticks) *answer { return s.graphByID(r, now, id) }, graphAPI, false
	}
	return s.entra, entraID, false
}

// refusing makes an error answer in the form of the service that refuses.
type refusing func(status int, code, message string) *answer

func (s *Simulator) refusing(r *http.Request, on service, now ticks) refusing {
	if on != graphAPI {
		return s.apiError
	}
	return func(status int, code, message string) *answer { return s.graphError(r, now, status, code, message) }
}

// count notes a request and returns its number and, if it is an API call
// beyond the quota, by how much.
func (s *Simulator) count(r *http.Request, on service, list bool) (n int, over *excess) {
	c := &s.calls
	switch {
	case list:
		c.List++
	case on != entraID:
		c.ByID++
	case strings.HasSuffix(r.URL.Path, "/token"):
		c.Token++
	case strings.Contains(r.URL.Path, "discovery") || strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		c.Discovery++
	default:
		c.Other++
	}
	switch on {
	case defenderAPI:
		over = s.quota.call(time.Now(), s.behaviour.Quota)
	case graphAPI:
		over = s.graphQuota.call(time.Now(), s.behaviour.GraphQuota)
	}
	if over != nil {
		s.violation("quota", "call %d exceeds %d per %v", c.API(), over.limit.N, over.limit.Per)
	}
	return c.List + c.ByID + c.Token + c.Discovery + c.Other, over
}

// apiError is an error of the Defender API. It draws the tracking id: the
// caller holds the lock.
func (s *Simulator) apiError(status int, code, message string) *answer {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Target  string `json:"target"`
	}
	body, err := json.Marshal(map[string]inner{"error": {code, message, s.guid()}})
	if err != nil {
		panic(err) // three strings always encode
	}
	return &answer{status: status, contentType: jsonType, body: body}
}

// gate is what an API asks of its callers.
type gate struct {
	refuse  refusing
	invalid string // code of a refused token
	accepts func(resource string) bool
	roles   []string // one of these
}

// admitted checks a call of the Defender API; it returns nil if it may go on.
func (s *Simulator) admitted(r *http.Request, now ticks) *answer {
	return s.admit(r, now, gate{s.apiError, "Unauthorized", s.accepts, []string{"Incident.Read.All", "Incident.ReadWrite.All"}})
}

// admit checks method and token; it returns nil if the call may go on.
func (s *Simulator) admit(r *http.Request, now ticks, g gate) *answer {
	unauthorized := func(message string) *answer {
		a := g.refuse(http.StatusUnauthorized, g.invalid, message)
		a.set("Www-Authenticate", `Bearer error="invalid_token"`)
		return a
	}
	if r.Method != http.MethodGet {
		s.violation("path", "%s %s", r.Method, r.URL.Path)
		return g.refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support this method.")
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		s.violation("auth", "%s without a bearer token", r.URL.Path)
		return unauthorized("The request has no bearer token.")
	}
	t := s.tokens[bearer]
	switch {
	case t == nil:
		s.violation("auth", "%s with a token that was not issued here", r.URL.Path)
		return unauthorized("The token is invalid.")
	case !g.accepts(t.audience):
		s.violation("audience", "%s with a token for %s", r.URL.Path, t.audience)
		return unauthorized("The token's audience is invalid.")
	case t.revoked:
		return unauthorized("The token has been revoked.")
	case now >= t.expires:
		return unauthorized("The token has expired.")
	case t.tenant != s.opts.Tenant:
		return g.refuse(http.StatusForbidden, "Forbidden", "The tenant has no incidents here.")
	case !slices.ContainsFunc(t.roles, func(role string) bool { return slices.Contains(g.roles, role) }):
		return g.refuse(http.StatusForbidden, "Forbidden",
			"Missing application roles. API required roles: "+strings.Join(g.roles, ",")+", application roles: "+strings.Join(t.roles, ",")+".")
	}
	return nil
}

// incidents answers a list request.
func (s *Simulator) incidents(r *http.Request, now ticks) *answer {
	if a := s.admitted(r, now); a != nil {
		return a
	}
	q, refused := parseQuery(r.URL.RawQuery, s.behaviour.UpperBound)
	if refused == nil {
		refused = s.refuseSkip(q, "ODataError")
	}
	if refused != nil {
		if refused.kind != "" {
			s.violation(refused.kind, "%s", refused.message)
		}
		return s.apiError(http.StatusBadRequest, refused.code, refused.message)
	}
	s.churn(now, s.behaviour.ChurnPerCall)
	p := s.list(q, now)
	if p.poisoned {
		return s.apiError(http.StatusInternalServerError, "InternalServerError", "")
	}
	a := &answer{status: http.StatusOK, contentType: odataType, list: &p}
	if s.linked(&p, s.behaviour.NextLink) {
		a.next = link(r, p.next)
	}
	return a
}

// byID answers a request for one incident.
func (s *Simulator) byID(r *http.Request, now ticks, text string) *answer {
	if a := s.admitted(r, now); a != nil {
		return a
	}
	if r.URL.RawQuery != "" {
		s.violation("option", "%s on one incident", r.URL.RawQuery)
		return s.apiError(http.StatusBadRequest, "ODataError", "Query options are not supported here.")
	}
	p, refused := s.one(text, now, s.apiError)
	if refused != nil {
		return refused
	}
	if p.poisoned && s.behaviour.PoisonByID {
		return s.apiError(http.StatusInternalServerError, "InternalServerError", "")
	}
	return &answer{status: http.StatusOK, contentType: odataType, one: p}
}

// one is the page that holds the incident with that id, or why there is none.
func (s *Simulator) one(text string, now ticks, refuse refusing) (*page, *answer) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "InvalidInput", "The incident id is not a number.")
	}
	shown, at := int32(-1), s.moment(now)
	if i, ok := s.world.index(id); ok {
		shown = s.world.incidents[i].shown
		if at < now {
			shown = s.world.shownAt(i, at)
		}
	}
	if shown < 0 || s.tooOld(s.world.records[shown].updated, at) {
		return nil, refuse(http.StatusNotFound, "ResourceNotFound", "Incident "+text+" was not found.")
	}
	p := &page{}
	s.take(p, shown)
	p.rows[0].hollow = false
	return p, nil
}
