package exporter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/rawjson"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
	"incident-exporter/sinks/s3"
	"incident-exporter/sinks/sinktest"
)

// TestMain lets the collector have more memory than is worth its time in tests.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	for name, value := range map[string]string{ // of worlds on S3
		"AWS_ENDPOINT_URL_S3": "https://store.fabrikam.example", "AWS_REGION": "eu-north-1", "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// bearer gets tokens from the simulator, by the v1 endpoint.
type bearer struct {
	transport http.RoundTripper
	lock      chan struct{} // a channel: virtual time stands still while a mutex is waited for
	audience  string
	token     string
	expires   time.Time
}

func (b *bearer) Token(ctx context.Context, stale string) (string, error) {
	b.lock <- struct{}{}
	defer func() { <-b.lock }()
	if b.token != "" && b.token != stale && time.Until(b.expires) > 5*time.Minute {
		return b.token, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID},
		"client_secret": {simulator.DefaultSecret}, "resource": {b.audience},
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.fabrikam.example/"+simulator.DefaultTenant+"/oauth2/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token   string `json:"access_token"`
		Expires string `json:"expires_in"`
	}
	body, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(rawjson.Unmarked(body), &answer); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("token: status %d: %v", resp.StatusCode, err)
	}
	seconds, err := strconv.Atoi(answer.Expires)
	b.token, b.expires = answer.Token, time.Now().Add(time.Duration(seconds)*time.Second)
	return b.token, err
}

// world is a tenant, an archive and those who export the one to the other.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	sim  *simulator.Simulator
	mem  *sinktest.Mem
	cfg  exporter.Config
	top  int
	comp ledger.Compression
	deep bool // changes come as late as the deep overlap
	onS3 bool // the archive is reached through the sink for S3 and its SDK

	graph bool // it is read through Graph

	lag       time.Duration // of a replica that serves some of the answers
	ordered   bool          // the API's order is that of update time
	unbounded bool          // it takes no upper bound

	flaky, faulty bool // the API fails at random, and so may something else in this tick

	retention time.Duration // of the API, 0 for what is usual

	stored  map[[32]byte]string // lines of the archive
	objects map[string]bool     // objects read so far
	trace   []string
}

const (
	worldSettle  = time.Minute
	worldOverlap = 20 * time.Minute
)

// process is one running exporter.
type process struct {
	*exporter.Exporter
	session *sinktest.Session
}

// stream is what is exported.
func (w *world) stream() ledger.Stream {
	if w.graph {
		return ledger.Stream{Source: "graph", Tenant: simulator.DefaultTenant}
	}
	return ledger.Stream{Source: "defender", Tenant: simulator.DefaultTenant}
}

