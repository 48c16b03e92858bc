package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
)

// TestNoCommandLeaks runs every command with marked secrets in every place that takes one, in good
// order and with each thing broken, at the level that says most: none of them is ever shown.
func TestNoCommandLeaks(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 14, Incidents: 30})
	identity, err := simulator.NewIdentity(time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s.behave(identity.Register)
	pem, err := identity.PEM()
	if err != nil {
		t.Fatal(err)
	}
	federated, err := identity.Token(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"app.pem": pem, "token": []byte(federated)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := httptest.NewServer(sinktest.S3(sinktest.NewMem().Session(), testBucket))
	t.Cleanup(store.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	t.Cleanup(proxy.Close)

	const storeSecret, session, password, proxyPassword = "marked+store/secret", "marked+session/token", "marked+password", "marked-proxy-password"
	key := strings.Split(string(pem), "\n")[3] // a line of the key
	marks := map[string]string{
		"client secret": canary, "private key": key, "store's secret": storeSecret, "session token": session, "password": password,
		"proxy's password": proxyPassword, "federated token": federated[strings.LastIndexByte(federated, '.')+1:], "a token": "eyJ",
		"basic credentials": base64.StdEncoding.EncodeToString([]byte("user:" + proxyPassword)),
	}
	credentials := map[string][]string{
		"secret": nil,
		"certificate": {"AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH=" + filepath.Join(dir, "app.pem"),
			"AZURE_CLIENT_CERTIFICATE_PASSWORD=" + password},
		"federated": {"AZURE_CLIENT_SECRET=", "AZURE_FEDERATED_TOKEN_FILE=" + filepath.Join(dir, "token")},
	}
	inS3 := []string{"EXPORTER_SINK=s3://" + testBucket + "/xdr", "EXPORTER_S3_PATH_STYLE=true", "AWS_ENDPOINT_URL_S3=" + store.URL, "AWS_REGION=eu-north-1",
		"AWS_ACCESS_KEY_ID=made-up", "AWS_SECRET_ACCESS_KEY=" + storeSecret, "AWS_SESSION_TOKEN=" + session}
	states := map[string][]string{
		"good":               nil,
		"in S3":              inS3,
		"tenant unknown":     {"AZURE_TENANT_ID=" + otherTenant},
		"proxy refuses":      {"EXPORTER_API_URL=https://api.fabrikam.example", "AZURE_AUTHORITY_HOST=https://login.fabrikam.example", "HTTPS_PROXY=http://user:" + proxyPassword + "@" + strings.TrimPrefix(proxy.URL, "http://")},
		"wrongly configured": {"EXPORTER_SETTLE=" + canary, "EXPORTER_AUTH=" + canary, "EXPORTER_SINK=" + storeSecret, "EXPORTER_TENANTS=" + canary},
	}
	arguments := map[string][][]string{
		"show": {{"1"}}, "verify": {nil, {"--json"}}, "list": {nil, {"--json"}}, "token": {nil, {"--json"}}, "config": {nil, {"--json"}}, "check": {nil, {"--json"}},
	}
	for kind, credential := range credentials {
		for state, settings := range states {
			t.Run(kind+", "+state, func(t *testing.T) {
				t.Parallel()
				own := *s
				own.T, own.dir = t, filepath.Join(t.TempDir(), "archive")
				own.env = append(append([]string{}, s.env...), append([]string{"EXPORTER_SINK=file:" + own.dir, "EXPORTER_LOG_LEVEL=debug", "EXPORTER_QUOTA=100000/1m"}, append(credential, settings...)...)...)
				for _, command := range (&app{}).commands() {
					name := command.Name()
					if name == "demo" || name == "simulate" { // they take no settings
						continue
					}
					lines := arguments[name]
					if lines == nil {
						lines = [][]string{nil}
					}
					for _, more := range lines {
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						p := own.prepare(ctx, nil, append([]string{name}, more...)...)
						if err := p.Start(); err != nil {
							t.Fatal(err)
						}
						if name == "run" {
							time.AfterFunc(700*time.Millisecond, func() { _ = p.Process.Signal(os.Interrupt) }) // a real process, until something has happened
						}
						err := p.Wait()
						cancel()
						all := p.out.String() + p.err.String()
						if all == "" || ctx.Err() == context.DeadlineExceeded {
							t.Errorf("%s %v: %v, said %q", name, more, err, all)
						}
						for what, mark := range marks {
							if strings.Contains(all, mark) {
								t.Errorf("%s %v shows the %s: %s", name, more, what, fmt.Sprintf("%.300s", all[strings.Index(all, mark):]))
							}
						}
					}
				}
			})
		}
	}
}
