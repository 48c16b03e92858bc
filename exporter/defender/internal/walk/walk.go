// Package walk is the rule by which a stretch of update time is read
// completely from a server that promises neither an order nor consistent pages.
//
// One answer is one moment. What is inside of a single answer is consistent;
// from two answers together nothing is concluded but that their stretches abut,
// and that a contradiction is one. No position in a list is counted on, but
// within one second that nothing else can tell apart, and from a server that
// takes no upper bound (open.go). An answer to a question
// about [from, to) shows
//
//   - all of it, if it is whole: empty, or shorter than another answer that
//     this process has seen, and without a link to more;
//   - what is later than the second of its oldest row, if it is in order: its
//     rows descend by whole seconds of update time, and answers of this run have
//     told that order apart from those by creation and by id;
//   - nothing else. Then the stretch is asked for in spans that fit one answer.
//
// Where one second does not fit, creation times divide it (second.go).
//
// The package knows no HTTP: a World asks the questions, stores the rows, and
// records what a Reader says was shown. A Reader is deterministic, so that its
// rule can be explored exhaustively. Two things are assumed and not shown: a
// server that silently caps its answers caps them at one length, unless its
// order is usable; and it does not round update times up.
package walk

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Row is what the rule looks at of one version of an incident.
type Row struct {
	ID      string
	Updated time.Time
	Created time.Time // the zero time: not served, or not readable
	New     bool      // it was not archived before this answer
}

// Question asks for incidents updated in [From, To) and, where those are set,
// created in [Since, Until). All four are whole seconds.
type Question struct {
	From, To     time.Time
	Since, Until time.Time
	Top, Skip    int
	Next         string // follows this link instead; the rest says what it belongs to
	Measure      bool   // only the number of rows is wanted: they are not stored
}

// Answer is one whole answer. Its rows have been stored.
type Answer struct {
	Rows    []Row
	More    string    // a link to more rows
	Partial error     // why the answer lacks rows, nil if it does not
	Asked   time.Time // by the server's clock, not later than the question was sent
}

// Unserved is the error of a question that the server fails to answer although
// it answers others: it may be about one incident in the stretch.
type Unserved struct {
	Err error
	ID  string // of the incident that it is about, if that is known
	Fit int    // rows of an answer that would not have been too large, 0 if that is not what is wrong

	Refused bool // it is about the position or the creation times that were asked for, and no incident
}

func (u *Unserved) Error() string { return u.Err.Error() }
func (u *Unserved) Unwrap() error { return u.Err }

// World is what a Reader reads from and reports to. An error of any method
// ends the reading; only an *Unserved of Ask is lived with.
type World interface {
	// Ask asks a question and stores the rows of the answer.
	Ask(Question) (*Answer, error)

	// Shown records that [from, to) was shown complete by answers of which the
	// first was asked for at asked, and whether the order was relied on.
	Shown(from, to, asked time.Time, order bool) error

	// Unread records why [from, to) cannot be read, and the incident where it is known.
	Unread(from, to time.Time, id string, why error) error

	// Singly reads what a question asks for by the ids of its incidents, where
	// the server can list them although it cannot serve them together. ok says
	// that this was possible; then why is nil, or says which incident cannot be
	// served.
	Singly(Question) (asked time.Time, ok bool, id string, why, err error)

	// Fetch stores one incident by its id, and says whether that was possible.
	Fetch(id string) (bool, error)

	// Disordered records that the order has been contradicted too often: what
	// was shown by it is shown no more.
	Disordered() error
}

// Knowledge is what answers have shown of a server. Longest is for the life of
// a process; the rest is forgotten by Forget, before each run.
type Knowledge struct {
	Longest int // rows of the longest answer

	// Disorder: the server's order is not used.
	Disorder bool

	told           bool // the order has been told apart
	checked        bool // the walk under way has been checked
	coarse         int  // answers to a question with a finer bound that were not what they had to be
	contradictions int
	strikes        int // answers that seem to ignore the filter
	fruitless      int // answers that may be cut, of which nothing counts
	measured       int // what Longest was when a longer answer was last asked for

	// What has been seen in answers in order: of two rows, the one updated later
	// created earlier and with the smaller id, or the one with the larger id.
	smaller, larger bool
}

// Forget keeps what is known of the length of answers.
func (k *Knowledge) Forget(disorder bool) { *k = Knowledge{Longest: k.Longest, Disorder: disorder} }

