package simulator

import (
	"fmt"
	"net/http"
	"strings"
)

// rendering is how Graph writes an incident.
type rendering struct {
	expand bool // with its alerts
	known  bool // with enum members behind the sentinel
	bare   bool // without the annotation of expanded alerts

	// How expanded alerts are cut: none of this concerns the truth.
	most    int           // alerts, if not 0
	tally   bool          // their number beside them
	hollow  bool          // null instead of them
	request *http.Request // asked for, which links are to fit

	count   int // of a list, if counted
	counted bool
}

// line appends a row of an answer as the rendering says.
func (f rendering) line(b []byte, c *content, in *row) []byte {
	f.hollow = in.hollow
	return c.graphRender(b, &in.record, f, in.broken)
}

const (
	graphContext    = `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#security/incidents`
	graphEntityHead = graphContext + `/$entity"`
)

// graphListHead is what a list answer begins with: unlike Defender's, all that
// is said about the list stands before it.
func graphListHead(a *answer) string {
	head := graphContext + `",`
	if a.graph.counted {
		head += fmt.Sprintf(`"@odata.count":%d,`, a.graph.count)
	}
	if a.next != "" {
		head += `"@odata.nextLink":"` + a.next + `",`
	}
	return head + `"value":[`
}

// graphWord is an enum member as Graph spells it.
func graphWord(s string) string {
	switch s {
	case "NotAvailable", "UnSpecified":
		return "unknown"
	case "CompromisedUser":
		return "compromisedAccount"
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// unknownFuture is what a caller sees who has not said that it knows about
// members behind it.
const unknownFuture = "unknownFutureValue"

// graphStatus is an incident's status: some of those in progress wait for
// somebody to act.
func graphStatus(rec *record, status string) string {
	if status == "InProgress" && rec.incident%3 == 0 {
		return "awaitingAction"
	}
	return graphWord(status)
}

// graphSource is a kind's service as Graph names it, and whether callers have
// to say that they know it.
func graphSource(k *kind) (name string, newer bool) {
	switch k.source {
	case "AADIdentityProtection":
		return "azureAdIdentityProtection", false
	case "MicrosoftCloudAppSecurity":
		return "microsoftDefenderForCloudApps", false
	}
	if k.detector == "CustomDetection" {
		return "microsoftSentinel", true
	}
	return graphWord(k.source), false
}

// graphOddities are those of Graph, like oddities.
var graphOddities = [...]string{
	`"providerSequence":9007199254740993,`,
	`"confidence":1.0,"weight":1e2,"offset":-0,"factor":1.50E+3,`,
	`"summary":"first line\nsecond line \u003cb\u003e and raw <i> & a\/b",`,
	`"lineSeparators":"raw ` + "\u2028" + ` and escaped \u2028\u2029",`,
	`"resolvingComment":"zero` + "\u200b" + `width, caf\u00e9, ` + "\U0001f600" + `, \ud83d\ude00",`,
	`"summary":null,"resolvingComment":null,`,
	``,
}

// graphLine appends an incident without whitespace between tokens.
func (c *content) graphLine(b []byte, rec *record, f rendering) []byte {
	return c.graphRender(b, rec, f, NoMalformation)
}

// graphRender appends an incident, or what it is malformed to. Its alerts, if
// they are expanded, come last.
func (c *content) graphRender(b []byte, rec *record, f rendering, m Malformation) []byte {
	if m == NotAnObject {
		return append(b, `"the incident could not be rendered"`...)
	}
	start := len(b)
	id := firstID + int64(rec.incident)
	t := text{b: b}
	status, assigned := c.state(rec)
	l := c.labels(rec)
	p := c.plan(&t, rec)
	word := graphStatus(rec, status)
	if !f.known && word == "awaitingAction" {
		word = unknownFuture
	}
	t.raw(`{`)
	if m != WithoutID {
		t.raw(`"id":"`)
		t.number(id)
		t.raw(`",`)
	}
	t.raw(`"tenantId":"`)
	t.raw(c.tenant)
	t.raw(`","status":"`)
	t.raw(word)
	t.raw(`","incidentWebUrl":"https://security.microsoft.com/incidents/`)
	t.number(id)
	t.raw(`?tid=`)
	t.raw(c.tenant)
	t.raw(`","redirectIncidentId":`)
	if rec.redirect >= 0 {
		t.raw(`"`)
		t.number(firstID + int64(rec.redirect))
		t.raw(`"`)
	} else {
		t.raw(`null`)
	}
	t.raw(`,"displayName":"`)
	t.raw(p.kind.title)
	t.raw(` on one endpoint","createdDateTime":`)
	t.time(rec.created)
	if m != WithoutUpdated {
		t.raw(`,"lastUpdateDateTime":`)
		t.updateTime(rec, m)
	}
	t.raw(`,"assignedTo":`)
	t.orNull(assigned)
	t.raw(`,"classification":"`)
	t.raw(graphWord(l.classification))
	t.raw(`","determination":"`)
	t.raw(graphWord(l.determination))
	t.raw(`","severity":"`)
	t.raw(graphWord(l.severity))
	t.raw(`","customTags":`)
	t.raw(l.tags)
	t.raw(`,"systemTags":[],"description":null,"lastModifiedBy":`)
	t.orNull(assigned)
	t.raw(`,"comments":[`)
	c.graphComments(&t, rec)
	t.raw(`],`)
	t.raw(graphOddities[t.below(len(graphOddities))])
	t.raw(`"priorityScore":`)
	t.number((int64(t.below(50)) + int64(rec.alerts)) % 101)
	t.pad(int(rec.pad) - (len(t.b) - start) - len(`,"attachment":""}`))
	if f.expand {
		if rec.incident%5 == 0 && !f.bare {
			t.raw(`,"alerts@odata.context":"https://graph.microsoft.com/v1.0/$metadata#security/incidents('`)
			t.number(id)
			t.raw(`')/alerts"`)
		}
		c.expand(&t, rec, f)
	}
	t.raw(`}`)
	return t.b
}

// graphComments writes the comments that Defender has as well.
func (c *content) graphComments(t *text, rec *record) {
	for n := range min(rec.rev, 4) {
		if n > 0 {
			t.raw(`,`)
		}
		t.raw(`{"@odata.type":"microsoft.graph.security.alertComment","comment":"reviewed, revision `)
		t.number(int64(n))
		t.raw(`","createdByDisplayName":"`)
		t.raw(analysts[int(n+rec.incident)%len(analysts)])
		t.raw(`","createdDateTime":`)
		t.time(rec.created + ticks(n+1)*((rec.updated-rec.created)/5+1))
		t.raw(`}`)
	}
}
