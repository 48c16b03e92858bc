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
	// PageCap, if not 0, silently makes every page no longer than this. With
	// CapVaries the simulator draws a cap from 1 to PageCap for every page.
	PageCap   int
	CapVaries bool
	// TooManyRows serves everything behind $skip, whatever $top and the caps
	// say.
	TooManyRows bool
	// NextLink sends @odata.nextLink when more incidents follow, which Graph
	// does unless NoNextLink. The link carries the position where the page
	// ends as a marker. Whoever follows it gets the incidents that lie behind
	// that position then, with the same options.
	NextLink, NoNextLink bool
	// ShortLinks, if not 0, makes every page no longer than this and links to
	// the rest, also where there would be no nextLink otherwise.
	ShortLinks int
	// EmptyFirst answers a question without a marker with an empty page and a
	// nextLink to all of it.
	EmptyFirst bool
	// SkipLimit, if not 0, is the first $skip that both APIs answer with an
	// empty page and no nextLink, whatever lies there. With SkipRefused they
	// answer 400. A marker leads past it.
	SkipLimit   int
	SkipRefused bool
	// UpperBound says which upper bounds of a time $filter accepts.
	UpperBound UpperBound
	// LtIsLe makes lt compare as le does.
	LtIsLe bool
	// Resolution, if not 0, is what the server compares times at: it truncates
	// the sides of a comparison that ResolutionOf names. It is a multiple of
	// 100 ns.
	Resolution   time.Duration
	ResolutionOf ResolutionOf
	// IgnoreFilter answers as if there were no $filter.
	IgnoreFilter bool
	// Pretty puts whitespace between the tokens of successful answers.
	Pretty bool
	// BOM puts a byte order mark (EF BB BF) before every JSON body, those of
	// errors and of token requests included.
	BOM bool

	// ChurnPerCall is how many random incidents get a new version in front of
	// every list answer.
	ChurnPerCall int
	// LateBy is the longest time a new version stays invisible; what it
	// replaces is served until then. Half of the versions are prompt.
	LateBy time.Duration
	// ReplicaLag, if not 0, is how far a second replica is behind. Half of the
	// list and by-id answers come from it, drawn from the seed, and show the
	// state of that long ago, though none from before the simulator's start.
	// Such an answer costs time in proportion to the tenant.
	ReplicaLag time.Duration
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
	// ZeroTime, if not 0, names an incident of which every list answer holds
	// one row more: its visible version with 0001-01-01T00:00:00Z as update
	// time. The row comes first, against the filter, and takes the place of
	// another. It has no position: $skip, markers and $count pass over it. A
	// page of one row is without it.
	ZeroTime int64

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
	// AlertsPerExpand, if not 0, is how many alerts Graph serves at most inside
	// of an incident. Where there are more, alerts@odata.nextLink beside them
	// leads to the rest. AlertsCount adds alerts@odata.count, the number of all
	// alerts.
	AlertsPerExpand int
	AlertsCount     bool
	// AlertsMissing names incidents whose member alerts is null in lists of
	// Graph with $expand. By id it is right.
	AlertsMissing map[int64]bool
	// PartialRate is the share of Graph's good answers that say 206 with a
	// Warning, drawn from the seed. A list of incidents among them lacks each
	// of its rows with the probability PartialDrops; $count and nextLink stay.
	PartialRate, PartialDrops float64
	// PartialWarning is that Warning. Empty, it names Defender for Identity.
	PartialWarning string

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
	// Stray400Rate is the share of list calls that get Stray400, drawn from
	// the seed.
	Stray400Rate float64
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
