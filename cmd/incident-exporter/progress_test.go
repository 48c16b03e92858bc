package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
)

func TestProgressLine(t *testing.T) {
	var out bytes.Buffer
	line := &progressLine{out: &out}
	line.begin()
	begun := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	now := begun.Add(100 * 24 * time.Hour)
	line.observe(exporter.Progress{
		Start: begun, Since: begun.Add(39 * 24 * time.Hour), Until: now, Holes: 1, Target: now, Done: 61 * 24 * time.Hour, First: true,
		Versions: 1234, Calls: 31, Left: 7,
	})
	shown := out.String()[strings.LastIndex(out.String(), eraseLine):]
	for _, want := range []string{"covered 2026-06-10 00:00 back to 2026-04-10, 61 %, 0s left, 1234 versions"} {
		if !strings.Contains(shown, want) || strings.Contains(shown, "\n") || len(shown) > progressWidth+len(eraseLine) {
			t.Errorf("%q is not in %q", want, shown)
		}
	}
	line.observe(exporter.Progress{
		Start: begun, Since: now.Add(-time.Hour), Until: now, Holes: 2, Target: now, Done: 90 * 24 * time.Hour, Begun: 89 * 24 * time.Hour,
		Versions: 1, Calls: 31, Left: 7,
	})
	shown = out.String()[strings.LastIndex(out.String(), eraseLine):]
	for _, want := range []string{"covered 2026-06-10 00:00, 2 holes, ", "1 version,", "31 calls", "quota left 7", " left"} {
		if !strings.Contains(shown, want) || strings.Contains(shown, "\n") || len(shown) > progressWidth+len(eraseLine) {
			t.Errorf("%q is not in %q", want, shown)
		}
	}
	out.Reset()
	if n, err := line.Write([]byte("a warning\n")); n != 10 || err != nil || out.String() != eraseLine+"a warning\n"+strings.TrimPrefix(shown, eraseLine) {
		t.Errorf("beside a log record: %q, %d, %v", out.String(), n, err)
	}
	out.Reset()
	line.end()
	if _, err := line.Write([]byte("done\n")); err != nil || out.String() != eraseLine+"done\n" {
		t.Errorf("at the end: %q, %v", out.String(), err)
	}
}

// TestVerifyShowsItsProgress: not more often than anybody can read, and what it finds stands above.
func TestVerifyShowsItsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var terminal bytes.Buffer
		line := &progressLine{out: &terminal}
		for seq := uint64(1); seq <= 500; seq++ {
			line.verified(demoStream(), seq, 500)
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(terminal.String(), eraseLine); n < 4 || n > 5 {
			t.Errorf("shown %d times in half a second: %q", n, terminal.String())
		}
		if !strings.Contains(terminal.String(), "verified manifest 1 of 500 of defender/") {
			t.Errorf("shows %q", terminal.String())
		}
		terminal.Reset()
		if _, err := (lineAbove{line, &terminal}).Write([]byte("fault: missing\n")); err != nil || !strings.HasPrefix(terminal.String(), eraseLine+"fault: missing\nverified manifest ") {
			t.Errorf("a finding: %q, %v", terminal.String(), err)
		}
	})
}

func TestTimeLeft(t *testing.T) {
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	at := func(begun, done, target time.Duration) exporter.Progress {
		return exporter.Progress{Start: from, Begun: begun, Done: done, Target: from.Add(target)}
	}
	for _, test := range []struct {
		p    exporter.Progress
		want time.Duration
		ok   bool
	}{
		{at(0, time.Hour, 4*time.Hour), 3 * time.Minute, true},
		{at(time.Hour, 2*time.Hour, 4*time.Hour), 2 * time.Minute, true},
		{at(0, 4*time.Hour, 4*time.Hour), 0, true},
		{at(0, 5*time.Hour, 4*time.Hour), 0, true}, // by another clock
		{at(0, 0, time.Hour), 0, false},
		{at(2*time.Hour, time.Hour, time.Hour), 0, false}, // something was withdrawn
		{exporter.Progress{Start: from, Done: time.Hour}, 0, false},
	} {
		if left, ok := timeLeft(test.p, time.Minute); left != test.want || ok != test.ok {
			t.Errorf("%+v: %v, %v, want %v", test.p, left, ok, test.want)
		}
	}
}

// TestProgressBesideLogs: without a terminal there is no line, and nothing less is logged.
func TestProgressBesideLogs(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	own, within, line := a.newProgress(load(t))
	line.begin()
	own.Info("one")
	within.Info("two")
	line.observe(exporter.Progress{})
	line.end()
	if text := out.String(); strings.Count(text, "\n") != 2 || strings.Contains(text, "\r") {
		t.Errorf("said %q", text)
	}
}
