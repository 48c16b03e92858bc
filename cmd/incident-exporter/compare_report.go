package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"incident-exporter/exporter/mapping"
	"incident-exporter/exporter/rawjson"
)

// onlyLine is an incident that one API has and the other has not.
type onlyLine struct {
	Kind    string `json:"kind"`   // only
	Source  string `json:"source"` // who has it
	Tenant  string `json:"tenant"`
	ID      string `json:"id"`
	Updated string `json:"updated"`
}

// differsLine is a field that they disagree about; null stands for null and for what is absent.
type differsLine struct {
	Kind     string  `json:"kind"` // differs
	Tenant   string  `json:"tenant"`
	ID       string  `json:"id"`
	Updated  string  `json:"updated"`
	Field    string  `json:"field"`
	Alert    string  `json:"alert,omitempty"`
	Defender *string `json:"defender"`
	Graph    *string `json:"graph"`
}

// unfetchedLine is update time that one API could not serve, and that is not compared.
type unfetchedLine struct {
	Kind   string `json:"kind"` // unfetched
	Source string `json:"source"`
	Tenant string `json:"tenant"`
	ID     string `json:"id,omitempty"` // if it is known to be about one incident
	From   string `json:"from"`
	To     string `json:"to"`
	Text   string `json:"text"`
}

// compareSummary is what came of one tenant.
type compareSummary struct {
	Tenant       string `json:"tenant"`
	From         string `json:"from"`
	To           string `json:"to"`
	Compared     int    `json:"compared"` // the differing ones included
	OnlyDefender int    `json:"only_defender"`
	OnlyGraph    int    `json:"only_graph"`
	Differing    int    `json:"differing"`
	Changed      int    `json:"changed_meanwhile"`
	Unfetched    int    `json:"unfetched"` // stretches

	FieldsDiffering    map[string]int  `json:"fields_differing"`
	FieldsOnlyDefender mapping.Members `json:"fields_only_defender"`
	FieldsOnlyGraph    mapping.Members `json:"fields_only_graph"`
}

// report prints what was found, each in order of update time, and says whether the two agree.
func (c *sideBySide) report(v *agreement) (agree bool, err error) {
	sum := compareSummary{
		Tenant: c.tenant.id, From: rawjson.FormatTime(c.from), To: rawjson.FormatTime(c.to), Compared: v.compared,
		Differing: len(v.differing), Changed: v.changed, FieldsDiffering: map[string]int{},
	}
	sum.FieldsOnlyDefender, sum.FieldsOnlyGraph = mapping.Unmatched(c.members[defenderSide], c.members[graphSide])
	for side, all := range v.unfetched {
		for _, s := range all {
			sum.Unfetched++
			line := unfetchedLine{"unfetched", sideNames[side], c.tenant.id, s.ID, rawjson.FormatTime(s.From.Time), rawjson.FormatTime(s.To.Time), s.Error}
			text := fmt.Sprintf("unfetched: %s: from %s to %s%s: %s", line.Source, line.From, line.To, c.whose(), oneLine(line.Text))
			if err := c.print(line, text); err != nil {
				return false, err
			}
		}
	}
	for _, o := range v.only {
		if o.side == graphSide {
			sum.OnlyGraph++
		} else {
			sum.OnlyDefender++
		}
		line := onlyLine{"only", sideNames[o.side], c.tenant.id, o.id, o.updated}
		if err := c.print(line, fmt.Sprintf("only in %s: incident %s%s, updated %s", line.Source, oneLine(o.id), c.whose(), o.updated)); err != nil {
			return false, err
		}
	}
	for _, id := range v.differing {
		d := c.incidents[id]
		for _, f := range d.differences {
			sum.FieldsDiffering[f.Field]++
			line := differsLine{"differs", c.tenant.id, id, d.updated, f.Field, f.Alert, orNull(f.Defender), orNull(f.Graph)}
			if err := c.print(line, c.differs(line)); err != nil {
				return false, err
			}
		}
	}
	agree = sum.OnlyDefender+sum.OnlyGraph+sum.Differing+sum.Unfetched == 0
	summed := struct {
		Summary compareSummary `json:"summary"`
	}{sum}
	return agree, c.print(summed, c.summary(&sum, agree))
}

// print prints one line, as JSON or as text.
func (c *sideBySide) print(line any, text string) error {
	if c.p.json {
		return c.p.app.printJSON(line)
	}
	if _, err := fmt.Fprintln(c.p.app.stdout, text); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// whose names an incident's tenant where there are several.
func (c *sideBySide) whose() string {
	if !c.p.cfg.severalTenants() {
		return ""
	}
	return " of " + c.tenant.String()
}

func orNull(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

// quoted is a value on one line.
func quoted(value *string) string {
	if value == nil {
		return "none"
	}
	return strconv.Quote(*value)
}

func (c *sideBySide) differs(l differsLine) string {
	alert := ""
	if l.Alert != "" {
		alert = ", alert " + oneLine(l.Alert)
	}
	return fmt.Sprintf("differs: incident %s%s, updated %s%s: %s: defender %s, graph %s", oneLine(l.ID), c.whose(), l.Updated, alert, l.Field, quoted(l.Defender), quoted(l.Graph))
}

// oneLine is what an API called something, fit for one line of a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}

// summary is the summary as text.
func (c *sideBySide) summary(s *compareSummary, agree bool) string {
	var b strings.Builder
	if c.p.cfg.severalTenants() {
		b.WriteString(c.tenant.String() + ": ")
	}
	switch {
	case agree:
		b.WriteString("they agree")
	case s.OnlyDefender+s.OnlyGraph+s.Differing == 0:
		b.WriteString("not all could be read")
	default:
		b.WriteString("they differ")
	}
	fmt.Fprintf(&b, ": %d compared, %d only in defender, %d only in graph, %d differing, %d changed meanwhile and not compared, %d unfetched; from %s to %s",
		s.Compared, s.OnlyDefender, s.OnlyGraph, s.Differing, s.Changed, s.Unfetched, s.From, s.To)
	for _, of := range []struct {
		what   string
		fields map[string]int
	}{{"fields that differ", s.FieldsDiffering}, {"fields only in defender", s.FieldsOnlyDefender}, {"fields only in graph", s.FieldsOnlyGraph}} {
		if len(of.fields) == 0 {
			continue
		}
		parts := make([]string, 0, len(of.fields))
		for _, name := range slices.Sorted(maps.Keys(of.fields)) {
			parts = append(parts, fmt.Sprintf("%s (%d)", oneLine(name), of.fields[name]))
		}
		fmt.Fprintf(&b, "\n%s: %s", of.what, strings.Join(parts, ", "))
	}
	return b.String()
}

// compared shows how far a reading of a comparison is.
func (l *progressLine) compared(source string, n int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.show(fmt.Sprintf("reading %s, %d incidents, back to %s", source, n, at.UTC().Format("2006-01-02 15:04")))
}
