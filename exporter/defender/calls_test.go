package defender_test

import (
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// A careless change that costs calls shows here.
func TestCalls(t *testing.T) {
	for _, c := range []struct{ incidents, calls int }{
		{0, 1},
		{1, 2},     // its halves, or a longer answer that is not there
		{60, 5},    // an answer that may be cut, a longer one that is not there, its halves
		{250, 5},   // 3 answers, one that ends it, the check
		{1000, 13}, // 10 answers and rows that come again, one that ends it, the check
	} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: c.incidents}, nil, nil)
			calls := tn.all()
			tn.seconds(0)
			if calls > c.calls || calls < c.calls-1 {
				t.Errorf("%d incidents took %d calls, were %d", c.incidents, calls, c.calls)
			}
			if u := tn.source.Usage(); u.Calls != calls {
				t.Errorf("counted %d calls of %d", u.Calls, calls)
			}
		})
	}
}

func TestCallsOfGraph(t *testing.T) {
	for _, c := range []struct{ incidents, calls int }{{0, 1}, {40, 5}, {250, 8}} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: c.incidents}, nil, ofGraph)
			if calls := tn.all(); calls > c.calls || calls < c.calls-1 {
				t.Errorf("%d incidents took %d calls, were %d", c.incidents, calls, c.calls)
			}
			tn.seconds(0)
		})
	}
}

// Churn moves incidents to later times while they are read: it costs nothing.
func TestChurnCostsNoCalls(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 3000}, func(b *simulator.Behaviour) { b.ChurnPerCall = 3 }, nil)
		if calls := tn.all(); calls > 34 {
			t.Errorf("%d calls", calls)
		}
		tn.seconds(0)
	})
}

// Where a call takes long the quota is used by several lanes; where it does
// not, one makes the fewest calls.
func TestLanes(t *testing.T) {
	for _, latency := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 20_000}, func(b *simulator.Behaviour) { b.Latency = latency }, nil)
			tn.long = true
			time.Sleep(2 * time.Minute)
			to, begun := tn.newest(), time.Now()
			calls, err := tn.read(tn.from, to)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun)
			tn.kept(to)
			tn.seconds(0)
			if latency < time.Second && calls > 210 {
				t.Errorf("one lane took %d calls", calls)
			}
			if bound := time.Duration((calls-1)/50)*time.Minute + latency; took > bound*145/100 || calls > 235 {
				t.Errorf("%d calls of %v took %v, the quota allows %v", calls, latency, took, bound)
			}
			t.Logf("%v a call: %d calls in %v", latency, calls, took)
		})
	}
}

// A reading that is not long has one lane, whatever a call takes.
func TestOneLane(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 1000}, func(b *simulator.Behaviour) { b.Latency = 10 * time.Second }, nil)
		if calls := tn.all(); calls > 13 {
			t.Errorf("%d calls", calls)
		}
	})
}
