package walk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a World that answers as a test says, and keeps what happens.
type scripted struct {
	answer func(q Question) (*Answer, error)
	singly func(q Question) (ok bool, id string, why error)
	fetch  func(id string) bool

	asked      []Question
	fetched    []string
	shown      []string
	unread     []string
	disordered int
}

func (s *scripted) Ask(q Question) (*Answer, error) {
	if s.asked = append(s.asked, q); len(s.asked) > 500 {
		return nil, errors.New("no progress")
	}
	a, err := s.answer(q)
	if a != nil && a.Asked.IsZero() {
		a.Asked = second(1000)
	}
	return a, err
}

func (s *scripted) Shown(from, to, asked time.Time, order bool) error {
	if asked.IsZero() {
		return errors.New("asked at no time")
	}
	s.shown = append(s.shown, fmt.Sprintf("[%d,%d) %v", number(from), number(to), order))
	return nil
}

func (s *scripted) Unread(from, to time.Time, id string, why error) error {
	s.unread = append(s.unread, strings.TrimSpace(fmt.Sprintf("[%d,%d) %s", number(from), number(to), id)))
	return nil
}

func (s *scripted) Singly(q Question) (time.Time, bool, string, error, error) {
	if s.singly == nil {
		return time.Time{}, false, "", nil, nil
	}
	ok, id, why := s.singly(q)
	return second(1001), ok, id, why, nil
}

func (s *scripted) Fetch(id string) (bool, error) {
	s.fetched = append(s.fetched, id)
	return s.fetch != nil && s.fetch(id), nil
}

func (s *scripted) Disordered() error { s.disordered++; return nil }

// holding answers from rows, newest first, and fails where one of the poisoned
// would be in an answer. named: the failure says which.
func holding(rows []Row, named bool, poisoned ...string) func(Question) (*Answer, error) {
	return func(q Question) (*Answer, error) {
		var in []Row
		for _, r := range rows {
			if !r.Updated.Before(q.From) && (q.To.IsZero() || r.Updated.Before(q.To)) && (q.Since.IsZero() || !r.Created.Before(q.Since)) && (q.Until.IsZero() || r.Created.Before(q.Until)) {
				in = append(in, r)
			}
		}
		slices.SortStableFunc(in, func(a, b Row) int { return b.Updated.Compare(a.Updated) })
		in = in[min(q.Skip, len(in)):]
		in = in[:min(q.Top, len(in))]
		for _, r := range in {
			if slices.Contains(poisoned, r.ID) {
				u := &Unserved{Err: errors.New("500")}
				if named {
					u.ID = r.ID
				}
				return nil, u
			}
		}
		return &Answer{Rows: slices.Clone(in)}, nil
	}
}

func at(id, updated, created int) Row {
	return Row{ID: fmt.Sprint(id), Updated: second(updated), Created: second(created)}
}

// line are n rows a second apart whose order can be told apart.
func line(n int) (rows []Row) {
	for i := range n {
		id, created := i+1, -100+i
		if i%2 == 1 {
			id, created = 1000-i, -500-i
		}
		rows = append(rows, at(id, i, created))
	}
	return rows
}

func (s *scripted) check(t *testing.T, err error, shown, unread []string) {
	t.Helper()
	if err != nil || !slices.Equal(s.shown, shown) || !slices.Equal(s.unread, unread) {
		t.Errorf("%v\nshown %q, want %q\nunread %q, want %q", err, s.shown, shown, s.unread, unread)
	}
}

// Incidents that cannot be served together are read by their ids.
func TestSingly(t *testing.T) {
	rows := []Row{at(1, 2, -9), at(2, 2, -8), at(3, 2, -7)}
	for name, c := range map[string]struct {
		why    error
		id     string
		shown  []string
		unread []string
	}{
		"all":     {nil, "", []string{"[3,4) false", "[2,3) false", "[1,2) false", "[0,1) false"}, nil},
		"all but": {errors.New("404"), "2", []string{"[3,4) false", "[1,2) false", "[0,1) false"}, []string{"[2,3) 2"}},
	} {
		s := &scripted{answer: holding(rows, false, "2"), singly: func(Question) (bool, string, error) { return true, c.id, c.why }}
		r := &Reader{World: s, Know: &Knowledge{Longest: 10}, Top: 10, ByID: true}
		err := r.Read(second(0), second(4))
		t.Run(name, func(t *testing.T) { s.check(t, err, c.shown, c.unread) })
	}
}

// An audited second, alone, is read by ids too.
func TestOnceByIDs(t *testing.T) {
	s := &scripted{answer: holding([]Row{at(1, 2, 0)}, false, "1"), singly: func(Question) (bool, string, error) { return true, "", nil }}
	r := &Reader{World: s, Know: &Knowledge{}, Top: 10}
	if served, whole, err := r.Once(second(2), second(3), false); !served || !whole || err != nil {
		t.Error(served, whole, err)
	}
	if served, whole, err := r.Once(second(0), second(3), false); served || whole || err != nil {
		t.Error(served, whole, err)
	}
	s.check(t, nil, []string{"[2,3) false"}, nil)
}

