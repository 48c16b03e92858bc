package defender_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

func TestQuotaDialects(t *testing.T) {
	for _, graph := range []bool{false, true} {
		for _, dialect := range []simulator.QuotaDialect{simulator.RetrySeconds, simulator.RetryDecimal, simulator.RetryHTTPDate, simulator.RetryBodyOnly} {
			in(t, func(t *testing.T) {
				// The tenant's other tools have used most of the quota: ours does not know.
				tn := newTenant(t, simulator.Options{Incidents: 1500}, func(b *simulator.Behaviour) {
					b.Quota, b.GraphQuota, b.QuotaDialect = []simulator.Limit{{N: 10, Per: time.Minute}}, []simulator.Limit{{N: 10, Per: time.Minute}}, dialect
				}, func(c *defender.Config) {
					if graph {
						ofGraph(c)
					}
				})
				begun := time.Now()
				if _, err := tn.read(tn.from, tn.newest()); err != nil {
					t.Fatal(err)
				}
				if missing := tn.missing(tn.newest()); len(missing) > 0 || time.Since(begun) > 10*time.Minute {
					t.Errorf("dialect %d: %d missing after %v", dialect, len(missing), time.Since(begun))
				}
			})
		}
	}
}

func TestWaitBeyondTheRunIsAnError(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, nil, func(c *defender.Config) {
			c.Quota = []defender.Limit{{Calls: 1, Per: 10 * time.Hour}}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		err := tn.source.Read(ctx, exporter.Reading{Span: span(tn.from, tn.newest())}, tn.archive)
		var limited *defender.LimitedError
		if !errors.As(err, &limited) || time.Since(begun) > time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// refusing is a server that refuses calls, and when it was called.
type refusing struct {
	server
	refuse func(n int, since time.Duration) (retryAfter string, refuse bool)
	lock   sync.Mutex
	times  []time.Time
	last   time.Time
}

func newRefusing(refuse func(n int, since time.Duration) (string, bool)) *refusing {
	r := &refusing{refuse: refuse}
	r.bend = func(w http.ResponseWriter, _ *http.Request, _ []incident) bool {
		r.lock.Lock()
		defer r.lock.Unlock()
		now := time.Now()
		after, refuse := r.refuse(len(r.times), now.Sub(r.last))
		r.times, r.last = append(r.times, now), now
		if refuse {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			http.Error(w, `{"error":{"code":"TooManyRequests","message":"made up"}}`, http.StatusTooManyRequests)
		}
		return refuse
	}
	return r
}

// A wait that nobody can mean is cut to the longest window of the quota; then
// there is one call to see.
func TestRetryAfterOfManyYears(t *testing.T) {
	in(t, func(t *testing.T) {
		begun := time.Now()
		r := newRefusing(func(int, time.Duration) (string, bool) { return "1000000000", time.Since(begun) < 90*time.Minute })
		source, _, _ := r.source(nil)
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := source.Clock(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); took < 2*time.Hour || took > 2*time.Hour+time.Minute {
			t.Errorf("took %v", took)
		}
		probes := 0
		for _, at := range r.times {
			if since := at.Sub(begun); since > time.Minute && since < 2*time.Hour-time.Minute {
				probes++
			}
		}
		if probes != 1 {
			t.Errorf("%d calls to see: %v", probes, r.times)
		}
	})
}

// A server that says one second and means more is not called each second.
func TestRefusalsThatFollowEachOther(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRefusing(func(int, time.Duration) (string, bool) { return "1", true })
		source, _, _ := r.source(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := source.Clock(ctx); err == nil {
			t.Error("no error")
		}
		if n := len(r.times); n > 25 {
			t.Errorf("%d refused calls in an hour", n)
		}
	})
	in(t, func(t *testing.T) {
		r := newRefusing(func(_ int, since time.Duration) (string, bool) { return "1", since < 5*time.Second })
		source, _, _ := r.source(nil)
		begun := time.Now()
		for range 50 {
			if err := source.Clock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n, took := len(r.times), time.Since(begun); n > 110 || took > 15*time.Minute {
			t.Errorf("%d calls for 50 in %v", n, took)
		}
	})
	in(t, func(t *testing.T) {
		// One refusal is over when it is over.
		r := newRefusing(func(n int, _ time.Duration) (string, bool) { return "3", n == 0 })
		source, _, _ := r.source(nil)
		begun := time.Now()
		for range 20 {
			if err := source.Clock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 3*time.Second || took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestSpentCallsOfOthersCount(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, nil, nil)
		tn.source.Spent(map[time.Time]int{time.Now().Add(-30 * time.Second): 50})
		if n := tn.source.Left(); n != 0 {
			t.Errorf("%d left", n)
		}
		begun := time.Now()
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begun); waited < 30*time.Second || waited > 35*time.Second {
			t.Errorf("waited %v", waited)
		}
		if u := tn.source.Usage(); u.Waited < 30*time.Second {
			t.Errorf("usage %+v", u)
		}
	})
}

// What is read again takes at most half of the quota.
func TestReadingAgainLeavesHalf(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 4000}, nil, nil)
		time.Sleep(2 * time.Minute)
		begun := time.Now()
		if err := tn.source.Read(t.Context(), exporter.Reading{Span: span(tn.from, tn.newest()), Again: true}, tn.archive); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Minute || tn.source.Left() < 25 {
			t.Errorf("took %v, %d left", took, tn.source.Left())
		}
	})
}

func TestRevokedTokenIsRenewedOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 400}, nil, nil)
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		tn.sim.RevokeTokens()
		tn.all()
		tn.seconds(0)
		tn.sim.Change(func(b *simulator.Behaviour) { b.Roles = nil })
		tn.sim.RevokeTokens()
		before := tn.sim.Calls().API()
		err := tn.source.Clock(t.Context())
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != http.StatusForbidden || api.Code != "Forbidden" || tn.sim.Calls().API() != before+2 {
			t.Errorf("without the role: %v", err)
		}
	})
}

// mortal gives no token that has less than five minutes to live.
type mortal struct {
	*token
	got time.Time
}

func (m *mortal) Token(ctx context.Context, stale string) (string, error) {
	if time.Since(m.got) > 25*time.Minute || m.value == stale {
		m.value, m.got = "", time.Now()
	}
	return m.token.Token(ctx, stale)
}

// The wait for the quota is longer than a token lives.
func TestTokenOutlivesTheWaitForQuota(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 3000}, func(b *simulator.Behaviour) { b.TokenLifetime = 30 * time.Minute }, func(c *defender.Config) {
			c.Quota = []defender.Limit{{Calls: 5, Per: time.Hour}}
			c.Tokens = &mortal{token: c.Tokens.(*token)}
		})
		if _, err := tn.read(tn.from, tn.newest()); err != nil {
			t.Error(err)
		}
	})
}

// A token that the other side echoes, wherever it may.
func TestEchoedToken(t *testing.T) {
	const jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJtYWRlIHVwIn0.c2lnbmF0dXJl"
	for name, echo := range map[string]func(w http.ResponseWriter, token string){
		"body": func(w http.ResponseWriter, k string) {
			w.WriteHeader(400)
			fmt.Fprint(w, "<p>Authorization: Bearer "+k+"</p>")
		},
		"bare": func(w http.ResponseWriter, k string) { w.WriteHeader(400); fmt.Fprint(w, k) },
		"message": func(w http.ResponseWriter, k string) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"x","message":%q}}`, "bearer "+k)
		},
		"code": func(w http.ResponseWriter, k string) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":%q,"message":"x"}}`, k)
		},
		"target": func(w http.ResponseWriter, k string) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"x","target":%q}}`, k)
		},
		"inner": func(w http.ResponseWriter, k string) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":{"code":"","innerError":{"message":%q}}}`, k)
		},
		"request id": func(w http.ResponseWriter, k string) { w.Header().Set("request-id", k); w.WriteHeader(400) },
		"warning": func(w http.ResponseWriter, k string) {
			w.Header().Set("Warning", `199 - "`+k+`/x/504/1"`)
			w.WriteHeader(206)
			fmt.Fprint(w, `{"value":[]}`)
		},
		"refused": func(w http.ResponseWriter, k string) {
			w.Header().Set("Warning", `199 - "a/`+k+`/403/1"`)
			w.WriteHeader(206)
			fmt.Fprint(w, `{"value":[]}`)
		},
		"no JSON": func(w http.ResponseWriter, k string) { fmt.Fprint(w, "you sent "+k) },
		"id":      func(w http.ResponseWriter, k string) { fmt.Fprintf(w, `{"value":[{"incidentId":%q}]}`, k) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, token := range []string{jwt, "made-up-token"} {
				in(t, func(t *testing.T) {
					s := &server{rows: many(3)}
					s.bend = func(w http.ResponseWriter, _ *http.Request, _ []incident) bool { echo(w, token); return true }
					source, a, log := s.source(func(c *defender.Config) { c.Tokens = constant(token) })
					err := s.read(t, source, a)
					clock := source.Clock(t.Context())
					for _, text := range []string{fmt.Sprintf("%v %+v %v %+v", err, err, clock, clock), log.String(), fmt.Sprint(source.Usage().Requests), fmt.Sprint(a.unread, a.how, a.refused)} {
						if strings.Contains(text, token) || strings.Contains(text, token[:min(len(token), 30)]) || strings.Contains(text, "signature") {
							t.Errorf("the token is in %.600s", text)
						}
					}
				})
			}
		})
	}
}

