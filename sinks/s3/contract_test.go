package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"

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