// One of a second that cannot be listed is fetched by its id, where that is known.
func TestFetch(t *testing.T) {
	rows := []Row{at(1, 2, -9), at(2, 2, -9), at(3, 2, -9), at(4, 1, -9), at(5, 0, -9)}
	for _, there := range []bool{true, false} {
		s := &scripted{answer: holding(rows, true, "2"), fetch: func(string) bool { return there }}
		r := &Reader{World: s, Know: &Knowledge{Longest: 10}, Top: 10}
		err := r.Read(second(2), second(3))
		if there {
			s.check(t, err, []string{"[2,3) false"}, nil)
		} else {
			s.check(t, err, nil, []string{"[2,3) 2"})
		}
		if !slices.Contains(s.fetched, "2") {
			t.Errorf("fetched %v", s.fetched)
		}
	}
}

// What has failed too often ends the reading, and what was being narrowed is unread.
func TestSpent(t *testing.T) {
	failed := 0
	s := &scripted{}
	bad := holding([]Row{at(1, 2, -9), at(2, 2, -9), at(3, 2, -9), at(4, 3, -9)}, false, "1", "2", "3")
	s.answer = func(q Question) (*Answer, error) {
		a, err := bad(q)
		if err != nil {
			failed++
		}
		return a, err
	}
	for limit := range 12 {
		failed, s.asked, s.shown, s.unread = 0, nil, nil, nil
		r := &Reader{World: s, Know: &Knowledge{Longest: 10}, Top: 10, Spent: func() bool { return failed > limit }}
		err := r.Read(second(0), second(9))
		if done := err == nil; !done && !errors.Is(err, ErrSpent) || failed > limit+1 {
			t.Errorf("limit %d: %v after %d failures", limit, err, failed)
		}
		for _, c := range s.shown {
			if strings.HasPrefix(c, "[2,3)") || c == "[0,9) false" {
				t.Errorf("limit %d: shown %q", limit, s.shown)
			}
		}
	}
	if r := (&Reader{World: s, Know: &Knowledge{}, Top: 10, Spent: func() bool { return true }}); true {
		if served, whole, err := r.Once(second(2), second(3), false); served || whole || !errors.Is(err, ErrSpent) {
			t.Error(served, whole, err)
		}
	}
}

// A first answer that may be cut is compared with one to a wider question.
func TestMeasured(t *testing.T) {
	var rows []Row // in an order that may be that of creation, and of ids
	for i := range 11 {
		rows = append(rows, at(i, i-3, i-100))
	}
	s := &scripted{answer: holding(rows, false)}
	r := &Reader{World: s, Know: &Knowledge{}, Top: 50, Oldest: second(-100)}
	s.check(t, r.Read(second(4), second(9)), []string{"[4,9) false"}, nil)
	if len(s.asked) != 2 || !s.asked[1].Measure || s.asked[1].Top != 5 || !s.asked[1].From.Equal(r.Oldest) {
		t.Errorf("asked %v", s.asked)
	}
	// What has been seen to be longer is not measured again.
	s.asked, s.shown = nil, nil
	s.check(t, r.Read(second(5), second(9)), []string{"[5,9) false"}, nil)
	if len(s.asked) != 1 {
		t.Errorf("asked %v", s.asked)
	}
	// Nor is anything claimed where the wider question is no help.
	s = &scripted{answer: func(q Question) (*Answer, error) {
		if q.Measure {
			return nil, &Unserved{Err: errors.New("500")}
		}
		return holding(rows, false)(q)
	}}
	r = &Reader{World: s, Know: &Knowledge{}, Top: 50, Oldest: second(-100)}
	if err := r.Read(second(4), second(9)); err != nil || slices.Contains(s.shown, "[4,9) false") {
		t.Errorf("%v, shown %q", err, s.shown)
	}
}

// unbounded makes a server of one that takes no upper bound.
func unbounded(answer func(Question) (*Answer, error)) func(Question) (*Answer, error) {
	return func(q Question) (*Answer, error) {
		if !q.To.IsZero() || !q.Until.IsZero() {
			return nil, ErrNoBound
		}
		return answer(q)
	}
}

