package simulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"incident-exporter/exporter/simulator"
)

// host is where the simulator is in these tests; the transport is in-process.
const host = "https://simulated.example"

// caller is a client of a simulator.
type caller struct {
	t      *testing.T
	sim    *simulator.Simulator
	client *http.Client
	token  string
}

func call(t *testing.T, sim *simulator.Simulator) *caller {
	c := &caller{t: t, sim: sim, client: &http.Client{Transport: simulator.Transport(sim)}}
	c.login()
	return c
}

// login gets a token for the incidents API.
func (c *caller) login() {
	c.t.Helper()
	status, body := c.post("/"+simulator.DefaultTenant+"/oauth2/v2.0/token", form("scope", simulator.DefaultAudience+"/.default"))
	token, ok := body["access_token"].(string)
	if status != http.StatusOK || !ok {
		c.t.Fatalf("token request: %d %v", status, body)
	}
	c.token = token
}

// form is a good token request with some fields set, or, to "", left out.
func form(fields ...string) url.Values {
	v := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID}, "client_secret": {simulator.DefaultSecret},
	}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
		if fields[i+1] == "" {
			v.Del(fields[i])
		}
	}
	return v
}

func (c *caller) post(path string, form url.Values) (int, map[string]any) {
	c.t.Helper()
	r, err := c.client.PostForm(host+path, form)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatal(err)
	}
	return r.StatusCode, body
}

// get makes an API call and reads the whole body; a broken connection is err.
func (c *caller) get(target string) (r *http.Response, body []byte, err error) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, host+target, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	r, err = c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer r.Body.Close()
	body, err = io.ReadAll(r.Body)
	return r, body, err
}

// row is what these tests read of an incident.
type row struct {
	ID       int64  `json:"incidentId"`
	Created  string `json:"createdTime"`
	Updated  string `json:"lastUpdateTime"`
	Status   string `json:"status"`
	Assigned string `json:"assignedTo"`
	line     string // compact
}

func decode(t *testing.T, raw []byte) row {
	t.Helper()
	var r row
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		t.Fatal(err)
	}
	r.line = compact.String()
	return r
}

// list reads a page that has to be good; options alternate names and values.
func (c *caller) list(options ...string) []row {
	c.t.Helper()
	rows, _ := c.page(options...)
	return rows
}

func (c *caller) page(options ...string) (rows []row, next string) {
	c.t.Helper()
	r, body, err := c.get("/api/incidents" + query(options...))
	if err != nil || r.StatusCode != http.StatusOK {
		c.t.Fatalf("list %q: %v %v %s", options, r, err, body)
	}
	var page struct {
		Next  string            `json:"@odata.nextLink"`
		Value []json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		c.t.Fatalf("list %q: %v in %s", options, err, body)
	}
	for _, raw := range page.Value {
		rows = append(rows, decode(c.t, raw))
	}
	return rows, page.Next
}

func query(options ...string) string {
	v := url.Values{}
	for i := 0; i < len(options); i += 2 {
		v.Set(options[i], options[i+1])
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// status makes an API call and returns its status and the error's code.
func (c *caller) status(target string) (int, string) {
	c.t.Helper()
	r, body, err := c.get(target)
	if err != nil {
		c.t.Fatal(err)
	}
	var e struct {
		Error struct{ Code, Message, Target string }
	}
	if r.StatusCode != http.StatusOK {
		if err := json.Unmarshal(body, &e); err != nil || e.Error.Target == "" {
			c.t.Fatalf("%s: %d %s", target, r.StatusCode, body)
		}
	}
	return r.StatusCode, e.Error.Code
}

// violations fails unless their kinds are these.
func (c *caller) violations(kinds ...string) {
	c.t.Helper()
	got := c.sim.Violations()
	ok := len(got) == len(kinds)
	for i := range min(len(got), len(kinds)) {
		ok = ok && strings.HasPrefix(got[i], kinds[i]+": ")
	}
	if !ok {
		c.t.Errorf("violations are %q, want %q", got, kinds)
	}
}

// free lifts the quota, for tests that are about something else.
func free(b *simulator.Behaviour) { b.Quota = nil }

func path(id int64) string { return fmt.Sprintf("/api/incidents/%d", id) }
