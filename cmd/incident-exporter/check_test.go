package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/simulator"
)

// TestCheckOfAGoodSetup: every check passes, as text and as JSON, for a directory and a bucket,
// before the first export and after it, which then works and finds nothing in its way.
func TestCheckOfAGoodSetup(t *testing.T) {
	t.Parallel()
	for name, bucket := range map[string]bool{"directory": false, "bucket": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			make := newScene
			if bucket {
				make = newS3Scene
			}
			s := make(t, simulator.Options{Seed: 5, Incidents: 150})
			s.behave(func(b *simulator.Behaviour) { b.ClockSkew = 0 })
			for _, chain := range []string{"no chain yet: the first export begins it at ", "head "} {
				before := s.content()
				text, asJSON := s.done("check"), s.done("check", "--json")
				if s.content() != before {
					t.Error("the archive has been changed")
				}
				var names []string
				for _, line := range jsonLines(t, asJSON.stdout) {
					names = append(names, fmt.Sprint(line["name"]))
					if line["ok"] != true || line["state"] != "ok" || line["remedy"] != "" || line["detail"] == "" {
						t.Errorf("%v", line)
					}
				}
				if !slices.Equal(names, hops(bucket)) || text.stderr != "" || strings.Count(text.stdout, "\n") != len(names) {
					t.Errorf("checks %v\n%s%s", names, text.stdout, text.stderr)
				}
				for line := range strings.Lines(text.stdout) {
					if !strings.HasPrefix(line, "ok       ") {
						t.Error(line)
					}
				}
				if !strings.Contains(text.stdout, testTenant+": "+chain) {
					t.Errorf("no %q in\n%s", chain, text.stdout)
				}
				if bucket && (!strings.Contains(text.stdout, "retention governance until 20") || !strings.Contains(text.stdout, "region us-east-1")) {
					t.Error(text.stdout)
				}
				s.done("export")
			}
			s.behave(func(b *simulator.Behaviour) { b.ClockSkew = 2 * time.Minute })
			s.done("export")
			if r := s.done("verify", "--strict"); !strings.HasPrefix(r.stdout, "whole: 1 streams, ") {
				t.Errorf("verify: %s", r.stdout)
			}
		})
	}
}

// TestCheckOfManyTenants: each has its verdicts, in the order of the list, and one that fails takes
// no other with it.
func TestCheckOfManyTenants(t *testing.T) {
	t.Parallel()
	var list, further []string
	for i := range 20 {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		further = append(further, id)
		list = append(list, fmt.Sprintf("customer-%d=%s", i, id))
	}
	list[7] = "ours=" + testTenant
	list[9] = "unknown=" + otherTenant
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 50, FurtherTenants: further})
	r := s.run([]string{"AZURE_TENANT_ID=", "EXPORTER_TENANTS=" + strings.Join(list, ",")}, "check", "--json")
	order := map[string][]string{}
	for _, line := range jsonLines(t, r.stdout) {
		id, _ := line["tenant"].(string)
		if id == "" {
			continue
		}
		name := fmt.Sprint(line["name"])
		order[name] = append(order[name], id)
		want := map[string]string{"token": "ok", "incidents": "failed", "chain": "ok"}[name]
		switch {
		case id == testTenant:
			want = "ok"
		case id == otherTenant:
			want = map[string]string{"token": "failed", "incidents": "skipped", "chain": "ok"}[name]
		}
		if line["state"] != want {
			t.Errorf("want %s: %v", want, line)
		}
	}
	for _, name := range []string{"token", "incidents", "chain"} {
		if len(order[name]) != 20 || order[name][0] != further[0] || order[name][7] != testTenant || order[name][19] != further[19] {
			t.Errorf("%s: %v", name, order[name])
		}
	}
	if r.code != exitFailed {
		t.Errorf("exit %d", r.code)
	}
}

