package defender_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/rawjson"
	"incident-exporter/exporter/simulator"
)

// server is a small API that a test may bend: it serves what it has, newest
// update first, to filters in any of the forms that a bound may have.
type server struct {
	graph bool
	rows  []incident
	takes func(filter string) bool // nil: any
	bend  func(w http.ResponseWriter, r *http.Request, rows []incident) bool

	mu    sync.Mutex
	calls []*http.Request
}

type incident struct {
	id               string
	updated, created time.Time
	members          string // further ones, each with a comma before it
}

func (i incident) json(graph bool) string {
	id, _ := json.Marshal(i.id)
	if graph {
		return fmt.Sprintf(`{"id":%s,"lastUpdateDateTime":%q,"createdDateTime":%q%s}`, id, rawjson.FormatTime(i.updated), rawjson.FormatTime(i.created), i.members)
	}
	return fmt.Sprintf(`{"incidentId":%s,"lastUpdateTime":%q,"createdTime":%q%s}`, id, rawjson.FormatTime(i.updated), rawjson.FormatTime(i.created), i.members)
}

func list(graph bool, rows []incident, more string) string {
	var text []string
	for _, i := range rows {
		text = append(text, i.json(graph))
	}
	return `{"value":[` + strings.Join(text, ",") + `]` + more + `}`
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls = append(s.calls, r.Clone(r.Context()))
	s.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	q := r.URL.Query()
	filter := q.Get("$filter")
	if s.takes != nil && !s.takes(filter) {
		http.Error(w, `{"error":{"code":"BadRequest","message":"Invalid filter clause"}}`, http.StatusBadRequest)
		return
	}
	rows := slices.DeleteFunc(slices.Clone(s.rows), func(i incident) bool { return !i.fits(filter) })
	slices.SortStableFunc(rows, func(a, b incident) int { return b.updated.Compare(a.updated) })
	skip, _ := strconv.Atoi(q.Get("$skip"))
	top, _ := strconv.Atoi(cmp.Or(q.Get("$top"), "100"))
	rows = rows[min(skip, len(rows)):]
	rows = rows[:min(top, len(rows))]
	if s.bend != nil && s.bend(w, r, rows) {
		return
	}
	fmt.Fprint(w, list(s.graph, rows, ""))
}

// fits understands the terms that a Source may write.
func (i incident) fits(filter string) bool {
	for term := range strings.SplitSeq(filter, " and ") {
		words := strings.Fields(strings.NewReplacer("(", " ", ")", "").Replace(term))
		not := len(words) == 4 && words[0] == "not"
		if not {
			words = words[1:]
		}
		if len(words) != 3 {
			continue
		}
		name, op, literal := words[0], words[1], words[2]
		if t, err := rawjson.ParseTime(name); err == nil && op == "gt" {
			_ = t
			name, op, literal = literal, "lt", name
		}
		at, err := rawjson.ParseTime(literal)
		if err != nil {
			panic(filter)
		}
		mine := i.updated
		if strings.HasPrefix(name, "created") {
			mine = i.created
		}
		holds := map[string]bool{"ge": !mine.Before(at), "lt": mine.Before(at), "le": !mine.After(at)}[op]
		if holds == not {
			return false
		}
	}
	return true
}

// asked are the calls of the list so far, as method and request URI.
func (s *server) asked() (uris []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.calls {
		uris = append(uris, r.RequestURI)
	}
	return uris
}

// begun is when the stretches of such servers begin.
var begun = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as virtual time does

// many are incidents a minute apart, the later updated the older, and not: so
// that the order can be told apart.
func many(n int) (rows []incident) {
	for i := range n {
		at := begun.Add(time.Duration(i) * time.Minute)
		id, created := i, at.Add(-30*24*time.Hour)
		if i%2 == 0 {
			id, created = 2*n-i, at.Add(-30*24*time.Hour-time.Duration(2*i)*time.Minute)
		}
		rows = append(rows, incident{id: fmt.Sprint(100 + id), updated: at, created: created})
	}
	return rows
}

// source is a Source of the server and an archive.
func (s *server) source(config func(*defender.Config)) (*defender.Source, *archive, *bytes.Buffer) {
	log := &bytes.Buffer{}
	cfg := configuration(simulator.Transport(s), log)
	cfg.Tokens = fixed{}
	if s.graph {
		cfg.API, cfg.Origin = defender.Graph(), &url.URL{Scheme: "https", Host: "graph.microsoft.com"}
	}
	if config != nil {
		config(&cfg)
	}
	source := defender.New(cfg)
	source.Begin(false, begun.Add(-24*time.Hour))
	return source, newArchive(), log
}

// read reads all of the server's stretch.
func (s *server) read(t *testing.T, source *defender.Source, a *archive) error {
	t.Helper()
	to := begun.Add(time.Duration(len(s.rows)+60) * time.Minute)
	if time.Now().Before(to) {
		time.Sleep(time.Until(to) + time.Minute)
	}
	return source.Read(t.Context(), exporter.Reading{Span: span(begun, to)}, a)
}

// kept checks that every incident is archived but those named.
func (s *server) kept(t *testing.T, a *archive, but ...string) {
	t.Helper()
	for _, i := range s.rows {
		if !slices.Contains(but, i.id) && !a.lines[i.id][i.json(s.graph)] {
			t.Errorf("incident %s, updated %v, is missing: %v", i.id, i.updated, a.lines[i.id])
		}
	}
	if at := a.hole(begun, begun.Add(time.Duration(len(s.rows)+60)*time.Minute)); !at.IsZero() {
		t.Errorf("%v is neither claimed nor unread: %v, %v", at, a.claims, a.unread)
	}
}
