package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/ledger"
)

// covering is a manifest of a chain that began 180 days before now, with claims of stretches that are
// given as how long before now they begin and end.
func covering(now time.Time, stretches ...[2]time.Duration) *ledger.Manifest {
	at := func(ago time.Duration) ledger.Time {
		return ledger.Time{Time: now.Add(-ago).UTC().Truncate(time.Second)}
	}
	m := &ledger.Manifest{Start: at(180 * day)}
	for _, s := range stretches {
		m.Covered = m.Covered.Add(ledger.Claim{From: at(s[0]), To: at(s[1]), Asked: at(0)})
	}
	return m
}

const day = 24 * time.Hour

// TestCoverage: what is said of holes, of a first backfill, of lag and of what lies ahead, and what of
// that is wrong.
func TestCoverage(t *testing.T) {
	now := time.Date(2026, 11, 25, 14, 0, 0, 0, time.UTC)
	most := duration{time.Hour}
	unfetched := func(m *ledger.Manifest, from, to time.Duration, why string) *ledger.Manifest {
		m.Unfetched = append(m.Unfetched, ledger.Unfetched{
			From: ledger.Time{Time: now.Add(-from)}, To: ledger.Time{Time: now.Add(-to)}, Error: why, Since: 3,
		})
		return m
	}
	for name, test := range map[string]struct {
		m                      *ledger.Manifest
		holes, open, unfetched int
		backfill               bool
		text, wrong            string
	}{
		"nothing":           {&ledger.Manifest{}, 0, 0, 0, false, "nothing is covered yet", "nothing is covered yet"},
		"all":               {covering(now, [2]time.Duration{180 * day, time.Minute}), 0, 0, 0, false, "covered from 2026-05-29T14:00:00Z until 2026-11-25T13:59:00Z, 1m0s ago", ""},
		"lags":              {covering(now, [2]time.Duration{180 * day, 61 * time.Minute}), 0, 0, 0, false, "until 2026-11-25T12:59:00Z, 1h1m0s ago", "behind by more than 1h"},
		"a little ahead":    {covering(now, [2]time.Duration{180 * day, -4 * time.Minute}), 0, 0, 0, false, "4m0s ahead", ""},
		"ahead":             {covering(now, [2]time.Duration{180 * day, -6 * time.Minute}), 0, 0, 0, false, "6m0s ahead", "ends in the future"},
		"first backfill":    {covering(now, [2]time.Duration{30 * day, time.Minute}), 1, 0, 0, true, "covered from 2026-10-26T14:00:00Z until 2026-11-25T13:59:00Z, 1m0s ago, the first backfill is under way", ""},
		"backfill by lanes": {covering(now, [2]time.Duration{90 * day, 60 * day}, [2]time.Duration{30 * day, time.Minute}), 2, 0, 0, true, "the first backfill is under way", ""},
		"backfill and lag":  {covering(now, [2]time.Duration{30 * day, 2 * time.Hour}), 1, 0, 0, true, "2h0m0s ago", "behind by more than 1h"},
		"an old hole":       {covering(now, [2]time.Duration{180 * day, 60 * day}, [2]time.Duration{59 * day, time.Minute}), 1, 1, 0, false, "covered from 2026-09-27T14:00:00Z until 2026-11-25T13:59:00Z, 1m0s ago, 1 hole", "nothing has read from 2026-09-26T14:00:00Z to 2026-09-27T14:00:00Z so far"},
		"a new hole":        {covering(now, [2]time.Duration{180 * day, 59 * time.Minute}, [2]time.Duration{50 * time.Minute, time.Minute}), 1, 1, 0, false, "1 hole", ""},
		"what is unfetched is no hole that nothing explains": {unfetched(covering(now, [2]time.Duration{180 * day, 60 * day}, [2]time.Duration{59 * day, time.Minute}), 60*day, 59*day, "poison"),
			1, 0, 1, false, "1 hole", ""},
		"beyond reach":                        {unfetched(covering(now, [2]time.Duration{100 * day, time.Minute}), 180*day, 100*day, ledger.BeyondReach), 1, 0, 0, false, "1 hole", ""},
		"backfill up to what is beyond reach": {unfetched(covering(now, [2]time.Duration{30 * day, time.Minute}), 180*day, 100*day, ledger.BeyondReach), 1, 0, 0, true, "the first backfill is under way", ""},
	} {
		c := coverageOf(test.m)
		if c.holes != test.holes || len(c.open) != test.open || c.unfetched != test.unfetched || c.backfill != test.backfill {
			t.Errorf("%s: %+v", name, c)
		}
		if text := c.text(now); !strings.Contains(text, test.text) {
			t.Errorf("%s: %q, want %q", name, text, test.text)
		}
		if wrong := c.wrong(now, most); (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%s: wrong is %q, want %q", name, wrong, test.wrong)
		}
	}
	if c := coverageOf(nil); c.known() {
		t.Errorf("of no manifest: %+v", c)
	}
}

