package simulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

func TestQuotaIsPoliced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 1, Incidents: 3, Size: 600})
		c := call(t, sim)
		for range 50 {
			c.list()
			time.Sleep(time.Second)
		}
		c.violations()
		// 50 s are gone: the first call leaves the window in 10 s.
		r, _, err := c.get("/api/incidents")
		if err != nil || r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "11" {
			t.Fatal(r, err) // 11: the refused call counts as well
		}
		c.violations("quota")
		time.Sleep(11 * time.Second)
		c.list()
		c.violations("quota")
		// The hourly limit binds while the one a minute does not.
		for range 1500 - 52 {
			time.Sleep(1300 * time.Millisecond)
			c.list()
		}
		time.Sleep(1300 * time.Millisecond)
		if status, _ := c.status(path(40001)); status != http.StatusTooManyRequests {
			t.Errorf("call 1501 of the hour: %d", status)
		}
		c.violations("quota", "quota")
	})
}

func TestQuotaDialects(t *testing.T) {
	for dialect, check := range map[simulator.QuotaDialect]func(h http.Header, code string, now time.Time) bool{
		simulator.RetrySeconds: func(h http.Header, code string, _ time.Time) bool {
			return h.Get("Retry-After") == "59" && code == "TooManyRequests"
		},
		simulator.RetryDecimal: func(h http.Header, code string, _ time.Time) bool {
			wait, err := strconv.ParseFloat(h.Get("Retry-After"), 64)
			return err == nil && wait == 58.5 && code == "TooManyRequests"
		},
		simulator.RetryHTTPDate: func(h http.Header, code string, now time.Time) bool {
			at, err := http.ParseTime(h.Get("Retry-After"))
			wait := at.Sub(now)
			return err == nil && wait >= 58500*time.Millisecond && wait < 59500*time.Millisecond && code == "TooManyRequests"
		},
		simulator.RetryBodyOnly: func(h http.Header, code string, _ time.Time) bool {
			return h.Get("Retry-After") == "" && code == "429"
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 1, Incidents: 3})
			c := call(t, sim)
			sim.Change(func(b *simulator.Behaviour) {
				b.Quota, b.QuotaDialect = []simulator.Limit{{N: 2, Per: time.Minute}}, dialect
			})
			c.list()
			c.list()
			time.Sleep(1500 * time.Millisecond)
			sim.Change(func(b *simulator.Behaviour) { b.Quota[0].N = 3 })
			c.list()
			// Two of the four have to leave: those of 1.5 s ago.
			r, body, err := c.get("/api/incidents")
			var e struct {
				Error struct{ Code, Message string }
			}
			if err != nil || json.Unmarshal(body, &e) != nil || r.StatusCode != http.StatusTooManyRequests ||
				e.Error.Message != "API calls quota exceeded! maximum allowed 3 per 00:01:00" {
				t.Fatal(r, err, string(body))
			}
			if !check(r.Header, e.Error.Code, sim.Now()) {
				t.Errorf("dialect %d: %v %s", dialect, r.Header, body)
			}
			c.violations("quota")
		})
	}
}

// TestFaults asks for every fault, in process and in virtual time.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 1, Incidents: 120, Size: 1500})
		c := call(t, sim)
		sim.Change(free)
		_, whole, err := c.get("/api/incidents")
		if err != nil {
			t.Fatal(err)
		}
		checkFaults(t, c, whole)
		begin := time.Now()
		for _, f := range []simulator.Fault{simulator.Slow, simulator.Stalled} {
			sim.Change(fails(f))
			if _, body, err := c.get("/api/incidents"); err != nil || !bytes.Equal(body, whole) {
				t.Errorf("fault %d: %v, %d bytes of %d", f, err, len(body), len(whole))
			}
		}
		if took := time.Since(begin); took != 40*time.Second {
			t.Errorf("two slow answers took %v", took)
		}
		c.violations()
	})
}

