package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"incident-exporter/sinks"
	"incident-exporter/sinks/s3"
)

// The types below decode what people type into variables. Surrounding white space is no part of a
// value. Their errors say what would be right and never quote the value.

// text is any text; the oneof tag narrows it.
type text string

func (t *text) UnmarshalText(b []byte) error {
	*t = text(strings.TrimSpace(string(b)))
	return nil
}

// guid is a GUID in lower case.
type guid string

var guidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (g *guid) UnmarshalText(b []byte) error {
	lower := strings.ToLower(strings.TrimSpace(string(b)))
	if !guidForm.MatchString(lower) {
		return errors.New("must be a GUID, such as 5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa")
	}
	*g = guid(lower)
	return nil
}

// tenantID is a tenant's GUID in lower case, or a domain name, which only `token` puts up with.
type tenantID string

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)

func (t *tenantID) UnmarshalText(b []byte) error {
	lower := strings.ToLower(strings.TrimSpace(string(b)))
	if !guidForm.MatchString(lower) && !domainForm.MatchString(lower) {
		return errors.New("must be the tenant's GUID (Microsoft Entra ID, Overview, Tenant ID)")
	}
	*t = tenantID(lower)
	return nil
}

func (t tenantID) domain() bool { return t != "" && !guidForm.MatchString(string(t)) }

// httpsURL is an https URL without query and credentials, without a slash at its end.
type httpsURL string

func (h *httpsURL) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be a URL such as https://host.example")
	case u.Scheme != "https":
		return errors.New("must begin with https://: a token or secret is never sent over an open connection")
	case u.User != nil:
		return errors.New("must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(value, "#"):
		return errors.New("must not have a query or fragment")
	}
	*h = httpsURL(strings.TrimRight(value, "/"))
	return nil
}

// audience is the resource that tokens are for: an https URL or api:// URI, or an app's GUID.
type audience string

func (a *audience) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	u, err := url.Parse(value)
	isURI := err == nil && (u.Scheme == "https" || u.Scheme == "api") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	if !isURI && !guidForm.MatchString(strings.ToLower(value)) {
		return errors.New("must be one resource, such as https://api.security.microsoft.com")
	}
	if strings.HasSuffix(value, "/.default") {
		return errors.New("must be the resource alone, without /.default")
	}
	*a = audience(value)
	return nil
}

// duration is a length of time: Go's notation, and d for days of 24 hours.
type duration struct{ time.Duration }

var daysForm = regexp.MustCompile(`^[0-9]{1,5}d$`)

func (d *duration) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	if daysForm.MatchString(value) {
		days, err := strconv.Atoi(strings.TrimSuffix(value, "d"))
		if err == nil {
			d.Duration = time.Duration(days) * 24 * time.Hour
			return nil
		}
	}
	parsed, err := time.ParseDuration(value)
	if err != nil {
		return errors.New("must be a duration with its unit, such as 30s, 90m, 24h or 180d")
	}
	if parsed < 0 {
		return errors.New("must not be negative")
	}
	d.Duration = parsed
	return nil
}

// String gives the duration without the units that are zero: 1h, not 1h0m0s.
func (d duration) String() string {
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// count is a whole number, in decimal digits only.
type count int

var countForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

func (c *count) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	n, err := strconv.Atoi(value)
	if err != nil || !countForm.MatchString(value) {
		return errors.New("must be a whole number in decimal digits, without sign or leading zeros")
	}
	*c = count(n)
	return nil
}

func (c count) String() string { return strconv.Itoa(int(c)) }

// byteSize is a number of bytes: KiB, MiB and GiB are powers of 1024, KB, MB and GB of 1000.
type byteSize int64

var sizeForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,14}) ?([KMG]i?B|B|)$`)

func sizeUnits() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}}
}

func (s *byteSize) UnmarshalText(b []byte) error {
	m := sizeForm.FindStringSubmatch(strings.TrimSpace(string(b)))
	if m == nil {
		return errors.New("must be a size such as 16MiB, 32MB or a number of bytes")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return errors.New("must be a size such as 16MiB, 32MB or a number of bytes")
	}
	for _, unit := range sizeUnits() {
		if m[2] != unit.name {
			continue
		}
		if n > math.MaxInt64/unit.bytes {
			return errors.New("is too large")
		}
		n *= unit.bytes
	}
	*s = byteSize(n)
	return nil
}

// String gives the size in the unit that takes the smallest whole number.
func (s byteSize) String() string {
	n, name := int64(s), ""
	for _, unit := range sizeUnits() {
		if whole := int64(s) / unit.bytes; s != 0 && int64(s)%unit.bytes == 0 && whole < n {
			n, name = whole, unit.name
		}
	}
	return strconv.FormatInt(n, 10) + name
}

// limit is one clause of a quota: so many calls in any such stretch of time.
type limit struct {
	calls int
	per   time.Duration
}

// quota is what the API allows; all its limits hold at once.
type quota []limit

func (q *quota) UnmarshalText(b []byte) error {
	wrong := errors.New("must be calls per time, such as 50/1m,1500/1h")
	var limits quota
	for part := range strings.SplitSeq(string(b), ",") {
		calls, per, ok := strings.Cut(strings.TrimSpace(part), "/")
		var n count
		var d duration
		if !ok || n.UnmarshalText([]byte(calls)) != nil || d.UnmarshalText([]byte(per)) != nil {
			return wrong
		}
		if n == 0 || d.Duration <= 0 {
			return errors.New("must allow at least one call in a time above 0")
		}
		limits = append(limits, limit{int(n), d.Duration})
	}
	*q = limits
	return nil
}

func (q quota) String() string {
	parts := make([]string, len(q))
	for i, l := range q {
		parts[i] = fmt.Sprintf("%d/%s", l.calls, duration{l.per})
	}
	return strings.Join(parts, ",")
}

// start is where a new archive begins: at a moment, or some time before now.
type start struct {
	at   time.Time     // zero: relative
	back time.Duration // before now; 0: now
}

func (s *start) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	if value == "now" {
		*s = start{}
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		*s = start{at: at.UTC()}
		return nil
	}
	var back duration
	if back.UnmarshalText(b) != nil {
		return errors.New("must be a duration back from now such as 180d, or now, or a timestamp such as 2026-03-01T00:00:00Z")
	}
	*s = start{back: back.Duration}
	return nil
}

// resolve returns the moment, given what is now by the server's clock.
func (s start) resolve(now time.Time) time.Time {
	if !s.at.IsZero() {
		return s.at
	}
	return now.Add(-s.back)
}

// startToCome is the error of a start that is later than now.
func (c *config) startToCome(now time.Time) error {
	if at := c.Exporter.Start.at; at.After(now) {
		return &configError{[]problem{{"EXPORTER_START", fmt.Sprintf(
			"is %s, which is still to come: set it to a time in the past, or correct this machine's clock", at.Format(time.RFC3339))}}}
	}
	return nil
}

func (s start) String() string {
	switch {
	case !s.at.IsZero():
		return s.at.Format(time.RFC3339Nano)
	case s.back == 0:
		return "now"
	case s.back%(24*time.Hour) == 0:
		return strconv.Itoa(int(s.back/(24*time.Hour))) + "d"
	}
	return duration{s.back}.String()
}

// date is a day.
type date struct{ time.Time }

func (d *date) UnmarshalText(b []byte) error {
	day, err := time.Parse(time.DateOnly, strings.TrimSpace(string(b)))
	if err != nil {
		return errors.New("must be a date such as 2027-01-31")
	}
	d.Time = day
	return nil
}

func (d date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.DateOnly)
}

// sinkURL is where the archive is: a directory, or a prefix of a bucket.
type sinkURL struct {
	dir            string
	bucket, prefix string
}

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// maxPrefix leaves room for the archive's own keys: S3 takes 1,024 bytes.
const maxPrefix = 500

func (s *sinkURL) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	if rest, ok := strings.CutPrefix(value, "s3://"); ok {
		bucket, prefix, _ := strings.Cut(rest, "/")
		prefix = strings.Trim(prefix, "/")
		switch {
		case !bucketForm.MatchString(bucket):
			return errors.New("must name a bucket after s3://, such as s3://my-bucket/incidents")
		case len(prefix) > maxPrefix || prefix != "" && sinks.CheckKey(prefix) != nil:
			return fmt.Errorf("must have a prefix of printable ASCII of at most %d bytes, without empty parts, . or .., such as s3://my-bucket/incidents", maxPrefix)
		}
		*s = sinkURL{bucket: bucket, prefix: prefix}
		return nil
	}
	dir, ok := strings.CutPrefix(value, "file:")
	if !ok || dir == "" || strings.ContainsRune(dir, 0) {
		return errors.New("must be file:DIR, such as file:/var/lib/incident-exporter, or s3://BUCKET/PREFIX")
	}
	// file:///dir is how a URL writes file:/dir.
	if rest, ok := strings.CutPrefix(dir, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return errors.New("must not name a host: write file:/DIR for an absolute path, file:./DIR for a relative one")
		}
		dir = rest
	}
	*s = sinkURL{dir: dir}
	return nil
}

func (s sinkURL) String() string {
	if s.bucket != "" {
		return s3.Config{Bucket: s.bucket, Prefix: s.prefix}.String()
	}
	return "file:" + s.dir
}

// toggle is on or off.
type toggle bool

func (t *toggle) UnmarshalText(b []byte) error {
	switch strings.ToLower(strings.TrimSpace(string(b))) {
	case "true":
		*t = true
	case "false":
		*t = false
	default:
		return errors.New("must be true or false")
	}
	return nil
}

func (t toggle) String() string { return strconv.FormatBool(bool(t)) }

// account is the id of an AWS account.
type account string

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

func (a *account) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	if !accountForm.MatchString(value) {
		return errors.New("must be an AWS account id of 12 digits")
	}
	*a = account(value)
	return nil
}

// logLevel is the least level that is logged.
type logLevel string

func (l *logLevel) UnmarshalText(b []byte) error {
	switch value := strings.ToLower(strings.TrimSpace(string(b))); value {
	case "debug", "info", "warn", "error":
		*l = logLevel(value)
		return nil
	}
	return errors.New("must be one of debug, info, warn, error")
}

func (l logLevel) level() slog.Level {
	switch l {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
