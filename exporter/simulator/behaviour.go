package simulator

import (
	"crypto/rsa"
	"crypto/x509"
	"net/http"
	"time"
)

// Behaviour says how the simulator acts from now on. It is read and changed
// through Simulator.Change; the zero value of a switch is the well-behaved one
// unless DefaultBehaviour says otherwise.
type Behaviour struct {
	// Order of the incidents in a list answer.
	Order Order
	// DefaultPage is the number of incidents in an answer to a request
	// without $top.
	DefaultPage int
	// PageCap, if not 0, silently makes every page no longer than this.
	PageCap int
	// NextLink sends @odata.nextLink when more incidents follow, which Graph
	// does unless NoNextLink. It carries a marker, so that following it is a
	// violation.
	NextLink, NoNextLink bool
	// UpperBound says which upper bounds of a time $filter accepts.
	UpperBound UpperBound
	// Resolution, if not 0, is what the server compares times at: both sides
	// of a comparison are truncated to it. It is a multiple of 100 ns.
	Resolution time.Duration
	// IgnoreFilter answers as if there were no $filter.
	IgnoreFilter bool
	// Pretty puts whitespace between the tokens of successful answers.
	Pretty bool

	// ChurnPerCall is how many random incidents get a new version in front of
	// every list answer.
	ChurnPerCall int
	// LateBy is the longest time a new version stays invisible; what it
	// replaces is served until then. Half of the versions are prompt.
	LateBy time.Duration
	// Retention hides incidents that were updated longer ago than this; 0
	// hides none.
	Retention time.Duration

	// Poison names incidents that cannot be listed: a page that would hold
	// one answers 500. With PoisonByID it cannot be fetched by id either.
	Poison     map[int64]bool
	PoisonByID bool
	// Oversize pads an incident to this many bytes. Changing it changes the
	// incident's content without moving its update time.
	Oversize map[int64]int
	// Malformed makes an incident something else, in lists and by id.
	Malformed map[int64]Malformation

	// Count is what Graph answers to $count=true.
	Count Count
	// OrderBy lets Graph take $orderby by a time, which it does not document.
	OrderBy bool
	// SkipWall, if not 0, is where Graph's lists end without a word: what
	// lies behind so many incidents is not served.
	SkipWall int
	// Unexpandable names incidents whose alerts Graph fails to expand: a page
	// with $expand=alerts that would hold one answers 500. With
	// UnexpandableByID the incident by its id and with $expand does so too.
	Unexpandable     map[int64]bool
	UnexpandableByID bool
	// PartialRate is the share of Graph's good answers that say 206 with a
	// Warning, drawn from the seed. Nothing is left out of them.
	PartialRate float64

	// Quota is enforced over all calls of the Defender API, refused ones
	// included; nil enforces none. A call over it gets 429 and is a violation.
	// GraphQuota is the same for Graph.
	Quota, GraphQuota []Limit
	// QuotaDialect is how a 429 says when to come back.
	QuotaDialect QuotaDialect

	// Fail, if not nil, is asked about every request, token requests
	// included; n counts the requests from 1. It is called without locks and
	// may use the Simulator.
	Fail func(r *http.Request, n int) Fault
	// FailRate is the share of API calls that get one of FailKinds (if nil:
	// any fault), drawn from the seed.
	FailRate  float64
	FailKinds []Fault
	// SlowBy is how much longer a Slow or Stalled answer takes.
	SlowBy time.Duration
	// Latency is how long every request takes, half of it before the state
	// is looked at.
	Latency time.Duration

	// NoDate leaves out the Date header; ClockSkew is how far the server's
	// clock, which all its times come from, is ahead of time.Now.
	NoDate    bool
	ClockSkew time.Duration

	// TokenLifetime is how long the tokens issued from now on are valid.
	TokenLifetime time.Duration
	// Roles are the application permissions in tokens for the Defender API,
	// GraphRoles those in tokens for Graph.
	Roles, GraphRoles []string
	// Consent is whether an administrator has consented at all; without it
	// no token is issued (65001).
	Consent bool
	// SecretExpired refuses the right secret (7000222).
	SecretExpired bool
	// TokenUnavailable answers token requests 503 temporarily_unavailable.
	TokenUnavailable bool
	// Refuse, if its Code is not 0, is the answer to every token request.
	Refuse Refusal
	// Certificates are those registered with the app. An assertion that the
	// app makes itself must be signed with the key of one.
	Certificates []*x509.Certificate
	// Federated are the app's federated credentials: whose tokens it accepts
	// as assertions.
	Federated []FederatedCredential
}

