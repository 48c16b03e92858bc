package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// refusal is something that is wrong, and what an export says to it.
type refusal struct {
	fresh   bool // there is no archive yet
	spoil   func(*scene)
	env     []string
	code    int
	says    []string // fragments of the sentence
	remedy  string   // a fragment of the remedy
	damaged bool     // the archive is spoilt, verify finds it
}

const otherTenant = "0f9c2d6e-3b1a-4c58-8e77-d21b6f4a9c03"

func refusals(t *testing.T) map[string]refusal {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(proxy.Close)
	behaves := func(change func(*simulator.Behaviour)) func(*scene) {
		return func(s *scene) { s.behave(change) }
	}
	return map[string]refusal{
		"wrong secret": {env: []string{"AZURE_CLIENT_SECRET=" + canary + "x"}, code: 1, says: []string{"client secret is wrong", "AADSTS7000215"}, remedy: "secret"},
		"expired secret": {spoil: behaves(func(b *simulator.Behaviour) { b.SecretExpired = true }), code: 1,
			says: []string{"expired", "AADSTS7000222"}, remedy: "secret"},
		"unknown tenant": {fresh: true, env: []string{"AZURE_TENANT_ID=" + otherTenant}, code: 1, says: []string{"tenant", "AADSTS90002"}, remedy: "AZURE_TENANT_ID"},
		"unknown app":    {env: []string{"AZURE_CLIENT_ID=" + otherTenant}, code: 1, says: []string{"AADSTS700016"}, remedy: "AZURE_CLIENT_ID"},
		"no consent":     {spoil: behaves(func(b *simulator.Behaviour) { b.Consent = false }), code: 1, says: []string{"AADSTS65001"}, remedy: "consent"},
		"no role": {spoil: behaves(func(b *simulator.Behaviour) { b.Roles = nil }), code: 1,
			says: []string{"status 403", "no roles"}, remedy: "Incident.Read.All"},
		"role of the other API": {spoil: behaves(func(b *simulator.Behaviour) { b.Roles = []string{"SecurityIncident.Read.All"} }), code: 1,
			says: []string{"status 403", "SecurityIncident.Read.All"}, remedy: "Incident.Read.All"},
		"wrong audience": {env: []string{"EXPORTER_AUDIENCE=https://api.securitycenter.microsoft.com"}, code: 1,
			says: []string{"Defender for Endpoint"}, remedy: "EXPORTER_AUDIENCE"},
		"unknown audience":      {env: []string{"EXPORTER_AUDIENCE=https://api.fabrikam.example"}, code: 1, says: []string{"AADSTS500011"}, remedy: "EXPORTER_AUDIENCE"},
		"nobody listens":        {env: []string{"EXPORTER_API_URL=https://127.0.0.1:1"}, code: 1, says: []string{"read incidents: 127.0.0.1:1 refuses the connection"}, remedy: "firewall allows; the host is set by EXPORTER_API_URL"},
		"no such authority":     {env: []string{"AZURE_AUTHORITY_HOST=https://127.0.0.1:1"}, code: 1, says: []string{"get token", "refuses the connection"}, remedy: "firewall allows; the host is set by AZURE_AUTHORITY_HOST"},
		"authority not trusted": {env: []string{"SSL_CERT_FILE=" + os.DevNull}, code: 1, says: []string{"does not trust"}, remedy: "SSL_CERT_FILE"},
		"proxy refuses": {env: []string{"EXPORTER_API_URL=https://api.fabrikam.example", "HTTPS_PROXY=" + strings.Replace(proxy.URL, "//", "//user:hidden@", 1)},
			code: 1, says: []string{"read incidents: the proxy", "refuses to connect to api.fabrikam.example:443"}, remedy: "NO_PROXY"},
		"filters ignored": {spoil: behaves(func(b *simulator.Behaviour) { b.IgnoreFilter = true }), code: 1, says: []string{"does not filter"}, remedy: "EXPORTER_API_URL"},
		"page of HTML": {spoil: behaves(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasPrefix(r.URL.Path, "/api/") {
					return simulator.HTML200
				}
				return simulator.NoFault
			}
		}), code: 1, says: []string{"unreadable answer", "it begins"}, remedy: "proxy"},
		"wrong path": {spoil: func(s *scene) {
			s.env = append(s.env, "EXPORTER_API_URL="+s.server.URL+"/v2")
		}, code: 1, says: []string{"status 404"}, remedy: "EXPORTER_API_URL"},

		"cron line is none":     {env: []string{"EXPORTER_SCHEDULE=often"}, code: 2, says: []string{"EXPORTER_SCHEDULE", "cron expression"}},
		"cron line never fires": {env: []string{"EXPORTER_SCHEDULE=0 0 31 2 *"}, code: 2, says: []string{"EXPORTER_SCHEDULE", "never"}},
		"start later than now":  {env: []string{"EXPORTER_START=2199-01-01T00:00:00Z"}, code: 2, says: []string{"EXPORTER_START", "still to come"}},
		"two things wrong":      {env: []string{"EXPORTER_SETTLE=soon", "EXPORTER_OVERLAPP=1h"}, code: 2, says: []string{"2 problems", "EXPORTER_SETTLE", "did you mean EXPORTER_OVERLAP?"}},
		"start later than theirs": {fresh: true, spoil: func(s *scene) {
			s.behave(func(b *simulator.Behaviour) { b.ClockSkew = -time.Hour })
			s.env = append(s.env, "EXPORTER_START="+time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
		}, code: 1, says: []string{"is to begin at", "by the API's clock"}, remedy: "EXPORTER_START"},
		"archive of another tenant": {env: []string{"AZURE_TENANT_ID=" + otherTenant}, code: 1, says: []string{"holds the archive of tenant " + testTenant}, remedy: "EXPORTER_SINK"},
		"archive of a later format": {spoil: laterFormat, code: 1, says: []string{"format"}, remedy: "version", damaged: true},
		"head cut": {spoil: func(s *scene) { s.change(s.last(".json"), func(b []byte) []byte { return b[:len(b)/2] }) }, code: 1,
			says: []string{"manifest"}, remedy: "verify", damaged: true},
		"something else in the directory": {fresh: true, spoil: func(s *scene) {
			if err := os.MkdirAll(filepath.Join(s.dir, "photos"), 0o700); err != nil {
				s.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(s.dir, "photos", "cat.jpeg"), []byte("x"), 0o600); err != nil {
				s.Fatal(err)
			}
		}, code: 1, says: []string{"holds no archive but something else", "photos/cat.jpeg"}, remedy: "EXPORTER_SINK"},
		"a file in place of the directory": {fresh: true, spoil: func(s *scene) {
			if err := os.WriteFile(s.dir, []byte("x"), 0o600); err != nil {
				s.Fatal(err)
			}
			s.env = append(s.env, "EXPORTER_SINK=file:"+filepath.Join(s.dir, "below"))
		}, code: 1, says: []string{"not a directory"}, remedy: "EXPORTER_SINK"},
	}
}

