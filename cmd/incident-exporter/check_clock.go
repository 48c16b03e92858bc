package main

import (
	"fmt"
	"time"

	"incident-exporter/auth"
)

// clockFailure is how far a clock may be off that other machines judge by: Microsoft Entra ID
// forgives assertions five minutes, S3 signatures fifteen.
const clockFailure = 5 * time.Minute

// clock holds this machine's clock to that of a hop. theirs is what the server said, zero if it did
// not; ours is this clock at that moment.
func (c *checker) clock(hop string, theirs, ours time.Time) {
	v := verdict{Name: hop + " clock"}
	if theirs.IsZero() {
		v.State, v.Detail, v.Remedy = warning, "its answer has no Date, so that nothing tells whether this machine's clock is right", "see that this machine's clock is set (NTP)"
		c.say(v)
		return
	}
	off := ours.Sub(theirs).Round(time.Second)
	if hop != "s3" { // what is archived until when is told by the clocks of the other two
		c.now = func() time.Time { return time.Now().Add(-off) }
	}
	if off.Abs() <= clockMargin {
		v.Detail = "this machine's clock agrees with it to within a minute"
		c.say(v)
		return
	}
	direction := "ahead of"
	if off < 0 {
		direction = "behind"
	}
	v.State, v.Remedy = warning, "set this machine's clock (NTP)"
	v.Detail = fmt.Sprintf("this machine's clock is off: it is %s %s that of the %s", off.Abs(), direction, map[string]string{"authority": "authority", "api": "API", "s3": "store"}[hop])
	if off.Abs() > clockFailure {
		switch {
		case hop == "s3":
			v.State, v.Detail = failed, v.Detail+"; requests that are signed more than 15 minutes off are refused"
		case hop == "authority" && c.cfg.kind == auth.Certificate:
			v.State, v.Detail = failed, v.Detail+"; assertions that are signed more than 5 minutes off are refused"
		}
	}
	c.say(v)
}
