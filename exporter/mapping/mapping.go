// Package mapping knows what the two incidents APIs call one thing by two
// names, and says in what their accounts of one incident disagree.
//
// It holds names and words against each other and nothing else: it knows no
// HTTP and no archive. What the vendor documents as the same is the same here
// (the names, PascalCase and camelCase, spellings that were renamed, null and
// absent); what only one API has is listed and never a difference. It does
// not compare evidence (devices and entities in one API, evidence in the
// other), whose kinds and members are open sets.
//
// All of it is safe for concurrent use.
package mapping

import (
	"encoding/json"
	"fmt"

	"incident-exporter/exporter/rawjson"
)

// side is one of the two APIs.
type side int

const (
	defender side = iota
	graph
)

// field is one property and what each API calls it.
type field struct {
	name  string    // in reports
	names [2]string // by side
	same  func(value string) string
}

// incidentFields are compared of an incident, and alertFields of each of its
// alerts. The incident's id is what pairs them, and the alert's.
var (
	incidentFields = [...]field{
		{"name", [2]string{"incidentName", "displayName"}, exactly},
		{"created", [2]string{"createdTime", "createdDateTime"}, instant},
		{"updated", [2]string{"lastUpdateTime", "lastUpdateDateTime"}, instant},
		{"url", [2]string{"incidentUri", "incidentWebUrl"}, exactly},
		{"status", [2]string{"status", "status"}, incidentStatus},
		{"severity", [2]string{"severity", "severity"}, severity},
		{"classification", [2]string{"classification", "classification"}, word},
		{"determination", [2]string{"determination", "determination"}, determination},
		{"assignedTo", [2]string{"assignedTo", "assignedTo"}, exactly},
		{"redirectIncidentId", [2]string{"redirectIncidentId", "redirectIncidentId"}, exactly},
	}
	alertFields = [...]field{
		{"status", [2]string{"status", "status"}, word},
		{"severity", [2]string{"severity", "severity"}, severity},
		{"title", [2]string{"title", "title"}, exactly},
		{"created", [2]string{"creationTime", "createdDateTime"}, instant},
		{"updated", [2]string{"lastUpdatedTime", "lastUpdateDateTime"}, instant},
		{"resolved", [2]string{"resolvedTime", "resolvedDateTime"}, instant},
		{"firstActivity", [2]string{"firstActivity", "firstActivityDateTime"}, instant},
		{"lastActivity", [2]string{"lastActivity", "lastActivityDateTime"}, instant},
	}
)

// The members that are read in another way than a field.
var (
	idNames      = [2]string{"incidentId", "id"}
	tagNames     = [2]string{"tags", "customTags"}
	alertIDNames = [2]string{"alertId", "id"}

	// furtherAlertNames have a counterpart and are not compared.
	furtherAlertNames = [][2]string{{"actorName", "actorDisplayName"}}
)

const (
	commentsName = "comments"
	commentName  = "comment"
	alertsName   = "alerts"
)

// exactly is a text that has to be the same on both sides.
func exactly(value string) string { return value }

// instant is a time, however many of its digits are written. What is none is
// a text.
func instant(value string) string {
	at, err := rawjson.ParseTime(value)
	if err != nil {
		return value
	}
	return rawjson.FormatTime(at)
}

// scalar is the content of a string, or a number or true or false as it is
// written; "" for null and for what is absent. An object or array where none
// is expected is only named.
func scalar(raw json.RawMessage) (string, error) {
	switch {
	case len(raw) == 0 || raw[0] == 'n':
		return "", nil
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case raw[0] == '{':
		return "an object", nil
	case raw[0] == '[':
		return "an array", nil
	}
	return string(raw), nil
}

// list decodes an array; none for null and for what is absent.
func list[T any](members map[string]json.RawMessage, name string) (all []T, err error) {
	raw := members[name]
	if len(raw) == 0 || raw[0] == 'n' {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return all, nil
}