// TestRefusals: for each thing that can be wrong there is one sentence with the cause and one with
// the remedy, the right exit code, and the archive is untouched and valid.
func TestRefusals(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	for name, r := range refusals(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, simulator.Options{Seed: 5, Incidents: 150})
			if !r.fresh {
				s.done("export")
			}
			if r.spoil != nil {
				r.spoil(s)
			}
			before := s.content()
			got := s.run(r.env, "export")
			if got.code != r.code || got.stdout != "" && r.code == exitUsage {
				t.Errorf("exit %d, want %d, stdout %q", got.code, r.code, got.stdout)
			}
			for _, want := range r.says {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q is not in %s", want, got.stderr)
				}
			}
			_, remedy, _ := strings.Cut(got.stderr, "\nremedy: ")
			if !strings.Contains(remedy, r.remedy) || strings.Count(remedy, "\n") > 1 {
				t.Errorf("remedy %q, want %q in it\n%s", remedy, r.remedy, got.stderr)
			}
			if strings.Count(got.stderr, "incident-exporter: ") != 1 || strings.Contains(got.stderr, "hidden") {
				t.Errorf("stderr %s", got.stderr)
			}
			if s.content() != before {
				t.Error("the archive has been changed")
			}
			if !r.fresh {
				want := exitDone
				if r.damaged {
					want = exitFaults
				}
				if v := s.run([]string{"AZURE_TENANT_ID="}, "verify"); v.code != want {
					t.Errorf("verify: exit %d, want %d, %s%s", v.code, want, v.stdout, v.stderr)
				}
			}
		})
	}
}

