package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks/s3"
)

// TestRolesOfPods: the credentials of IAM roles for service accounts (IRSA)
// and of EKS Pod Identity come from fakes of their endpoints, and sign what is
// put. The log names their source and nothing of themselves.
func TestRolesOfPods(t *testing.T) {
	const pod = "made-up-pod-token"
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(pod), 0o600); err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		if form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("WebIdentityToken") != pod || form.Get("RoleArn") != "arn:aws:iam::123456789012:role/exporter" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>ASIAIRSA</AccessKeyId><SecretAccessKey>made-up-secret</SecretAccessKey><SessionToken>made-up-session</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, expires)
	}))
	t.Cleanup(sts.Close)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != pod {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId":"ASIAPOD","SecretAccessKey":"made-up-secret","Token":"made-up-session","Expiration":%q}`, expires)
	}))
	t.Cleanup(agent.Close)
	for name, c := range map[string]struct {
		env         map[string]string
		key, source string
	}{
		"IRSA": {map[string]string{
			"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/exporter", "AWS_WEB_IDENTITY_TOKEN_FILE": tokenFile, "AWS_ENDPOINT_URL_STS": sts.URL,
		}, "ASIAIRSA", "WebIdentityCredentials"},
		"Pod Identity": {map[string]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL + "/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": tokenFile,
		}, "ASIAPOD", "CredentialsEndpointProvider"},
	} {
		t.Run(name, func(t *testing.T) {
			store, _ := open(t, s3.Config{})
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var log bytes.Buffer
			sink, err := s3.Open(t.Context(), s3.Config{Bucket: "bucket", PathStyle: true, Log: slog.New(slog.NewJSONHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if err := sink.Put(t.Context(), "a/b.json", []byte("x")); err != nil {
				t.Fatal(err)
			}
			h := store.puts[len(store.puts)-1]
			if !strings.Contains(h.Get("Authorization"), "Credential="+c.key+"/") || h.Get("X-Amz-Security-Token") != "made-up-session" {
				t.Errorf("signed by %q", h.Get("Authorization"))
			}
			if said := log.String(); !strings.Contains(said, `"credentials":"`+c.source) || strings.Contains(said, c.key) || strings.Contains(said, "made-up") {
				t.Errorf("log: %s", said)
			}
		})
	}
}