// TestCheckHidesEverySecret plants marked secrets wherever there can be one, and looks for them in
// all that good and broken set-ups say, in text and JSON, at the most talkative level.
func TestCheckHidesEverySecret(t *testing.T) {
	t.Parallel()
	const proxyPassword, certificatePassword, sessionToken = "marked-proxy~password", "marked-certificate~password", "marked-session~token"
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(proxy.Close)
	s, server := newLockedScene(t, simulator.Options{Seed: 6, Incidents: 40})
	marks := []string{canary, proxyPassword, certificatePassword, sessionToken, server.Secret, tokenSignature}
	file := filepath.Join(t.TempDir(), "app.pfx")
	if err := os.WriteFile(file, []byte("no PFX "+canary), 0o600); err != nil {
		t.Fatal(err)
	}
	assertion := filepath.Join(t.TempDir(), "token")
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	if err := os.WriteFile(assertion, []byte(part(`{"alg":"RS256"}`)+"."+part(`{"iss":"https://issuer.fabrikam.example/"}`)+"."+part(canary)), 0o600); err != nil {
		t.Fatal(err)
	}
	through := "HTTPS_PROXY=" + strings.Replace(proxy.URL, "//", "//user:"+url.QueryEscape(proxyPassword)+"@", 1)
	for name, env := range map[string][]string{
		"good":                {},
		"wrong secret":        {"AZURE_CLIENT_SECRET=" + canary + "x"},
		"secret as app":       {"AZURE_CLIENT_ID=" + canary},
		"secret as tenant":    {"AZURE_TENANT_ID=" + canary},
		"secret as a file":    {"AZURE_CLIENT_SECRET=", "AZURE_CLIENT_SECRET_FILE=" + canary},
		"secret as audience":  {"EXPORTER_AUDIENCE=https://" + canary},
		"proxy refuses":       {through, "EXPORTER_API_URL=https://api.fabrikam.example", "AZURE_AUTHORITY_HOST=https://login.fabrikam.example"},
		"proxy before S3":     {through, "AWS_ENDPOINT_URL_S3=https://store.fabrikam.example"},
		"session token":       {"AWS_SESSION_TOKEN=" + sessionToken},
		"wrong key":           {"AWS_SECRET_ACCESS_KEY=" + canary},
		"not a certificate":   {"AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH=" + file, "AZURE_CLIENT_CERTIFICATE_PASSWORD=" + certificatePassword},
		"federated":           {"AZURE_CLIENT_SECRET=", "AZURE_FEDERATED_TOKEN_FILE=" + assertion},
		"store unreachable":   {"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1", "AWS_SESSION_TOKEN=" + sessionToken},
		"API unreachable":     {"EXPORTER_API_URL=https://127.0.0.1:1"},
		"no such bucket":      {"EXPORTER_SINK=s3://not-there/xdr"},
		"authority's CA":      {"SSL_CERT_FILE=" + os.DevNull},
		"two credentials set": {"AZURE_FEDERATED_TOKEN_FILE=" + assertion},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all []*process
			for _, args := range [][]string{{"check"}, {"check", "--json"}} {
				for _, format := range []string{"text", "json"} {
					all = append(all, s.start(t.Context(), append([]string{"EXPORTER_LOG_LEVEL=debug", "EXPORTER_LOG_FORMAT=" + format}, env...), args...))
				}
			}
			for _, p := range all {
				r := p.wait()
				said := r.stdout + r.stderr
				if said == "" || (r.code == exitDone) != (name == "good") {
					t.Errorf("exit %d: %s", r.code, said)
				}
				for _, mark := range marks {
					for _, form := range []string{mark, url.QueryEscape(mark), url.PathEscape(mark), base64.StdEncoding.EncodeToString([]byte(mark)), base64.RawURLEncoding.EncodeToString([]byte(mark))} {
						if strings.Contains(said, form) {
							t.Errorf("shows %q:\n%s", form, said)
						}
					}
				}
			}
		})
	}
}

// TestClockChanges: only runs that the change of the clocks takes or doubles are told.
func TestClockChanges(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		schedule, zone string
		want           []string // fragments, one a change
	}{
		{"*/5 * * * *", "Europe/Berlin", nil},
		{"0 * * * *", "Europe/Berlin", nil},
		{"30 12 * * *", "Europe/Berlin", nil},
		{"@every 10m", "Europe/Berlin", nil},
		{"30 2 * * *", "UTC", nil},
		{"30 2 * * *", "Asia/Tokyo", nil},
		{"30 2 * * *", "Europe/Berlin", []string{"2026-03-29 1 run is skipped", "2026-10-25 1 run is made twice"}},
		{"0,30 2 * * *", "Europe/Berlin", []string{"2026-03-29 2 runs are skipped", "2026-10-25 2 runs are made twice"}},
		{"30 2 * * 1-5", "Europe/Berlin", nil}, // it changes on Sundays
		{"30 1 * * *", "America/New_York", []string{"2026-11-01 1 run is made twice"}},
	} {
		schedule, err := exporter.ParseSchedule(test.schedule, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocation(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		got := clockChanges(schedule, now, zone)
		if len(got) != len(test.want) {
			t.Errorf("%s in %s: %q, want %q", test.schedule, test.zone, got, test.want)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s in %s: %q, want %q", test.schedule, test.zone, got[i], want)
			}
		}
	}
}

// TestVerdictsInColour: on a terminal only, and not against NO_COLOR.
func TestVerdictsInColour(t *testing.T) {
	var out bytes.Buffer
	v := &verdicts{app: &app{stdout: &out}}
	v.say(verdict{Name: "token", State: failed, Detail: "one\ntwo", Remedy: "three", of: tenant{id: testTenant, name: "ours"}})
	want := "FAILED   token            ours (" + testTenant + "): one; two\n                          remedy: three\n"
	if out.String() != want || v.failed != 1 {
		t.Errorf("%q, want %q", out.String(), want)
	}
	terminal, err := os.Open("/dev/ptmx") // a terminal as far as its mode tells
	if err != nil {
		t.Logf("no terminal here: %v", err)
		return
	}
	defer terminal.Close()
	if got := (&app{stdout: terminal}).coloured(failed); got != "\x1b[31mFAILED \x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := (&app{stdout: terminal, environ: []string{"NO_COLOR=1"}}).coloured(failed); got != "FAILED " {
		t.Errorf("%q", got)
	}
}

// TestCheckGoesOnToTheEnd where the API breaks every connection: the rest is tested all the same.
func TestCheckGoesOnToTheEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 5, Incidents: 20})
	s.behave(func(b *simulator.Behaviour) {
		b.Fail = func(r *http.Request, _ int) simulator.Fault {
			if r.URL.Path == "/api/incidents" {
				return simulator.Reset
			}
			return simulator.NoFault
		}
	})
	r := s.run(nil, "check", "--json")
	if r.code != exitFailed || len(jsonLines(t, r.stdout)) != len(hops(false)) || !strings.Contains(r.stdout, "closed the connection without a whole answer") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
