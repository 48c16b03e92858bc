package defender_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
)

// An incident's path is escaped once, whatever its id is.
func TestPathOfAnIncident(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{graph: true}
		ids := map[string]string{"a b": "a%20b", "x/y": "x%2Fy", "ä": "%C3%A4", "50%": "50%25", "q?r": "q%3Fr"}
		for id := range ids {
			s.rows = append(s.rows, incident{id: id, updated: begun.Add(time.Minute), created: begun, members: `,"alerts":[]`})
		}
		s.bend = func(w http.ResponseWriter, r *http.Request, rows []incident) bool {
			if id, one := strings.CutPrefix(r.URL.Path, "/v1.0/security/incidents/"); one {
				for _, i := range s.rows {
					if i.id == id {
						fmt.Fprint(w, i.json(true))
						return true
					}
				}
				http.NotFound(w, r)
				return true
			}
			for i := range rows {
				rows[i].members = `,"alerts":null` // to be asked for by id
			}
			return false
		}
		source, a, _ := s.source(nil)
		if err := s.read(t, source, a); err != nil {
			t.Fatal(err)
		}
		s.kept(t, a)
		asked := strings.Join(s.asked(), "\n")
		for id, escaped := range ids {
			if !strings.Contains(asked, "/v1.0/security/incidents/"+escaped+"?") {
				t.Errorf("%q was not asked for as %s:\n%s", id, escaped, asked)
			}
		}
	})
}

// Upper bounds in a form that is not the first that is tried.
func TestUpperBounds(t *testing.T) {
	for name, takes := range map[string]func(string) bool{
		"lt": func(f string) bool {
			return !strings.Contains(f, " le ") && !strings.Contains(f, " gt ") && !strings.Contains(f, "not")
		},
		"le": func(f string) bool { return !strings.Contains(f, " lt ") },
		"reversed": func(f string) bool {
			return !strings.Contains(f, " lt ") && !strings.Contains(f, " le ") && !strings.Contains(f, "not")
		},
		"not ge": func(f string) bool {
			return !strings.Contains(f, " lt ") && !strings.Contains(f, " le ") && !strings.Contains(f, " gt ")
		},
		"none": func(f string) bool {
			return !strings.Contains(f, " lt ") && !strings.Contains(f, " le ") && !strings.Contains(f, " gt ") && !strings.Contains(f, "not")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := &server{rows: many(440), takes: takes}
				source, a, _ := s.source(nil)
				if err := s.read(t, source, a); err != nil {
					t.Fatal(err)
				}
				s.kept(t, a)
				if len(a.unread) > 0 || len(s.asked()) > 19 {
					t.Errorf("%d calls, unread: %v", len(s.asked()), a.unread)
				}
				// What was learnt is forgotten.
				before := len(s.asked())
				source.Begin(false, begun)
				if err := s.read(t, source, newArchive()); err != nil || !strings.Contains(s.asked()[before], "+lt+") {
					t.Errorf("%v, first asked %s", err, s.asked()[before])
				}
			})
		})
	}
}

// A link to another origin is not followed, and the token goes nowhere else.
func TestLinkToAnotherOrigin(t *testing.T) {
	for _, link := range []string{"https://evil.example/api/incidents?elsewhere", "http://api.security.microsoft.com/api/incidents?elsewhere", "https://u:p@api.security.microsoft.com/elsewhere", "//evil.example/elsewhere", "%zz"} {
		in(t, func(t *testing.T) {
			s := &server{rows: many(3)}
			for i := range s.rows {
				s.rows[i].updated = begun.Add(time.Minute) // within one second links are followed
			}
			s.bend = func(w http.ResponseWriter, r *http.Request, rows []incident) bool {
				if r.Host != "api.security.microsoft.com" || strings.Contains(r.RequestURI, "elsewhere") {
					t.Errorf("asked %s", r.Host)
				}
				fmt.Fprint(w, list(false, rows, `,"@odata.nextLink":"`+link+`"`))
				return true
			}
			source, a, log := s.source(nil)
			if err := s.read(t, source, a); err != nil {
				t.Log(err)
			}
			if a.claimed(begun.Add(time.Minute)) || len(a.lines) != 3 {
				t.Errorf("%s: claimed %v, %d stored, unread %v", link, a.claims, len(a.lines), a.unread)
			}
			if strings.Contains(log.String(), "made-up-token") {
				t.Error("the token is logged")
			}
		})
	}
}

// An answer in another origin's name is not followed either.
func TestRedirectIsNotFollowed(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{bend: func(w http.ResponseWriter, r *http.Request, _ []incident) bool {
			http.Redirect(w, r, "https://evil.example/api/incidents", http.StatusFound)
			return true
		}}
		source, _, log := s.source(nil)
		err := source.Clock(t.Context())
		if err == nil || len(s.calls) != 1 || s.calls[0].Host != "api.security.microsoft.com" {
			t.Errorf("%v, asked %v", err, s.asked())
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, err)+log.String(), "made-up-token") {
			t.Error("the token is in an error or a log line")
		}
	})
}

// A server that filters by nothing is found out; one hostile row is a row.
func TestIgnoredFilter(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{rows: many(300)}
		s.bend = func(w http.ResponseWriter, _ *http.Request, _ []incident) bool {
			fmt.Fprint(w, list(false, s.rows[:50], ""))
			return true
		}
		source, a, _ := s.source(nil)
		var ignored *defender.IgnoredFilterError
		to := begun.Add(299 * time.Minute)
		time.Sleep(time.Until(to.Add(time.Hour)))
		err := source.Read(t.Context(), exporter.Reading{Span: span(begun.Add(200*time.Minute), to)}, a)
		if !errors.As(err, &ignored) || len(a.claims) > 0 {
			t.Errorf("%v, claims %v", err, a.claims)
		}
		source.Begin(false, begun)
		for range 3 {
			if _, _, err = source.Once(t.Context(), span(begun.Add(200*time.Minute), to), false, a); err != nil {
				break
			}
		}
		if !errors.As(err, &ignored) || len(a.claims) > 0 {
			t.Errorf("once: %v, claims %v", err, a.claims)
		}
	})
}

// An API that answers nothing is down: an error, and nothing is unread.
func TestDown(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{rows: many(30), bend: func(w http.ResponseWriter, _ *http.Request, _ []incident) bool {
			http.Error(w, `{"error":{"code":"ServiceUnavailable","message":"busy","target":"3f"}}`, http.StatusServiceUnavailable)
			return true
		}}
		source, a, _ := s.source(nil)
		err := s.read(t, source, a)
		var api *defender.APIError
		if !errors.As(err, &api) || api.Status != 503 || api.Target != "3f" || len(a.unread)+len(a.claims) > 0 {
			t.Errorf("%v; unread %v", err, a.unread)
		}
		if n := len(s.asked()); n > 12 {
			t.Errorf("%d calls", n)
		}
	})
}

// A receiver's error ends the reading, and so does a panic: of this reading only.
func TestReceiverThatFails(t *testing.T) {
	in(t, func(t *testing.T) {
		s := &server{rows: many(250)}
		source, a, _ := s.source(nil)
		a.taken = func(int) { panic("made up") }
		if err := s.read(t, source, a); err == nil || !strings.Contains(err.Error(), "made up") {
			t.Errorf("a receiver that panics: %v", err)
		}
		source, a, _ = s.source(nil)
		s.bend = func(http.ResponseWriter, *http.Request, []incident) bool { return false }
		if err := s.read(t, source, a); err != nil {
			t.Error(err)
		}
		s.kept(t, a)
	})
}
