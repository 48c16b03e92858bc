package defender_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
)

// in runs a test on virtual time.
func in(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

// archive is a Receiver that keeps what it is given.
type archive struct {
	lines      map[string]map[string]bool // by id
	how        map[string]string          // how the newest line of an id was read
	order      []string                   // ids, as they came
	claims     []ledger.Claim
	unread     []unread
	disordered int
	refused    []string
	taken      func(rows int) // if not nil, called by each Take
}

type unread struct {
	ledger.Span
	id  string
	why error
}

func newArchive() *archive {
	return &archive{lines: map[string]map[string]bool{}, how: map[string]string{}}
}

func (a *archive) Take(_ context.Context, rows []exporter.Row, line func(int) []byte, fresh []bool) error {
	if a.taken != nil {
		a.taken(len(rows))
	}
	for i, r := range rows {
		text := string(line(i))
		if a.lines[r.ID] == nil {
			a.lines[r.ID] = map[string]bool{}
		}
		if fresh[i] = !a.lines[r.ID][text]; fresh[i] {
			a.lines[r.ID][text] = true
			a.how[r.ID] = r.How
			a.order = append(a.order, r.ID)
		}
	}
	return nil
}

func (a *archive) Shown(_ context.Context, c ledger.Claim) error {
	a.claims = append(a.claims, c)
	return nil
}

func (a *archive) Unread(_ context.Context, s ledger.Span, id string, why error) error {
	a.unread = append(a.unread, unread{s, id, why})
	return nil
}

func (a *archive) Disordered(context.Context) error {
	a.disordered++
	a.claims = slices.DeleteFunc(a.claims, func(c ledger.Claim) bool { return c.Order })
	return nil
}

func (a *archive) Refused(provider string) { a.refused = append(a.refused, provider) }

// within says whether an instant is claimed, or unread.
func (a *archive) claimed(at time.Time) bool {
	return slices.ContainsFunc(a.claims, func(c ledger.Claim) bool { return holds(ledger.Span{From: c.From, To: c.To}, at) })
}

func (a *archive) unreadAt(at time.Time) bool {
	return slices.ContainsFunc(a.unread, func(u unread) bool { return holds(u.Span, at) })
}

func holds(s ledger.Span, at time.Time) bool { return !at.Before(s.From.Time) && at.Before(s.To.Time) }

// hole is the first instant of a stretch that is neither claimed nor unread,
// the zero time if there is none. Claims are of whole seconds.
func (a *archive) hole(from, to time.Time) time.Time {
	all := []ledger.Span{}
	for _, c := range a.claims {
		all = append(all, ledger.Span{From: c.From, To: c.To})
	}
	for _, u := range a.unread {
		all = append(all, u.Span)
	}
	slices.SortFunc(all, func(x, y ledger.Span) int { return x.From.Compare(y.From.Time) })
	for _, s := range all {
		if s.From.After(from) {
			break
		}
		if s.To.After(from) {
			from = s.To.Time
		}
	}
	if from.Before(to) {
		return from
	}
	return time.Time{}
}

// token gets tokens from the simulator.
type token struct {
	transport http.RoundTripper
	lock      chan struct{} // a channel: virtual time stands still while a mutex is waited for
	audience  string
	value     string
}

func (s *token) Token(ctx context.Context, stale string) (string, error) {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	if s.value != "" && s.value != stale {
		return s.value, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID},
		"client_secret": {simulator.DefaultSecret}, "scope": {s.audience + "/.default"},
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.fabrikam.example/"+simulator.DefaultTenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	s.value = answer.Value
	return s.value, err
}

// fixed is one token for ever.
type fixed struct{}

func (fixed) Token(context.Context, string) (string, error) { return "made-up-token", nil }

// tenant is a simulated tenant, a Source that reads it, and an archive.
type tenant struct {
	t       *testing.T
	sim     *simulator.Simulator
	source  *defender.Source
	archive *archive
	log     bytes.Buffer
	graph   bool
	long    bool
	from    time.Time // the API has nothing older
}

func newTenant(t *testing.T, opts simulator.Options, change func(*simulator.Behaviour), config func(*defender.Config)) *tenant {
	opts.Span = cmp.Or(opts.Span, 150*24*time.Hour)
	opts.Size = cmp.Or(opts.Size, 700)
	sim := simulator.New(opts)
	if change != nil {
		sim.Change(change)
	}
	tn := &tenant{t: t, sim: sim, archive: newArchive()}
	cfg := configuration(simulator.Transport(sim), &tn.log)
	if config != nil {
		config(&cfg)
	}
	if cfg.API.Path() == defender.Graph().Path() {
		tn.graph = true
		cfg.Origin = &url.URL{Scheme: "https", Host: "graph.microsoft.com"}
		cfg.Tokens.(*token).audience = simulator.DefaultGraph
		cfg.Quota = defender.Graph().Quota()
	}
	tn.source = defender.New(cfg)
	tn.from = sim.Now().Add(-179 * 24 * time.Hour).Truncate(time.Second)
	tn.source.Begin(false, tn.from)
	return tn
}

func configuration(transport http.RoundTripper, log *bytes.Buffer) defender.Config {
	return defender.Config{
		Origin: &url.URL{Scheme: "https", Host: "api.security.microsoft.com"}, Transport: transport,
		Tokens: &token{transport: transport, lock: make(chan struct{}, 1), audience: simulator.DefaultAudience}, Concurrency: 10,
		Quota:     defender.Defender().Quota(),
		MaxAnswer: 32 << 20, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func ofGraph(c *defender.Config) { c.API = defender.Graph() }

// newest is how far a reading may go now.
func (tn *tenant) newest() time.Time { return tn.sim.Now().Add(-time.Minute).Truncate(time.Second) }

// read reads a stretch and returns how many calls that took.
func (tn *tenant) read(from, to time.Time) (calls int, err error) {
	tn.t.Helper()
	before := tn.sim.Calls().API()
	err = tn.source.Read(tn.t.Context(), exporter.Reading{Span: span(from, to), Long: tn.long}, tn.archive)
	return tn.sim.Calls().API() - before, err
}

func span(from, to time.Time) ledger.Span {
	return ledger.Span{From: ledger.Time{Time: from}, To: ledger.Time{Time: to}}
}

// all reads all that there is, after a time in which everything settles, and
// checks what has come of it.
func (tn *tenant) all() (calls int) {
	tn.t.Helper()
	time.Sleep(2 * time.Minute)
	to := tn.newest()
	calls, err := tn.read(tn.from, to)
	if err != nil {
		tn.t.Fatal(err)
	}
	tn.kept(to)
	return calls
}

// kept checks that all of the stretch up to to is claimed or unread, and that
// whatever lies in what is claimed is archived as it was served.
func (tn *tenant) kept(to time.Time) {
	tn.t.Helper()
	if at := tn.archive.hole(tn.from, to); !at.IsZero() {
		tn.t.Errorf("%v is neither claimed nor unread: %v, %v", at, tn.archive.claims, tn.archive.unread)
	}
	for _, v := range tn.missing(to) {
		if at, _ := time.Parse(time.RFC3339Nano, v.Updated); !tn.archive.unreadAt(at) {
			tn.t.Errorf("incident %d, updated %s, is claimed and not archived", v.ID, v.Updated)
		}
	}
	for _, v := range tn.sim.Violations() {
		if !strings.HasPrefix(v, "skip: ") { // without an upper bound it takes what it gets
			tn.t.Errorf("violation: %s", v)
		}
	}
}

// seconds checks that nothing is unread but so many seconds.
func (tn *tenant) seconds(n int) {
	tn.t.Helper()
	var length time.Duration
	for _, u := range tn.archive.unread {
		length += u.To.Sub(u.From.Time)
	}
	if length != time.Duration(n)*time.Second {
		tn.t.Errorf("%v unread, want %d s: %v", length, n, tn.archive.unread)
	}
}

// counted is how many alerts there are, which the truth leaves out.
var counted = regexp.MustCompile(`,"alerts@odata.count":\d+`)

// missing are the versions before to that are not archived as served.
func (tn *tenant) missing(to time.Time) (missing []simulator.Version) {
	for _, v := range tn.sim.Final() {
		if at, _ := time.Parse(time.RFC3339Nano, v.Updated); !v.VisibleUntil.IsZero() || !at.Before(to) {
			continue
		}
		lines := tn.archive.lines[fmt.Sprint(v.ID)]
		for line := range lines {
			lines[counted.ReplaceAllString(line, "")] = true
		}
		if tn.graph && !lines[string(v.GraphLine())] && !lines[string(v.GraphApart())] || !tn.graph && !lines[string(v.Line())] {
			missing = append(missing, v)
		}
	}
	return missing
}

// during calls f before each of the first n list calls from now on.
func (tn *tenant) during(n int64, f func()) {
	var calls atomic.Int64
	tn.sim.Change(func(b *simulator.Behaviour) {
		b.Fail = func(r *http.Request, _ int) simulator.Fault {
			if strings.HasSuffix(r.URL.Path, "/incidents") && calls.Add(1) <= n {
				f()
			}
			return simulator.NoFault
		}
	})
}
