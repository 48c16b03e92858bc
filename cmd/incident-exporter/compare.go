package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/mapping"
	"incident-exporter/exporter/rawjson"
)

// sideBySide compares what the two APIs say of one interval of one tenant.
//
// The interval lies in the past, so that an incident in it only leaves it, by an update, or turns up
// late. Defender is read, then Graph, then Defender again. What was the same in both readings of
// Defender was so while Graph was read: Graph has to have the same. The other way round it takes a
// second reading of Graph behind Defender's second, which is only made if Graph has something that
// Defender has not. All else has changed meanwhile, and is not compared.
//
// It holds a record of some 700 bytes for each incident and 500 for each alert, and no line.
type sideBySide struct {
	p      *passes
	tenant tenant
	sides  [2]*streamPasses // by side

	from, to time.Time

	incidents map[string]*compared // of Defender's first reading
	again     map[string]seenState // of its second
	graphOnly map[string]seenState // in Graph, and not in Defender's first reading

	members   [2]mapping.Members
	disorder  [2]bool // its order was contradicted
	unfetched [2][]ledger.Unfetched
}

// The sides of a comparison.
const (
	defenderSide = iota
	graphSide
)

// sideNames are the sides' names, as EXPORTER_SOURCE has them.
var sideNames = [2]string{"defender", "graph"}

// seenState is what tells one state of an incident from another.
type seenState struct {
	at      time.Time
	updated string
	sum     [sha256.Size]byte // of what is compared
}

// compared is an incident of Defender, and what Graph says of it.
type compared struct {
	seenState
	record      *mapping.Record // until Graph has been read
	inGraph     bool
	differences []mapping.Difference
}

// compareTenant compares one tenant and prints what it found. Agree says that nothing differs and
// nothing is missing.
func (p *passes) compareTenant(ctx context.Context, t tenant, f *compareFlags) (agree bool, err error) {
	c := &sideBySide{p: p, tenant: t}
	for side, source := range sideNames {
		a, err := p.cfg.api(source)
		if err == nil && f.otherURL != "" && source != string(p.cfg.Exporter.Source) {
			a.setBy = "--other-url"
			err = a.at(f.otherURL)
		}
		if err != nil {
			return false, &exitError{code: exitUsage, err: err}
		}
		t.source = source
		w, err := p.wireSource(t, a, p.within)
		if err != nil {
			return false, err
		}
		c.sides[side] = &streamPasses{p: p, tenant: t, wiring: w}
	}
	defer p.line.end()
	now, err := c.clock(ctx)
	if err != nil {
		return false, err
	}
	if c.from, c.to, err = f.interval(now, p.cfg.Exporter.Settle.Duration); err != nil {
		return false, &exitError{code: exitUsage, err: err}
	}
	if err := c.read(ctx); err != nil {
		return false, err
	}
	p.line.end()
	return c.report(c.sum())
}

// clock makes one small call of each API, which shows what time it is there, the earlier of the two,
// and that the token is good for it. What is wrong with both is said at once.
func (c *sideBySide) clock(ctx context.Context) (now time.Time, err error) {
	var failures []*exitError
	for side, s := range c.sides {
		if err := s.source.Clock(ctx); err != nil {
			failures = append(failures, c.failed(ctx, side, err))
			continue
		}
		s.clock(c.p.log)
		if theirs, ok := s.source.Now(); ok && (now.IsZero() || theirs.Before(now)) {
			now = theirs
		}
	}
	if len(failures) == 0 {
		return now, nil
	}
	if ctx.Err() == nil && len(failures) == 2 {
		first := failures[0]
		return now, &exitError{first.code, errors.New(first.Error() + "; " + failures[1].Error()), both(first.remedy, failures[1].remedy)}
	}
	return now, failures[0]
}

// both joins two sentences, if they are two.
func both(a, b string) string {
	if a == b || b == "" {
		return a
	}
	if a == "" {
		return b
	}
	return sideNames[defenderSide] + ": " + a + "; " + sideNames[graphSide] + ": " + b
}

// failed says what an error of one side means.
func (c *sideBySide) failed(ctx context.Context, side int, err error) *exitError {
	if ctx.Err() != nil {
		return &exitError{exitFailed, errors.New("stopped by a signal before its end"), ""}
	}
	text, remedy := c.sides[side].explain(ctx, err)
	return &exitError{exitFailed, errors.New(sideNames[side] + ": " + text), remedy}
}

