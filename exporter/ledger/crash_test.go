package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
	"incident-exporter/sinks/s3"
	"incident-exporter/sinks/sinktest"
)

// TestMain sets what the SDK for S3 reads: there is no network in these tests.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": "https://store.fabrikam.example", "AWS_REGION": "eu-north-1", "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// play is what the writers of one stream read: versions that become visible
// up to an overlap after their update time.
type play struct {
	mem        *sinktest.Mem
	start, end time.Time
	overlap    time.Duration
	versions   []Row // in order
	lines      [][]byte
	visible    []time.Time
	committed  map[string]bool // lines that a Commit which returned nil holds
}

func newPlay(seed uint64, n int) *play {
	rng := rand.New(rand.NewPCG(seed, 7))
	p := &play{
		mem: sinktest.NewMem(), start: instant("2026-03-01T22:00:00Z"), end: instant("2026-03-02T02:00:00Z"),
		overlap: 30 * time.Minute, committed: map[string]bool{},
	}
	at := p.start
	for i := range n {
		if rng.IntN(3) > 0 { // else a tie
			at = at.Add(time.Duration(rng.Int64N(int64(2*p.end.Sub(p.start)) / int64(n+1)))).Truncate(time.Second)
		}
		if !at.Before(p.end) {
			break
		}
		line := incident(100+i, at, "x")
		r, _ := rowOf(line, stream.Names(), sum256(line))
		p.versions, p.lines = append(p.versions, r), append(p.lines, line)
		p.visible = append(p.visible, at.Add(time.Duration(rng.Int64N(int64(p.overlap)))))
	}
	return p
}

// route is how processes reach the sink in memory.
type route func(context.Context, *sinktest.Session) (sinks.Sink, error)

// straight is without anything between them.
func straight(_ context.Context, s *sinktest.Session) (sinks.Sink, error) { return s, nil }

// overS3 is through the sink for S3, its SDK and the protocol. What does not
// get through in all its attempts is a fault of the memory's, or its death.
func overS3(ctx context.Context, session *sinktest.Session) (sinks.Sink, error) {
	transport := simulator.Transport(sinktest.S3(session, "archive"))
	s, err := s3.Open(ctx, s3.Config{Bucket: "archive", PathStyle: true, Transport: transport})
	if err != nil {
		return nil, err
	}
	return mortal{s, session}, nil
}

// mortal is the sink of a process that can be killed.
type mortal struct {
	sinks.Sink
	session *sinktest.Session
}

func (m mortal) why(err error) error {
	switch {
	case err == nil || errors.Is(err, sinks.ErrExists) || errors.Is(err, sinks.ErrNotExist):
		return err
	case m.session.Killed():
		return fmt.Errorf("%w: %w", sinktest.ErrKilled, err)
	}
	return fmt.Errorf("%w: %w", sinktest.ErrFault, err)
}

func (m mortal) Put(ctx context.Context, key string, data []byte) error {
	return m.why(m.Sink.Put(ctx, key, data))
}

func (m mortal) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := m.Sink.Get(ctx, key)
	if err != nil {
		return nil, m.why(err)
	}
	return mortalReader{r, m}, nil
}

type mortalReader struct {
	io.ReadCloser
	m mortal
}

func (r mortalReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = r.m.why(err)
	}
	return n, err
}

func (m mortal) List(ctx context.Context, prefix, after string) iter.Seq2[sinks.Object, error] {
	return func(yield func(sinks.Object, error) bool) {
		for o, err := range m.Sink.List(ctx, prefix, after) {
			if !yield(o, m.why(err)) {
				return
			}
		}
	}
}

// player is one process after the other that writes the stream.
type player struct {
	p       *play
	route   route
	session *sinktest.Session
	ledger  *Ledger
	passes  int
	born    func(*player) // called for each new process
}

