package defender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/defender/internal/walk"
	"incident-exporter/exporter/rawjson"
)

// answers is a RoundTripper that answers as it is told.
type answers func(r *http.Request) (status int, body io.Reader)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

type oneToken struct{}

func (oneToken) Token(context.Context, string) (string, error) { return "made-up-token", nil }

func fed(api API, maxAnswer int64, f answers) *Source {
	return New(Config{
		Origin: &url.URL{Scheme: "https", Host: "api.fabrikam.example"}, Transport: f, Tokens: oneToken{}, Concurrency: 4, MaxAnswer: maxAnswer,
		Log: slog.New(slog.DiscardHandler), API: api,
	})
}

const dated = `"lastUpdateTime":"2026-03-02T08:15:30Z","createdTime":"2026-03-02T08:15:00Z"`

// An answer that ends anywhere blames the incident that it ends in, or none.
func TestCutAnswerBlamesTheRightOne(t *testing.T) {
	for _, ids := range [][]string{{"1", "2", "3"}, {"7", "78", "789"}, {`"a"`, `"ab"`, `"a\"b"`}} {
		text, ends := `{"value":[`, []int{}
		for i, id := range ids {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(`{"incidentId":%s,%s}`, id, dated)
			ends = append(ends, len(text))
		}
		text += `]}`
		var whole []string
		for _, id := range ids {
			plain, _ := rawjson.Line(fmt.Appendf(nil, `{"incidentId":%s,%s}`, id, dated), Defender().names)
			whole = append(whole, plain.ID)
		}
		for cut := range len(text) {
			s := fed(Defender(), 1<<20, func(*http.Request) (int, io.Reader) { return 200, strings.NewReader(text[:cut]) })
			p, err := s.list(t.Context(), walk.Question{Top: 100}, false, 1)
			var api *APIError
			if !errors.As(err, &api) || !oneCannot(err) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			complete := 0
			for complete < len(ends) && ends[complete] <= cut {
				complete++
			}
			if len(p.rows) > complete || api.Incident != "" && (complete == len(ids) || api.Incident != whole[complete]) {
				t.Errorf("%q: cut at %d: %d rows, blamed %q", text[:cut], cut, len(p.rows), api.Incident)
			}
			for i := range p.rows {
				if p.rows[i].ID != whole[i] {
					t.Errorf("cut at %d: row %d is %q", cut, i, p.rows[i].ID)
				}
			}
			p.release()
			p.release()
			if used := s.share.memory.used; used != 0 {
				t.Fatalf("cut at %d: %d bytes are not given back", cut, used)
			}
		}
	}
}

// What answers hold is given back, whatever becomes of them.
func TestMemoryIsGivenBack(t *testing.T) {
	graph := `"lastUpdateDateTime":"2026-03-02T08:15:30Z"`
	big := strings.Repeat("x", 400<<10)
	f := func(r *http.Request) (int, io.Reader) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/alerts") && r.URL.Query().Get("$skip") != "":
			return 200, strings.NewReader(`{"value":[]}`)
		case strings.HasSuffix(path, "/alerts"):
			var alerts []string // none of them larger than a buffer
			for i := range 50 {
				alerts = append(alerts, fmt.Sprintf(`{"id":"%d","pad":%q,%s}`, i, big[:8<<10], graph))
			}
			return 200, strings.NewReader(`{"value":[` + strings.Join(alerts, ",") + `]}`)
		case strings.HasSuffix(path, "/7") && r.URL.RawQuery == "":
			return 200, strings.NewReader(`{"id":"7","pad":"` + big + `",` + graph + `}`)
		}
		return 500, strings.NewReader("")
	}
	s := fed(Graph(), 1<<20, f)
	synctest.Test(t, func(t *testing.T) {
		m := s.share.memory.begin(t.Context())
		o, err := s.entity(t.Context(), "7", m)
		if err != nil {
			t.Fatal(err)
		}
		// The text and the line of the incident, and each alert twice.
		if held := int64(len(o.line)); held < 800<<10 || m.used < 2*held {
			t.Errorf("%d bytes counted for a line of %d", m.used, held)
		}
		mark := m.used
		if _, err := s.entity(t.Context(), "8", m); err == nil || m.used != mark {
			t.Errorf("%v: %d bytes counted, were %d", err, m.used, mark)
		}
		m.end()
	})
	if s.share.memory.used != 0 || len(s.share.memory.alone) != 0 {
		t.Errorf("%d bytes are not given back", s.share.memory.used)
	}
}

