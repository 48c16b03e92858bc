package s3_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks"
	"incident-exporter/sinks/s3"
	"incident-exporter/sinks/sinktest"
	"incident-exporter/sinks/sinktest/s3server"
)

// TestContract runs the contract on a real S3 server, over http and TLS.
func TestContract(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		if overTLS && testing.Short() { // the race detector's pass: TLS is not ours
			continue
		}
		server := s3server.Start(t, overTLS)
		server.Setenv(t)
		server.Bucket(t, "archive", false)
		var n atomic.Int64
		sinktest.Run(t, fmt.Sprintf("%s over %.5s", server.Version, server.Endpoint), func(t *testing.T) sinks.Sink {
			s, err := s3.Open(t.Context(), s3.Config{Bucket: "archive", Prefix: fmt.Sprintf("test/%d", n.Add(1)), PathStyle: true})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	}
}

// TestContractInProcess runs it on the S3 in front of memory that the exporter's own tests use.
func TestContractInProcess(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": "https://store.fabrikam.example", "AWS_REGION": "eu-north-1", "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
	sinktest.Run(t, "S3 in front of memory", func(t *testing.T) sinks.Sink {
		mem := sinktest.NewMem()
		t.Cleanup(func() {
			for _, v := range mem.Violations() {
				t.Error(v)
			}
		})
		transport := simulator.Transport(sinktest.S3(mem.Session(), "archive"))
		s, err := s3.Open(t.Context(), s3.Config{Bucket: "archive", PathStyle: true, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
