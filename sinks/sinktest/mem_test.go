package sinktest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/sinks"
)

func TestMem(t *testing.T) {
	Run(t, "memory", func(t *testing.T) sinks.Sink { return NewMem() })
	Run(t, "session of memory", func(t *testing.T) sinks.Sink { return NewMem().Session() })
}

func TestPutOutcomes(t *testing.T) {
	for _, tc := range []struct {
		fault  Fault
		stored bool // when Put returns
		landed int
		err    error
	}{
		{Fault{}, true, 0, nil},
		{Fault{Outcome: Failed}, false, 0, ErrFault},
		{Fault{Outcome: Failed, Err: sinks.ErrExists}, false, 0, sinks.ErrExists},
		{Fault{Outcome: Lost}, true, 0, ErrFault},
		{Fault{Outcome: InFlight}, false, 1, ErrFault},
		{Fault{Outcome: Cut}, false, 0, ErrFault},
	} {
		m := NewMem()
		m.Before(func(c Call) Fault {
			if c.Op == OpPut && c.N == 2 {
				return tc.fault
			}
			return Fault{}
		})
		mustPut(t, m, "a", nil)
		if err := m.Put(t.Context(), "b", []byte("x")); !errors.Is(err, tc.err) {
			t.Errorf("%+v: put: %v, want %v", tc.fault, err, tc.err)
		}
		if stored := m.Bytes("b") != nil; stored != tc.stored {
			t.Errorf("%+v: stored: %t, want %t", tc.fault, stored, tc.stored)
		}
		if n := m.Land(); n != tc.landed || m.Land() != 0 {
			t.Errorf("%+v: %d Puts landed, want %d, once", tc.fault, n, tc.landed)
		}
		if tc.stored || tc.landed > 0 {
			wantObject(t, m, "b", []byte("x"))
		}
	}
}

func TestLandChangesNothing(t *testing.T) {
	m := NewMem()
	m.Before(func(c Call) Fault {
		if c.N == 1 {
			return Fault{Outcome: InFlight}
		}
		return Fault{}
	})
	_ = m.Put(t.Context(), "a", []byte("late"))
	mustPut(t, m, "a", []byte("rival"))
	if n := m.Land(); n != 0 || string(m.Bytes("a")) != "rival" {
		t.Errorf("landed %d, stored %q", n, m.Bytes("a"))
	}
}

func TestReadFaults(t *testing.T) {
	m := NewMem()
	m.Set("a", []byte("12345678"))
	fault := Fault{Outcome: Failed}
	m.Before(func(Call) Fault { return fault })
	if _, err := get(t.Context(), m, "a"); !errors.Is(err, ErrFault) {
		t.Errorf("get: %v", err)
	}
	if keys, err := list(t.Context(), m, "", ""); !errors.Is(err, ErrFault) || keys != nil {
		t.Errorf("list: %q, %v", keys, err)
	}
	fault = Fault{Outcome: Cut}
	if data, err := get(t.Context(), m, "a"); !errors.Is(err, ErrFault) || string(data) != "1234" {
		t.Errorf("cut get: %q, %v", data, err)
	}
	fault = Fault{Outcome: Lost}
	if _, err := get(t.Context(), m, "a"); !errors.Is(err, ErrFault) {
		t.Errorf("get: %v", err)
	}
}

func TestKilledSessionHasNoEffect(t *testing.T) {
	m := NewMem()
	m.Set("a", []byte("12345678"))
	s := m.Session()
	r, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	m.Set("a2", nil)
	n := 0
	for _, err := range s.List(t.Context(), "", "") {
		if n++; n == 2 && !errors.Is(err, ErrKilled) || n > 2 {
			t.Errorf("list, step %d: %v", n, err)
		}
		s.Kill()
	}
	s.Kill()
	if _, err := r.Read(make([]byte, 4)); !errors.Is(err, ErrKilled) {
		t.Errorf("read: %v", err)
	}
	if err := s.Put(t.Context(), "b", nil); !errors.Is(err, ErrKilled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, ErrKilled) {
		t.Errorf("get: %v", err)
	}
	if _, err := list(t.Context(), s, "", ""); !errors.Is(err, ErrKilled) {
		t.Errorf("list: %v", err)
	}
	if keys := m.Keys(); !slices.Equal(keys, []string{"a", "a2"}) {
		t.Errorf("keys: %q", keys)
	}
	if v := m.Violations(); v != nil {
		t.Errorf("a dead process leaves readers open: %q", v)
	}
	mustPut(t, m.Session(), "b", nil)
}

