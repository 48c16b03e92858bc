package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/sinks/sinktest"
)

// TestCommitWritesNothingThatDoesNotFollow: what verify would report is not
// written, and what was open can be committed with a right entry.
func TestCommitWritesNothingThatDoesNotFollow(t *testing.T) {
	mem := intact(t)
	l := begin(t, mem, stream, time.Time{}, "gzip")
	end := until(l)
	minutes := func(n int) Time { return Time{end.Add(time.Duration(n) * time.Minute)} }
	read := Claim{From: minutes(0), To: minutes(10), Asked: minutes(11)}
	for name, c := range map[string]struct {
		change func(*Entry)
		want   string
	}{
		"more than was read":   {func(e *Entry) { e.Covered = e.Covered.Add(read) }, "covered is not what was covered before"},
		"less than was read":   {func(e *Entry) { e.Read = []Claim{read} }, "covered is not what was covered before"},
		"asked for later":      {func(e *Entry) { r := read; r.Asked = minutes(12); e.Read, e.Covered = []Claim{read}, e.Covered.Add(r) }, "nothing that was read vouches"},
		"without the order":    {func(e *Entry) { r := read; r.Order = true; e.Read, e.Covered = []Claim{r}, e.Covered.Add(read) }, "nothing that was read vouches"},
		"withdrawn, but there": {func(e *Entry) { e.Withdrawn = []Withdrawn{{minutes(-5), minutes(-4), "x"}} }, "covered is not what was covered before"},
		"unfetched, but there": {func(e *Entry) {
			e.Unfetched = append(e.Unfetched, Unfetched{From: minutes(-5), To: minutes(-4), Error: "x"})
		}, "lies inside of covered"},
	} {
		before := mem.Clone()
		b, err := l.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		e := l.Head().Entry()
		e.Now = minutes(11).Time
		c.change(&e)
		if err := l.Commit(t.Context(), b, e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(before.Keys(), mem.Keys()) || mem.Counts().Puts > 0 || l.Head().Seq != 10 {
			t.Errorf("%s: something was written", name)
		}
	}
	b, err := l.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	e := l.Head().Entry()
	e.Now, e.Read, e.Covered = minutes(11).Time, []Claim{read}, e.Covered.Add(read)
	if err := l.Commit(t.Context(), b, e); err != nil {
		t.Error(err)
	}
	sound(t, mem)
}

// TestEntryOfTheHeadChangesNothing: what is open, withdrawn before, refused and
// contradicted is carried on.
func TestEntryOfTheHeadChangesNothing(t *testing.T) {
	mem := intact(t)
	l := begin(t, mem, stream, time.Time{}, "gzip")
	was := l.Head()
	commit(t, l, until(l), nil, func(e *Entry) {
		e.Covered, e.Partial = was.Covered, []string{"Office365"}
		e.Unfetched = append(e.Unfetched, Unfetched{From: e.Unfetched[0].From, To: e.Unfetched[0].To, Error: "named now"})
	})
	commit(t, l, until(l), nil, func(e *Entry) { e.Covered = was.Covered })
	m := l.Head()
	if !slices.Equal(m.Covered, was.Covered) || !m.Disorder.Equal(was.Disorder.Time) || !slices.Equal(m.Partial, []string{"Office365"}) ||
		len(m.Read)+len(m.Withdrawn) > 0 || !m.Start.Equal(was.Start.Time) || !m.Latest.Equal(was.Latest.Time) || m.Filled != was.Filled {
		t.Errorf("%+v", m)
	}
	// What a manifest names first has its number, then and later.
	if len(m.Unfetched) != 2 || m.Unfetched[0] != was.Unfetched[0] || m.Unfetched[1].Since != 11 {
		t.Errorf("unfetched %+v", m.Unfetched)
	}
	sound(t, mem)
}

// TestCommittedNeverGoesBack: a clock that does, or that of another writer,
// makes no manifest earlier than the one before, nor its object's date.
func TestCommittedNeverGoesBack(t *testing.T) {
	day := instant("2026-03-02T00:00:30Z")
	mem := sinktest.NewMem()
	l := begin(t, mem, stream, day, "gzip")
	for i, c := range []struct{ now, want, date string }{
		{"2026-03-01T23:59:59Z", "2026-03-02T00:00:30Z", "2026-03-02"},
		{"2026-03-02T23:59:59.99999999Z", "2026-03-02T23:59:59.9999999Z", "2026-03-02"},
		{"2026-03-03T01:00:00+02:00", "2026-03-02T23:59:59.9999999Z", "2026-03-02"},
		{"2026-03-03T00:00:00Z", "2026-03-03T00:00:00Z", "2026-03-03"},
		{"2026-03-02T12:00:00Z", "2026-03-03T00:00:00Z", "2026-03-03"},
		{"2026-03-03T22:30:00-02:00", "2026-03-04T00:30:00Z", "2026-03-04"},
	} {
		now, err := time.Parse(time.RFC3339Nano, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			commit(t, l, until(l), nil, func(e *Entry) { e.Now = now })
		} else {
			mem.Set(l.Head().Next, pack(t, "gzip", nil))
			adopt(t, l, now)
		}
		if m := l.Head(); !m.Committed.Equal(instant(c.want)) || !strings.Contains(m.Next, "/date="+c.date+"/") {
			t.Errorf("at %s: committed %s, next %s", c.now, m.Committed.text(), m.Next)
		}
	}
	sound(t, mem)
}

// TestClockBehindAdopts: what a writer left between its two Puts is adopted by
// one whose clock is hours behind, and nobody stores it once more.
func TestClockBehindAdopts(t *testing.T) {
	day := instant("2026-03-02T08:00:00Z")
	for _, behind := range []time.Duration{0, 4 * time.Minute, 6 * time.Minute, 5 * time.Hour, 23 * time.Hour} {
		mem := sinktest.NewMem()
		l := begin(t, mem, stream, day, "gzip")
		now := day.Add(30 * time.Hour)
		commit(t, l, now, nil, func(e *Entry) { e.Now = now.Add(-behind) })
		line := incident(7, now.Add(time.Minute), "left behind")
		mem.Set(l.Head().Next, pack(t, "gzip", [][]byte{line}))
		l = begin(t, mem, stream, day, "gzip")
		adopt(t, l, now.Add(2*time.Minute).Add(-behind))
		for range 2 { // in this process, and in a new one
			if err := l.LoadIndex(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			r := row(t, line)
			if known, err := l.Contains(t.Context(), &r, line, nil); !known || err != nil {
				t.Errorf("%s behind: %v, %v", behind, known, err)
			}
			l = begin(t, mem, stream, day, "gzip")
		}
		sound(t, mem)
	}
}