// TestFaultsOverTLS sees that they look the same on a real connection.
func TestFaultsOverTLS(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 120, Size: 1500})
	server := httptest.NewTLSServer(sim)
	defer server.Close()
	c := call(t, sim)
	sim.Change(free)
	c.client = server.Client()
	to := http.DefaultTransport.(*http.Transport).Clone()
	to.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	c.client.Transport = redirected{to, server.Listener.Addr().String()}
	r, whole, err := c.get("/api/incidents")
	if err != nil || len(r.TransferEncoding) != 1 || r.TransferEncoding[0] != "chunked" || r.ContentLength != -1 {
		t.Fatal(r, err)
	}
	checkFaults(t, c, whole)
	c.violations()
}

// redirected sends every request to one address.
type redirected struct {
	to   http.RoundTripper
	addr string
}

func (d redirected) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = d.addr
	return d.to.RoundTrip(r)
}

// fails makes every API call fail in one way.
func fails(f simulator.Fault) func(*simulator.Behaviour) {
	return func(b *simulator.Behaviour) { b.FailRate, b.FailKinds = 1, []simulator.Fault{f} }
}

func checkFaults(t *testing.T, c *caller, whole []byte) {
	t.Helper()
	for _, f := range []struct {
		fault  simulator.Fault
		status int
		body   string // it begins with
	}{
		{simulator.Error500, 500, `{"error":{"code":"InternalServerError"`},
		{simulator.Error500Empty, 500, ""},
		{simulator.Error502, 502, "<!DOCTYPE html>"},
		{simulator.Error503, 503, `{"error":{"code":"ServiceUnavailable"`},
		{simulator.Error504, 504, ""},
		{simulator.HTML200, 200, "<!DOCTYPE html>"},
		{simulator.EmptyBody, 200, ""},
		{simulator.ForeignTooMany, 429, `{"error":{"code":"TooManyRequests"`},
	} {
		c.sim.Change(fails(f.fault))
		r, body, err := c.get("/api/incidents")
		if err != nil || r.StatusCode != f.status || !bytes.HasPrefix(body, []byte(f.body)) || f.body == "" && len(body) > 0 {
			t.Errorf("fault %d: %v %v %s", f.fault, r, err, body)
		}
	}
	c.sim.Change(fails(simulator.CutBody))
	for range 20 {
		r, body, err := c.get("/api/incidents")
		if !errors.Is(err, io.ErrUnexpectedEOF) || r.StatusCode != http.StatusOK || !bytes.HasPrefix(whole, body) || len(body) >= len(whole) {
			t.Errorf("cut body: %v, %d bytes of %d", err, len(body), len(whole))
		}
	}
	c.sim.Change(fails(simulator.Reset))
	if r, _, err := c.get("/api/incidents"); err == nil || r != nil {
		t.Errorf("reset: %v %v", r, err)
	}
	c.sim.Change(func(b *simulator.Behaviour) { b.FailRate = 0 })
}

// TestFailHook sees every request, and may use the simulator.
func TestFailHook(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10})
	c := call(t, sim)
	var seen []int
	sim.Change(func(b *simulator.Behaviour) {
		b.Fail = func(r *http.Request, n int) simulator.Fault {
			sim.Create()
			seen = append(seen, n)
			if r.URL.Path != "/api/incidents" {
				return simulator.Error503
			}
			return simulator.NoFault
		}
	})
	if n := len(c.list()); n != 11 {
		t.Errorf("%d incidents", n)
	}
	if status, _ := c.post("/"+simulator.DefaultTenant+"/oauth2/token", form()); status != http.StatusServiceUnavailable {
		t.Errorf("token request: %d", status)
	}
	if len(seen) != 2 || seen[0] != 2 || seen[1] != 3 {
		t.Errorf("requests seen are %v", seen)
	}
}

func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10})
		c := call(t, sim)
		sim.Change(func(b *simulator.Behaviour) { b.ClockSkew, b.Latency = time.Hour, 10*time.Second })
		begin := time.Now()
		v, err := sim.Update(40003)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := c.get("/api/incidents")
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("a call took %v", took)
		}
		date, err := http.ParseTime(r.Header.Get("Date"))
		if err != nil || date.Sub(begin) != time.Hour+5*time.Second {
			t.Errorf("Date is %v off: %v", date.Sub(begin), err)
		}
		if at, err := time.Parse(time.RFC3339Nano, v.Updated); err != nil || at.Sub(begin) < time.Hour || at.Sub(begin) > time.Hour+time.Second {
			t.Errorf("updated %v off: %v", at.Sub(begin), err)
		}
	})
}