// Begin begins a walk, which may have several Readers.
func (k *Knowledge) Begin() { k.checked = false }

const (
	// enough contradictions make an order none: a replica that lags makes one
	// or two of a right one.
	enough = 3

	// fill is how much of an answer a span aims at: fuller ones are cut too
	// often, emptier ones are too many.
	fill = 0.8

	// mostFruitless answers may hold nothing of what was asked for.
	mostFruitless = 20
)

// ErrSpent says that as many questions have failed as may.
var ErrSpent = errors.New("as many questions have failed as one run may spend")

// ErrIgnored says that the server does not filter by update time.
var ErrIgnored = errors.New("the API does not filter")

// Reader reads stretches of update time. It is not safe for concurrent use.
type Reader struct {
	World World
	Know  *Knowledge
	Top   int // rows that may be asked for at once

	// ByID: where World.Singly fails it may succeed for fewer incidents.
	ByID bool

	// Oldest is where the widest question may begin.
	Oldest time.Time

	// Floor, if not nil, is below what another Reader reads: reading ends there.
	Floor func() time.Time

	// Spent, if not nil, says whether as many questions have failed as may:
	// reading ends then, and what is being narrowed is Unread.
	Spent func() bool
}

func (r *Reader) orderly() bool { return r.Know.told && !r.Know.Disorder }

func (r *Reader) floor(from time.Time) time.Time {
	if r.Floor != nil {
		if f := r.Floor(); f.After(from) {
			return f
		}
	}
	return from
}

// answered is an answer and what of it counts.
type answered struct {
	*Answer
	Question
	in     []Row // rows within the question
	astray bool  // a row was created outside of what was asked for, or at an unknown time
}

// newest and oldest are the whole seconds of the first and the last row that counts.
func (a *answered) newest() time.Time { return a.in[0].Updated.Truncate(time.Second) }
func (a *answered) oldest() time.Time { return a.in[len(a.in)-1].Updated.Truncate(time.Second) }

// inOrder says whether the rows descend by whole seconds.
func (a *answered) inOrder() bool {
	for i := 1; i < len(a.in); i++ {
		if a.in[i].Updated.Truncate(time.Second).After(a.in[i-1].Updated.Truncate(time.Second)) {
			return false
		}
	}
	return len(a.in) > 0
}

// second returns the one second that all rows are of.
func (a *answered) second() (time.Time, bool) {
	if len(a.in) == 0 {
		return time.Time{}, false
	}
	for _, row := range a.in {
		if !row.Updated.Truncate(time.Second).Equal(a.newest()) {
			return time.Time{}, false
		}
	}
	return a.newest(), true
}

func (a *answered) empty() bool { return len(a.Rows) == 0 && a.More == "" }

// whole says whether an answer shows all that it was asked for. No server cuts
// its answers to one row.
func (r *Reader) whole(a *answered) bool {
	return a.More == "" && (len(a.Rows) == 0 || len(a.Rows) < min(max(r.Know.Longest, 2), a.Top))
}

// ask asks a question and learns from the answer.
func (r *Reader) ask(q Question) (*answered, error) {
	answer, err := r.World.Ask(q)
	if err != nil {
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) && r.Spent != nil && r.Spent() {
			return nil, ErrSpent
		}
		return nil, err
	}
	a := &answered{Answer: answer, Question: q}
	for _, row := range a.Rows {
		if row.Updated.Before(q.From) || !q.To.IsZero() && !row.Updated.Before(q.To) {
			continue
		}
		if !q.Since.IsZero() && row.Created.Before(q.Since) || !q.Until.IsZero() && !row.Created.Before(q.Until.Add(time.Second)) || row.Created.IsZero() {
			a.astray = true
		}
		a.in = append(a.in, row)
	}
	if out := a.strangers(); out > 1 && 2*out > len(a.Rows) {
		if r.Know.strikes++; r.Know.strikes > 1 {
			return nil, r.ignored(a)
		}
	}
	// Rows that were not asked for are no measure of how long answers can be.
	r.Know.Longest = max(r.Know.Longest, len(a.Rows)-a.strangers())
	if len(a.Rows) > 0 && a.strangers() == len(a.Rows) && !r.whole(a) {
		if r.Know.fruitless++; r.Know.fruitless > mostFruitless {
			return nil, r.ignored(a)
		}
	}
	if q.Skip > 0 && !q.To.IsZero() || q.Next != "" || !q.Since.IsZero() || !q.Until.IsZero() || a.Partial != nil || len(a.in) < 2 {
		return a, nil
	}
	switch ordered := a.inOrder(); {
	case ordered && !r.Know.told:
		r.Know.tellApart(a.in)
	case !ordered && r.orderly():
		return a, r.contradicted()
	}
	return a, nil
}

