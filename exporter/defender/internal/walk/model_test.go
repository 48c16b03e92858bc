package walk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The model is a server with a handful of incidents, pages of three, and
// choices: everything that may differ from run to run is drawn from a chooser,
// so that all of it can be tried.

// chooser gives each run another sequence of choices, until all were tried.
type chooser struct {
	path  []int // the choice at each point
	width []int
	at    int
}

func (c *chooser) choose(n int) int {
	if n <= 1 {
		return 0
	}
	if c.at == len(c.path) {
		c.path, c.width = append(c.path, 0), append(c.width, n)
	}
	c.at++
	return c.path[c.at-1]
}

// next moves on to the next run, if there is one.
func (c *chooser) next() bool {
	c.at = 0
	for n := len(c.path) - 1; n >= 0; n-- {
		if c.path[n]++; c.path[n] < c.width[n] {
			c.path, c.width = c.path[:n+1], c.width[:n+1]
			return true
		}
	}
	return false
}

// drawn is a chooser that draws from a source of random numbers.
type drawn struct{ intN func(int) int }

func (d drawn) choose(n int) int {
	if n <= 1 {
		return 0
	}
	return d.intN(n)
}

type choices interface{ choose(n int) int }

// item is an incident of the model; times are seconds.
type item struct {
	id               int
	created, updated int
	poison           bool
}

// order is how the server sorts.
type order int

const (
	newest order = iota
	oldest
	byID
	byIDDown
	byCreation
	byDay    // "days" of three seconds, newest first, within one by id
	byStatus // two groups, each newest first
	shuffled
	unstable // newest first, ties in any order
	orders
)

func (o order) String() string {
	return []string{"newest", "oldest", "by id", "by id descending", "by creation", "by day", "by status", "shuffled", "unstable ties"}[o]
}

// model is a World over such a server.
type model struct {
	c     choices
	items []item
	order order
	cap   int  // of an answer, 0 for none
	vary  bool // the cap differs from answer to answer
	moves int  // updates that may still happen, all of them before so many answers
	early int
	ltle  bool // lt means le
	part  int  // answers that may lack a row, and say so
	lag   int  // answers that may come from a replica that is behind by one move
	links bool // a cut answer has a link
	empty bool // and some answers are empty with a link to all of it
	now   int

	before   []item // what the replica has
	archive  map[kept]bool
	claims   []claim
	unread   []claim
	asked    int
	failed   []Question
	disorder bool
	tail     map[string]int // where links lead
}

type claim struct {
	from, to int
	order    bool
}

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func second(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
func number(t time.Time) int { return int(t.Sub(epoch) / time.Second) }

func (m *model) row(i item) Row {
	return Row{ID: names[i.id], Updated: second(i.updated), Created: second(i.created)}
}

var names = func() (all [100]string) {
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return all
}()

// kept is what the archive knows a row by.
type kept struct {
	id string
	at int
}

func key(r Row) kept { return kept{r.ID, number(r.Updated)} }

// happen lets something happen before an answer.
func (m *model) happen() {
	m.now++
	if m.moves > 0 && len(m.items) > 0 && m.asked <= m.early {
		if n := m.c.choose(len(m.items) + 1); n > 0 {
			m.before = slices.Clone(m.items)
			m.items[n-1].updated = m.now
			m.moves--
		}
	}
}

func (m *model) Ask(q Question) (*Answer, error) {
	m.asked++
	if m.asked > 3000 {
		return nil, errors.New("no progress")
	}
	m.happen()
	followed := q.Next != ""
	if followed { // what lies behind a position by now
		q.Skip, q.Top = m.tail[q.Next], len(m.items)+1
	}
	items := m.items
	if m.lag > 0 && m.before != nil && m.c.choose(2) == 1 {
		items = m.before
		m.lag--
	}
	var rows []Row
	poison := map[string]bool{}
	for _, i := range items {
		r := m.row(i)
		if r.Updated.Before(q.From) || r.Updated.After(q.To) || r.Updated.Equal(q.To) && !m.ltle || !q.Since.IsZero() && r.Created.Before(q.Since) || !q.Until.IsZero() && !r.Created.Before(q.Until) {
			continue
		}
		poison[r.ID] = i.poison
		rows = append(rows, r)
	}
	m.sort(rows)
	rows = rows[min(q.Skip, len(rows)):]
	limit := q.Top
	if m.cap > 0 && !followed {
		limit = min(limit, m.cap)
		if m.vary {
			limit = 1 + m.c.choose(limit)
		}
	}
	if m.empty && len(rows) > 0 && q.Skip == 0 && !followed && m.c.choose(2) == 1 {
		limit = 0
	}
	a := &Answer{}
	rest := rows[min(limit, len(rows)):]
	rows = rows[:min(limit, len(rows))]
	for _, r := range rows {
		if poison[r.ID] {
			m.failed = append(m.failed, q)
			return nil, &Unserved{Err: errors.New("500")}
		}
	}
	if m.links && len(rest) > 0 {
		a.More = fmt.Sprintf("link %d", m.asked)
		if m.tail == nil {
			m.tail = map[string]int{}
		}
		m.tail[a.More] = q.Skip + len(rows)
	}
	if m.part > 0 && len(rows) > 0 && m.c.choose(2) == 1 {
		m.part--
		rows = slices.Delete(slices.Clone(rows), 0, 1)
		a.Partial = errors.New("206")
	}
	b := m.served(q, rows)
	a.Rows, a.Asked = b.Rows, b.Asked
	return a, nil
}

func (m *model) served(q Question, rows []Row) *Answer {
	a := &Answer{Rows: slices.Clone(rows), Asked: second(m.now)}
	for i := range a.Rows {
		k := key(a.Rows[i])
		a.Rows[i].New = !m.archive[k]
		if !q.Measure {
			m.archive[k] = true
		}
	}
	return a
}

func (m *model) sort(rows []Row) {
	id := func(r Row) int { return slices.Index(names[:], r.ID) }
	if (m.order == shuffled || m.order == unstable) && m.asked <= m.early {
		for n := len(rows) - 1; n > 0; n-- {
			k := m.c.choose(n + 1)
			rows[n], rows[k] = rows[k], rows[n]
		}
	}
	if m.order == shuffled {
		return
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		down := b.Updated.Compare(a.Updated)
		switch m.order {
		case unstable:
			return down
		case oldest:
			down = -down
		case byID:
			return id(a) - id(b)
		case byIDDown:
			return id(b) - id(a)
		case byCreation:
			if c := b.Created.Compare(a.Created); c != 0 {
				return c
			}
			return id(b) - id(a)
		case byDay:
			if c := number(b.Updated)/3 - number(a.Updated)/3; c != 0 {
				return c
			}
			return id(a) - id(b)
		case byStatus:
			if c := id(a)%2 - id(b)%2; c != 0 {
				return c
			}
		}
		if down != 0 {
			return down
		}
		return id(a) - id(b)
	})
}

