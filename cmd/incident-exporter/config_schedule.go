package main

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"incident-exporter/exporter"
)

// schedule is when runs begin: a cron expression of five fields, or a descriptor such as @hourly
// or @every 10m.
type schedule struct {
	text string
	cron cron.Schedule
}

// UnmarshalText takes what exporter.ParseSchedule takes, whose own words quote the value.
func (s *schedule) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	parsed, err := exporter.ParseSchedule(value, time.UTC)
	if err != nil {
		return errors.New("must be a cron expression of five fields such as */5 * * * *, or @hourly, @daily, @every 10m (10s at least); " +
			"not one that never comes round, and the time zone belongs in EXPORTER_TIMEZONE")
	}
	*s = schedule{value, parsed}
	return nil
}

func (s schedule) String() string { return s.text }

// scheduleSample is how many firings tell the longest interval: more than a week of every five
// minutes, and a hundred years of once a fortnight.
const scheduleSample = 2600

// longest returns the longest time between two runs, from what the schedule does after now.
func (s schedule) longest(now time.Time) time.Duration {
	if s.cron == nil {
		return 0
	}
	var longest time.Duration
	// Beyond this the answer is in: a week has all that a cron line can say about hours and days
	// of the week, a year all about days of the month.
	horizon := now.AddDate(1, 0, 0)
	last := s.cron.Next(now)
	for range scheduleSample {
		next := s.cron.Next(last)
		if next.IsZero() {
			break
		}
		longest = max(longest, next.Sub(last))
		if next.After(horizon) {
			break
		}
		last = next
	}
	return longest
}

// timezone is a time zone of the IANA database.
type timezone struct{ *time.Location }

func (z *timezone) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	location, err := time.LoadLocation(value)
	if err != nil || value == "" || value == "Local" {
		return errors.New("must be a time zone of the IANA database, such as UTC or Europe/Berlin")
	}
	z.Location = location
	return nil
}

func (z timezone) String() string {
	if z.Location == nil {
		return ""
	}
	return z.Location.String()
}