func (w *world) process() *process {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("WORLD_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	transport := simulator.Transport(w.sim)
	api, audience := defender.Defender(), simulator.DefaultAudience
	if w.graph {
		api, audience = defender.Graph(), simulator.DefaultGraph
	}
	origin, _ := url.Parse(audience)
	source := defender.New(defender.Config{
		API: api, Origin: origin, Transport: transport, Tokens: &bearer{transport: transport, lock: make(chan struct{}, 1), audience: audience},
		Quota: api.Quota(), Concurrency: 4,
		MaxAnswer: 4 << 20, Top: w.top, Retention: w.retention, Log: log,
	})
	session := w.mem.Session()
	cfg := w.cfg
	cfg.Log = log
	var sink sinks.Sink = session
	if w.onS3 {
		var err error
		sink, err = s3.Open(w.t.Context(), s3.Config{Bucket: "archive", PathStyle: true, Transport: simulator.Transport(sinktest.S3(session, "archive"))})
		if err != nil {
			w.fail("open the bucket: %v", err)
		}
	}
	l := ledger.New(sink, w.stream(), ledger.By{Version: "test", Client: simulator.DefaultClientID}, w.comp)
	return &process{exporter.New(cfg, source, l), session}
}

func newWorld(t *testing.T, seed uint64, incidents int, graph bool) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(n ...int) int { return n[rng.IntN(len(n))] }
	w := &world{
		t: t, rng: rng, mem: sinktest.NewMem(), top: pick(10, 10, 25, 100),
		comp:   []ledger.Compression{"gzip", "zstd", "none"}[rng.IntN(3)],
		stored: map[[32]byte]string{}, objects: map[string]bool{}, deep: rng.IntN(4) == 0, graph: graph,
	}
	if graph {
		w.top = min(w.top, 50)
	}
	span := time.Duration(pick(2, 24, 24*30)) * time.Hour
	w.sim = simulator.New(simulator.Options{
		Seed: seed, Incidents: rng.IntN(incidents) + 1, Span: span, Size: 1000,
		TieShare: []float64{0, 0, 0.3, 0.9}[rng.IntN(4)], Tie: pick(0, 0, 43, incidents/2),
		Density: simulator.Density(rng.IntN(2)),
	})
	start := time.Now().Add(-2 * span)
	w.cfg = exporter.Config{
		Settle: worldSettle, Overlap: worldOverlap, DeepOverlap: 8 * time.Hour, DeepEvery: 2 * time.Hour,
		Heartbeat: 15 * time.Minute, RunTimeout: time.Duration(pick(5, 60)) * time.Minute,
		BatchRecords: pick(7, 50, 5000), BatchBytes: int64(pick(20_000, 16<<20)),
		Start: func(time.Time) time.Time { return start },
	}
	w.sim.Change(func(b *simulator.Behaviour) {
		defer func() {
			if b.Latency > time.Second || b.UpperBound == simulator.NoUpperBound || b.Order != simulator.NewestFirst {
				w.cfg.RunTimeout = time.Hour // a short run of many calls gets nowhere
			}
		}()
		b.Order = simulator.Order(pick(0, 0, 0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9))
		b.Resolution = time.Duration(pick(0, 0, 0, 1, 1000)) * time.Millisecond
		b.UpperBound = simulator.UpperBound(pick(0, 0, 0, 1, 1, 2))
		if b.UpperBound == simulator.NoUpperBound {
			b.Order = simulator.NewestFirst // without an order an open-ended set cannot be read
			w.unbounded = true
		}
		w.ordered = b.Order == simulator.NewestFirst || b.Order == simulator.UnstableTies
		b.NextLink, b.Pretty = rng.IntN(3) == 0, rng.IntN(2) == 0
		b.PageCap = pick(0, 0, 0, w.top, 7)
		b.LtIsLe, b.BOM = rng.IntN(6) == 0, rng.IntN(4) == 0
		b.ResolutionOf = simulator.ResolutionOf(rng.IntN(3))
		b.SkipLimit, b.SkipRefused = pick(0, 0, 0, 30, 100), rng.IntN(2) == 0
		b.Stray400Rate = []float64{0, 0, 0.02}[rng.IntN(3)]
		b.ReplicaLag = time.Duration(pick(0, 0, 0, 5, 20)) * time.Second
		b.ShortLinks, b.EmptyFirst = pick(0, 0, 0, 0, 5), rng.IntN(12) == 0
		if b.EmptyFirst {
			b.NextLink = true // who links the first page links the others
		}
		w.lag = b.ReplicaLag
		b.ChurnPerCall = pick(0, 0, 1, 3)
		b.LateBy = time.Duration(pick(0, 0, 1, int(worldOverlap/time.Second)-30)) * time.Second
		b.FailRate = []float64{0, 0, 0.03, 0.15}[rng.IntN(4)]
		w.flaky = b.FailRate > 0 || b.Stray400Rate > 0
		b.QuotaDialect = simulator.QuotaDialect(rng.IntN(4))
		b.Latency = time.Duration(pick(0, 100, 1000, 10_000)) * time.Millisecond
		if w.unbounded { // then pages of a set that is counted through have to be what they are
			b.SkipLimit, b.ReplicaLag, b.ShortLinks, b.EmptyFirst = 0, 0, 0, false
			b.Latency = min(b.Latency, time.Second) // the set is counted through from its front each time
		}
		b.NoDate = rng.IntN(12) == 0
		if rng.IntN(6) == 0 && span > time.Hour*2 { // the oldest vanish while they are read
			b.Retention = span + 36*time.Hour*time.Duration(rng.IntN(2))
			w.retention = b.Retention
		}
		b.TokenLifetime = time.Duration(pick(600, 3599)) * time.Second
		if rng.IntN(5) == 0 && b.UpperBound != simulator.NoUpperBound {
			b.PoisonByID = rng.IntN(2) == 0
			b.Poison = map[int64]bool{}
		}
		if graph {
			w.likeGraph(b)
		}
		w.say("top %d, %+v", w.top, *b)
	})
	if graph {
		ids := w.sim.RandomIDs(pick(0, 0, 1, 4))
		w.sim.Change(func(b *simulator.Behaviour) {
			b.Unexpandable, b.UnexpandableByID = map[int64]bool{}, rng.IntN(2) == 0
			for _, id := range ids {
				b.Unexpandable[id] = true
			}
			if len(ids) > 0 { // one trouble at a time: by id there are many calls already
				b.ShortLinks, b.EmptyFirst = 0, false
			}
			if len(ids) > 0 || b.AlertsPerExpand > 0 { // an incident and its alerts apart have to be of one state
				b.ReplicaLag, w.lag = 0, 0
			}
			w.say("unexpandable %v, by id %v", ids, b.UnexpandableByID)
		})
	}
	return w
}

