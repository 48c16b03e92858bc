package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

func TestTimesAreTrimmedUTC(t *testing.T) {
	for _, want := range []string{
		"1970-01-01T00:00:00Z", "2000-02-29T23:59:59.9999999Z", "2024-02-29T00:00:00.1Z", "2026-03-02T08:15:30.12Z",
		"2026-12-31T23:59:59.6666667Z", "2100-03-01T12:00:00.0000001Z", "2025-01-01T00:00:00.3333333Z",
	} {
		at, err := time.Parse(time.RFC3339Nano, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendTime(nil, ticksOf(at))); got != want {
			t.Errorf("appendTime: %s, want %s", got, want)
		}
		if got := ticksOf(at).String(); got != want {
			t.Errorf("String: %s, want %s", got, want)
		}
	}
	for at := ticks(0); at < 5e9*second; at += 86413*second*7 + 1234567 {
		if got, want := string(appendTime(nil, at)), at.String(); got != want {
			t.Fatalf("appendTime: %s, want %s", got, want)
		}
	}
}

func TestDatabaseTicks(t *testing.T) {
	for _, c := range []struct{ at, want ticks }{{0, 0}, {1, 33333}, {33333, 33333}, {33334, 66667}, {9999999, 10000000}} {
		if got := c.at.databaseTick(); got != c.want {
			t.Errorf("%d rounds up to %d, want %d", c.at, got, c.want)
		}
	}
}

// TestBodies: every line is compact JSON, sizes are about what was asked for,
// and the oddities are there.
func TestBodies(t *testing.T) {
	for _, size := range []int{2048, 8192} {
		n := 2 << 20 / size
		s := New(Options{Seed: 3, Incidents: n, Size: size})
		var all bytes.Buffer
		shortest := 1 << 30
		for i, v := range s.Truth() {
			line := v.Line()
			var compact bytes.Buffer
			if err := json.Compact(&compact, line); err != nil {
				t.Fatalf("incident %d: %v\n%s", v.ID, err, line)
			}
			if !bytes.Equal(compact.Bytes(), line) {
				t.Fatalf("incident %d has whitespace between tokens", v.ID)
			}
			if i < 10 && !bytes.Equal(line, v.Line()) {
				t.Fatalf("incident %d is not the same twice", v.ID)
			}
			shortest = min(shortest, len(line))
			all.Write(line)
			all.WriteByte('\n')
		}
		mean := float64(all.Len()) / float64(n)
		if mean < 0.8*float64(size) || mean > 1.25*float64(size) {
			t.Errorf("size %d: %.0f bytes on average", size, mean)
		}
		if shortest < minLine {
			t.Errorf("size %d: shortest is %d bytes", size, shortest)
		}
		for _, odd := range []string{"9007199254740993", "1.0,", "1e2", `\u003c`, `\/`, "\u2028", `\u2028`, "<i>", "null", `"alerts":[]`, "two  spaces", "-0,"} {
			if !strings.Contains(all.String(), odd) {
				t.Errorf("size %d: no %s", size, odd)
			}
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, 6)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(all.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		ratio := float64(packed.Len()) / float64(all.Len())
		t.Logf("size %d: mean %.0f, shortest %d, gzip -6 %.1f%%", size, mean, shortest, 100*ratio)
		if ratio < 0.05 || ratio > 0.2 {
			t.Errorf("size %d: compresses to %.1f%%", size, 100*ratio)
		}
	}
}

// BenchmarkPages is the speed at which pages are generated.
func BenchmarkPages(b *testing.B) {
	s := New(Options{Seed: 1, Incidents: 20000, Size: 8192})
	var skip int
	for b.Loop() {
		s.mu.Lock()
		p := s.list(query{top: 100, skip: skip}, s.begin())
		s.mu.Unlock()
		a := &answer{list: &p}
		n := &counting{Writer: io.Discard}
		if err := a.render(n, &s.content); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n.n)
		skip = (skip + 100) % 20000
	}
}

type counting struct {
	io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Writer.Write(p)
}

// BenchmarkNew is what a property test pays for each seed.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(Options{Seed: 1, Incidents: 400})
	}
}