type constant string

func (c constant) Token(context.Context, string) (string, error) { return string(c), nil }

func TestGraphHeaders(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{graph: true, rows: many(200)}
		for i := range s.rows {
			s.rows[i].members = `,"alerts":[]`
		}
		source, a, _ := s.source(nil)
		if err := s.read(t, source, a); err != nil {
			t.Fatal(err)
		}
		s.kept(t, a)
		ids := map[string]bool{}
		for _, r := range s.calls {
			id := r.Header.Get("client-request-id")
			if ids[id] || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
				t.Fatalf("client-request-id %q", id)
			}
			ids[id] = true
			if r.Header.Get("Prefer") != "include-unknown-enum-members" || strings.Contains(r.URL.RawQuery, "orderby") || r.Header.Get("Authorization") != "Bearer made-up-token" {
				t.Errorf("%s: %v", r.URL, r.Header)
			}
		}
	})
}

func TestErrorsSayWhatTheyCan(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, nil, func(c *defender.Config) { ofGraph(c); c.Top = 51 })
		_, err := tn.read(tn.from, tn.newest())
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != 400 || api.RequestID == "" || !strings.Contains(api.Message, "limit of '50' for Top") {
			t.Errorf("too long a page: %v", err)
		}
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if r.Method == http.MethodGet {
					return simulator.Error504
				}
				return simulator.NoFault
			}
		})
		err = tn.source.Clock(t.Context())
		if !errors.As(err, &api) || api.Status != 504 || api.Code != "UnknownError" || api.Message != "" || !api.Temporary() {
			t.Errorf("504: %v", err)
		}
	})
}

// The server's clock is that of its answers; a gateway's does not count.
func TestClock(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 10}, func(b *simulator.Behaviour) { b.ClockSkew = -3 * time.Hour }, nil)
		if _, known := tn.source.Now(); known {
			t.Error("known before any answer")
		}
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		now, known := tn.source.Now()
		if late := tn.sim.Now().Sub(now); !known || late < 0 || late > 2*time.Second {
			t.Errorf("%v is %v behind", now, late)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.NoDate = true })
		if err := tn.source.Clock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now, _ := tn.source.Now(); now.After(time.Now()) || time.Since(now) > 2*time.Second || !strings.Contains(tn.log.String(), "no Date") {
			t.Errorf("without a Date: %v", now)
		}
	})
}

// No answer is later than its question was asked: claims begin before it.
func TestAskedIsBeforeTheAnswer(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 250}, func(b *simulator.Behaviour) { b.Latency = 7 * time.Second }, nil)
		asked := []time.Time{}
		tn.during(1000, func() { asked = append(asked, tn.sim.Now()) })
		tn.all()
		for _, c := range tn.archive.claims {
			if c.Asked.IsZero() || !slices.ContainsFunc(asked, func(at time.Time) bool { d := at.Sub(c.Asked.Time); return d >= 0 && d < 20*time.Second }) {
				t.Errorf("asked %v; the server was at %v", c.Asked, asked)
			}
		}
	})
}
