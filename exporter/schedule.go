package exporter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// shortestInterval is the least that a schedule may leave between two runs:
// robfig/cron turns shorter ones, and negative ones, into every second.
const shortestInterval = 10 * time.Second

// ParseSchedule reads a cron expression of five fields, a descriptor
// (`@hourly`) or `@every 10m`. Errors say what would be right.
func ParseSchedule(spec string, location *time.Location) (s cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil { // robfig/cron#554
			s, err = nil, fmt.Errorf("%q is no cron expression", spec)
		}
	}()
	if strings.Contains(spec, "TZ=") {
		return nil, fmt.Errorf("%q names a time zone: set EXPORTER_TIMEZONE instead", spec)
	}
	if every, ok := strings.CutPrefix(strings.TrimSpace(spec), "@every "); ok {
		if d, err := time.ParseDuration(strings.TrimSpace(every)); err == nil && d < shortestInterval {
			return nil, fmt.Errorf("%q: the shortest interval is %v", spec, shortestInterval)
		}
	}
	s, err = cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("%q is no cron expression (minute hour day-of-month month day-of-week, or @every 10m): %w", spec, err)
	}
	if err := widestSteps(spec); err != nil {
		return nil, err
	}
	if s.Next(time.Now().In(location)).IsZero() {
		return nil, fmt.Errorf("%q never fires: there is no such day", spec)
	}
	return s, nil
}

// widestSteps refuses a step that is wider than its field: robfig/cron takes
// `*/90` minutes as once an hour, which is not what is meant.
func widestSteps(spec string) error {
	fields := strings.Fields(spec)
	widths := []int{60, 24, 31, 12, 7}
	if len(fields) != len(widths) {
		return nil // a descriptor
	}
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			_, step, ok := strings.Cut(part, "/")
			if n, err := strconv.Atoi(step); ok && err == nil && n >= widths[i] {
				return fmt.Errorf("%q: the step %d is wider than its field of %d: it would not come round as often as it says", spec, n, widths[i])
			}
		}
	}
	return nil
}