// restart goes on with a new process, or the one after it if it dies at once.
func (w *player) restart(ctx context.Context) {
	for {
		w.session = w.p.mem.Session()
		if w.born != nil {
			w.born(w)
		}
		if sink, err := w.route(ctx, w.session); err == nil {
			w.ledger = New(sink, stream, writer, []Compression{"gzip", "none", "zstd"}[w.passes%3])
			return
		}
	}
}

// run makes passes until everything is archived. A process that is killed is
// followed by another one.
func (w *player) run(ctx context.Context) error {
	w.restart(ctx)
	for w.passes = 1; w.passes < 200; w.passes++ {
		target := w.p.start.Add(time.Duration(w.passes) * 45 * time.Minute)
		last := !target.Before(w.p.end.Add(w.p.overlap))
		err := w.pass(ctx, target)
		switch {
		case err == nil && last:
			return nil
		case errors.Is(err, sinktest.ErrKilled):
			w.restart(ctx)
		case err != nil && !errors.Is(err, ErrRival) && !errors.Is(err, sinktest.ErrFault):
			return err
		}
	}
	return errors.New("never done")
}

// pass reads what the chain does not cover up to target and what is not yet
// settled, drops what the chain has, and commits the rest in small batches:
// every other pass from the newest line down, as the exporter does, the others
// from the oldest up.
func (w *player) pass(ctx context.Context, target time.Time) error {
	l, now := w.ledger, target.Add(time.Minute)
	if err := l.Load(ctx); err != nil {
		return err
	}
	if l.Head() == nil {
		if err := l.Begin(ctx, w.p.start, now, 1); err != nil {
			return err
		}
	}
	for {
		found, err := l.Adopt(ctx, now)
		if err != nil {
			return err
		}
		if !found {
			break
		}
	}
	late := Lateness{Overlap: w.p.overlap, Deep: 4 * w.p.overlap, Every: time.Hour}
	covered := l.Head().Covered
	spans := Joined(append(covered.Holes(w.p.start, target), covered.Unsettled(late.Overlap, late.Settle, time.Time{})...))
	if len(spans) > 0 {
		if err := l.LoadIndex(ctx, spans[0].From.Time); err != nil {
			return err
		}
	}
	b, err := l.NewBatch()
	if err != nil {
		return err
	}
	var held []string
	flush := func(from, to time.Time) error {
		e := l.Head().Entry()
		e.Now = now
		if from.Before(to) {
			e.Read = []Claim{{From: Time{from}, To: Time{to}, Asked: Time{target}}}
		}
		e.Covered = e.Covered.Add(e.Read...).Aged(late, time.Time{})
		if err := l.Commit(ctx, b, e); err != nil {
			return err
		}
		for _, line := range held {
			w.p.committed[line] = true
		}
		held = nil
		b, err = l.NewBatch()
		return err
	}
	down := w.passes%2 == 0
	for i := range spans {
		if down {
			i = len(spans) - 1 - i
		}
		from, to := spans[i].From.Time, spans[i].To.Time
		if to.After(target) {
			to = target
		}
		if !from.Before(to) {
			continue
		}
		for i := range w.p.versions {
			if down {
				i = len(w.p.versions) - 1 - i
			}
			r := w.p.versions[i]
			if r.At.Before(spans[0].From.Time) || r.At.Before(from) || !r.At.Before(to) || w.p.visible[i].After(target) {
				continue
			}
			known, err := l.Contains(ctx, &r, w.p.lines[i], b)
			if err != nil {
				return err
			}
			if known {
				continue
			}
			if b.Lines() == 3 {
				// All on this side of the line's second has been read.
				if down {
					below := r.At.Add(time.Second)
					if below.After(to) {
						below = to
					}
					err, to = flush(below, to), below
				} else {
					err, from = flush(from, r.At), r.At
				}
				if err != nil {
					return err
				}
			}
			if err := b.Add(r, w.p.lines[i]); err != nil {
				return err
			}
			l.Index(&r)
			held = append(held, string(w.p.lines[i]))
		}
		if err := flush(from, to); err != nil {
			return err
		}
	}
	if len(spans) == 0 {
		return flush(target, target)
	}
	return nil
}

