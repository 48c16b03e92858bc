// Package simulator plays Microsoft Entra ID and the two incidents APIs, that
// of Defender XDR and that of Microsoft Graph, in one http.Handler, for tests,
// demonstrations and benchmarks. The two APIs show one tenant: the same
// incidents and versions at the same times, each in its own words.
//
// It refuses what the real services refuse, does on request what they do on a
// bad day (see Behaviour), polices its callers (Violations), and keeps the
// truth: every version of every incident that was ever visible, and when
// (Truth). It guarantees that
//
//   - every incident that an answer holds is, byte for byte and whitespace
//     between tokens apart, a version in Truth that was visible at the moment
//     of the answer, as the API in question writes it;
//   - no answer shows an older state than an answer before it;
//   - every update moves an incident to a later update time, and an update
//     never hides it;
//   - everything random is drawn from Options.Seed: the same calls in the
//     same order get the same answers;
//   - all time comes from package time, so that it runs on virtual time in a
//     testing/synctest bubble, called through Transport.
//
// Some behaviours suspend a guarantee. With Behaviour.ReplicaLag an answer may
// show an older state than the one before, which Truth had at the time that the
// answer is behind. Truth knows neither the row that Behaviour.ZeroTime adds
// nor what Behaviour.Malformed makes of an incident. It holds the alerts of an
// incident whole, whatever AlertsPerExpand, AlertsCount and AlertsMissing do.
//
// What it answers follows the public documentation of the two services, as
// gathered in the project's API reference. Bodies are generated for each
// answer; a million incidents cost some 100 bytes each.
//
// To use it in a test:
//
//	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 400})
//	server := httptest.NewTLSServer(sim)
//
// and send token requests and API calls alike to the server's address.
package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Made-up identity that an empty Options gets.
const (
	DefaultTenant   = "5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"
	DefaultDomain   = "fabrikam.example"
	DefaultClientID = "3f6d2a10-7c55-4b8e-9d21-0e4b6a8c1f37"
	DefaultSecret   = "simulated~secret+/=&only"
	DefaultAudience = "https://api.security.microsoft.com"
	DefaultGraph    = "https://graph.microsoft.com"
)

// Options are what a Simulator is made of. Zero values get the default named.
type Options struct {
	// Seed decides everything that is random.
	Seed uint64

	// Tenant is the tenant's GUID and Domain a name it is known by; ClientID
	// and Secret are the one app that may ask for tokens; Audience is the
	// resource that its tokens must be for, GraphAudience that for Graph.
	Tenant, Domain   string // DefaultTenant, DefaultDomain
	ClientID, Secret string // DefaultClientID, DefaultSecret
	Audience         string // DefaultAudience
	GraphAudience    string // DefaultGraph
	// FurtherTenants are the GUIDs of other tenants with the same app, as a
	// partner has them. They get tokens of their own, but have no incidents:
	// those are Tenant's, whose API refuses the others' tokens (403).
	FurtherTenants []string

	// Incidents is how many there are at the start, updated within Span
	// (180 days) before now, spread as Density says.
	Incidents int
	Span      time.Duration
	Density   Density
	// Size is about how many bytes an incident has on average (2048), as the
	// Defender API writes it; Graph takes some more. Small
	// incidents have no alerts: below 2000 many, below 900 all, and without
	// alerts there still are some 650 bytes.
	Size int
	// TieShare is the probability that an incident has the update time of
	// the one before it; Tie incidents in one stretch share one update time.
	TieShare float64
	Tie      int
}

// maxViolations bounds the list; a caller with more has made its point.
const maxViolations = 1000

// Simulator is an http.Handler that plays both services. All its methods are
// safe for concurrent use.
type Simulator struct {
	opts    Options
	content content // immutable

	mu         sync.Mutex // guards everything below
	behaviour  Behaviour
	rng        *rand.Rand
	world      world
	tokens     map[string]*token
	assertions map[string]bool // ids (jti) that apps have used up
	quota      quota
	graphQuota quota
	calls      Calls
	violations []string
}

// Calls counts requests by kind, the refused and failed ones included.
type Calls struct {
	List, ByID       int // API calls; an incident's alerts count as by id
	Token, Discovery int // Entra ID
	Other            int // unknown paths
}

// API is the number of calls of the incidents APIs, which count against their
// quotas.
func (c Calls) API() int { return c.List + c.ByID }

// New returns a simulator whose initial incidents end at the present, behaving
// as DefaultBehaviour says.
func New(opts Options) *Simulator {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&opts.Tenant, DefaultTenant)
	def(&opts.Domain, DefaultDomain)
	def(&opts.ClientID, DefaultClientID)
	def(&opts.Secret, DefaultSecret)
	def(&opts.Audience, DefaultAudience)
	def(&opts.GraphAudience, DefaultGraph)
	opts.Tenant = strings.ToLower(opts.Tenant)
	if opts.Span <= 0 {
		opts.Span = 180 * 24 * time.Hour
	}
	if opts.Size <= 0 {
		opts.Size = 2048
	}
	s := &Simulator{
		opts:      opts,
		content:   content{seed: opts.Seed, tenant: opts.Tenant, size: opts.Size},
		behaviour: DefaultBehaviour(),
		rng:       rand.New(rand.NewPCG(opts.Seed, 0x5eed)),
		tokens:    make(map[string]*token),

		assertions: make(map[string]bool),
	}
	s.world.populate(&opts, s.rng, s.now())
	return s
}

// Now is the server's time.
func (s *Simulator) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().time()
}

// now is the server's time, to 100 ns.
func (s *Simulator) now() ticks { return ticksOf(time.Now().Add(s.behaviour.ClockSkew)) }

// Calls returns how many requests there were.
func (s *Simulator) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Violations returns what callers did that a good one does not, in order, the
// first thousand. Each begins with its kind: "quota: ", "audience: ",
// "option: ", "top: ", "skip: ", "auth: " or "path: ".
func (s *Simulator) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}

// violation records one; the caller holds the lock.
func (s *Simulator) violation(kind, format string, args ...any) {
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, kind+": "+fmt.Sprintf(format, args...))
	}
}
