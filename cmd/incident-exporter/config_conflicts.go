package main

import (
	"strings"
	"time"
)

const (
	// maxBatchRecords keeps a manifest, which lists every version of its batch, a few megabytes.
	maxBatchRecords = 50_000
	maxConcurrency  = 100
	maxLockDays     = 36_500
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
	c.credentialConflicts()
	c.cloudConflicts()
	c.tenantConflicts()
	c.checkPing()
	if ok("EXPORTER_BATCH_RECORDS") && e.BatchRecords > maxBatchRecords {
		c.problem("EXPORTER_BATCH_RECORDS", "must be at most %d", maxBatchRecords)
	}
	if ok("EXPORTER_CONCURRENCY") && e.Concurrency > maxConcurrency {
		c.problem("EXPORTER_CONCURRENCY", "must be at most %d", maxConcurrency)
	}
	if ok("EXPORTER_DEEP_OVERLAP", "EXPORTER_OVERLAP") && e.DeepOverlap.Duration < e.Overlap.Duration {
		c.problem("EXPORTER_DEEP_OVERLAP", "is %s, less than EXPORTER_OVERLAP (%s): a deep pass must reach back at least as far", e.DeepOverlap, e.Overlap)
	}
	if ok("EXPORTER_SETTLE", "EXPORTER_OVERLAP") && e.Overlap.Duration < e.Settle.Duration {
		c.problem("EXPORTER_OVERLAP", "is %s, less than EXPORTER_SETTLE (%s): what may change late must reach back at least as far", e.Overlap, e.Settle)
	}
	if ok("EXPORTER_S3_LOCK_MODE", "EXPORTER_S3_LOCK_DAYS") && (c.S3.LockMode != "") != (c.S3.LockDays > 0) {
		c.problem("EXPORTER_S3_LOCK_DAYS", "and EXPORTER_S3_LOCK_MODE go together: set both, or neither")
	}
	if ok("EXPORTER_S3_LOCK_DAYS") && c.S3.LockDays > maxLockDays {
		c.problem("EXPORTER_S3_LOCK_DAYS", "must be at most %d", maxLockDays)
	}
	if ok("EXPORTER_S3_KMS_KEY", "EXPORTER_S3_SSE") && c.S3.KMSKey != "" && !strings.HasPrefix(string(c.S3.SSE), "aws:kms") {
		c.problem("EXPORTER_S3_KMS_KEY", "is used with EXPORTER_S3_SSE=aws:kms or aws:kms:dsse only: set that, or unset the key")
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