func TestKilledAroundItsPut(t *testing.T) {
	for outcome, want := range map[Outcome]bool{Normal: false, Failed: false, Lost: true} {
		m := NewMem()
		s := m.Session()
		m.Before(func(c Call) Fault {
			s.Kill()
			return Fault{Outcome: outcome}
		})
		if err := s.Put(t.Context(), "a", []byte("x")); !errors.Is(err, ErrKilled) {
			t.Errorf("outcome %d: put: %v", outcome, err)
		}
		if stored := m.Bytes("a") != nil; stored != want {
			t.Errorf("outcome %d: stored: %t, want %t", outcome, stored, want)
		}
	}
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		release := make(chan struct{})
		m.Before(func(Call) Fault { return Fault{Stall: release} })
		s := m.Session()
		results := make(chan error, 3)
		go func() { results <- s.Put(t.Context(), "killed", nil) }()
		synctest.Wait()
		s.Kill()
		if err := <-results; !errors.Is(err, ErrKilled) {
			t.Errorf("killed: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := m.Put(ctx, "timed out", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("timed out: %v", err)
		}
		go func() { results <- m.Put(t.Context(), "released", nil) }()
		synctest.Wait()
		if keys := m.Keys(); len(keys) > 0 {
			t.Errorf("stored while stalled: %q", keys)
		}
		close(release)
		if err := <-results; err != nil {
			t.Errorf("released: %v", err)
		}
		if keys := m.Keys(); !slices.Equal(keys, []string{"released"}) {
			t.Errorf("keys: %q", keys)
		}
	})
}

func TestCounts(t *testing.T) {
	m := NewMem()
	fill(t, m, numbered(2500))
	if _, err := get(t.Context(), m, numbered(1)[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := list(t.Context(), m, "", ""); err != nil {
		t.Fatal(err)
	}
	for range m.List(t.Context(), "", "") {
		break
	}
	if c := m.Counts(); c != (Counts{Puts: 2500, Gets: 1, Lists: 3 + 1}) {
		t.Errorf("%+v", c)
	}
}

func TestViolations(t *testing.T) {
	m := NewMem()
	m.Layout(func(key string) error {
		if !strings.HasPrefix(key, "manifests/") {
			return errors.New("outside the layout")
		}
		return nil
	})
	mustPut(t, m, "manifests/1", nil)
	if v := m.Violations(); v != nil {
		t.Errorf("none expected: %q", v)
	}
	mustPut(t, m, "elsewhere", nil)
	_ = m.Put(t.Context(), "a//b", nil)
	_ = errOf(m.Get(t.Context(), "../a"))
	r, err := m.Get(t.Context(), "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`put "elsewhere"`, `put "a//b"`, `get "../a"`, `get "elsewhere": never closed`}
	got := m.Violations()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("%q, want them to begin %q", got, want)
	}
	r.Close()
	if n := len(m.Violations()); n != 3 {
		t.Errorf("%d violations after closing, want 3", n)
	}
}

func TestCloneIsApart(t *testing.T) {
	m := NewMem()
	m.Set("a", []byte("original"))
	m.Set("b", nil)
	c := m.Clone()
	c.Set("a", []byte("damaged"))
	c.Delete("b")
	c.Delete("none")
	m.Bytes("a")[0] = 'X'
	if !bytes.Equal(m.Bytes("a"), []byte("original")) || len(m.Keys()) != 2 {
		t.Errorf("the original changed: %q, %q", m.Bytes("a"), m.Keys())
	}
	if string(c.Bytes("a")) != "damaged" || c.Bytes("b") != nil || !slices.Equal(c.Keys(), []string{"a"}) {
		t.Errorf("the clone: %q, %q", c.Bytes("a"), c.Keys())
	}
}
