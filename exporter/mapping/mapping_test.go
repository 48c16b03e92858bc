package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
)

const (
	defenderLine = `{"incidentId":41877,"incidentUri":"https://security.microsoft.com/incidents/41877?tid=t","redirectIncidentId":41870,"incidentName":"A \u200b<name>",` +
		`"createdTime":"2026-03-02T07:41:09.4533333Z","lastUpdateTime":"2026-03-02T08:15:30.12Z","assignedTo":null,"classification":"TruePositive",` +
		`"determination":"CompromisedUser","status":"InProgress","severity":"UnSpecified","tags":["b","a"],` +
		`"comments":[{"comment":"one","createdBy":"x"},{"comment":"two"}],"activityCount":9007199254740993,"alerts":[` +
		`{"alertId":"da1","incidentId":41877,"title":"T","status":"New","severity":"High","creationTime":"2026-03-02T07:41:08Z","lastUpdatedTime":"2026-03-02T08:15:31.0866667Z","resolvedTime":null,"firstActivity":"2026-03-02T07:38:55.1Z","lastActivity":"2026-03-02T07:40:02Z","actorName":null,"devices":[],"entities":[{"a":{}}]},` +
		`{"alertId":"da2","title":"U","status":"Resolved","severity":"Low","entities":[]}]}`
	graphLine = `{"id":"41877","tenantId":"t","incidentWebUrl":"https://security.microsoft.com/incidents/41877?tid=t","redirectIncidentId":"41870","displayName":"A ` + "\u200b" + `<name>",` +
		`"createdDateTime":"2026-03-02T07:41:09.4533333+00:00","lastUpdateDateTime":"2026-03-02T08:15:30.1200000Z","classification":"truePositive",` +
		`"determination":"compromisedAccount","status":"awaitingAction","severity":"unknown","customTags":["a","b"],"summary":null,"priorityScore":7,` +
		`"comments":[{"@odata.type":"x","comment":"two"},{"comment":"one"}],"alerts@odata.context":"c","alerts":[` +
		`{"id":"da2","title":"U","status":"resolved","severity":"low","resolvedDateTime":null,"evidence":[]},` +
		`{"id":"da1","incidentId":"41877","title":"T","status":"new","severity":"high","createdDateTime":"2026-03-02T07:41:08.000Z","lastUpdateDateTime":"2026-03-02T08:15:31.0866667Z","firstActivityDateTime":"2026-03-02T07:38:55.1Z","lastActivityDateTime":"2026-03-02T07:40:02Z","actorDisplayName":null,"evidence":[{}]}]}`
)

func pair(t *testing.T, d, g string) (found []Difference, md, mg Members) {
	t.Helper()
	md, mg = Members{}, Members{}
	a, err := Defender([]byte(d), md)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Graph([]byte(g), mg)
	if err != nil {
		t.Fatal(err)
	}
	return Compare(a, b), md, mg
}

func TestTheSameInBothWords(t *testing.T) {
	found, md, mg := pair(t, defenderLine, graphLine)
	if len(found) > 0 {
		t.Errorf("%+v", found)
	}
	d, g := Unmatched(md, mg)
	if want := (Members{"activityCount": 1, "alerts.devices": 1, "alerts.entities": 1}); !maps.Equal(d, want) {
		t.Errorf("only in defender: %v", d)
	}
	if want := (Members{"tenantId": 1, "summary": 1, "priorityScore": 1, "alerts.evidence": 1}); !maps.Equal(g, want) {
		t.Errorf("only in graph: %v", g)
	}
}

