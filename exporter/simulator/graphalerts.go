package simulator

import (
	"fmt"
	"net/url"
	"slices"
)

// alertList writes the alerts of an incident as Graph has them, and knows
// where each begins and ends. They are the same wherever they are served.
type alertList struct {
	t    text
	ends [][2]int
}

// alerts appends all alerts of an incident, with commas between them.
func (l *alertList) alerts(c *content, rec *record, known bool) {
	var draw text
	p := c.plan(&draw, rec)
	start := len(l.t.b)
	alert := func(n uint64) {
		if len(l.ends) > 0 {
			l.t.raw(`,`)
		}
		from := len(l.t.b)
		c.graphAlert(&l.t, rec, n, start+p.want, known)
		l.ends = append(l.ends, [2]int{from, len(l.t.b)})
	}
	if !p.bare {
		for n := range c.ownAlerts(rec) {
			alert(n)
		}
	}
	if rec.redirect < 0 {
		for n := range uint64(rec.merged) {
			alert(1<<32 + n)
		}
	}
}

// expand writes the alerts into their incident, as many as the rendering allows.
func (c *content) expand(t *text, rec *record, f rendering) {
	if f.hollow {
		t.raw(`,"alerts":null`)
		return
	}
	before := len(t.b)
	t.raw(`,"alerts":[`)
	l := alertList{t: text{b: t.b}}
	l.alerts(c, rec, f.known)
	t.b = l.t.b
	var notes []byte
	if f.tally {
		notes = fmt.Appendf(notes, `,"alerts@odata.count":%d`, len(l.ends))
	}
	if f.most > 0 && f.most < len(l.ends) {
		t.b = t.b[:l.ends[f.most-1][1]]
		path := fmt.Sprintf("%s/%d/alerts", graphIncidents, firstID+int64(rec.incident))
		notes = fmt.Appendf(notes, `,"alerts@odata.nextLink":"%s"`, linkTo(f.request, path, url.Values{}, f.most))
	}
	t.raw(`]`)
	t.b = slices.Insert(t.b, before, notes...)
}

// page is the answer to a request for the alerts alone. The link to the next
// page may be empty.
func (l *alertList) page(id string, q query, next string) []byte {
	b := fmt.Appendf(nil, `%s('%s')/alerts",`, graphContext, id)
	if q.count {
		b = fmt.Appendf(b, `"@odata.count":%d,`, len(l.ends))
	}
	if next != "" {
		b = fmt.Appendf(b, `"@odata.nextLink":"%s",`, next)
	}
	b = append(b, `"value":[`...)
	from := min(q.skip, len(l.ends))
	for i, at := range l.ends[from:min(from+q.top, len(l.ends))] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, l.t.b[at[0]:at[1]]...)
	}
	return append(b, "]}"...)
}

// graphAlert writes what alert writes, in Graph's words.
func (c *content) graphAlert(t *text, rec *record, n uint64, until int, known bool) {
	c.reseed(t, streamAlert, uint64(rec.incident), n)
	k := &kinds[t.below(len(kinds))]
	device, user := uint64(t.below(4096)), uint64(t.below(8192))
	at := rec.created + ticks(t.below(600))*second + ticks(t.below(int(second)))
	source, newer := graphSource(k)
	if newer && !known {
		source = unknownFuture
	}
	provider := t.rng
	t.raw(`{"id":"`)
	t.raw(k.prefix)
	t.hex(18)
	t.raw(`_`)
	t.hex(8)
	t.raw(`","providerAlertId":"`)
	t.rng = provider
	t.hex(18)
	t.raw(`_`)
	t.hex(8)
	t.raw(`","incidentId":"`)
	t.number(firstID + int64(rec.incident))
	t.raw(`","tenantId":"`)
	t.raw(c.tenant)
	t.raw(`","serviceSource":"`)
	t.raw(source)
	t.raw(`","createdDateTime":`)
	t.time(at)
	t.raw(`,"lastUpdateDateTime":`)
	// Alerts change later than their incident says.
	t.time(rec.updated + ticks(rec.alerts)*37*second + ticks(t.below(30)))
	t.raw(`,"resolvedDateTime":null,"firstActivityDateTime":`)
	t.time(at - ticks(t.below(900))*second/10)
	t.raw(`,"lastActivityDateTime":`)
	t.time(at + ticks(t.below(900))*second/10)
	t.raw(`,"title":"`)
	t.raw(k.title)
	t.raw(`","description":"`)
	t.raw(k.description)
	t.raw(`","category":"`)
	t.raw(k.category)
	t.raw(`","status":"`)
	t.raw(graphWord(alertStatuses[(t.below(3)+int(rec.alerts))%3]))
	t.raw(`","severity":"`)
	t.raw(graphWord(t.pick(severities)))
	t.raw(`","investigationState":"`)
	t.below(9000) // an investigation's number, which Graph does not have
	t.raw(graphWord(t.pick(investigations)))
	t.raw(`","classification":null,"determination":null,"detectionSource":"`)
	t.raw(graphWord(k.detector))
	t.raw(`","detectorId":"`)
	t.guid()
	t.raw(`","assignedTo":null,"actorDisplayName":null,"threatDisplayName":null,"threatFamilyName":null,"productName":"Microsoft Defender XDR","recommendedActions":"","mitreTechniques":[`)
	t.raw(k.techniques)
	t.raw(`],"systemTags":[],"additionalData":null,"comments":[],"evidence":[`)
	c.graphDevice(t, at, device)
	file := uint64(t.below(2048))
	for range 3 + t.below(8) {
		if len(t.b) > until {
			break
		}
		t.raw(`,`)
		if t.below(6) == 0 { // the same file turns up again and again
			file = uint64(t.below(2048))
		}
		c.graphEvidence(t, at, device, user, file)
	}
	t.raw(`]}`)
}
