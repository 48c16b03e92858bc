package rawjson

import (
	"fmt"
	"strings"
	"time"
)

// Tick is the finest difference between two times that the APIs serve.
const Tick = 100 * time.Nanosecond

// ParseTime reads a time as the APIs write it: RFC 3339 with any number of
// fractional digits, of which seven count; UTC where there is no offset. What FormatTime could not
// write so that it can be read again is refused.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil && !strings.HasSuffix(s, "Z") {
		t, err = time.Parse(time.RFC3339Nano, s+"Z")
	}
	if err != nil || strings.ContainsRune(s, ',') {
		if len(s) > 40 {
			s = s[:40]
		}
		return time.Time{}, fmt.Errorf("%q is not a timestamp", s)
	}
	if t = t.UTC().Truncate(Tick); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%q is not in the years 1 to 9999 UTC", s)
	}
	return t, nil
}

// FormatTime writes t in UTC with as many of seven fractional digits as it
// needs, which is what both APIs accept in a filter.
func FormatTime(t time.Time) string {
	return t.UTC().Truncate(Tick).Format("2006-01-02T15:04:05.9999999Z07:00")
}
