package defender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

func missing(tn *tenant, g *got, to time.Time) (ids []string) {
	for _, v := range tn.sim.Final() {
		at, _ := time.Parse(time.RFC3339Nano, v.Updated)
		if v.VisibleUntil.IsZero() && at.Before(to) && g.lines[fmt.Sprint(v.ID)] != string(v.Line()) {
			ids = append(ids, fmt.Sprint(v.ID)+" "+v.Updated)
		}
	}
	return ids
}

// The incident created last is updated while a server that compares coarsely is read.
func TestCheckOfACoarseServer(t *testing.T) {
	for _, res := range []time.Duration{0, time.Millisecond, time.Second} {
		t.Run(res.String(), func(t *testing.T) {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 250, Span: 100 * 24 * time.Hour}, nil, nil)
				time.Sleep(2 * time.Hour)
				var newest int64
				var created string
				for _, v := range tn.sim.Final() {
					var m struct{ CreatedTime string }
					if err := json.Unmarshal(v.Line(), &m); err != nil {
						t.Fatal(err)
					}
					if m.CreatedTime > created {
						created, newest = m.CreatedTime, v.ID
					}
				}
				var once sync.Once
				tn.sim.Change(func(b *simulator.Behaviour) {
					b.Resolution = res
					b.Fail = func(r *http.Request, _ int) simulator.Fault {
						if r.URL.Query().Get("$skip") == "100" {
							once.Do(func() { _, _ = tn.sim.Update(newest) })
						}
						return simulator.NoFault
					}
				})
				from, to := tn.all()
				g, err := tn.read(t.Context(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				if ids := missing(tn, g, to); len(ids) > 0 || len(g.unfetched) > 0 {
					t.Errorf("lost: %v; unfetched %v", ids, g.unfetched)
				}
			})
		})
	}
}

// cutter cuts list answers in the middle of one incident.
type cutter struct {
	next   http.RoundTripper
	id     string
	onSkip func()
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/api/incidents" && r.URL.Query().Get("$skip") == "1" && r.URL.Query().Get("$top") == "1" {
		c.onSkip()
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil || resp.StatusCode != 200 || r.URL.Path != "/api/incidents" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if at := bytes.Index(body, []byte(`"incidentId":`+c.id+",")); at >= 0 {
		body = body[:at+40]
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// An incident is fetched by its id and leaves the set before what is behind it is asked for.
func TestByIDOfAnIncidentThatChanges(t *testing.T) {
	in(t, func(t *testing.T) {
		c := &cutter{}
		tn := newTenant(t, simulator.Options{Incidents: 2, Span: 24 * time.Hour, Tie: 2}, nil, func(cfg *defender.Config) {
			c.next = cfg.Transport
			cfg.Transport = c
		})
		fin := tn.sim.Final()
		x := fin[0].ID // served first
		time.Sleep(3 * time.Hour)
		now := tn.sim.Now()
		_ = fin
		c.id = fmt.Sprint(x)
		var once sync.Once
		c.onSkip = func() { once.Do(func() { _, _ = tn.sim.Update(x); c.id = "none" }) }
		to := now.Add(-time.Minute).Truncate(time.Second)
		g, err := tn.read(t.Context(), now.Add(-30*time.Hour), to)
		if err != nil {
			t.Fatal(err)
		}
		if ids := missing(tn, g, to); len(ids) > 0 && len(g.unfetched) == 0 {
			t.Errorf("lost: %v; got %d, unfetched %v", ids, len(g.lines), g.unfetched)
		}
		t.Log(len(g.lines), g.unfetched)
	})
}

// The wait for the quota is longer than a token lives.
func TestTokenOutlivesTheWaitForQuota(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 3000}, func(b *simulator.Behaviour) {
			b.TokenLifetime = 30 * time.Minute
		}, func(cfg *defender.Config) {
			cfg.Quota = []defender.Limit{{Calls: 5, Per: time.Hour}}
			cfg.Tokens = &mortal{token: cfg.Tokens.(*token)}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		from, to := tn.all()
		_, err := tn.read(ctx, from, to)
		if err != nil {
			t.Error(err)
		}
	})
}

// mortal gives no token that has less than five minutes to live.
type mortal struct {
	*token
	got time.Time
}

func (m *mortal) Token(ctx context.Context, stale string) (string, error) {
	m.lock <- struct{}{}
	if time.Since(m.got) > 25*time.Minute || m.value == stale {
		m.value, m.got = "", time.Now()
	}
	<-m.lock
	return m.token.Token(ctx, stale)
}
