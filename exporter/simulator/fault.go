package simulator

import (
	"net/http"
	"time"
)

// Fault is a way in which an answer goes wrong.
type Fault int

const (
	NoFault        Fault = iota
	Error500             // with an error body
	Error500Empty        // without a body
	Error502             // with an HTML page
	Error503             // with an error body
	Error504             // without a body
	HTML200              // an HTML page with status 200
	EmptyBody            // status 200 and nothing
	CutBody              // the connection breaks in the middle of the body
	Reset                // the connection breaks before the headers
	Slow                 // the answer begins SlowBy late
	Stalled              // the body pauses for SlowBy in the middle
	ForeignTooMany       // 429 that the caller has not earned: no violation
	faultKinds           // how many there are that FailRate draws
	Stray400             // 400 that calls a good filter invalid; FailRate does not draw it unasked
)

// Malformation is what an incident looks like that is none.
type Malformation int

const (
	NoMalformation Malformation = iota
	WithoutID                   // the object lacks incidentId
	WithoutUpdated              // the object lacks lastUpdateTime
	NotAnObject                 // a string in its place
	zeroUpdated                 // lastUpdateTime is that of the year 1
)

// drawFault draws one for FailRate.
func (s *Simulator) drawFault() Fault {
	if kinds := s.behaviour.FailKinds; len(kinds) > 0 {
		return kinds[s.rng.IntN(len(kinds))]
	}
	return 1 + Fault(s.rng.IntN(int(faultKinds)-1))
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
	for i := range p.rows {
		if p.rows[i].broken != NotAnObject {
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
	case Stray400:
		code := "ODataError"
		if on == graphAPI {
			code = "BadRequest"
		}
		return refuse(http.StatusBadRequest, code, "Invalid filter clause: the expression in $filter is not valid.")
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
