package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nextMarker is the query option by which a followed nextLink is known.
const nextMarker = "$skiptoken"

// ServeHTTP answers a request to either service; the path decides which.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	decide := s.entra
	api := false
	if r.URL.Path == "/api/incidents" {
		decide, api = s.incidents, true
	} else if id, ok := strings.CutPrefix(r.URL.Path, "/api/incidents/"); ok {
		decide = func(r *http.Request, now ticks) *answer { return s.byID(r, now, id) }
		api = true
	} else if err := r.ParseForm(); err != nil {
		http.Error(w, "unreadable form", http.StatusBadRequest)
		return
	}

	// The call counts when it arrives; the state is looked at half-way.
	s.mu.Lock()
	n, over := s.count(r, api)
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
	if over != nil {
		a = s.tooMany(over, now)
	} else {
		a = decide(r, now)
		if fault == NoFault && api && s.behaviour.FailRate > 0 && s.rng.Float64() < s.behaviour.FailRate {
			fault = s.drawFault()
		}
		a = s.afflict(a, fault, now)
	}
	if !s.behaviour.NoDate {
		a.date = now.time()
	}
	a.pretty = s.behaviour.Pretty && a.status == http.StatusOK
	a.delay += latency - latency/2
	s.mu.Unlock()
	a.send(r.Context(), w, &s.content)
}

// count notes a request and returns its number and, if it is an API call
// beyond the quota, by how much.
func (s *Simulator) count(r *http.Request, api bool) (n int, over *excess) {
	c := &s.calls
	switch {
	case r.URL.Path == "/api/incidents":
		c.List++
	case api:
		c.ByID++
	case strings.HasSuffix(r.URL.Path, "/token"):
		c.Token++
	case strings.Contains(r.URL.Path, "discovery") || strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		c.Discovery++
	default:
		c.Other++
	}
	if api {
		over = s.quota.call(time.Now(), s.behaviour.Quota)
	}
	if over != nil {
		s.violation("quota", "call %d exceeds %d per %v", c.API(), over.limit.N, over.limit.Per)
	}
	return c.List + c.ByID + c.Token + c.Discovery + c.Other, over
}

func (s *Simulator) drawFault() Fault {
	if kinds := s.behaviour.FailKinds; len(kinds) > 0 {
		return kinds[s.rng.IntN(len(kinds))]
	}
	return 1 + Fault(s.rng.IntN(int(faultKinds)-1))
}

// apiError is an error of the incidents API. It draws the tracking id: the
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

// admit checks method and token; it returns nil if the call may go on.
func (s *Simulator) admit(r *http.Request, now ticks) *answer {
	unauthorized := func(message string) *answer {
		a := s.apiError(http.StatusUnauthorized, "Unauthorized", message)
		a.header = http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}
		return a
	}
	if r.Method != http.MethodGet {
		s.violation("path", "%s %s", r.Method, r.URL.Path)
		return s.apiError(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support this method.")
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
	case !s.accepts(t.audience):
		s.violation("audience", "%s with a token for %s", r.URL.Path, t.audience)
		return unauthorized("The token's audience is invalid.")
	case t.revoked:
		return unauthorized("The token has been revoked.")
	case now >= t.expires:
		return unauthorized("The token has expired.")
	case t.tenant != s.opts.Tenant:
		return s.apiError(http.StatusForbidden, "Forbidden", "The tenant has no incidents here.")
	case !slices.ContainsFunc(t.roles, func(role string) bool {
		return role == "Incident.Read.All" || role == "Incident.ReadWrite.All"
	}):
		return s.apiError(http.StatusForbidden, "Forbidden",
			"Missing application roles. API required roles: Incident.Read.All,Incident.ReadWrite.All, application roles: "+strings.Join(t.roles, ",")+".")
	}
	return nil
}

// incidents answers a list request.
func (s *Simulator) incidents(r *http.Request, now ticks) *answer {
	if a := s.admit(r, now); a != nil {
		return a
	}
	q, refused := parseQuery(r.URL.RawQuery, s.behaviour.UpperBound)
	if refused != nil {
		if refused.kind != "" {
			s.violation(refused.kind, "%s", refused.message)
		}
		return s.apiError(http.StatusBadRequest, refused.code, refused.message)
	}
	values := r.URL.Query()
	if values.Has(nextMarker) {
		s.violation("nextlink", "%s was followed", r.URL.RawQuery)
	}
	s.churn(now, s.behaviour.ChurnPerCall)
	p := s.list(q, now)
	if p.poisoned {
		return s.apiError(http.StatusInternalServerError, "InternalServerError", "")
	}
	a := &answer{status: http.StatusOK, contentType: odataType, list: &p}
	if p.more && s.behaviour.NextLink {
		values.Set("$skip", strconv.Itoa(q.skip+len(p.records)))
		values.Set(nextMarker, "simulated")
		next := url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: values.Encode()}
		a.next = next.String()
	}
	return a
}

// byID answers a request for one incident.
func (s *Simulator) byID(r *http.Request, now ticks, text string) *answer {
	if a := s.admit(r, now); a != nil {
		return a
	}
	if r.URL.RawQuery != "" {
		s.violation("option", "%s on one incident", r.URL.RawQuery)
		return s.apiError(http.StatusBadRequest, "ODataError", "Query options are not supported here.")
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return s.apiError(http.StatusBadRequest, "InvalidInput", "The incident id is not a number.")
	}
	i, ok := s.world.find(id)
	shown := int32(-1)
	if ok {
		shown = s.world.incidents[i].shown
	}
	if shown < 0 || s.tooOld(s.world.records[shown].updated, now) {
		return s.apiError(http.StatusNotFound, "ResourceNotFound", "Incident "+text+" was not found.")
	}
	var p page
	s.take(&p, shown)
	if p.poisoned && s.behaviour.PoisonByID {
		return s.apiError(http.StatusInternalServerError, "InternalServerError", "")
	}
	return &answer{status: http.StatusOK, contentType: odataType, one: &p}
}