// likeGraph draws what only Graph does. Behind a $skip of 500 an open-ended
// set of any size cannot be counted, so that there is always an upper bound.
func (w *world) likeGraph(b *simulator.Behaviour) {
	pick := func(n ...int) int { return n[w.rng.IntN(len(n))] }
	if b.UpperBound == simulator.NoUpperBound {
		b.UpperBound = simulator.LtAndLe
	}
	b.Count = simulator.Count(pick(0, 0, 0, 0, 1, 2, 3, 4))
	b.NoNextLink, b.OrderBy = w.rng.IntN(3) == 0 && !b.EmptyFirst, w.rng.IntN(2) == 0
	b.SkipWall = pick(0, 500)
	b.PartialRate = []float64{0, 0, 0.05}[w.rng.IntN(3)]
	b.PartialDrops = []float64{0, 0.3}[w.rng.IntN(2)]
	b.AlertsPerExpand = pick(0, 0, 1, 2)
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, time.Now().UTC().Format("01-02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	if dir := os.Getenv("WORLD_DUMP"); dir != "" {
		for _, key := range w.mem.Keys() {
			_ = os.MkdirAll(filepath.Join(dir, filepath.Dir(key)), 0o755)
			_ = os.WriteFile(filepath.Join(dir, key), w.mem.Bytes(key), 0o644)
		}
	}
	tail := w.trace[max(0, len(w.trace)-25):]
	w.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), w.trace[0], strings.Join(tail, "\n"))
}

// happen changes something in the tenant.
func (w *world) happen(rng *rand.Rand) {
	within := worldOverlap - 30*time.Second // a replica may be 20 s behind
	if w.deep {
		within = w.cfg.DeepOverlap - 30*time.Second
	}
	switch rng.IntN(12) {
	case 10: // what comes late, as late as is promised
		for _, id := range w.sim.RandomIDs(1) {
			_, _ = w.sim.UpdateLate(id, time.Duration(rng.Int64N(int64(within))))
		}
	case 11:
		switch ids := w.sim.RecentIDs(1, within); {
		case len(ids) == 0:
		case rng.IntN(2) == 0:
			_, _ = w.sim.Recreate(ids[0])
		default:
			_ = w.sim.Vanish(ids[0])
		}
	case 0, 1, 2:
		w.sim.Create()
	case 3, 4, 5:
		for _, id := range w.sim.RandomIDs(1 + rng.IntN(3)) {
			_, _ = w.sim.Update(id)
		}
	case 6:
		w.sim.Bulk(1 + rng.IntN(60))
	case 7:
		if ids := w.sim.RandomIDs(2); len(ids) == 2 {
			_, _, _ = w.sim.Merge(ids[0], ids[1])
		}
	case 8, 9:
		for _, id := range w.sim.RecentIDs(2, within) {
			_, _ = w.sim.AlertChange(id)
		}
	}
}

// faults makes the archive fail at random, and perhaps kills one of the
// processes at its next so many requests.
func (w *world) faults(rng *rand.Rand, kill *process) {
	var mu sync.Mutex
	rng = rand.New(rand.NewPCG(rng.Uint64(), 3)) // requests come from several goroutines
	rate := []float64{0, 0, 0.05, 0.3}[rng.IntN(4)]
	w.faulty = rate > 0 || w.flaky
	after := rng.IntN(12)
	if kill == nil {
		after = -1
	}
	w.mem.Before(func(c sinktest.Call) sinktest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if after >= 0 && c.Op == sinktest.OpPut {
			if after--; after < 0 {
				kill.session.Kill()
				return sinktest.Fault{Outcome: []sinktest.Outcome{sinktest.Failed, sinktest.Lost}[rng.IntN(2)]}
			}
		}
		if rng.Float64() < rate {
			return sinktest.Fault{Outcome: sinktest.Outcome(1 + rng.IntN(4))}
		}
		return sinktest.Fault{}
	})
}

