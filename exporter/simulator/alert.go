package simulator

// alertSize is about how much there is of an alert apart from its entities.
const alertSize = 1800

// alert writes an alert with its device and entities, up to a length.
func (c *content) alert(t *text, rec *record, n uint64, until int) {
	c.reseed(t, streamAlert, uint64(rec.incident), n)
	k := &kinds[t.below(len(kinds))]
	device, user := uint64(t.below(4096)), uint64(t.below(8192))
	at := rec.created + ticks(t.below(600))*second + ticks(t.below(int(second)))
	provider := t.rng
	t.raw(`{"alertId":"`)
	t.raw(k.prefix)
	t.hex(18)
	t.raw(`_`)
	t.hex(8)
	t.raw(`","providerAlertId":"`)
	t.rng = provider
	t.hex(18)
	t.raw(`_`)
	t.hex(8)
	t.raw(`","incidentId":`)
	t.number(firstID + int64(rec.incident))
	t.raw(`,"serviceSource":"`)
	t.raw(k.source)
	t.raw(`","creationTime":`)
	t.time(at)
	t.raw(`,"lastUpdatedTime":`)
	// Alerts change later than their incident says.
	t.time(rec.updated + ticks(rec.alerts)*37*second + ticks(t.below(30)))
	t.raw(`,"resolvedTime":null,"firstActivity":`)
	t.time(at - ticks(t.below(900))*second/10)
	t.raw(`,"lastActivity":`)
	t.time(at + ticks(t.below(900))*second/10)
	t.raw(`,"title":"`)
	t.raw(k.title)
	t.raw(`","description":"`)
	t.raw(k.description)
	t.raw(`","category":"`)
	t.raw(k.category)
	t.raw(`","status":"`)
	t.raw(alertStatuses[(t.below(3)+int(rec.alerts))%3])
	t.raw(`","severity":"`)
	t.raw(t.pick(severities))
	t.raw(`","investigationId":`)
	t.number(int64(t.below(9000)))
	t.raw(`,"investigationState":"`)
	t.raw(t.pick(investigations))
	t.raw(`","classification":null,"determination":null,"detectionSource":"`)
	t.raw(k.detector)
	t.raw(`","detectorId":"`)
	t.guid()
	t.raw(`","assignedTo":null,"actorName":null,"threatFamilyName":null,"mitreTechniques":[`)
	t.raw(k.techniques)
	t.raw(`],"devices":[`)
	c.device(t, device)
	t.raw(`],"entities":[`)
	file := uint64(t.below(2048))
	for i := range 3 + t.below(8) {
		if i > 0 {
			if len(t.b) > until {
				break
			}
			t.raw(`,`)
		}
		if t.below(6) == 0 { // the same file turns up again and again
			file = uint64(t.below(2048))
		}
		c.entity(t, at, device, user, file)
	}
	t.raw(`]}`)
}