// TestMetricsOfCoverage: a hole, a first backfill and a provider that refuses are told, of each stream
// and, where there are many, of all together.
func TestMetricsOfCoverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, streams := range []int{2, mostLabelled + 1} {
			p := newPartner(t, make([]int, streams))
			p.measure()
			now := time.Now()
			for i := range streams {
				m := covering(now, [2]time.Duration{180 * day, time.Minute})
				switch i {
				case 0:
					m = covering(now, [2]time.Duration{30 * day, time.Minute})
				case 1:
					m = covering(now, [2]time.Duration{180 * day, 60 * day}, [2]time.Duration{59 * day, time.Minute})
					m.Partial = []string{"Microsoft/Defender for Identity/401"}
				}
				p.stream(tenant{id: tenantNumber(i), source: "defender"}).progressed(m)
			}
			want := map[string]float64{
				"backfill{source=defender,tenant=" + tenantNumber(0) + "}": 1, "holes{source=defender,tenant=" + tenantNumber(0) + "}": 0,
				"backfill{source=defender,tenant=" + tenantNumber(1) + "}": 0, "holes{source=defender,tenant=" + tenantNumber(1) + "}": 1,
				"partial_providers{source=defender,tenant=" + tenantNumber(0) + "}": 0, "partial_providers{source=defender,tenant=" + tenantNumber(1) + "}": 1,
				"covered_since_timestamp_seconds{source=defender,tenant=" + tenantNumber(0) + "}": float64(now.Add(-30 * day).Unix()),
				"lag_seconds{source=defender,tenant=" + tenantNumber(0) + "}":                     60,
			}
			if streams > mostLabelled {
				want = map[string]float64{
					"backfill{source=defender,tenant=}": 1, "holes{source=defender,tenant=}": 1, "partial_providers{source=defender,tenant=}": 1,
					"covered_since_timestamp_seconds{source=defender,tenant=}": float64(now.Add(-30 * day).Unix()), "lag_seconds{source=defender,tenant=}": 60,
				}
			}
			got := p.scraped(t)
			for name, value := range want {
				if v, there := got[name]; !there || v != value {
					t.Errorf("%d streams: %s is %v, want %v", streams, name, v, value)
				}
			}
			var page strings.Builder
			(&status{p: p.passes, next: func() time.Time { return time.Time{} }}).describe(&page)
			for _, line := range []string{
				"ok defender/" + tenantNumber(0) + " covered from 1999-12-02T00:00:00Z until 1999-12-31T23:59:00Z, 1m0s ago, the first backfill is under way\n",
				"LAGS defender/" + tenantNumber(1) + " covered from ", ", 1 hole: nothing has read from ", ", refused by Microsoft/Defender for Identity/401\n",
			} {
				if !strings.Contains(page.String(), line) {
					t.Errorf("no %q in %s", line, page.String())
				}
			}
		}
	})
}

// TestCheckOfCoverage: the chain's verdict warns of what is missing, and names who refuses.
func TestCheckOfCoverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		c := &checker{cfg: load(t), now: time.Now}
		for name, test := range map[string]struct {
			m            *ledger.Manifest
			state        string
			says, remedy string
			partial      []string
		}{
			"good":     {covering(now, [2]time.Duration{180 * day, time.Minute}), passed, ", covered from ", "", nil},
			"backfill": {covering(now, [2]time.Duration{30 * day, time.Minute}), passed, "the first backfill is under way", "", nil},
			"hole":     {covering(now, [2]time.Duration{180 * day, 60 * day}, [2]time.Duration{59 * day, time.Minute}), warning, "nothing has read from", "reads holes", nil},
			"lags":     {covering(now, [2]time.Duration{180 * day, 2 * time.Hour}), warning, "more than EXPORTER_MAX_LAG allows", "the next export makes up for it", nil},
			"ahead":    {covering(now, [2]time.Duration{180 * day, -time.Hour}), failed, "which is still to come", "set the clocks", nil},
			"refused":  {covering(now, [2]time.Duration{180 * day, time.Minute}), warning, "refused by Microsoft/Defender for Identity/401", "no licence", []string{"Microsoft/Defender for Identity/401"}},
		} {
			test.m.Partial = test.partial
			v := verdict{Detail: "head 1:x"}
			c.judgeCoverage(&v, coverageOf(test.m))
			if v.State != test.state || !strings.Contains(v.Detail, test.says) || !strings.Contains(v.Remedy, test.remedy) || (v.Remedy == "") != (test.remedy == "") {
				t.Errorf("%s: %+v", name, v)
			}
		}
	})
}
