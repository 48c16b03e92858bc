package s3_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks/s3"
	"incident-exporter/sinks/sinktest/s3server"
)

// TestCheck: on a real store every step passes, also the second time, what is locked shows it, and
// nothing is written but below what is reserved.
func TestCheck(t *testing.T) {
	server := s3server.Start(t, true)
	server.Setenv(t)
	server.Bucket(t, "locked", true)
	server.Bucket(t, "plain", false)
	for _, cfg := range []s3.Config{
		{Bucket: "plain", Prefix: "xdr", PathStyle: true},
		{Bucket: "locked", PathStyle: true, LockMode: "GOVERNANCE", LockFor: 48 * time.Hour, LegalHold: true},
	} {
		for range 2 {
			f, err := s3.Check(t.Context(), cfg)
			if err != nil || len(f.Steps) != 4 {
				t.Fatalf("%+v, %v", f, err)
			}
			for _, step := range f.Steps {
				if step.Err != nil {
					t.Errorf("%s: %s: %v", cfg.Bucket, step.Name, step.Err)
				}
			}
			if !f.Answered || f.Server.IsZero() || f.Here.Sub(f.Server).Abs() > time.Minute || f.Endpoint.String() != server.Endpoint || f.Credentials == "" {
				t.Errorf("%+v", f)
			}
			if want := strings.ToUpper(cfg.LockMode); f.LockMode != want || f.LegalHold != cfg.LegalHold || want != "" && time.Until(f.LockUntil).Round(time.Hour) != cfg.LockFor {
				t.Errorf("%+v", f)
			}
			if !strings.HasPrefix(f.Key, ".incident-exporter/s3/check/") {
				t.Errorf("key %q", f.Key)
			}
		}
		r, err := s3.OpenReader(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for o, err := range r.List(t.Context(), "", "") {
			t.Errorf("listed: %v, %v", o, err)
		}
	}
	f, err := s3.Check(t.Context(), s3.Config{Bucket: "not-there", PathStyle: true})
	var refusal *s3.Error
	if err != nil || !f.Answered || len(f.Steps) != 2 || !errors.As(f.Steps[0].Err, &refusal) || refusal.Code != "NoSuchBucket" || f.Steps[1].Err == nil {
		t.Errorf("%+v, %v", f, err)
	}
}