// strangers counts the rows that are not what was asked for. A bound may have
// been taken for the end of its second.
func (a *answered) strangers() (n int) {
	for _, row := range a.Rows {
		if row.Updated.Before(a.From) || !a.To.IsZero() && !row.Updated.Before(a.To.Add(time.Second)) {
			n++
		}
	}
	return n
}

// ignored is the error of an answer that holds what was not asked for.
func (r *Reader) ignored(a *answered) error {
	var got time.Time
	for _, row := range a.Rows {
		if row.Updated.Before(a.From) || !a.To.IsZero() && !row.Updated.Before(a.To) {
			got = row.Updated
			break
		}
	}
	return fmt.Errorf("%w: asked for incidents updated from %s to %s, it answered with one updated %s", ErrIgnored,
		a.From.Format(time.RFC3339), a.To.Format(time.RFC3339), got.Format(time.RFC3339Nano))
}

// tellApart looks for what shows that rows in order can be in no other order
// than that of update time: by creation or by id they would have been the other
// way round, whichever way that order goes.
func (k *Knowledge) tellApart(rows []Row) {
	for i, later := range rows {
		for _, row := range rows[i+1:] {
			switch {
			case !later.Updated.Truncate(time.Second).After(row.Updated) || later.Created.IsZero() || row.Created.IsZero():
			case later.Created.Before(row.Created) && smaller(later.ID, row.ID):
				k.smaller = true
			case later.Created.After(row.Created) && smaller(row.ID, later.ID):
				k.larger = true
			}
		}
		if k.told = k.smaller && k.larger; k.told {
			return
		}
	}
}

// smaller compares ids as numbers where they are numbers.
func smaller(a, b string) bool {
	if len(a) != len(b) && strings.Trim(a, "0123456789") == "" && strings.Trim(b, "0123456789") == "" {
		return len(a) < len(b)
	}
	return a < b
}

// contradicted counts a contradiction of the order.
func (r *Reader) contradicted() error {
	if r.Know.contradictions++; r.Know.contradictions < enough || r.Know.Disorder {
		return nil
	}
	r.Know.Disorder = true
	return r.World.Disordered()
}

// Read reads [from, to), of whole seconds, from its newest end down. What it
// could show is with the World when it returns, whatever the error.
func (r *Reader) Read(from, to time.Time) error {
	top, steady := r.Top, 0
	var last *answered // whose rows from last.cut on need not come again
	for {
		if from = r.floor(from); !from.Before(to) {
			return nil
		}
		q := Question{From: from, To: to, Top: top}
		if last != nil {
			q.To = last.cut()
		}
		a, err := r.ask(q)
		if errors.Is(err, ErrNoBound) {
			return r.open(from, to)
		}
		unserved := (*Unserved)(nil)
		if last != nil && (errors.As(err, &unserved) || err == nil && !last.continues(a)) {
			if err == nil {
				r.Know.coarse++
			}
			last = nil // from the whole second on
			continue
		}
		if errors.As(err, &unserved) {
			// Fewer rows at once first: it may be their number or their size.
			if fewer := max(top/10, unserved.Fit); r.orderly() && fewer > 1 {
				top, steady = fewer, 0
				continue
			}
			if to, err = r.spans(from, to, r.start(from, to), true); err != nil {
				return err
			}
			top, steady = r.Top, 0
			continue
		}
		if err != nil {
			return err
		}
		if steady++; top < r.Top && steady > 10 {
			top, steady = min(10*top, r.Top), 0
		}
		asked := a.Asked
		if last != nil && last.Asked.Before(asked) {
			asked = last.Asked
		}
		last = nil
		one, isOne := a.second()
		if isOne || !r.orderly() {
			if _, err := r.measured(a); err != nil {
				return err
			}
		}
		switch {
		case a.empty() && a.Partial == nil:
			return r.World.Shown(from, to, asked, false)
		case a.Partial != nil:
			// Nothing is shown. What is behind a full answer is asked for all the same.
			short := len(a.Rows) < a.Top && a.More == ""
			if !short && !(a.inOrder() && !isOne) {
				if to, err = r.spans(from, to, r.next(a), false); err != nil {
					return err
				}
				continue
			}
			begin := from
			if !short {
				begin = a.oldest().Add(time.Second)
			}
			if err := r.World.Unread(begin, to, "", a.Partial); err != nil {
				return err
			}
			to = begin
		case r.whole(a) && !(r.orderly() && a.inOrder()):
			return r.World.Shown(from, to, asked, false)
		case r.whole(a):
			// In order a walk ends with an empty answer only, so that answers may
			// be of any length.
			if err := r.World.Shown(a.oldest(), to, asked, false); err != nil {
				return err
			}
			to = a.oldest()
		case isOne:
			// It may be cut within this second.
			if to, err = r.cutWithin(one, to); err != nil {
				return err
			}
		case r.orderly() && a.inOrder():
			begin := a.oldest().Add(time.Second)
			if begin.Before(to) {
				if err := r.World.Shown(begin, to, asked, true); err != nil {
					return err
				}
			}
			if err := r.check(a); err != nil {
				return err
			}
			if to = begin; a.finely() && r.Know.coarse < 2 {
				last = a
			}
		default:
			done, err := r.linked(a, true)
			if err != nil {
				return err
			}
			if done {
				return r.World.Shown(from, to, asked, false)
			}
			if to, err = r.spans(from, to, r.next(a), false); err != nil {
				return err
			}
		}
	}
}

