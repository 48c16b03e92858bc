package exporter

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
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
	if s.Next(time.Now().In(location)).IsZero() {
		return nil, fmt.Errorf("%q never fires: there is no such day", spec)
	}
	return s, nil
}

// Daemon runs a job on a schedule, and once at the start. The job may be
// called again while it runs.
type Daemon struct {
	Schedule cron.Schedule
	Location *time.Location
	Jitter   time.Duration // each run begins up to so much later
	Grace    time.Duration // how long a run may take to stop
	Log      *slog.Logger
	Job      func(context.Context)
}

// Run returns once ctx is done and the runs under way have ended, or the grace
// period has. A panic costs the one run.
func (d *Daemon) Run(ctx context.Context) {
	c := cron.New(cron.WithLocation(d.Location))
	var runs sync.WaitGroup
	c.Schedule(d.Schedule, cron.FuncJob(func() { runs.Go(func() { d.once(ctx, d.Jitter) }) }))
	runs.Go(func() { d.once(ctx, 0) })
	c.Start()
	<-ctx.Done()
	<-c.Stop().Done()
	ended := make(chan struct{})
	go func() {
		runs.Wait()
		close(ended)
	}()
	grace := time.NewTimer(d.Grace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		d.Log.Warn("the run under way did not stop in time; the next one goes on from what is committed", "grace", d.Grace)
	}
}

func (d *Daemon) once(ctx context.Context, jitter time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			d.Log.Error("the run panicked; the next one goes on from what is committed", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	if jitter > 0 {
		wait := time.NewTimer(rand.N(jitter))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		d.Job(ctx)
	}
}