// Waiting for room ends with the context; whoever has what others wait for
// always gets on.
func TestRoomForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(100)
		a, b := m.begin(t.Context()), m.begin(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := m.begin(ctx)
		for _, u := range []*use{a, b, c} { // the first bytes are there for everybody
			if err := u.more(40); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.more(1000); err != nil { // beyond the limit, alone
			t.Fatal(err)
		}
		begun := time.Now()
		if err := c.more(10); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		time.AfterFunc(time.Minute, func() { a.back(40); c.end() })
		if err := b.more(20); err != nil {
			t.Fatal(err)
		}
		if err := a.more(1000); err != nil { // still the one that may
			t.Fatal(err)
		}
		a.end()
		a.end()
		b.end()
		if m.used != 0 {
			t.Errorf("%d bytes are not given back", m.used)
		}
	})
}

// Answers that are read at once, each larger than there is room for all, and
// incidents of them by id: none waits for itself.
func TestLargeAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pad := strings.Repeat("x", 700<<10)
		s := fed(Graph(), 1<<20, func(r *http.Request) (int, io.Reader) {
			if id, one := strings.CutPrefix(r.URL.Path, "/v1.0/security/incidents/"); one {
				return 200, strings.NewReader(`{"id":"` + id + `","lastUpdateDateTime":"2026-03-02T08:15:30Z","alerts":[],"pad":"` + pad + `"}`)
			}
			return 200, strings.NewReader(`{"value":[{"id":"7","lastUpdateDateTime":"2026-03-02T08:15:30Z","alerts":null,"pad":"` + pad + `"}]}`)
		})
		s.client.flight = make(chan struct{}, 8) // as many as there are lanes; the places are those of all tenants
		done := make(chan error, 8)
		for range 8 {
			go func() {
				p, err := s.list(t.Context(), walk.Question{Top: 50}, false, 1)
				if err == nil {
					_, err = s.complete(t.Context(), p)
				}
				p.release()
				done <- err
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 8 {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-ctx.Done():
				t.Fatal("they wait for each other")
			}
		}
	})
}

// Whatever is served, nothing panics and no memory is kept.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"value":[{"incidentId":7,`+dated+`}],"@odata.nextLink":"https://api.fabrikam.example/x"}`), 100)
	f.Add([]byte(`{"value":[{"incidentId":7},"x",{"incidentId":"8",`+dated+`}]}`), 1)
	f.Add([]byte("\xef\xbb\xbf{\"value\":[]}"), 10)
	f.Fuzz(func(t *testing.T, body []byte, top int) {
		s := fed(Defender(), 1<<16, func(*http.Request) (int, io.Reader) { return 200, bytes.NewReader(body) })
		p, err := s.list(t.Context(), walk.Question{Top: max(1, top%100)}, false, 1)
		if len(p.rows) != len(p.lines) || err == nil && p.bad != nil || len(p.rows) > max(1, top%100) {
			t.Fatalf("%d rows, %d lines, %v", len(p.rows), len(p.lines), err)
		}
		for i, line := range p.lines {
			if in, err := rawjson.Line(line, s.names); err != nil || in.ID != p.rows[i].ID {
				t.Fatalf("row %q: line %q: %v", p.rows[i].ID, line, err)
			}
		}
		p.release()
		if s.share.memory.used != 0 {
			t.Fatal(s.share.memory.used, "bytes are not given back")
		}
	})
}

// The quota's own rule against the plain one: no window ever holds more.
func TestQuotaWindows(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			q := &quota{limits: []Limit{{5, time.Minute}, {12, 10 * time.Minute}}}
			var sent []time.Time
			for range 60 {
				c, err := q.take(t.Context(), rng.IntN(3) == 0)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.IntN(3)) * time.Second) // for a token, and a place
				q.going(c)
				if rng.IntN(5) > 0 {
					q.sent(c)
				}
				sent = append(sent, time.Now())
				q.done(c, false)
				time.Sleep(time.Duration(rng.IntN(20)) * time.Second)
			}
			for _, l := range q.limits {
				for i := range sent {
					if j := i + l.Calls; j < len(sent) && sent[j].Sub(sent[i]) < l.Per {
						t.Errorf("seed %d: %d calls within %v", seed, l.Calls+1, sent[j].Sub(sent[i]))
					}
				}
			}
		})
	}
}

// A free place goes to whoever has the fewest calls in flight.
func TestShareIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShare(4, 1<<20)
		greedy, modest := &client{}, &client{}
		for range 4 {
			if err := s.take(t.Context(), greedy); err != nil {
				t.Fatal(err)
			}
		}
		order := make(chan string, 3)
		wait := func(name string, c *client) {
			go func() {
				if s.take(t.Context(), c) == nil {
					order <- name
				}
			}()
			synctest.Wait()
		}
		wait("greedy", greedy)
		wait("modest", modest)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if s.take(ctx, modest) == nil {
				order <- "gone"
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		s.done(greedy)
		synctest.Wait()
		s.done(greedy)
		if first, second := <-order, <-order; first != "modest" || second != "greedy" {
			t.Errorf("%s, %s", first, second)
		}
	})
}
