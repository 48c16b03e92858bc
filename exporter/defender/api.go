package defender

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"incident-exporter/exporter/rawjson"
)

// API describes one of the two APIs that serve incidents, as far as reading
// them differs. Its zero value stands for Defender.
type API struct {
	path  string        // of the list; an incident lies below it
	names rawjson.Names // Expanded: what $expand has to name so that an incident holds its alerts, and where they lie below it
	top   int           // largest $top that is taken
	quota []Limit

	prefer string // a Prefer header (RFC 7240), if not empty
	marks  bool   // each attempt has a client-request-id of its own
}

// Defender is GET /api/incidents of Microsoft Defender XDR.
func Defender() API {
	return API{
		path:  "/api/incidents",
		names: rawjson.Names{ID: "incidentId", Updated: "lastUpdateTime", Created: "createdTime"},
		top:   100,
		quota: []Limit{{50, time.Minute}, {1500, time.Hour}},
	}
}

// Graph is GET /v1.0/security/incidents of Microsoft Graph. It documents 150
// calls a minute for alerts and no limit that names incidents: that these
// share it is assumed.
func Graph() API {
	return API{
		path:   "/v1.0/security/incidents",
		names:  rawjson.Names{ID: "id", Updated: "lastUpdateDateTime", Created: "createdDateTime", Expanded: "alerts"},
		top:    50,
		quota:  []Limit{{150, time.Minute}},
		prefer: "include-unknown-enum-members", marks: true,
	}
}

// Path is where the API has its incidents, below its origin.
func (a API) Path() string { return a.orDefender().path }

// Quota is what the API allows by its documentation.
func (a API) Quota() []Limit { return a.orDefender().quota }

func (a API) orDefender() API {
	if a.path == "" {
		return Defender()
	}
	return a
}

// mark gives an attempt the headers that the API asks for.
func (a API) mark(h http.Header) {
	if a.prefer != "" {
		h.Set("Prefer", a.prefer)
	}
	if a.marks {
		var b [16]byte
		_, _ = rand.Read(b[:]) // it never fails
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		h.Set("client-request-id", fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])) // RFC 9562, 5.4
	}
}