// ended checks the promises at the end: the chain is whole and knows all that
// is there; every version is there once.
func (p *play) ended(t *testing.T, story string) {
	t.Helper()
	p.mem.Before(nil)
	p.mem.Land()
	if err := (&player{p: p, route: straight}).run(t.Context()); err != nil {
		t.Errorf("%s: after all faults: %v", story, err)
	}
	found, _ := verify(t, p.mem, Check{})
	for _, f := range found {
		t.Errorf("%s: %s %s: %s", story, f.Kind, f.Key, f.Text)
	}
	all := stored(t, p.mem, stream)
	for line, n := range all {
		if n != 1 {
			t.Errorf("%s: %d times: %s", story, n, line)
		}
	}
	for _, line := range p.lines {
		if all[string(line)] == 0 {
			t.Errorf("%s: lost (its Commit returned nil: %v): %s", story, p.committed[string(line)], line)
		}
	}
	if len(all) != len(p.lines) {
		t.Errorf("%s: %d lines, %d versions", story, len(all), len(p.lines))
	}
	if v := p.mem.Violations(); len(v) > 0 {
		t.Errorf("%s: %v", story, v)
	}
}

// TestCrashMatrix lets every request in turn fail in every way, and rivals
// write before every request.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	onEach(t, crashMatrix)
}

// onEach runs a test on the memory itself, and on S3 in virtual time.
func onEach(t *testing.T, test func(*testing.T, route)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, straight)
	})
	t.Run("S3", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, overS3) })
	})
}