// TestClockBehindTheHead: an API whose clock is a day behind what is covered moves nothing, and
// once it is right the next run goes on.
func TestClockBehindTheHead(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 150})
	first := jsonLines(t, s.done("export", "--json").stdout)[0]
	var skew time.Duration
	s.behave(func(b *simulator.Behaviour) { skew, b.ClockSkew = b.ClockSkew, -24*time.Hour })
	r := s.run(nil, "export", "--json")
	if r.code != exitDone || !strings.Contains(r.stderr, "ahead of the API's") || jsonLines(t, r.stdout)[0]["covered_until"] != first["covered_until"] {
		t.Errorf("%+v, before %v", r, first)
	}
	s.behave(func(b *simulator.Behaviour) { b.ClockSkew = skew })
	s.later()
	s.done("export")
	s.whole()
}

// last is the newest file with this name's end.
func (s *scene) last(suffix string) string {
	files := s.files(suffix)
	return files[len(files)-1]
}

// change rewrites a file of the archive, which is read-only for a reason.
func (s *scene) change(path string, f func([]byte) []byte) {
	s.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.WriteFile(path, f(data), 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// laterFormat adds a manifest that a later version may have written.
func laterFormat(s *scene) {
	head := s.last(".json")
	data, err := os.ReadFile(head)
	if err != nil {
		s.Fatal(err)
	}
	seq, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(head), ".json"))
	if err != nil {
		s.Fatal(err)
	}
	text, _, _ := bytes.Cut(data, []byte(`,"sum":`))
	text = bytes.Replace(text, []byte(`"format":1`), []byte(`"format":2`), 1)
	text = regexp.MustCompile(`"seq":\d+`).ReplaceAll(text, fmt.Appendf(nil, `"seq":%d`, seq+1))
	text = fmt.Appendf(text, `,"sum":"%x"}`+"\n", sha256.Sum256(text))
	path := filepath.Join(filepath.Dir(head), fmt.Sprintf("%012d.json", seq+1))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.Fatal(err)
	}
}

// TestUnreadableIncident: what is no incident costs its own entry and never the feed, whether all
// there is fits one answer or not.
func TestUnreadableIncident(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind simulator.Malformation
		page int
	}{{simulator.WithoutID, 0}, {simulator.WithoutUpdated, 0}, {simulator.NotAnObject, 0}, {simulator.WithoutID, 5}} {
		t.Run(fmt.Sprintf("kind %d, page %d", test.kind, test.page), func(t *testing.T) {
			t.Parallel()
			const incidents = 12
			// The shorter the archive, the fewer halvings there are on the way to the one incident.
			s := newScene(t, simulator.Options{Seed: 6, Incidents: incidents, Span: 5 * time.Minute})
			s.env = append(s.env, "EXPORTER_START=10m")
			oldest := slices.MinFunc(s.sim.Final(), func(a, b simulator.Version) int { return strings.Compare(a.Updated, b.Updated) })
			s.behave(func(b *simulator.Behaviour) {
				b.Malformed = map[int64]simulator.Malformation{oldest.ID: test.kind}
				b.PageCap = test.page
			})
			s.unfetched(incidents - 1)
			s.behave(func(b *simulator.Behaviour) { b.Malformed = nil })
			s.done("export")
			s.whole()
		})
	}
}

// unfetched exports what holds one thing that cannot be fetched, and so many versions beside it.
func (s *scene) unfetched(versions int) {
	s.Helper()
	r := s.run(nil, "export", "--json")
	lines := jsonLines(s.T, r.stdout)
	if r.code != exitDone || len(lines) != 1 || lines[0]["unfetched"] != 1.0 || lines[0]["versions"] != float64(versions) ||
		!strings.Contains(r.stderr, "`incident-exporter verify` lists it") {
		s.Errorf("exit %d, %s, %s", r.code, r.stdout, r.stderr)
	}
	if v := s.run(nil, "verify"); v.code != exitDone || !strings.Contains(v.stdout, "note: unfetched") || !strings.Contains(v.stdout, "; 1 notes") {
		s.Errorf("verify: %+v", v)
	}
	if v := s.run(nil, "verify", "--strict", "--json"); v.code != exitFaults || !strings.Contains(v.stdout, `"faults":1,"notes":0`) {
		s.Errorf("verify --strict: %+v", v)
	}
}

