package exporter

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Daemon runs a job on a schedule, and once at the start. The job may be
// called again while it runs.
//
// What comes due is decided by the wall clock, at which it looks every so
// often: a timer alone stands still while the machine sleeps, and does not
// know of a clock that was set. Ticks that were missed are one run, at once:
// what a run covers does not depend on how many there were before it. A clock
// that was set back moves the next tick back with it.
type Daemon struct {
	Schedule cron.Schedule
	Location *time.Location
	Jitter   time.Duration // each run but the first begins up to so much later
	Grace    time.Duration // how long a run may take to stop
	Log      *slog.Logger
	Job      func(context.Context)

	// AtOnce, if not nil, begins a run for whatever is received from it.
	AtOnce <-chan struct{}

	// Wall is the wall clock; nil: that of the machine.
	Wall func() time.Time

	mu     sync.Mutex
	looked time.Time // when it last looked at the clock, by the steady one; zero: it does not run
	next   time.Time // the next tick, by the wall clock
}

const (
	// lookEvery is how often the wall clock is looked at, and so how late after
	// a sleep or a change of the clock a run begins at most.
	lookEvery = 15 * time.Second

	// stuckAfter is how long it may go without looking before it is stuck.
	stuckAfter = time.Minute

	// clockSet is what the wall clock may differ from the steady one between
	// two looks without having been set. Slewing takes it by 0.5 ms a second.
	clockSet = 2 * time.Second
)

// Next is when the next run is due, the zero time if the daemon does not run.
func (d *Daemon) Next() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.looked.IsZero() {
		return time.Time{}
	}
	return d.next
}

// Alive is nil while the schedule is followed: every tick that was due has
// begun a run. Whether runs come to anything is not its business.
func (d *Daemon) Alive() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch since := time.Since(d.looked); {
	case d.looked.IsZero():
		return fmt.Errorf("the schedule is not followed: not begun yet, or stopped")
	case since > stuckAfter:
		return fmt.Errorf("the schedule is not followed: nothing has looked at the clock for %v", since.Round(time.Second))
	}
	return nil
}

// look notes a look at the clock and says what is due: a run, and how long to
// wait until the next look.
func (d *Daemon) look(wall func() time.Time, last time.Time) (due bool, wait time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	steady := time.Now()
	// Without the steady reading, so that differences are the wall clock's own.
	now = wall().Round(0).In(d.Location)
	switch {
	case d.looked.IsZero():
		d.next = d.Schedule.Next(now)
	case !now.Before(d.next):
		due = true
		d.next = d.Schedule.Next(now)
	case now.Sub(last) < steady.Sub(d.looked)-clockSet:
		// Set back: by the old reckoning nothing would be due until it has
		// caught up.
		d.next = d.Schedule.Next(now)
		d.Log.Warn("this machine's clock was set back", "by", (steady.Sub(d.looked) - now.Sub(last)).Round(time.Second).String(), "next", d.next)
	}
	d.looked = steady
	wait = lookEvery
	if left := d.next.Sub(now); !d.next.IsZero() && left < wait {
		wait = max(left, 0)
	}
	return due, wait, now
}

// Run returns once ctx is done and the runs under way have ended, or the grace
// period has. A panic costs the one run.
func (d *Daemon) Run(ctx context.Context) {
	wall := d.Wall
	if wall == nil {
		wall = time.Now
	}
	var runs sync.WaitGroup
	_, wait, last := d.look(wall, time.Time{})
	runs.Go(func() { d.once(ctx, 0) })
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-d.AtOnce:
			runs.Go(func() { d.once(ctx, 0) })
		case <-timer.C:
		}
		var due bool
		if due, wait, last = d.look(wall, last); due {
			runs.Go(func() { d.once(ctx, d.Jitter) })
		}
		timer.Reset(wait)
	}
	d.mu.Lock()
	d.looked = time.Time{}
	d.mu.Unlock()
	if !Within(d.Grace, runs.Wait) {
		d.Log.Warn("the run under way did not stop in time; the next one goes on from what is committed", "grace", d.Grace.String())
	}
}

// Within says whether f returned within a time. It is left to itself if it
// did not.
func Within(limit time.Duration, f func()) bool {
	ended := make(chan struct{})
	go func() {
		f()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
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