// run makes one pass while things happen in the tenant.
func (w *world) run(p *process, eventful bool, seed uint64) (exporter.Progress, error) {
	done := make(chan struct{})
	var life sync.WaitGroup
	if eventful {
		life.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 2))
			for range 200 {
				select {
				case <-done:
					return
				case <-time.After(time.Duration(rng.IntN(20_000)) * time.Millisecond):
					w.happen(rng)
				}
			}
		})
	}
	got, err := p.Run(w.t.Context())
	close(done)
	life.Wait()
	return got, err
}

// live lets the world go on for so many ticks, and then holds it to its promises.
func (w *world) live(ticks int) {
	rng := w.rng
	p := w.process()
	clean := true // no crash or rival so far, so that the quota is one process's own
	for tick := range ticks {
		for range rng.IntN(6) {
			w.happen(rng)
		}
		w.sim.Change(func(b *simulator.Behaviour) {
			if b.Poison != nil && rng.IntN(8) == 0 {
				b.Poison = map[int64]bool{}
			}
		})
		if rng.IntN(8) == 0 {
			poison := w.sim.RandomIDs(1)
			w.sim.Change(func(b *simulator.Behaviour) {
				if b.Poison != nil && len(poison) > 0 {
					b.Poison = map[int64]bool{poison[0]: true}
				}
			})
		}
		if rng.IntN(20) == 0 {
			w.sim.RevokeTokens()
		}
		var rival, dies *process
		switch rng.IntN(8) {
		case 0:
			rival, clean = w.process(), false
		case 1:
			dies, clean = p, false
		case 2:
			rival, dies, clean = w.process(), p, false
		}
		w.faults(rng, dies)
		begin := w.sim.Now()
		eventful, seed, rivalSeed := rng.IntN(3) > 0, rng.Uint64(), rng.Uint64()
		var other sync.WaitGroup
		if rival != nil {
			other.Go(func() {
				_, err := w.run(rival, false, rivalSeed)
				w.acceptable(err)
			})
		}
		got, err := w.run(p, eventful, seed)
		other.Wait()
		w.mem.Before(func(sinktest.Call) sinktest.Fault { return sinktest.Fault{} })
		w.say("tick %d: %s, rival %v, dies %v: %v", tick, got.Head, rival != nil, dies != nil, err)
		w.acceptable(err)
		if rival == nil && dies == nil && !w.faulty {
			w.unstuck(err)
		}
		w.mem.Land()
		if w.read(); err == nil && !w.deep {
			w.complete(begin.Add(-worldSettle-2*time.Second), begin, w.head())
		}
		if rng.IntN(10) == 0 {
			w.whole()
		}
		if !clean || rng.IntN(10) == 0 { // a new process
			p.session.Kill()
			p = w.process()
		}
		time.Sleep(time.Duration(rng.IntN(10)+1) * time.Minute)
		if rng.IntN(12) == 0 {
			time.Sleep(time.Duration(rng.IntN(36)) * time.Hour)
		}
	}
	w.end(p, clean)
}

// TestWorld holds the promises against worlds drawn from seeds. SOAK_SEEDS,
// SOAK_FROM, SOAK_TICKS and SOAK_INCIDENTS make it longer (make soak).
func TestWorld(t *testing.T) {
	if testing.Short() { // under the race detector: a dozen that are quick
		worlds(t, 121, 12, false, false)
		return
	}
	worlds(t, 1, 240, false, false)
}

// TestWorldOfGraph is the same through Graph.
func TestWorldOfGraph(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 5
	}
	worlds(t, 10_001, seeds, true, false)
}

// TestWorldOnS3 is the same with the archive in S3.
func TestWorldOnS3(t *testing.T) {
	seeds := 16
	if testing.Short() {
		seeds = 3
	}
	worlds(t, 5001, seeds, false, true)
}

func worlds(t *testing.T, from, seeds int, graph, onS3 bool) {
	env := func(name string, value int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return value
	}
	from, seeds = env("SOAK_FROM", from), env("SOAK_SEEDS", seeds)
	ticks, incidents := env("SOAK_TICKS", 60), env("SOAK_INCIDENTS", 400)
	var failed atomic.Bool
	for seed := uint64(from); seed < uint64(from+seeds); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			if failed.Load() && os.Getenv("SOAK_FAILFAST") != "" {
				return
			}
			defer func() { failed.CompareAndSwap(false, t.Failed()) }()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed, incidents, graph)
				w.onS3 = onS3
				w.live(1 + min(w.rng.IntN(ticks), w.rng.IntN(ticks)))
			})
		})
	}
}
