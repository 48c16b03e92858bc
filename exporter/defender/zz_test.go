package defender_test

import (
	"os"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

func TestZZ(t *testing.T) {
	for range 40 {
		bad := false
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 20_000}, func(b *simulator.Behaviour) { b.Latency = 10 * time.Second }, nil)
			tn.long = true
			time.Sleep(2 * time.Minute)
			n, err := tn.read(tn.from, tn.newest())
			if n > 260 {
				bad = true
				t.Log(n, err)
				os.WriteFile("/tmp/lanes.txt", tn.log.Bytes(), 0o644)
			}
		})
		if bad {
			return
		}
	}
}
