package simulator

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"time"
)

// ticks is a time as the service keeps it: in units of 100 ns since 1970.
type ticks int64

const second = ticks(time.Second / 100)

func ticksOf(t time.Time) ticks { return ticks(t.Unix())*second + ticks(t.Nanosecond()/100) }

func (t ticks) time() time.Time {
	return time.Unix(int64(t/second), int64(t%second)*100).UTC()
}

// timeLayout has up to seven fraction digits, trailing zeros trimmed.
const timeLayout = "2006-01-02T15:04:05.9999999Z"

func (t ticks) String() string { return t.time().Format(timeLayout) }

// databaseTick rounds up to 1/300 s, the resolution of an old database column:
// this is where the fractions 3333333 and 6666667 come from.
func (t ticks) databaseTick() ticks {
	whole, fraction := t/second, t%second
	n := (fraction*300 + second - 1) / second
	up := whole*second + (n*second+150)/300
	return max(up, t)
}

// firstID is the id of the first incident; ids are consecutive.
const firstID = 40001

// record is one version of one incident. Its content is a function of the
// record and the seed alone.
type record struct {
	incident int32 // index
	redirect int32 // index of the incident it was merged into, or -1
	pad      int32 // bytes to pad the line to
	merged   int32 // incidents merged into this one
	rev      int32 // updates so far
	alerts   int32 // alert changes so far
	created  ticks
	updated  ticks
	from     ticks // visible from; 0: it never was
	until    ticks // visible until; 0: it still is
}

// incident is what all versions of one have in common.
type incident struct {
	latest int32 // record
	shown  int32 // record that is visible, or -1
	gone   bool  // deleted
}

// late is a version that becomes visible at a later time.
type late struct {
	due    ticks
	record int32
}

// world is the state of the tenant: all incidents, all their versions, and the
// index of the visible ones. The Simulator's lock guards it.
type world struct {
	incidents []incident
	records   []record // append-only, but for from and until
	order     []int32  // visible records by (updated ascending, id descending)
	pending   []late   // by due
	last      ticks    // newest update time
	began     ticks    // when the first versions became visible
	vanished  int      // incidents that are gone
	padded    map[int64]int
}

// compare orders visible records as the index does.
func (w *world) compare(a, b int32) int {
	x, y := &w.records[a], &w.records[b]
	if c := cmp.Compare(x.updated, y.updated); c != 0 {
		return c
	}
	return cmp.Compare(y.incident, x.incident)
}

// index returns that of the incident with an id, which may be gone.
func (w *world) index(id int64) (int32, bool) {
	i := id - firstID
	return int32(i), i >= 0 && i < int64(len(w.incidents))
}

// find returns the index of the incident with that id, unless it is gone.
func (w *world) find(id int64) (int32, bool) {
	i, ok := w.index(id)
	return i, ok && !w.incidents[i].gone
}

// settle makes visible what is due.
func (w *world) settle(now ticks) {
	n := 0
	for n < len(w.pending) && w.pending[n].due <= now {
		w.show(w.pending[n].due, w.pending[n].record)
		n++
	}
	if n > 0 {
		w.pending = append(w.pending[:0], w.pending[n:]...)
	}
}

// add appends the next version of its incident and shows it, or has it wait
// until due.
func (w *world) add(now, due ticks, recs ...record) []int32 {
	added := make([]int32, len(recs))
	for i, r := range recs {
		added[i] = int32(len(w.records))
		w.records = append(w.records, r)
		w.incidents[r.incident].latest = added[i]
	}
	if due <= now {
		w.show(now, added...)
		return added
	}
	at := sort.Search(len(w.pending), func(i int) bool { return w.pending[i].due > due })
	for i, r := range added {
		w.pending = slices.Insert(w.pending, at+i, late{due, r})
	}
	return added
}

// show makes versions visible, unless a later one of the same incident is.
func (w *world) show(now ticks, recs ...int32) {
	var fresh []int32
	var gone []int // positions in the index
	for _, r := range recs {
		in := &w.incidents[w.records[r].incident]
		old := in.shown
		if old > r {
			continue
		}
		in.shown = r
		w.records[r].from = now
		if old < 0 {
			fresh = append(fresh, r)
			continue
		}
		w.records[old].until = now
		at, _ := slices.BinarySearchFunc(w.order, old, w.compare)
		if w.records[old].updated == w.records[r].updated {
			w.order[at] = r // an alert changed: it stays where it is
			continue
		}
		fresh, gone = append(fresh, r), append(gone, at)
	}
	w.remove(gone)
	w.order = w.insert(w.order, fresh)
}

// vanish deletes an incident with its versions that are still late.
func (w *world) vanish(now ticks, incident int32) {
	in := &w.incidents[incident]
	w.pending = slices.DeleteFunc(w.pending, func(p late) bool { return w.records[p.record].incident == incident })
	if in.shown >= 0 {
		w.records[in.shown].until = now
		at, _ := slices.BinarySearchFunc(w.order, in.shown, w.compare)
		w.remove([]int{at})
	}
	in.shown, in.gone = -1, true
	w.vanished++
}

// insert puts records into a list that is in the index's order.
func (w *world) insert(order, fresh []int32) []int32 {
	if len(fresh) == 0 {
		return order
	}
	lowest := slices.MinFunc(fresh, w.compare)
	at, _ := slices.BinarySearchFunc(order, lowest, w.compare)
	order = append(order, fresh...)
	if len(fresh) == 1 {
		copy(order[at+1:], order[at:])
		order[at] = lowest
		return order
	}
	slices.SortFunc(order[at:], w.compare)
	return order
}

// remove takes positions out of the index in one pass.
func (w *world) remove(gone []int) {
	if len(gone) == 0 {
		return
	}
	slices.Sort(gone)
	to := gone[0]
	for i, at := range gone {
		end := len(w.order)
		if i+1 < len(gone) {
			end = gone[i+1]
		}
		to += copy(w.order[to:], w.order[at+1:end])
	}
	w.order = w.order[:to]
}

// next is the successor of an incident's latest version, not yet changed.
func (w *world) next(incident int32) record {
	r := w.records[w.incidents[incident].latest]
	r.from, r.until = 0, 0
	return r
}

// soonest is when a change of an incident's latest version can be visible:
// not before that version is.
func (w *world) soonest(now ticks, incident int32) ticks {
	for _, p := range w.pending {
		if p.record == w.incidents[incident].latest {
			return p.due
		}
	}
	return now
}

// resize pads the incidents to sizes, and no others: new versions at the old
// update times.
func (w *world) resize(now ticks, sizes map[int64]int) {
	ids := slices.Collect(maps.Keys(w.padded))
	for id := range sizes {
		if w.padded[id] == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		i, ok := w.find(id)
		if !ok {
			continue
		}
		r := w.next(i)
		if pad := int32(sizes[id]); r.pad != pad {
			r.pad = pad
			r.alerts++ // so that going back to an old size is new content
			w.add(now, w.soonest(now, i), r)
		}
	}
	w.padded = maps.Clone(sizes)
}