// TestDamage: verify names what is wrong with an archive, and exits with 3.
func TestDamage(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	whole := newScene(t, simulator.Options{Seed: 7, Incidents: 300, Span: 3 * 24 * time.Hour})
	whole.done("export")
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)-20] }
	swap := func(s *scene, suffix string) { // the newest manifests may have objects without lines, all alike
		files := s.files(suffix)
		a, b := files[len(files)-1], files[min(1, len(files)-2)]
		for _, step := range [][2]string{{a, a + "~"}, {b, a}, {a + "~", b}} {
			if err := os.Rename(step[0], step[1]); err != nil {
				s.Fatal(err)
			}
		}
	}
	remove := func(s *scene, path string) {
		if err := os.Remove(path); err != nil {
			s.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		spoil func(*scene)
		kind  string
		args  []string
	}{
		"data changed": {func(s *scene) { s.change(s.files(".gz")[1], flip) }, "altered", nil},
		"data cut":     {func(s *scene) { s.change(s.files(".gz")[1], cut) }, "cut", nil},
		"data missing": {func(s *scene) { remove(s, s.files(".gz")[1]) }, "missing", nil},
		"data swapped": {func(s *scene) { swap(s, ".gz") }, "altered", nil},
		"data foreign": {func(s *scene) {
			s.change(s.files(".gz")[1], func(b []byte) []byte { return s.copy(b, "000000009999.ndjson.gz") })
		}, "foreign", nil},
		"manifest changed": {func(s *scene) { s.change(s.files(".json")[1], flip) }, "altered", nil},
		"manifest cut":     {func(s *scene) { s.change(s.files(".json")[1], cut) }, "cut", nil},
		"manifest missing": {func(s *scene) { remove(s, s.files(".json")[1]) }, "missing", nil},
		"manifest swapped": {func(s *scene) { swap(s, ".json") }, "foreign", nil},
		"first missing":    {func(s *scene) { remove(s, s.files(".json")[0]) }, "pruned", nil},
		"later format":     {laterFormat, "format", nil},
		"end cut off":      {func(s *scene) { remove(s, s.last(".json")); remove(s, s.last(".gz")) }, "head", []string{"--head", strings.TrimSpace(whole.done("export").stdout)}},
		"stranger":         {func(s *scene) { s.copy(nil, "../../../../notes.txt") }, "foreign", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{T: t, dir: filepath.Join(t.TempDir(), "archive")}
			if err := os.CopyFS(s.dir, os.DirFS(whole.dir)); err != nil {
				t.Fatal(err)
			}
			s.env = []string{"EXPORTER_SINK=file:" + s.dir}
			test.spoil(s)
			r := s.run(nil, append([]string{"verify", "--json"}, test.args...)...)
			found := jsonLines(t, r.stdout)
			kinds := ""
			for _, f := range found[:max(1, len(found))-1] {
				kinds += fmt.Sprint(f["kind"], " ")
				for _, member := range []string{"source", "tenant", "seq", "key", "want", "got", "text"} {
					if _, there := f[member]; !there {
						t.Errorf("no member %s in %v", member, f)
					}
				}
			}
			if r.code != exitFaults || !strings.Contains(kinds, test.kind) || found[len(found)-1]["summary"] == nil {
				t.Errorf("exit %d, kinds %s, want %s\n%s%s", r.code, kinds, test.kind, r.stdout, r.stderr)
			}
			text := s.run(nil, append([]string{"verify"}, test.args...)...)
			for _, f := range found[:max(1, len(found))-1] {
				if key := fmt.Sprint(f["key"]); key != "" && !strings.Contains(text.stdout, fmt.Sprintf("fault: %s %s: ", f["kind"], key)) {
					t.Errorf("key %s is not named in %s", key, text.stdout)
				}
			}
			if last := strings.Split(strings.TrimSpace(text.stdout), "\n"); text.code != exitFaults || !strings.HasSuffix(strings.Split(last[len(last)-1], ";")[0], " faults") ||
				!strings.Contains(text.stdout, "fault: "+test.kind) {
				t.Errorf("exit %d, %s", text.code, text.stdout)
			}
		})
	}
}

// copy puts a file beside the archive's second data object, and returns the bytes.
func (s *scene) copy(data []byte, name string) []byte {
	s.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.files(".gz")[0]), name), data, 0o600); err != nil {
		s.Fatal(err)
	}
	return data
}

func TestVerifyUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--head", "7"}, {"--head", "0:ab"}, {"--head", "7:" + strings.Repeat("g", 64)}, {"--since", "-1"}, {"--since", "x"}} {
		stdout, stderr, code := program(t, nil, append([]string{"verify"}, args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, "remedy: ") {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