func (m *model) Shown(from, to, _ time.Time, order bool) error {
	if !from.Before(to) {
		return fmt.Errorf("an empty claim at %d", number(from))
	}
	m.claims = append(m.claims, claim{number(from), number(to), order})
	return nil
}

func (m *model) Unread(from, to time.Time, _ string, _ error) error {
	m.unread = append(m.unread, claim{number(from), number(to), false})
	return nil
}

func (m *model) Singly(Question) (time.Time, bool, string, error, error) {
	return time.Time{}, false, "", nil, nil
}

func (m *model) Fetch(string) (bool, error) { return false, nil }

func (m *model) Disordered() error {
	m.disorder = true
	m.claims = slices.DeleteFunc(m.claims, func(c claim) bool { return c.order })
	return nil
}

// holes are what of [from, to) neither a claim nor an unread stretch names.
func (m *model) holes(from, to int) []claim {
	var holes []claim
	for s := from; s < to; s++ {
		in := func(c claim) bool { return c.from <= s && s < c.to }
		if slices.ContainsFunc(m.claims, in) || slices.ContainsFunc(m.unread, in) {
			continue
		}
		if n := len(holes); n > 0 && holes[n-1].to == s {
			holes[n-1].to++
		} else {
			holes = append(holes, claim{s, s + 1, false})
		}
	}
	return holes
}

// lost is an incident that a claim speaks of and that is not archived.
func (m *model) lost(ordered bool) string {
	for _, i := range m.items {
		if m.archive[key(m.row(i))] {
			continue
		}
		for _, c := range m.claims {
			if c.from <= i.updated && i.updated < c.to && (ordered || !c.order) {
				return fmt.Sprintf("incident %d, updated %d, created %d, is not archived, but [%d, %d) is claimed (by order: %v)", i.id, i.updated, i.created, c.from, c.to, c.order)
			}
		}
	}
	return ""
}

// run reads a world of the model whole, audits it, and says what is wrong.
func (m *model) run(from, to int) string {
	m.archive, m.now = map[kept]bool{}, to+60
	// Where caps vary, the order has been told apart before: else it is assumed
	// that they do not.
	r := &Reader{World: m, Know: &Knowledge{told: m.vary}, Top: 3, Oldest: second(from - 10)}
	// Neither an order by creation nor one by id can be taken for that of update
	// time; one by day or by status can, until the audit.
	exact := m.order != byDay && m.order != byStatus && m.order != shuffled
	for n := 0; ; n++ {
		holes := m.holes(from, to)
		if len(holes) == 0 {
			break
		}
		if n > 10 {
			return fmt.Sprintf("no progress: %v", holes)
		}
		if err := r.Read(second(holes[len(holes)-1].from), second(holes[len(holes)-1].to)); err != nil {
			return err.Error()
		}
		if lost := m.lost(exact); lost != "" {
			return lost
		}
	}
	if m.vary && !exact {
		return ""
	}
	// The audit: no claim rests on the order after it.
	for {
		at := slices.IndexFunc(m.claims, func(c claim) bool { return c.order })
		if at < 0 {
			break
		}
		c := m.claims[at]
		m.claims = slices.Delete(m.claims, at, at+1)
		for _, hole := range m.holes(c.from, c.to) {
			_, whole, err := r.Once(second(hole.from), second(hole.to), true)
			if err == nil && !whole {
				// As the rest of the audit would: in pieces that are whole.
				told := r.Know.told
				r.Know.told = false
				r.Know.Disorder = true
				err = r.Read(second(hole.from), second(hole.to))
				r.Know.told, r.Know.Disorder = told, false
			}
			if err != nil {
				return err.Error()
			}
		}
	}
	if m.vary {
		return ""
	}
	return m.lost(true)
}

