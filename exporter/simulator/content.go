package simulator

// content generates the bodies of incidents. It is immutable: what it writes
// is a function of it and its arguments.
type content struct {
	seed   uint64
	tenant string
	size   int
}

// Streams of random numbers that are independent of each other.
const (
	streamIncident = iota + 1
	streamState
	streamAlert
	streamDevice
	streamUser
	streamFile
)

// golden spreads consecutive numbers over all 64 bits.
const golden = 0x9e3779b97f4a7c15

func (c *content) reseed(t *text, stream, of, revision uint64) {
	t.rng.Seed(c.seed^stream*golden, (of+1)*golden^revision<<1)
}

// state is what changes with every update.
func (c *content) state(rec *record) (status, assigned string) {
	if rec.redirect >= 0 {
		return "Redirected", ""
	}
	var t text
	c.reseed(&t, streamState, uint64(rec.incident), uint64(rec.rev))
	status = t.pick(statuses)
	if t.below(2) == 0 {
		assigned = t.pick(analysts)
	}
	return status, assigned
}

// equal says whether a text filter holds.
func (c *content) equal(rec *record, e equality) bool {
	status, assigned := c.state(rec)
	l := c.labels(rec)
	var value string
	switch e.property {
	case "assignedTo":
		return assigned == e.value
	case "status":
		value = status
		if e.graph {
			return graphStatus(rec, status) == e.value
		}
	case "severity":
		value = l.severity
	case "classification":
		value = l.classification
	case "determination":
		value = l.determination
	}
	if e.graph {
		value = graphWord(value)
	}
	return value == e.value
}

// labels are what analysts have set.
type labels struct{ classification, determination, severity, tags string }

// labels draws them; what has been merged into another has none.
func (c *content) labels(rec *record) labels {
	if rec.redirect >= 0 {
		return labels{"Unknown", "NotAvailable", "UnSpecified", "[]"}
	}
	var t text
	c.reseed(&t, streamState, uint64(rec.incident), uint64(rec.rev)|1<<40)
	l := labels{classification: t.pick(classifications), determination: t.pick(determinations), severity: t.pick(severities)}
	l.tags = t.pick(tagSets)
	return l
}

// plan is what an incident is about.
type plan struct {
	want int // bytes, as Defender writes it
	kind *kind
	odd  int  // of the oddities
	bare bool // without alerts of its own
}

// plan draws it; t goes on from there.
func (c *content) plan(t *text, rec *record) plan {
	c.reseed(t, streamIncident, uint64(rec.incident), 0)
	var p plan
	// The average is size; half of an alert more than is wanted gets written.
	p.want = c.size/2 + t.below(c.size+1) - alertSize/2
	p.kind = &kinds[t.below(len(kinds))]
	p.odd = t.below(len(oddities))
	p.bare = rec.redirect >= 0 || p.want < 500 || t.below(40) == 0
	return p
}

// line appends an incident without whitespace between tokens.
func (c *content) line(b []byte, rec *record) []byte {
	return c.render(b, rec, NoMalformation)
}

// render appends an incident, or what it is malformed to.
func (c *content) render(b []byte, rec *record, m Malformation) []byte {
	b, _ = c.renderAlerts(b, rec, m)
	return b
}

// ownAlerts is how many alerts an incident has that it had from the start: as many as make it as
// long as is wanted as Defender writes it.
func (c *content) ownAlerts(rec *record) uint64 {
	short := *rec
	short.pad = 0
	_, n := c.renderAlerts(nil, &short, NoMalformation)
	return n
}

// renderAlerts does what render does, and counts the alerts that the incident had from the start.
func (c *content) renderAlerts(b []byte, rec *record, m Malformation) (line []byte, own uint64) {
	if m == NotAnObject {
		return append(b, `"the incident could not be rendered"`...), 0
	}
	start := len(b)
	id := firstID + int64(rec.incident)
	t := text{b: b}
	status, assigned := c.state(rec)
	p := c.plan(&t, rec)

	t.raw(`{`)
	if m != WithoutID {
		t.raw(`"incidentId":`)
		t.number(id)
		t.raw(`,`)
	}
	t.raw(`"incidentUri":"https://security.microsoft.com/incidents/`)
	t.number(id)
	t.raw(`?tid=`)
	t.raw(c.tenant)
	t.raw(`","redirectIncidentId":`)
	if rec.redirect >= 0 {
		t.number(firstID + int64(rec.redirect))
	} else {
		t.raw(`null`)
	}
	t.raw(`,"incidentName":"`)
	t.raw(p.kind.title)
	t.raw(` on one endpoint","createdTime":`)
	t.time(rec.created)
	if m != WithoutUpdated {
		t.raw(`,"lastUpdateTime":`)
		t.updateTime(rec, m)
	}
	t.raw(`,"assignedTo":`)
	t.orNull(assigned)
	c.triage(&t, rec, status)
	t.raw(oddities[p.odd])
	t.raw(`"activityCount":`)
	t.number(int64(t.below(50)) + int64(rec.alerts))
	t.raw(`,"alerts":[`)
	first := true
	alert := func(n uint64) {
		if !first {
			t.raw(`,`)
		}
		first = false
		c.alert(&t, rec, n, start+p.want)
	}
	if !p.bare {
		for ; own == 0 || len(t.b)-start < p.want; own++ {
			alert(own)
		}
	}
	if rec.redirect < 0 {
		for n := range uint64(rec.merged) {
			alert(1<<32 + n)
		}
	}
	t.raw(`]`)
	t.pad(int(rec.pad) - (len(t.b) - start) - len(`,"attachment":""}`))
	t.raw(`}`)
	return t.b, own
}

// updateTime writes a record's update time, or the zero one.
func (t *text) updateTime(rec *record, m Malformation) {
	if m == zeroUpdated {
		t.raw(`"0001-01-01T00:00:00Z"`)
		return
	}
	t.time(rec.updated)
}

// pad writes an attachment of that many bytes, if any are missing.
func (t *text) pad(missing int) {
	if missing <= 0 {
		return
	}
	t.raw(`,"attachment":"`)
	for ; missing > len(filler); missing -= len(filler) {
		t.raw(filler)
	}
	t.raw(filler[:missing])
	t.raw(`"`)
}

func (t *text) orNull(s string) {
	if s == "" {
		t.raw(`null`)
		return
	}
	t.raw(`"`)
	t.raw(s)
	t.raw(`"`)
}

// triage writes what analysts have set.
func (c *content) triage(t *text, rec *record, status string) {
	l := c.labels(rec)
	t.raw(`,"classification":"`)
	t.raw(l.classification)
	t.raw(`","determination":"`)
	t.raw(l.determination)
	t.raw(`","status":"`)
	t.raw(status)
	t.raw(`","severity":"`)
	t.raw(l.severity)
	t.raw(`","tags":`)
	t.raw(l.tags)
	t.raw(`,"comments":[`)
	for n := range min(rec.rev, 4) {
		if n > 0 {
			t.raw(`,`)
		}
		t.raw(`{"comment":"reviewed, revision `)
		t.number(int64(n))
		t.raw(`","createdBy":"`)
		t.raw(analysts[int(n+rec.incident)%len(analysts)])
		t.raw(`","createdTime":`)
		t.time(rec.created + ticks(n+1)*((rec.updated-rec.created)/5+1))
		t.raw(`}`)
	}
	t.raw(`],`)
}
