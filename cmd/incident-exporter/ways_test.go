package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/local"
)

// managedIdentity plays the endpoint of a managed identity as App Service has it. Its tokens are the
// simulated tenant's, got with the app's secret.
func managedIdentity(t *testing.T, s *scene) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resource := r.URL.Query().Get("resource")
		if r.Header.Get("X-IDENTITY-HEADER") != "made-up-header" || resource == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID}, "client_secret": {canary}, "resource": {resource}}
		answer, err := s.server.Client().PostForm(s.server.URL+"/"+testTenant+"/oauth2/token", form)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
	t.Cleanup(server.Close)
	return server
}

// TestEveryWayIn exports a tenant in each way that the README shows.
func TestEveryWayIn(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 12, Incidents: 60})
	identity, err := simulator.NewIdentity(time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s.behave(identity.Register)
	file := func(name string, content []byte, err error) string {
		path := filepath.Join(t.TempDir(), name)
		if err != nil || os.WriteFile(path, content, 0o600) != nil {
			t.Fatal(err)
		}
		return path
	}
	pem, err := identity.PEM()
	certificate := file("app.pem", pem, err)
	token, err := identity.Token(nil)
	federated := file("token", []byte(token), err)
	secret := file("secret", []byte(canary+"\n"), nil)
	none := "AZURE_CLIENT_SECRET="
	managed := managedIdentity(t, s)
	for name, test := range map[string]struct {
		env  []string
		says string
	}{
		"secret, v2":                     {nil, `"credential":"secret"`},
		"secret, v1":                     {[]string{"EXPORTER_TOKEN_ENDPOINT=v1"}, `"credential":"secret"`},
		"secret of a file":               {[]string{none, "AZURE_CLIENT_SECRET_FILE=" + secret}, `"credential":"secret"`},
		"certificate":                    {[]string{none, "AZURE_CLIENT_CERTIFICATE_PATH=" + certificate}, `"credential":"certificate"`},
		"workload identity":              {[]string{none, "AZURE_FEDERATED_TOKEN_FILE=" + federated}, `"credential":"workload-identity"`},
		"managed identity":               {[]string{none, "IDENTITY_ENDPOINT=" + managed.URL, "IDENTITY_HEADER=made-up-header", "AZURE_CLIENT_ID="}, `"credential":"managed-identity"`},
		"Graph, secret, v2":              {[]string{"EXPORTER_SOURCE=graph"}, `"credential":"secret"`},
		"Graph, secret, v1":              {[]string{"EXPORTER_SOURCE=graph", "EXPORTER_TOKEN_ENDPOINT=v1"}, `"credential":"secret"`},
		"Graph, certificate":             {[]string{"EXPORTER_SOURCE=graph", none, "AZURE_CLIENT_CERTIFICATE_PATH=" + certificate}, `"credential":"certificate"`},
		"Graph, workload identity":       {[]string{"EXPORTER_SOURCE=graph", none, "AZURE_FEDERATED_TOKEN_FILE=" + federated}, `"credential":"workload-identity"`},
		"Graph, managed identity":        {[]string{"EXPORTER_SOURCE=graph", none, "IDENTITY_ENDPOINT=" + managed.URL, "IDENTITY_HEADER=made-up-header"}, `"credential":"managed-identity"`},
		"two credentials, one of choice": {[]string{"AZURE_FEDERATED_TOKEN_FILE=" + federated, "EXPORTER_AUTH=secret"}, `"credential":"secret"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := *s
			own.T, own.dir = t, filepath.Join(t.TempDir(), "archive")
			own.env = append(append([]string{}, s.env...), append(test.env, "EXPORTER_SINK=file:"+own.dir)...)
			r := own.done("export")
			if !strings.Contains(r.stderr, test.says) {
				t.Errorf("%s is not in %s", test.says, r.stderr)
			}
			if r := own.done("verify", "--strict"); !strings.Contains(r.stdout, " 60 versions") {
				t.Errorf("verify: %s", r.stdout)
			}
			if r := own.done("token", "--json"); jsonLines(t, r.stdout)[0]["ok"] != true {
				t.Errorf("token: %s", r.stdout)
			}
			own.asServed(strings.HasPrefix(name, "Graph"))
		})
	}
}

// asServed checks that the archive holds the final versions, as the source serves them.
func (s *scene) asServed(graph bool) {
	s.Helper()
	stream, member := ledger.Stream{Source: "defender", Tenant: testTenant}, "incidentId"
	if graph {
		stream.Source, member = "graph", "id"
	}
	r, err := local.OpenReader(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	stored := map[string]bool{}
	id := ""
	for m, err := range ledger.Manifests(s.Context(), r, stream, 1, 0) {
		if err != nil {
			s.Fatal(err)
		}
		err := ledger.Lines(s.Context(), r, m, func(_ int, v ledger.Version, line []byte) error {
			var incident map[string]any
			if err := json.Unmarshal(line, &incident); err != nil || fmt.Sprint(incident[member]) != v.ID {
				s.Errorf("line %.100s, %v", line, err)
			}
			sum := sha256.Sum256(line)
			stored[hex.EncodeToString(sum[:])], id = true, v.ID
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
	}
	for _, v := range s.sim.Final() {
		sum := v.SHA256()
		if graph {
			sum = v.GraphSHA256()
		}
		if !stored[hex.EncodeToString(sum[:])] {
			s.Errorf("incident %d is missing", v.ID)
		}
	}
	if r := s.done("show", id); !strings.Contains(r.stdout, id) {
		s.Errorf("show %s: %s", id, r.stdout)
	}
}