// TestEveryDifference changes one thing at a time on Graph's side.
func TestEveryDifference(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"displayName":"A ` + "\u200b", `"displayName":"A `, "name: A \u200b<name> A <name>"},
		{"09.4533333+00:00", "09.4533334+00:00", "created: 2026-03-02T07:41:09.4533333Z 2026-03-02T07:41:09.4533334+00:00"},
		{"30.1200000Z", "30.1200001Z", "updated: 2026-03-02T08:15:30.12Z 2026-03-02T08:15:30.1200001Z"},
		{`"redirectIncidentId":"41870"`, `"redirectIncidentId":null`, "redirectIncidentId: 41870 "},
		{"incidents/41877?tid=t", "incidents/41877", "url: https://security.microsoft.com/incidents/41877?tid=t https://security.microsoft.com/incidents/41877"},
		{`"awaitingAction"`, `"active"`, "status: InProgress active"},
		{`"unknown"`, `"low"`, "severity: UnSpecified low"},
		{`"truePositive"`, `"falsePositive"`, "classification: TruePositive falsePositive"},
		{`"compromisedAccount"`, `"unknown"`, "determination: CompromisedUser unknown"},
		{`"classification"`, `"assignedTo":"ana","classification"`, "assignedTo:  ana"},
		{`["a","b"]`, `["b","c","b"]`, "tags: a b, c"},
		{`{"comment":"one"}`, `{"comment":"one"},{"comment":"one"}`, "comments:  one"},
		{`{"id":"da2"`, `{"id":"da3"`, "alerts: da2 da3"},
		{`"resolved"`, `"inProgress"`, "alerts.status da2: Resolved inProgress"},
		{`"high"`, `"low"`, "alerts.severity da1: High low"},
		{`"title":"T"`, `"title":"t"`, "alerts.title da1: T t"},
		{"08.000Z", "08.0000001Z", "alerts.created da1: 2026-03-02T07:41:08Z 2026-03-02T07:41:08.0000001Z"},
		{"31.0866667Z", "31.0866666Z", "alerts.updated da1: 2026-03-02T08:15:31.0866667Z 2026-03-02T08:15:31.0866666Z"},
		{`"resolvedDateTime":null`, `"resolvedDateTime":"2026-03-02T07:41:08Z"`, "alerts.resolved da2:  2026-03-02T07:41:08Z"},
		{`"firstActivityDateTime":"2026-03-02T07:38:55.1Z",`, "", "alerts.firstActivity da1: 2026-03-02T07:38:55.1Z "},
		{"07:40:02Z", "07:40:03Z", "alerts.lastActivity da1: 2026-03-02T07:40:02Z 2026-03-02T07:40:03Z"},
	} {
		changed := strings.Replace(graphLine, c.from, c.to, 1)
		if changed == graphLine {
			t.Fatalf("%s is not there", c.from)
		}
		found, _, _ := pair(t, defenderLine, changed)
		got := ""
		for _, f := range found {
			got += strings.TrimSpace(f.Field+" "+f.Alert) + ": " + f.Defender + " " + f.Graph
		}
		if got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.to, c.from, got, c.want)
		}
	}
}

func TestRenamings(t *testing.T) {
	for _, c := range []struct {
		field, d, g string
		same        bool
	}{
		{"classification", "InformationalExpectedActivity", "informationalExpectedActivity", true},
		{"classification", "Informational, expected activity", "informationalExpectedActivity", true},
		{"classification", "Unknown", "unknown", true},
		{"determination", "NotAvailable", "unknown", true},
		{"determination", "CompromisedAccount", "compromisedAccount", true},
		{"determination", "ConfirmedUserActivity", "confirmedActivity", true},
		{"determination", "Clean", "notMalicious", true},
		{"determination", "NotMalicious", "clean", true},
		{"determination", "InsufficientData", "notEnoughDataToValidate", true},
		{"determination", "NoEnoughDataToValidate", "notEnoughDataToValidate", true},
		{"determination", "MultiStagedAttack", "multiStagedAttack", true},
		{"determination", "Apt", "APT", true},
		{"determination", "Clean", "malware", false},
		{"determination", "NewWordOfNextYear", "newWordOfNextYear", true},
		{"status", "InProgress", "inProgress", true},
		{"status", "Active", "awaitingAction", false},
		{"status", "Redirected", "redirected", true},
		{"severity", "Informational", "informational", true},
		{"severity", "UnSpecified", "unspecified", true},
		{"severity", "UnSpecified", "unknownFutureValue", false},
	} {
		found, _, _ := pair(t, fmt.Sprintf(`{%q:%q}`, c.field, c.d), fmt.Sprintf(`{%q:%q}`, c.field, c.g))
		if (len(found) == 0) != c.same {
			t.Errorf("%s: %s and %s: %+v", c.field, c.d, c.g, found)
		}
	}
}

// TestSum: what is compared is in the sum, what is not is not.
func TestSum(t *testing.T) {
	sum := func(line string) [32]byte {
		r, err := Defender([]byte(line), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Sum()
	}
	for old, changed := range map[string]bool{
		`"New"`: true, `"tags":["b",`: true, `"da2"`: true, `"one"`: true, `"InProgress"`: true, "9007199254740993": false, `"createdBy":"x"`: false,
	} {
		other := strings.Replace(defenderLine, old, strings.NewReplacer(`"New"`, `"Old"`, "b", "c", "da2", "da4", "one", "eins", "InProgress", "Active", "0", "1", "x", "y").Replace(old), 1)
		if other == defenderLine || (sum(other) != sum(defenderLine)) != changed {
			t.Errorf("%s: the sum changes: %v, want %v", old, !changed, changed)
		}
	}
}

func TestValuesAreBounded(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf(`{"id":"da%d%s"}`, i, long[:400]))
	}
	found, _, _ := pair(t, `{"incidentName":"`+long+`","tags":[{"deep":[1]}]}`, `{"displayName":{"a":1},"customTags":["`+long+`"],"alerts":[`+strings.Join(ids, ",")+`]}`)
	if len(found) != 3 {
		t.Errorf("%d differences", len(found))
	}
	for _, f := range found {
		if len(f.Defender) > longest+3 || len(f.Graph) > longest+3 || strings.Contains(f.Defender+f.Graph, "{") {
			t.Errorf("%+v", f)
		}
	}
}

func TestWhatIsNoIncidentIsRefused(t *testing.T) {
	for _, line := range []string{``, `[]`, `{"alerts":{}}`, `{"alerts":[1]}`, `{"tags":"a"}`, `{"comments":[["a"]]}`, `{"incidentName":"a"`} {
		if r, err := Defender([]byte(line), nil); err == nil {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// FuzzRead: whatever is valid JSON is read, or refused, and is no different
// from itself.
func FuzzRead(f *testing.F) {
	f.Add([]byte(defenderLine))
	f.Add([]byte(graphLine))
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := Graph(line, Members{})
		if err != nil {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("%q was read", line)
		}
		if b, err := Graph(line, nil); err != nil || a.Sum() != b.Sum() || len(Compare(a, b)) > 0 {
			t.Fatalf("%q differs from itself", line)
		}
	})
}
