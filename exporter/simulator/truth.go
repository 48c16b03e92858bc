package simulator

import (
	"crypto/sha256"
	"time"
)

// Version is one version of one incident. All times are the server's.
type Version struct {
	ID           int64
	Updated      string    // last update time as served
	VisibleFrom  time.Time // in the future while the version is still late
	VisibleUntil time.Time // zero while it is the current one

	content *content
	record  record
}

// Line returns the incident as served, without whitespace between tokens. It
// is generated anew at each call, the same each time.
func (v *Version) Line() []byte {
	return v.content.line(nil, &v.record)
}

// SHA256 is the hash of Line.
func (v *Version) SHA256() [32]byte { return sha256.Sum256(v.Line()) }

// GraphLine is Line as Graph serves it, with all alerts expanded and without
// what AlertsPerExpand and AlertsCount put beside them.
func (v *Version) GraphLine() []byte {
	return v.content.graphLine(nil, &v.record, rendering{expand: true, known: true})
}

// GraphApart is what the incident and its alerts come to that Graph serves one
// by one: the same as GraphLine, but for the annotation that some expanded
// alerts have.
func (v *Version) GraphApart() []byte {
	return v.content.graphLine(nil, &v.record, rendering{expand: true, known: true, bare: true})
}

// GraphSHA256 is the hash of GraphLine.
func (v *Version) GraphSHA256() [32]byte { return sha256.Sum256(v.GraphLine()) }

// version describes a record; the caller holds the lock.
func (s *Simulator) version(r int32) Version {
	w := &s.world
	rec := w.records[r]
	v := Version{
		ID:      firstID + int64(rec.incident),
		Updated: rec.updated.String(),
		content: &s.content,
		record:  rec,
	}
	from := rec.from
	for _, p := range w.pending {
		if from == 0 && p.record == r {
			from = p.due
		}
	}
	if from != 0 {
		v.VisibleFrom = from.time()
	}
	until := rec.until
	end := rec.updated + ticks(s.behaviour.Retention/100)
	if from != 0 && s.tooOld(rec.updated, s.now()) && (until == 0 || end < until) {
		until = max(end, from) // it vanished with age before anything replaced it
	}
	if until != 0 {
		v.VisibleUntil = until.time()
	}
	return v
}

// Truth returns every version that has ever been visible, in the order in
// which they were made. Retention, as it is now, is taken into account.
func (s *Simulator) Truth() []Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	var all []Version
	for r := range s.world.records {
		if s.wasVisible(int32(r)) {
			all = append(all, s.version(int32(r)))
		}
	}
	return all
}

// Final returns the version of each incident that is visible now, or was when
// it grew too old to be, in the order of the incidents' ids. A version that is
// still late is not among them, nor is an incident that was too old from the
// start or has vanished. What Poison and Malformed name is, though
// it cannot be read.
func (s *Simulator) Final() []Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	var all []Version
	for i := range s.world.incidents {
		if r := s.world.incidents[i].shown; r >= 0 && s.wasVisible(r) {
			all = append(all, s.version(r))
		}
	}
	return all
}

// wasVisible says whether a version was ever served or could have been.
func (s *Simulator) wasVisible(r int32) bool {
	rec := &s.world.records[r]
	return rec.from != 0 && !s.tooOld(rec.updated, rec.from)
}

// tooOld says whether the retention hides an update time at a moment.
func (s *Simulator) tooOld(updated, now ticks) bool {
	retention := ticks(s.behaviour.Retention / 100)
	return retention > 0 && updated+retention <= now
}
