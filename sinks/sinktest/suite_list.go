package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"incident-exporter/sinks"
)

// fill stores an object of one byte under each key, several at once.
func fill(t testing.TB, s sinks.Sink, keys []string) {
	t.Helper()
	const workers = 16
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(keys); i += workers {
				if err := s.Put(t.Context(), keys[i], []byte{'x'}); err != nil {
					t.Errorf("put %q: %v", keys[i], err)
				}
			}
		})
	}
	wg.Wait()
}

// wantList proves that a listing is exactly the keys in all that it should be.
func wantList(t testing.TB, s sinks.Sink, all []string, prefix, after string) {
	t.Helper()
	var want []string
	for _, key := range all {
		if strings.HasPrefix(key, prefix) && key > after {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	got, err := list(t.Context(), s, prefix, after)
	if err != nil {
		t.Errorf("list %q after %q: %v", prefix, after, err)
	} else if !slices.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("list %q after %q: %d keys, want %d; they differ from number %d on: %q, want %q", prefix, after,
			len(got), len(want), i, got[i:min(i+3, len(got))], want[i:min(i+3, len(want))])
	}
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("pages/%06d.json", i)
	}
	return keys
}

func listPages(t testing.TB, s sinks.Sink) {
	keys := append(numbered(many()), "pages-after/x", "paget", "a/before")
	fill(t, s, keys)
	wantList(t, s, keys, "", "")
	wantList(t, s, keys, "pages/", "")
	wantList(t, s, keys, "pages/00", "pages/000777.json")
	wantList(t, s, keys, "pages/", keys[many()-2])
	wantList(t, s, keys, "pages/", keys[many()-1])
	wantList(t, s, keys, "", keys[many()-1])
}

func listError(t testing.TB, s sinks.Sink) {
	fill(t, s, numbered(many()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, failed := 0, false
	for o, err := range s.List(ctx, "", "") {
		switch {
		case failed:
			t.Fatalf("list: %v, %v after an error", o, err)
		case err != nil:
			failed = true
			if !errors.Is(err, context.Canceled) || o != (sinks.Object{}) {
				t.Errorf("list: %v, %v, want no object and context.Canceled", o, err)
			}
		default:
			seen++
			cancel()
		}
	}
	if !failed {
		t.Errorf("list: cancelled after the first of %d objects it ended after %d without an error", many(), seen)
	}
}

func listModel(t testing.TB, s sinks.Sink) {
	// Where a slash sorts among other characters is what goes wrong; "~" and
	// " " are the ends of the alphabet.
	keys := []string{
		"a-b", "a.b/c", "a/b", "a/b-c", "a/bc/d", "a/b!/x", "a/~", "a0", "a0b/c", "a!/x", "a /x", "a~/b",
		"b/1/1/1", "b/1/1/2", "b/1/10", "b/1/2", "b/10/1", "b/2/1", "b-1/1", "b0/0",
		"source=defender/tenant=1/000000000001.json", "source=defender/tenant=1/000000000002.json",
		"source=defender/tenant=10/000000000001.json", "source=defender2/tenant=1/000000000001.json",
		".incident-exporter/probe", "~", "0", "Z/z",
	}
	fill(t, s, keys)
	marks := []string{"", "a", "a/", "a/b", "a/b/", "a/b-", "b/1", "b/1/", "b/1/1", "b/1/1/", "b/1/1/1x", "nothing/there",
		"source=defender", "source=defender/", "source=defender/tenant=1", "source=defender/tenant=1/", ".", "~~", " "}
	marks = append(marks, keys...)
	for _, key := range keys {
		marks = append(marks, key+" ", key+"/", key+"~", key[:len(key)-1])
	}
	slices.Sort(marks)
	marks = slices.Compact(marks)
	// All of either beside nothing of the other, and a share of the pairs:
	// a server takes its time.
	for i, prefix := range marks {
		for j, after := range marks {
			if prefix == "" || after == "" || (i+j)%7 == 0 {
				wantList(t, s, keys, prefix, after)
			}
		}
	}
}

func listBreak(t testing.TB, s sinks.Sink) {
	keys := numbered(20)
	fill(t, s, keys)
	seq := s.List(t.Context(), "pages/", "")
	for _, stop := range []int{1, 7, 20} {
		var got []string
		for o, err := range seq {
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			got = append(got, o.Key)
			if len(got) == stop {
				break
			}
		}
		if !slices.Equal(got, keys[:stop]) {
			t.Errorf("list broken off after %d: %q", stop, got)
		}
	}
}

func listNothing(t testing.TB, s sinks.Sink) {
	for _, stored := range []bool{false, true} {
		if stored {
			mustPut(t, s, "a/b", []byte("x"))
		}
		for _, prefix := range []string{"x", "x/", "x/y/", "a/b/", "a/b/c", "a/c", "a//", "a/../", "../", "./", "/", "a/b\\", "\x00"} {
			if keys, err := list(t.Context(), s, prefix, ""); err != nil || len(keys) > 0 {
				t.Errorf("list %q: %q, %v, want nothing", prefix, keys, err)
			}
		}
	}
	if keys, err := list(t.Context(), s, "a/b", "a/b"); err != nil || len(keys) > 0 {
		t.Errorf("list after the last object: %q, %v, want nothing", keys, err)
	}
}

func oddKeys(t testing.TB, s sinks.Sink) {
	keys := []string{
		"odd/...", "odd/.hidden", "odd/-rf", "odd/~", "odd/ leading", "odd/trailing ", "odd/ ", "odd/%2F", "odd/%00", "odd/%",
		"odd/a+b", "odd/?query=1&b=2#part", "odd/date=2026-03-02/x", "odd/*", "odd/$(x)", "odd/..x/y", "odd/x../y",
		"odd/" + strings.Repeat("n", 255), strings.Repeat("d/", 255) + "xx", // 512 bytes
	}
	for c := byte(' '); c <= '~'; c++ {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' // a filesystem may not tell them apart
		if c != '\\' && c != '/' && !letter {
			keys = append(keys, "odd/one/"+string(c)+"x", "odd/one/x"+string(c)+"x")
		}
	}
	for i, key := range keys {
		mustPut(t, s, key, fmt.Appendf(nil, "content %d", i))
	}
	for i, key := range keys {
		wantObject(t, s, key, fmt.Appendf(nil, "content %d", i))
	}
	wantList(t, s, keys, "", "")
}

func concurrent(t testing.TB, s sinks.Sink) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				key := fmt.Sprintf("busy/%d/%d", i, w)
				if err := s.Put(t.Context(), key, []byte(key)); err != nil {
					t.Errorf("put %q: %v", key, err)
				}
				if got, err := get(t.Context(), s, key); err != nil || string(got) != key {
					t.Errorf("get %q: %q, %v", key, got, err)
				}
				keys, err := list(t.Context(), s, "busy/", "")
				if err != nil || !slices.IsSorted(keys) || !slices.Contains(keys, key) {
					t.Errorf("list after put %q: %q, %v", key, keys, err)
				}
			}
		})
	}
	wg.Wait()
	if keys, err := list(t.Context(), s, "busy/", ""); err != nil || len(keys) != 80 {
		t.Errorf("list at the end: %d keys, %v, want 80", len(keys), err)
	}
}
