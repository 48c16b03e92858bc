package defender_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// What a segment covers has been handed on with it or before it, however many
// incidents share an instant: whoever stops there goes on from there.
func TestWhatIsCoveredHasBeenHandedOn(t *testing.T) {
	for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 600, Tie: 250, TieShare: 0.9}, func(b *simulator.Behaviour) { b.Order = order },
				func(c *defender.Config) { c.Top, c.MaxSkip = 20, 60 })
			from, to := tn.all()
			truth, parts := tn.sim.Final(), 0
			lines := map[string]bool{}
			err := tn.source.Read(t.Context(), from, to, false, func(s *exporter.Segment) error {
				for _, r := range s.Rows {
					lines[r.ID] = true
				}
				if s.To.Equal(s.From) {
					parts++
				}
				for _, v := range truth {
					if at, _ := time.Parse(time.RFC3339Nano, v.Updated); at.Before(s.To) && !at.Before(from) && !lines[fmt.Sprint(v.ID)] {
						return fmt.Errorf("incident %d, updated %s, has not been handed on with what ends at %v", v.ID, v.Updated, s.To)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if parts == 0 {
				t.Error("no instant was read in parts")
			}
		})
	}
}

// A page that the server cuts without saying so looks like the whole of a window, and so does what lies
// behind it once one of its incidents was updated: nothing. Until a longer page was seen, that is no proof.
func TestShortPagesBeforeTheyAreKnown(t *testing.T) {
	for _, incidents := range []int{8, 9, 30} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Seed: 4, Incidents: incidents, Span: 24 * time.Hour}, func(b *simulator.Behaviour) { b.PageCap = 7 }, nil)
			time.Sleep(2 * time.Hour)
			from, to := tn.all()
			var once sync.Once
			tn.sim.Change(func(b *simulator.Behaviour) {
				b.Fail = func(r *http.Request, _ int) simulator.Fault {
					if r.URL.Query().Get("$skip") == "7" { // those on the first page, but for those that one page has room for
						once.Do(func() {
							final := tn.sim.Final()
							slices.SortFunc(final, func(a, b simulator.Version) int { return strings.Compare(b.Updated, a.Updated) })
							for _, v := range final[:min(7, incidents-7)] {
								if _, err := tn.sim.Update(v.ID); err != nil {
									t.Error(err)
								}
							}
						})
					}
					return simulator.NoFault
				}
			})
			g, err := tn.read(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			if ids := missing(tn, g, to); len(ids) > 0 || len(g.unfetched) > 0 {
				t.Errorf("%d incidents: lost: %v; unfetched %v", incidents, ids, g.unfetched)
			}
		})
	}
}

// undated serves incidents without the time of their creation.
type undated struct{ next http.RoundTripper }

var creation = regexp.MustCompile(`"createdTime":"[^"]*"`)

func (u undated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.next.RoundTrip(r)
	if err != nil || r.URL.Path != "/api/incidents" {
		return resp, err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	text = creation.ReplaceAll(text, []byte(`"createdTime":null`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// Whether few incidents are all of them can be told without the times of their creation.
func TestFewWithoutCreation(t *testing.T) {
	for _, incidents := range []int{1, 5, 40} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Seed: 4, Incidents: incidents, Span: 24 * time.Hour}, nil, func(c *defender.Config) { c.Transport = undated{c.Transport} })
			time.Sleep(2 * time.Hour)
			from, to := tn.all()
			g, err := tn.read(t.Context(), from, to)
			if err != nil || len(g.lines) != incidents || len(g.unfetched) > 0 {
				t.Errorf("%d incidents: %v, %d, %v", incidents, err, len(g.lines), g.unfetched)
			}
			if n := tn.sim.Calls().API(); n != 4 { // the clock, an answer, nothing behind it, the same again
				t.Errorf("%d incidents took %d calls", incidents, n)
			}
		})
	}
}