func (m *model) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "order %s, cap %d, vary %v, moves %d, lag %d, links %v, empty %v, lt as le %v, partial %d;", m.order, m.cap, m.vary, m.moves, m.lag, m.links, m.empty, m.ltle, m.part)
	for _, i := range m.items {
		fmt.Fprintf(&b, " %d(created %d, updated %d", i.id, i.created, i.updated)
		if i.poison {
			b.WriteString(", poison")
		}
		b.WriteString(")")
	}
	return b.String()
}

// TestExhaustively tries every world of a few incidents in a few seconds, in
// every order, with every move between two answers.
func TestExhaustively(t *testing.T) {
	runs, answers := 0, 0
	try := func(make func() *model) {
		for c := (&chooser{}); ; {
			m := make()
			m.c = c
			text := m.String()
			wrong := m.run(0, 5)
			runs++
			answers += m.asked
			if wrong != "" {
				t.Fatalf("%s\n%s\nchoices %v", text, wrong, c.path)
			}
			if !c.next() {
				return
			}
		}
	}
	most := 4
	if testing.Short() {
		most = 3
	}
	for n := 0; n <= most; n++ {
		for times := make([]int, n); ; {
			for shape := range 3 {
				items := make([]item, n)
				for i, u := range times {
					// Created one after the other, in one second, or in two.
					items[i] = item{id: i + 1, created: -10 + []int{i, 0, i % 2}[shape], updated: u}
				}
				for o := range orders {
					moves, early := 1, 6
					if o == shuffled || o == unstable {
						moves, early = 0, 3 // there is choice enough
					}
					for limit := range 3 {
						if limit == 1 || n > 3 && o == shuffled {
							continue
						}
						try(func() *model {
							return &model{items: slices.Clone(items), order: o, cap: limit, moves: moves, early: early}
						})
					}
					if moves > 0 && n < most && shape == 0 {
						try(func() *model { return &model{items: slices.Clone(items), order: o, moves: 1, early: 5, lag: 1} })
					}
				}
			}
			at := 0
			for ; at < n; at++ {
				if times[at]++; times[at] < 4 && (n < 4 || times[at] < 3) {
					break
				}
				times[at] = 0
			}
			if at == n {
				break
			}
		}
	}
	t.Logf("%d runs, %d answers", runs, answers)
}

// TestDrawn tries larger worlds, with all that a server may do, at random.
func TestDrawn(t *testing.T) {
	runs, answers := 200_000, 0
	if testing.Short() {
		runs = 20_000
	}
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 7))
		m := &model{
			c: drawn{rng.IntN}, order: order(rng.IntN(int(orders))), cap: []int{0, 0, 2, 3}[rng.IntN(4)], moves: rng.IntN(4), early: 1000,
			links: rng.IntN(4) == 0, part: []int{0, 0, 0, 2}[rng.IntN(4)], ltle: rng.IntN(4) == 0, lag: []int{0, 0, 0, 2}[rng.IntN(4)],
		}
		m.vary = m.order == newest && rng.IntN(3) == 0 && m.cap > 0 && !m.ltle
		m.empty = m.links && rng.IntN(2) == 0
		span := 2 + rng.IntN(30)
		created := 1 + rng.IntN(40)
		if seed%4 == 0 { // much in one second, and created in one
			span, created, m.moves, m.lag = 1+rng.IntN(2), 1, rng.IntN(6), 0
		}
		taken := map[int]bool{}
		for n := range rng.IntN(14) {
			i := item{id: n + 1, created: -50 + rng.IntN(created), updated: rng.IntN(span)}
			if (m.vary || m.links && m.lag > 0) && taken[i.updated] {
				continue // within one second a cap is assumed to be of one length, and links of one state
			}
			taken[i.updated] = true
			i.poison = rng.IntN(30) == 0
			m.items = append(m.items, i)
		}
		if rng.IntN(2) == 0 { // created in the order of ids
			slices.SortFunc(m.items, func(a, b item) int { return a.created - b.created })
			for i := range m.items {
				m.items[i].id = i + 1
			}
		}
		text := m.String()
		if wrong := m.run(0, span); wrong != "" {
			t.Fatalf("seed %d: %s\n%s", seed, text, wrong)
		}
		answers += m.asked
	}
	t.Logf("%d runs, %d answers", runs, answers)
}
