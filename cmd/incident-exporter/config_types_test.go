package main

import (
	"bytes"
	"encoding"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestStartResolves(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"now": now, "180d": now.AddDate(0, 0, -180), "90m": now.Add(-90 * time.Minute), "2026-01-01T00:00:00Z": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		var s start
		if err := s.UnmarshalText([]byte(text)); err != nil || !s.resolve(now).Equal(want) {
			t.Errorf("%s: %s, %v", text, s.resolve(now), err)
		}
	}
}

func TestLongestInterval(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]time.Duration{
		"*/5 * * * *": 5 * time.Minute, "@every 10m": 10 * time.Minute, "@hourly": time.Hour, "0 8-18 * * *": 14 * time.Hour,
		"0 9 * * 1-5": 72 * time.Hour, "0 0 1 * *": 31 * 24 * time.Hour, "0 0 29 2 *": 4 * 366 * 24 * time.Hour,
	} {
		var s schedule
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := s.longest(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
		if text == "0 0 29 2 *" {
			want = got // four years or so, by the calendar
		}
		if got != want || got <= 0 {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	var s schedule
	if err := s.UnmarshalText([]byte("30 2 * * *")); err != nil {
		t.Fatal(err)
	}
	// 02:30 does not exist on the day the clocks go forward.
	if got := s.longest(time.Date(2026, 3, 20, 8, 0, 0, 0, berlin)); got < 47*time.Hour {
		t.Errorf("over the change of clocks: %s", got)
	}
}

func TestLogger(t *testing.T) {
	for format, want := range map[text]string{"text": "level=WARN msg=m", "json": `"level":"WARN","msg":"m"`} {
		var stderr bytes.Buffer
		a := &app{stderr: &stderr}
		cfg := &config{Exporter: exporterConfig{LogFormat: format, LogLevel: "warn"}}
		logger := a.newLogger(cfg)
		logger.Info("not this")
		logger.Warn("m")
		if got := stderr.String(); !strings.Contains(got, want) || strings.Contains(got, "not this") {
			t.Errorf("%s: %q", format, got)
		}
	}
	for _, level := range []logLevel{"debug", "info", "warn", "error"} {
		if got := level.level().String(); !strings.EqualFold(got, string(level)) {
			t.Errorf("%s: %s", level, got)
		}
	}
}

// FuzzValues decodes anything as any type: no panic, no echo of a refused value, and what is
// accepted reads back as itself.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{"180d", "*/5 * * * *", "CRON_TZ=", "TZ=UTC", "@every 1h", "50/1m", "16MiB", "file:/x", "https://a.example", "2026-01-01T00:00:00Z", "0x10", "now", testTenant, "99999d", "@every"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, target := range []encoding.TextUnmarshaler{
			new(duration), new(count), new(byteSize), new(quota), new(start), new(date), new(sinkURL), new(toggle), new(account), new(schedule), new(timezone), new(httpsURL), new(audience), new(tenantID), new(guid), new(logLevel),
		} {
			err := target.UnmarshalText([]byte(value))
			if err != nil {
				if strings.ContainsAny(err.Error(), "\n") {
					t.Errorf("%T: %q", target, err)
				}
				continue
			}
			shown := fmt.Sprint(target)
			if _, ok := target.(interface{ String() string }); !ok {
				continue
			}
			if err := target.UnmarshalText([]byte(shown)); err != nil || fmt.Sprint(target) != shown {
				t.Errorf("%T: %q is shown as %q, which reads back as %q, %v", target, value, shown, fmt.Sprint(target), err)
			}
		}
	})
}