const (
	// slot is how finely a dense walk is continued, and pairs how many
	// neighbours within one second have to be in that order.
	slot  = 100 * time.Millisecond
	pairs = 8
)

// finely says whether the rows are so dense, and so finely in order, that the
// walk may be continued within the second that the answer was cut in.
func (a *answered) finely() bool {
	seen := 0
	for i := 1; i < len(a.in); i++ {
		before, row := a.in[i-1].Updated, a.in[i].Updated
		if row.Truncate(slot).After(before.Truncate(slot)) {
			return false
		}
		if row.Truncate(time.Second).Equal(before.Truncate(time.Second)) && !row.Truncate(slot).Equal(before.Truncate(slot)) {
			seen++
		}
	}
	return seen >= pairs && a.cut().Before(a.oldest().Add(time.Second))
}

// cut is the end of the slot of the oldest row.
func (a *answered) cut() time.Time { return a.in[len(a.in)-1].Updated.Truncate(slot).Add(slot) }

// continues says whether an answer about what is before a's cut was understood
// as it was meant: its rows begin with the slot of a's oldest row, and that row
// is among them.
func (a *answered) continues(b *answered) bool {
	oldest := a.in[len(a.in)-1]
	for _, row := range b.in {
		if row.ID == oldest.ID && row.Updated.Equal(oldest.Updated) {
			return true
		}
	}
	return false
}

// check asks, once a walk, for what an order of another kind would have left
// out: rows of the stretch that were created before all that it showed.
func (r *Reader) check(a *answered) error {
	if r.Know.checked {
		return nil
	}
	r.Know.checked = true
	until := a.To
	for _, row := range a.in {
		if row.Created.IsZero() {
			return nil
		}
		if row.Created.Before(until) {
			until = row.Created.Truncate(time.Second)
		}
	}
	q := Question{From: a.oldest().Add(time.Second), To: a.To, Until: until, Top: r.Top}
	b, err := r.ask(q)
	if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
		return nil // it is no error of the stretch
	}
	if err != nil {
		return err
	}
	for _, row := range b.in {
		if row.New && row.Created.Before(until) {
			return r.contradicted()
		}
	}
	return nil
}

// Once asks one question about a stretch, and says whether it was served and
// whether the answer has shown all of it. audit: it was read by order before,
// which rows that were not archived contradict.
func (r *Reader) Once(from, to time.Time, audit bool) (served, whole bool, err error) {
	a, err := r.ask(Question{From: from, To: to, Top: r.Top})
	if errors.Is(err, ErrNoBound) {
		return !audit, false, nil // what can be said of it a reading says
	}
	if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
		if to.Sub(from) > time.Second {
			return false, false, nil
		}
		asked, ok, _, why, err := r.World.Singly(Question{From: from, To: to, Top: r.Top})
		if err != nil || !ok || why != nil {
			return false, false, err
		}
		return true, true, r.World.Shown(from, to, asked, false)
	}
	if err != nil || a.Partial != nil {
		return false, false, err
	}
	for _, row := range a.in {
		if audit && row.New {
			if err := r.contradicted(); err != nil {
				return true, false, err
			}
			break
		}
	}
	if _, err := r.measured(a); err != nil || !r.whole(a) {
		return true, false, err
	}
	return true, true, r.World.Shown(from, to, a.Asked, false)
}