// read makes the readings. Where a row comes twice in one reading with one update time and other
// content, as alerts change, what is closest to Graph's reading counts: the last of Defender's first
// one, the first of its second.
func (c *sideBySide) read(ctx context.Context) error {
	c.incidents, c.graphOnly = map[string]*compared{}, map[string]seenState{}
	c.members = [2]mapping.Members{{}, {}}
	err := c.pass(ctx, defenderSide, c.from, c.to, c.members[defenderSide], func(id string, v seenState, r *mapping.Record) {
		// An incident that turns up late is there twice: what is newer counts.
		if old := c.incidents[id]; old == nil || !old.at.After(v.at) {
			c.incidents[id] = &compared{seenState: v, record: r}
		}
	})
	if err != nil {
		return err
	}
	newest := map[string]time.Time{}
	err = c.pass(ctx, graphSide, c.from, c.to, c.members[graphSide], func(id string, v seenState, r *mapping.Record) {
		if seen, ok := newest[id]; ok && !seen.Before(v.at) {
			return
		}
		newest[id] = v.at
		if d := c.incidents[id]; d != nil {
			d.inGraph, d.differences = true, mapping.Compare(d.record, r)
		} else {
			c.graphOnly[id] = v
		}
	})
	if err != nil {
		return err
	}
	for _, d := range c.incidents {
		d.record = nil
	}
	c.again, err = c.states(ctx, defenderSide, c.from, c.to)
	if err != nil {
		return err
	}
	return c.confirm(ctx)
}

// states reads one side without comparing.
func (c *sideBySide) states(ctx context.Context, side int, from, to time.Time) (found map[string]seenState, err error) {
	found = map[string]seenState{}
	err = c.pass(ctx, side, from, to, nil, func(id string, v seenState, _ *mapping.Record) {
		if old, ok := found[id]; !ok || old.at.Before(v.at) {
			found[id] = v
		}
	})
	return found, err
}

// confirm reads once more from Graph what Defender has in neither reading, and forgets what is not
// the same there any more.
func (c *sideBySide) confirm(ctx context.Context) error {
	var from, to time.Time
	for id, v := range c.graphOnly {
		if _, ok := c.again[id]; ok {
			continue
		}
		if from.IsZero() || v.at.Before(from) {
			from = v.at
		}
		if !v.at.Before(to) {
			to = v.at.Add(rawjson.Tick)
		}
	}
	if from.IsZero() {
		return nil
	}
	still, err := c.states(ctx, graphSide, from, to)
	for id, v := range c.graphOnly {
		if v.sum != still[id].sum {
			c.graphOnly[id] = seenState{}
		}
	}
	return err
}

// onlyFound is an incident that one side has and the other has not.
type onlyFound struct {
	seenState
	id   string
	side int
}

// agreement is what came of a comparison.
type agreement struct {
	only      []onlyFound
	differing []string // ids
	compared  int
	changed   int
	unfetched [2][]ledger.Unfetched
}

// sum says what came of it.
func (c *sideBySide) sum() *agreement {
	v := &agreement{}
	for side, all := range c.unfetched {
		for _, s := range all {
			same := func(o ledger.Unfetched) bool {
				return o.From.Equal(s.From.Time) && o.To.Equal(s.To.Time) && o.ID == s.ID
			}
			if !slices.ContainsFunc(v.unfetched[side], same) { // what is read twice is named twice
				v.unfetched[side] = append(v.unfetched[side], s)
			}
		}
	}
	for id, d := range c.incidents {
		again, ok := c.again[id]
		switch {
		case c.unread(id, d.at):
		case !ok || again.sum != d.sum:
			v.changed++
		case !d.inGraph:
			v.only = append(v.only, onlyFound{d.seenState, id, defenderSide})
		default:
			v.compared++
			if len(d.differences) > 0 {
				v.differing = append(v.differing, id)
			}
		}
	}
	for id, again := range c.again {
		if c.incidents[id] == nil && !c.unread(id, again.at) {
			v.changed++
		}
	}
	for id, g := range c.graphOnly {
		_, late := c.again[id]
		switch {
		case late || c.unread(id, g.at):
		case g == seenState{}:
			v.changed++
		default:
			v.only = append(v.only, onlyFound{g, id, graphSide})
		}
	}
	slices.SortFunc(v.only, func(a, b onlyFound) int { return inOrder(a.at, b.at, a.id, b.id) })
	slices.SortFunc(v.differing, func(a, b string) int { return inOrder(c.incidents[a].at, c.incidents[b].at, a, b) })
	return v
}

// inOrder is the order of update time, then of ids.
func inOrder(a, b time.Time, idA, idB string) int {
	if order := a.Compare(b); order != 0 {
		return order
	}
	return strings.Compare(idA, idB)
}

// unread says that an incident lies where one side could not be read.
func (c *sideBySide) unread(id string, at time.Time) bool {
	for _, all := range c.unfetched {
		for _, s := range all {
			if s.ID == id || !at.Before(s.From.Time) && at.Before(s.To.Time) {
				return true
			}
		}
	}
	return false
}
