package main

import "time"

const (
	// maxBatchRecords keeps a manifest, which lists every version of its batch, a few megabytes.
	maxBatchRecords = 50_000
	maxConcurrency  = 100
)

// contradictions notes settings that cannot all hold. Settings that have problems of their own are
// left out.
func (c *config) contradictions() {
	e := &c.Exporter
	ok := func(names ...string) bool {
		for _, name := range names {
			if c.faulty(name) {
				return false
			}
		}
		return true
	}
	if ok("EXPORTER_BATCH_RECORDS") && e.BatchRecords > maxBatchRecords {
		c.problem("EXPORTER_BATCH_RECORDS", "must be at most %d", maxBatchRecords)
	}
	if ok("EXPORTER_CONCURRENCY") && e.Concurrency > maxConcurrency {
		c.problem("EXPORTER_CONCURRENCY", "must be at most %d", maxConcurrency)
	}
	if ok("EXPORTER_DEEP_OVERLAP", "EXPORTER_OVERLAP") && e.DeepOverlap.Duration < e.Overlap.Duration {
		c.problem("EXPORTER_DEEP_OVERLAP", "is %s, less than EXPORTER_OVERLAP (%s): a deep pass must reach back at least as far", e.DeepOverlap, e.Overlap)
	}
	if !ok("EXPORTER_SCHEDULE", "EXPORTER_TIMEZONE") {
		return
	}
	interval := e.Schedule.longest(time.Now().In(e.Timezone.Location))
	if ok("EXPORTER_MAX_LAG", "EXPORTER_HEARTBEAT") && e.MaxLag.Duration < e.Heartbeat.Duration+interval {
		c.problem("EXPORTER_MAX_LAG", "is %s, less than EXPORTER_HEARTBEAT (%s) and the longest time between two runs of EXPORTER_SCHEDULE (%s) together: set it to %s or more",
			e.MaxLag, e.Heartbeat, duration{interval}, duration{e.Heartbeat.Duration + interval})
	}
	if ok("EXPORTER_JITTER") && e.Jitter.Duration >= interval && interval > 0 {
		c.problem("EXPORTER_JITTER", "is %s, not less than the longest time between two runs of EXPORTER_SCHEDULE (%s)", e.Jitter, duration{interval})
	}
}