// measured finds out whether answers can be longer than one that may have been
// cut, by a question that has more rows if there are any.
func (r *Reader) measured(a *answered) (whole bool, err error) {
	n := len(a.Rows)
	if n == 0 || n >= a.Top || a.More != "" || a.Partial != nil || r.whole(a) || r.Know.measured >= n || r.Oldest.IsZero() {
		return false, nil
	}
	r.Know.measured = n
	from := r.Oldest
	if a.From.Before(from) {
		from = a.From
	}
	q := Question{From: from, To: a.To, Top: n + 1, Measure: true}
	answer, err := r.World.Ask(q)
	if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b := &answered{Answer: answer, Question: q}
	r.Know.Longest = max(r.Know.Longest, len(answer.Rows)-b.strangers())
	return r.whole(a), nil
}

// cutWithin reads what lies from a second up to to, which an answer showed to
// begin with that second.
func (r *Reader) cutWithin(second, to time.Time) (time.Time, error) {
	if above := second.Add(time.Second); above.Before(to) {
		if err := r.Read(above, to); err != nil {
			return to, err
		}
	}
	return second, r.second(second, nil, nil)
}

// spans reads down from to in spans that fit one answer, until the order can be
// used again. failing says that something in there cannot be served: then it
// goes on until that has been found. It returns where it has come to.
func (r *Reader) spans(from, to time.Time, span time.Duration, failing bool) (time.Time, error) {
	var bad time.Time // what begins here could not be served
	for end := to; ; {
		if from = r.floor(from); !from.Before(to) {
			return to, nil
		}
		begin := to.Add(-max(span, time.Second)).Truncate(time.Second)
		if begin.Before(from) {
			begin = from
		}
		span = to.Sub(begin)
		a, err := r.ask(Question{From: begin, To: to, Top: r.Top})
		if unserved := (*Unserved)(nil); errors.As(err, &unserved) {
			if span > time.Second {
				bad, failing = begin, true
				span /= 2
				continue
			}
			if err := r.second(begin, nil, unserved); err != nil {
				return to, err
			}
			to, failing = begin, false
			continue
		}
		if err != nil {
			return to, err
		}
		one, isOne := a.second()
		next := r.next(a)
		switch {
		case a.Partial != nil:
			err, to = r.World.Unread(begin, to, "", a.Partial), begin
		case r.whole(a):
			if r.orderly() && a.inOrder() {
				begin = a.oldest() // as in Read
			}
			err, to = r.World.Shown(begin, to, a.Asked, false), begin
		case r.orderly() && a.inOrder() && !isOne:
			s := a.oldest().Add(time.Second)
			err, to = r.World.Shown(s, to, a.Asked, true), s
		case span == time.Second:
			err, to = r.second(begin, a, nil), begin
		case isOne:
			to, err = r.cutWithin(one, to)
		default:
			var done bool
			if done, err = r.linked(a, true); done {
				err, to = r.World.Shown(begin, to, a.Asked, false), begin
			}
		}
		if err != nil || r.orderly() && !failing && to.Before(end) {
			return to, err
		}
		if span = next; failing && bad.Before(to) && !bad.IsZero() {
			span = min(span, to.Sub(bad)/2) // it is in there
		}
	}
}

// start is the first span of a stretch of which nothing is known.
func (r *Reader) start(from, to time.Time) time.Duration {
	if r.orderly() {
		return time.Second // the newest row cannot be served: it is found from above
	}
	return to.Sub(from) / 2
}

// next is the span that an answer suggests for the next question.
func (r *Reader) next(a *answered) time.Duration {
	span := a.To.Sub(a.From)
	switch {
	case a.empty():
		return 4 * span
	case r.whole(a):
		wanted := fill * float64(min(r.Know.Longest, r.Top))
		return time.Duration(float64(span) * min(8, wanted/float64(len(a.Rows))))
	case a.inOrder():
		// If this is the order, so much fits: one row less than came.
		if s := a.oldest().Add(time.Second); s.Before(a.To) {
			return min(a.To.Sub(s), span/2)
		}
	}
	return span / 2
}