func TestOpen(t *testing.T) {
	rows := line(43)
	poison := rows[20].ID // updated at 20
	for name, c := range map[string]struct {
		answer func(Question) (*Answer, error)
		want   func(s *scripted) bool
		most   int
	}{
		"in order":        {holding(rows, false), func(s *scripted) bool { return len(s.unread) == 0 }, 6},
		"a poison":        {holding(rows, false, poison), func(s *scripted) bool { return slices.Equal(s.unread, []string{"[19,22)"}) }, 16},
		"two of them":     {holding(rows, false, poison, rows[21].ID), func(s *scripted) bool { return slices.Equal(s.unread, []string{"[19,23)"}) }, 16},
		"the newest":      {holding(rows, false, rows[42].ID), func(s *scripted) bool { return slices.Equal(s.unread, []string{"[41,50)"}) }, 16},
		"the oldest":      {holding(rows, false, rows[0].ID), func(s *scripted) bool { return slices.Equal(s.unread, []string{"[0,2)"}) }, 16},
		"all of them":     {func(Question) (*Answer, error) { return nil, &Unserved{Err: errors.New("500")} }, func(s *scripted) bool { return slices.Equal(s.unread, []string{"[0,50)"}) }, 320},
		"a limit of skip": {limited(holding(rows, false), 20, false), func(s *scripted) bool { return len(s.unread) == 1 && strings.HasPrefix(s.unread[0], "[0,") }, 8},
		"refused skip":    {limited(holding(rows, false), 20, true), func(s *scripted) bool { return len(s.unread) == 1 && strings.HasPrefix(s.unread[0], "[0,") }, 8},
		"in no order": {func(q Question) (*Answer, error) {
			a, err := holding(rows, false)(q)
			slices.Reverse(a.Rows)
			return a, err
		}, func(s *scripted) bool { return slices.Equal(s.unread, []string{"[0,1000)"}) && len(s.shown) == 0 }, 3},
		"in part": {func(q Question) (*Answer, error) {
			a, err := holding(rows, false)(q)
			a.Partial = errors.New("206")
			return a, err
		}, func(s *scripted) bool { return slices.Equal(s.unread, []string{"[0,1000)"}) && len(s.shown) == 0 }, 3},
		"nothing there": {holding(nil, false), func(s *scripted) bool { return slices.Equal(s.shown, []string{"[0,1000) false"}) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scripted{answer: unbounded(c.answer)}
			r := &Reader{World: s, Know: &Knowledge{}, Top: 10}
			err := r.Read(second(0), second(50))
			if err != nil || !c.want(s) || len(s.asked) > c.most {
				t.Errorf("%v after %d questions: shown %q, unread %q", err, len(s.asked), s.shown, s.unread)
			}
		})
	}
}

// limited serves nothing behind a position.
func limited(answer func(Question) (*Answer, error), limit int, refuse bool) func(Question) (*Answer, error) {
	return func(q Question) (*Answer, error) {
		switch {
		case q.Skip < limit:
			return answer(q)
		case refuse:
			return nil, &Unserved{Err: errors.New("400"), Refused: true}
		}
		return &Answer{}, nil
	}
}

// Rows that go while an open set is read: what moved up is found by going back.
func TestOpenWhileRowsGo(t *testing.T) {
	rows := line(60)
	seen := map[string]bool{}
	s := &scripted{}
	s.answer = unbounded(func(q Question) (*Answer, error) {
		if n := len(s.asked); n == 3 || n == 5 { // the newest four are deleted
			rows = rows[:len(rows)-4]
		}
		a, err := holding(rows, false)(q)
		for _, r := range a.Rows {
			seen[r.ID] = true
		}
		return a, err
	})
	r := &Reader{World: s, Know: &Knowledge{}, Top: 10}
	if err := r.Read(second(0), second(100)); err != nil || len(s.unread) > 0 {
		t.Errorf("%v, unread %q", err, s.unread)
	}
	for _, row := range rows {
		if !seen[row.ID] {
			t.Errorf("row %s, updated %d, was passed over", row.ID, number(row.Updated))
		}
	}
}

// A link whose last answer is full shows nothing: it may have been cut.
func TestLinkThatEndsFull(t *testing.T) {
	rows := line(40)
	s := &scripted{answer: func(q Question) (*Answer, error) {
		if q.Next == "" {
			return &Answer{More: "all of it"}, nil
		}
		return holding(rows, false)(q)
	}}
	r := &Reader{World: s, Know: &Knowledge{}, Top: 10}
	err := r.Read(second(0), second(40))
	if slices.Contains(s.shown, "[0,40) false") {
		t.Errorf("%v: shown %q", err, s.shown)
	}
}

// TestLinksOfTwoMoments: the first answer of a link comes from a replica in which
// an incident lies that has moved away since, the next one from a server in which
// it does not. What is between the two is in neither, the second time as the first.
func TestLinksOfTwoMoments(t *testing.T) {
	rows := []Row{at(9, 9, -10), at(8, 8, -20), at(7, 7, -30), at(6, 6, -40)}
	fresh := rows[1:]
	w := &scripted{answer: func(q Question) (*Answer, error) {
		list, from := rows, 0
		switch {
		case q.Next == "":
			return &Answer{More: "0"}, nil
		case q.Next != "0":
			list, from = fresh, q.Top
		}
		all, err := holding(list, false)(Question{From: q.From, To: q.To, Top: 100})
		if err != nil {
			return nil, err
		}
		a := &Answer{Rows: all.Rows[min(from, len(all.Rows)):]}
		if len(a.Rows) > q.Top {
			a.Rows, a.More = a.Rows[:q.Top], "more"
		}
		return a, nil
	}}
	r := &Reader{World: w, Know: &Knowledge{Longest: 10}, Top: 3}
	// The four are read in pieces that come in one answer each.
	err := r.Read(second(0), second(16))
	for _, shown := range w.shown {
		if shown == "[0,16) false" {
			t.Errorf("shown %q", w.shown)
		}
	}
	if err != nil || len(w.unread) > 0 || len(w.shown) == 0 {
		t.Errorf("%v, shown %q, unread %q", err, w.shown, w.unread)
	}
}