// Refusal is an error of the token endpoint.
type Refusal struct {
	Status int    // HTTP
	Kind   string // the member "error"
	Code   int    // AADSTS number
}

// FederatedCredential says which tokens of another issuer prove that the
// caller is the app.
type FederatedCredential struct {
	Issuer, Subject, Audience string // exactly as in the token
	// Key is the issuer's; nil: its keys cannot be fetched (90061).
	Key *rsa.PublicKey
}

// DefaultBehaviour is that of the documented service: newest update first,
// 100 a page, 50 calls a minute and 1,500 an hour, 180 days kept. Graph's 150
// calls a minute are documented for alerts; that incidents share them is
// assumed, since no limit names them.
func DefaultBehaviour() Behaviour {
	return Behaviour{
		DefaultPage:   100,
		Quota:         []Limit{{50, time.Minute}, {1500, time.Hour}},
		GraphQuota:    []Limit{{150, time.Minute}},
		Retention:     180 * 24 * time.Hour,
		SlowBy:        20 * time.Second,
		TokenLifetime: 3599 * time.Second,
		Roles:         []string{"Incident.Read.All"},
		GraphRoles:    []string{"SecurityIncident.Read.All"},
		Consent:       true,
	}
}

// Order is the order of the incidents in a list answer.
type Order int

const (
	NewestFirst  Order = iota // by update time descending, then by id
	OldestFirst               // by update time ascending, then by id
	ByID                      // by id
	UnstableTies              // newest first, equal times in a new random order at each call
	Shuffled                  // in a new random order at each call
	InGroups                  // newest first, but those with an odd id behind the others: an order to begin with
)

// Count is what Graph answers to $count=true.
type Count int

const (
	CountRight  Count = iota // how many incidents there are
	NoCount                  // nothing
	CountOfPage              // how many there are in the answer
	CountShort               // one less than there are
	CountLong                // one more
)

// UpperBound says which upper bounds of a time $filter accepts.
type UpperBound int

const (
	LtAndLe      UpperBound = iota // both
	LeOnly                         // lt is refused
	NoUpperBound                   // lt and le are refused
)

// Limit allows N calls in any stretch of time of length Per.
type Limit struct {
	N   int
	Per time.Duration
}

// QuotaDialect is how a 429 says when to come back.
type QuotaDialect int

const (
	RetrySeconds  QuotaDialect = iota // Retry-After in whole seconds
	RetryDecimal                      // Retry-After with three decimals
	RetryHTTPDate                     // Retry-After as a date
	RetryBodyOnly                     // the window's length in the body's message, code "429"; Graph does not say it there either
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
	faultKinds           // how many there are
)

// Malformation is what an incident looks like that is none.
type Malformation int

const (
	NoMalformation Malformation = iota
	WithoutID                   // the object lacks incidentId
	WithoutUpdated              // the object lacks lastUpdateTime
	NotAnObject                 // a string in its place
)

// Change calls f with the behaviour, which is in force as soon as f returns.
// The function must not call the Simulator. Changing ClockSkew while incidents
// are being read sets the server's clock, with all that follows from that.
func (s *Simulator) Change(f func(*Behaviour)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.behaviour)
	now := s.now()
	s.world.settle(now)
	s.world.resize(now, s.behaviour.Oversize)
}
