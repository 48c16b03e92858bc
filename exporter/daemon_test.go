package exporter_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter"
)

// clock is a wall clock that can be set, as one jumps that has slept.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}

// ticking runs a daemon on virtual time and notes by the wall clock when its runs began.
type ticking struct {
	*exporter.Daemon
	clock
	log strings.Builder

	began chan time.Time
	stop  func()
}

func tick(t *testing.T, spec, zone string, change func(*exporter.Daemon)) *ticking {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := exporter.ParseSchedule(spec, location)
	if err != nil {
		t.Fatal(err)
	}
	d := &ticking{began: make(chan time.Time, 1_000_000)}
	d.Daemon = &exporter.Daemon{Schedule: schedule, Location: location, Grace: time.Second, Log: slog.New(slog.NewTextHandler(&d.log, nil)), Wall: d.now}
	d.Job = func(context.Context) { d.began <- d.now() }
	if change != nil {
		change(d.Daemon)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	d.stop = func() { cancel(); running.Wait() }
	synctest.Wait()
	return d
}

// said is what it has logged.
func (d *ticking) said() string {
	synctest.Wait()
	return d.log.String()
}

// runs are the beginnings of runs since it was last asked for.
func (d *ticking) runs() (all []time.Time) {
	synctest.Wait()
	for {
		select {
		case at := <-d.began:
			all = append(all, at)
		default:
			return all
		}
	}
}

// TestDaylightSaving: in zones whose clocks change by an hour or by half of one, a schedule of minutes
// leaves no gap and fires nothing twice, and of a line that names an hour that is skipped or repeated,
// runs come no further apart than two days. Each period has a change of some zone's clocks.
func TestDaylightSaving(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"} {
		for spec, widest := range map[string]time.Duration{
			"*/5 * * * *": 5 * time.Minute, "@hourly": time.Hour + 30*time.Minute, "@every 10m": 10 * time.Minute,
			"30 2 * * *": 49 * time.Hour, "30 1 * * *": 49 * time.Hour, "15,45 2 * * *": 48 * time.Hour,
		} {
			t.Run(zone+" "+spec, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					for _, period := range [][2]string{{"2000-03-24", "2000-04-05"}, {"2000-08-25", "2000-08-30"}, {"2000-10-27", "2000-11-01"}} {
						from, _ := time.Parse(time.DateOnly, period[0])
						to, _ := time.Parse(time.DateOnly, period[1])
						time.Sleep(time.Until(from))
						d := tick(t, spec, zone, nil)
						time.Sleep(time.Until(to))
						runs := d.runs()
						d.stop()
						if want := int(to.Sub(from) / widest); len(runs) < want {
							t.Fatalf("%d runs, want at least %d", len(runs), want)
						}
						for i := 2; i < len(runs); i++ { // the first is the start's
							if gap := runs[i].Sub(runs[i-1]); gap > widest || gap < time.Minute {
								t.Errorf("%v between %s and %s", gap, runs[i-1], runs[i])
							}
						}
					}
				})
			})
		}
	}
}

// TestClockSteps: a clock that jumps ahead, as after a sleep, costs one run at once and no more; one
// that is set back leaves no gap.
func TestClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := tick(t, "*/5 * * * *", "UTC", nil)
		if n := len(d.runs()); n != 1 {
			t.Fatalf("%d runs at the start", n)
		}
		time.Sleep(12 * time.Minute)
		if n := len(d.runs()); n != 2 {
			t.Fatalf("%d runs in 12 minutes", n)
		}
		d.set(8 * time.Hour) // it slept, and the timers with it
		time.Sleep(15 * time.Second)
		if n := len(d.runs()); n != 1 {
			t.Errorf("%d runs after a night's sleep, want one at once", n)
		}
		time.Sleep(10 * time.Minute)
		if n := len(d.runs()); n != 2 {
			t.Errorf("%d runs in the ten minutes after it", n)
		}
		d.set(-3 * time.Hour)
		time.Sleep(10*time.Minute + 15*time.Second)
		if n := len(d.runs()); n != 2 {
			t.Errorf("%d runs in the ten minutes after the clock was set back", n)
		}
		if !strings.Contains(d.said(), "set back") {
			t.Errorf("the log says %q", d.said())
		}
		if next := d.Next(); next.Sub(d.now()) > 5*time.Minute {
			t.Errorf("next is %s at %s", next, d.now())
		}
		d.stop()
	})
}