func crashMatrix(t *testing.T, route route) {
	const versions = 16
	quiet := newPlay(1, versions)
	if err := (&player{p: quiet, route: route}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	requests := quiet.mem.Counts()
	quiet.ended(t, "no fault")

	type way struct {
		name    string
		outcome sinktest.Outcome
		kill    bool
		land    int // requests until what is in flight lands, 0: at the end
		rival   bool
	}
	ways := map[sinktest.Op][]way{
		sinktest.OpPut: {
			{name: "failed", outcome: sinktest.Failed}, {name: "lost", outcome: sinktest.Lost},
			{name: "in flight to the end", outcome: sinktest.InFlight}, {name: "killed before", outcome: sinktest.Failed, kill: true},
			{name: "killed after", outcome: sinktest.Lost, kill: true}, {name: "killed in flight", outcome: sinktest.InFlight, kill: true},
			{name: "a rival first", rival: true}, {name: "a rival first, then lost", rival: true, outcome: sinktest.Lost},
		},
		sinktest.OpGet:  {{name: "failed", outcome: sinktest.Failed}, {name: "cut", outcome: sinktest.Cut}, {name: "killed", kill: true, outcome: sinktest.Failed}, {name: "a rival first", rival: true}},
		sinktest.OpList: {{name: "failed", outcome: sinktest.Failed}, {name: "killed", kill: true, outcome: sinktest.Failed}, {name: "a rival first", rival: true}},
	}
	for land := 1; land <= 6; land++ {
		ways[sinktest.OpPut] = append(ways[sinktest.OpPut],
			way{name: "in flight", outcome: sinktest.InFlight, land: land}, way{name: "killed in flight", outcome: sinktest.InFlight, land: land, kill: true})
	}
	for op, count := range map[sinktest.Op]int{sinktest.OpPut: requests.Puts, sinktest.OpGet: requests.Gets, sinktest.OpList: requests.Lists} {
		for _, way := range ways[op] {
			for n := 1; n <= count; n++ {
				if testing.Short() && (n+way.land)%4 > 0 {
					continue
				}
				p := newPlay(1, versions)
				w := &player{p: p, route: route}
				countdown, busy := 0, false
				p.mem.Before(func(c sinktest.Call) sinktest.Fault {
					if countdown--; countdown == 0 {
						p.mem.Land()
					}
					if busy || c.Op != op || c.N != n {
						return sinktest.Fault{}
					}
					if way.rival {
						busy = true
						rival := &player{p: p, route: route, passes: n}
						rival.restart(t.Context())
						// It gets as far as the first writer, or a pass further.
						if err := rival.pass(t.Context(), p.start.Add(time.Duration(w.passes+n%2)*45*time.Minute)); err != nil {
							t.Errorf("rival: %v", err)
						}
						busy = false
					}
					if way.kill {
						w.session.Kill()
					}
					countdown = way.land
					return sinktest.Fault{Outcome: way.outcome}
				})
				story := fmt.Sprintf("%s %d %s (lands after %d)", op, n, way.name, way.land)
				if err := w.run(t.Context()); err != nil {
					t.Errorf("%s: %v", story, err)
				}
				p.ended(t, story)
				if t.Failed() {
					return
				}
			}
		}
	}
}

// turns lets one of several goroutines at a time go from one request to its
// next, in an order drawn from a seed.
type turns struct {
	parked  chan int
	granted []chan sinktest.Fault
	of      map[int]int // session to writer
}

// TestWritersInterleaved lets two and three writers take turns at every
// request, with faults at one in twelve.
func TestWritersInterleaved(t *testing.T) {
	t.Parallel()
	onEach(t, writersInterleaved)
}

func writersInterleaved(t *testing.T, route route) {
	seeds := 250
	if testing.Short() {
		seeds = 30
	}
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 11))
		p := newPlay(seed, 5+rng.IntN(20))
		writers := 2 + int(seed%2)
		s := turns{parked: make(chan int), of: map[int]int{}}
		players := make([]*player, writers)
		errs := make([]error, writers)
		sessions := 0
		for i := range players {
			s.granted = append(s.granted, make(chan sinktest.Fault))
			players[i] = &player{p: p, route: route, born: func(*player) { sessions++; s.of[sessions] = i }}
		}
		p.mem.Before(func(c sinktest.Call) sinktest.Fault {
			i := s.of[c.Session]
			s.parked <- i
			return <-s.granted[i]
		})
		waiting := []int{}
		for i, w := range players {
			go func() {
				errs[i] = w.run(t.Context())
				s.parked <- ^i
			}()
			waiting = append(waiting, <-s.parked) // one at a time
		}
		for faults := 40; len(waiting) > 0; {
			at := rng.IntN(len(waiting))
			i := waiting[at]
			waiting = append(waiting[:at], waiting[at+1:]...)
			fault := sinktest.Fault{}
			if faults > 0 && rng.IntN(12) == 0 {
				faults--
				fault.Outcome = sinktest.Outcome(rng.IntN(5))
				if rng.IntN(3) == 0 {
					players[i].session.Kill()
				}
			}
			if rng.IntN(10) == 0 {
				p.mem.Land()
			}
			s.granted[i] <- fault
			if next := <-s.parked; next >= 0 {
				waiting = append(waiting, next)
			}
		}
		story := fmt.Sprintf("seed %d", seed)
		if err := errors.Join(errs...); err != nil {
			t.Errorf("%s: %v", story, err)
		}
		p.ended(t, story)
		if t.Failed() {
			return
		}
	}
}

// TestLoadForgetsWhatRivalsOutdate holds a ledger that lives on to what
// another one commits between its passes.
func TestLoadForgetsWhatRivalsOutdate(t *testing.T) {
	p := newPlay(3, 20)
	a, b := &player{p: p, route: straight}, &player{p: p, route: straight}
	a.restart(t.Context())
	b.restart(t.Context())
	for pass := 1; pass <= 8; pass++ {
		w := a
		if pass%2 == 0 {
			w = b
		}
		if err := w.pass(t.Context(), p.start.Add(time.Duration(pass)*45*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	p.ended(t, "in turn")
}