// TestPanicCostsOneRun: and so does a run that hangs; only the end waits for it, as long as it may.
func TestPanicCostsOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan time.Time, 100)
		hung := make(chan struct{})
		d := tick(t, "@every 1m", "UTC", func(d *exporter.Daemon) {
			d.Grace = 20 * time.Second
			d.Job = func(context.Context) {
				begun <- time.Now()
				switch len(begun) {
				case 2:
					panic("made up")
				case 3:
					<-hung
				}
			}
		})
		time.Sleep(10*time.Minute + time.Second)
		if len(begun) != 11 || !strings.Contains(d.said(), "panic=\"made up\"") {
			t.Errorf("%d runs in ten minutes, %s", len(begun), d.said())
		}
		if err := d.Alive(); err != nil {
			t.Error(err)
		}
		at := time.Now()
		d.stop()
		if took := time.Since(at); took != 20*time.Second || !strings.Contains(d.said(), "did not stop in time") {
			t.Errorf("stopped after %v, %s", took, d.said())
		}
		close(hung)
		if d.Alive() == nil || !d.Next().IsZero() {
			t.Error("alive after its end")
		}
	})
}

// TestJitter spreads runs over the jitter, but for the first one and those that are asked for.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atOnce := make(chan struct{})
		d := tick(t, "*/5 * * * *", "UTC", func(d *exporter.Daemon) { d.Jitter, d.AtOnce = 4*time.Minute, atOnce })
		if runs := d.runs(); len(runs) != 1 || time.Since(runs[0]) > 0 {
			t.Errorf("the first runs: %v", runs)
		}
		time.Sleep(500 * 5 * time.Minute)
		least, most := time.Hour, time.Duration(0)
		for _, at := range d.runs() {
			late := at.Sub(at.Truncate(5 * time.Minute))
			least, most = min(least, late), max(most, late)
		}
		if least > 10*time.Second || most < 3*time.Minute+40*time.Second || most > 4*time.Minute {
			t.Errorf("500 runs were %v to %v late", least, most)
		}
		before := time.Now()
		atOnce <- struct{}{}
		if runs := d.runs(); len(runs) != 1 || runs[0].After(before) {
			t.Errorf("asked for at %s: %v", before, runs)
		}
		d.stop()
	})
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for spec, want := range map[string]string{
		"TZ=UTC": "EXPORTER_TIMEZONE", "CRON_TZ=Europe/Berlin * * * * *": "EXPORTER_TIMEZONE", "TZ= 5 * * * *": "EXPORTER_TIMEZONE",
		"@every 0s": "shortest", "@every -5m": "shortest", "@every 9999ms": "shortest", "@every soon": "no cron expression", "@reboot": "no cron expression",
		"0 0 31 2 *": "never fires", "0 0 30 2 *": "never fires", "* * * * * *": "no cron expression", "": "no cron expression", "*/0 * * * *": "no cron expression",
		"*/60 * * * *": "wider", "0-30/90 * * * *": "wider", "0 */24 * * *": "wider", "0 0 */31 * *": "wider", "0 0 1 */12 *": "wider", "0 0 * * */7": "wider",
	} {
		if _, err := exporter.ParseSchedule(spec, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", spec, err, want)
		}
	}
	for _, spec := range []string{"*/5 * * * *", "*/59 * * * *", "0 */23 * * *", "@every 10s", "@hourly", "0 0 29 2 *", "0 9-17/2 * * MON-FRI", "7,37 * * * *"} {
		if _, err := exporter.ParseSchedule(spec, time.UTC); err != nil {
			t.Errorf("%q: %v", spec, err)
		}
	}
}
