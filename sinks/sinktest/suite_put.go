package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"incident-exporter/sinks"
)

func invalidKeys(t testing.TB, s sinks.Sink) {
	mustPut(t, s, "a/b", []byte("bystander"))
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.", "a/..", "a/./c", "a/../c",
		`a\b`, "a\x00b", "a\nb", "a\tb", "a\x7f", "caf\u00e9", "\xff", "a/\u202e", strings.Repeat("k", 513),
	} {
		for op, err := range map[string]error{
			"put": s.Put(t.Context(), key, []byte("x")),
			"get": errOf(s.Get(t.Context(), key)),
		} {
			switch quoted := strings.Trim(fmt.Sprintf("%q", key), `"`); {
			case err == nil:
				t.Errorf("%s %.40q: accepted", op, key)
			case errors.Is(err, sinks.ErrNotExist) || errors.Is(err, sinks.ErrExists):
				t.Errorf("%s %.40q: %v, as if it were a key", op, key, err)
			case !strings.Contains(err.Error(), quoted[:min(len(quoted), 100)]):
				t.Errorf("%s %.40q: the error does not name the key: %v", op, key, err)
			}
		}
	}
	if keys, err := list(t.Context(), s, "", ""); err != nil || len(keys) != 1 {
		t.Errorf("list: %q, %v, want the one object with a valid key", keys, err)
	}
	wantObject(t, s, "a/b", []byte("bystander"))
}

func errOf(r io.ReadCloser, err error) error {
	if err == nil {
		r.Close()
	}
	return err
}

func cancelled(t testing.TB, s sinks.Sink) {
	mustPut(t, s, "a/there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, listErr := list(ctx, s, "", "")
	for op, err := range map[string]error{
		"put":  s.Put(ctx, "a/new", []byte("x")),
		"get":  errOf(s.Get(ctx, "a/there")),
		"list": listErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", op, err)
		}
	}
	if err := errOf(s.Get(t.Context(), "a/new")); !errors.Is(err, sinks.ErrNotExist) {
		t.Errorf("get after a cancelled put: %v, want ErrNotExist", err)
	}
}

func missing(t testing.TB, s sinks.Sink) {
	mustPut(t, s, "a/b/c", []byte("x"))
	for _, key := range []string{"x", "a", "a/b", "a/b/c/d", "a/b/c2", "x/y/z"} {
		if err := errOf(s.Get(t.Context(), key)); !errors.Is(err, sinks.ErrNotExist) {
			t.Errorf("get %q: %v, want ErrNotExist", key, err)
		}
	}
}

func otherBytes(t testing.TB, s sinks.Sink) {
	const key = "a/object"
	data := []byte("the first content")
	mustPut(t, s, key, data)
	for _, other := range []string{"", "the first", "the first content and more", "The first content", "the first contenT", "another"} {
		if err := s.Put(t.Context(), key, []byte(other)); !errors.Is(err, sinks.ErrExists) {
			t.Errorf("put %q over %q: %v, want ErrExists", other, data, err)
		}
		wantObject(t, s, key, data)
	}
	mustPut(t, s, "a/empty", nil)
	if err := s.Put(t.Context(), "a/empty", data); !errors.Is(err, sinks.ErrExists) {
		t.Errorf("put over an empty object: %v, want ErrExists", err)
	}
	wantObject(t, s, "a/empty", nil)
}

// race puts every content under key at the same moment.
func race(t testing.TB, s sinks.Sink, key string, contents [][]byte) []error {
	errs := make([]error, len(contents))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, data := range contents {
		wg.Go(func() {
			<-start
			errs[i] = s.Put(t.Context(), key, data)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// settled proves that the content which a race has stored is the one of the
// Puts that returned nil, and that the others were told. It returns how many
// returned nil.
func settled(t testing.TB, s sinks.Sink, key string, contents [][]byte, errs []error) (winners int) {
	t.Helper()
	stored, err := get(t.Context(), s, key)
	if err != nil {
		t.Errorf("get %q after the race: %v", key, err)
		return
	}
	for i, err := range errs {
		same := bytes.Equal(contents[i], stored)
		switch {
		case err == nil:
			winners++
			if !same {
				t.Errorf("put %d of %q: nil, but other bytes are stored", i, key)
			}
		case !errors.Is(err, sinks.ErrExists):
			t.Errorf("put %d of %q: %v, want nil or ErrExists", i, key, err)
		case same:
			t.Errorf("put %d of %q: ErrExists, but its bytes are stored", i, key)
		}
	}
	return winners
}

func racingCreators(t testing.TB, s sinks.Sink) {
	for round := range 8 {
		key := fmt.Sprintf("race/new-%d/object", round) // its directory is raced for as well
		var contents [][]byte
		for i := range 16 {
			contents = append(contents, bytes.Repeat([]byte{byte('a' + i)}, 10_000))
		}
		if n := settled(t, s, key, contents, race(t, s, key, contents)); n != 1 {
			t.Errorf("%q: %d of 16 racing creators succeeded, want 1", key, n)
		}
	}
}

func racingSame(t testing.TB, s sinks.Sink) {
	for round := range 8 {
		key := fmt.Sprintf("race/same-%d/object", round)
		contents := make([][]byte, 16)
		for i := range contents {
			contents[i] = bytes.Repeat([]byte("same"), 2_500)
		}
		if n := settled(t, s, key, contents, race(t, s, key, contents)); n != 16 {
			t.Errorf("%q: %d of 16 equal Puts succeeded, want all", key, n)
		}
	}
}

func racingTwo(t testing.TB, s sinks.Sink) {
	for round := range 8 {
		key := fmt.Sprintf("race/two-%d/object", round)
		contents := make([][]byte, 16)
		for i := range contents {
			contents[i] = bytes.Repeat([]byte{byte('a' + i%2)}, 10_000)
		}
		if n := settled(t, s, key, contents, race(t, s, key, contents)); n != 8 {
			t.Errorf("%q: %d of 16 Puts succeeded, want the 8 of one content", key, n)
		}
	}
}

func wholeOrNothing(t testing.TB, s sinks.Sink) {
	const key = "a/object"
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), key, data) }()
	for stored := false; !stored; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("put %q: %v", key, err)
			}
			stored = true
		default:
		}
		got, err := get(t.Context(), s, key)
		switch {
		case err == nil && !bytes.Equal(got, data):
			t.Errorf("get %q during the put: %d bytes, want %d or ErrNotExist", key, len(got), len(data))
		case err != nil && (stored || !errors.Is(err, sinks.ErrNotExist)):
			t.Errorf("get %q (put returned: %t): %v", key, stored, err)
		}
		for o, err := range s.List(t.Context(), "", "") {
			if err != nil || o != (sinks.Object{Key: key, Size: int64(len(data))}) {
				t.Errorf("list during the put: %v, %v", o, err)
			}
		}
	}
	wantObject(t, s, key, data)
}

func putKeepsNothing(t testing.TB, s sinks.Sink) {
	data := []byte("as it was put")
	mustPut(t, s, "a/object", data)
	copy(data, "overwritten..")
	wantObject(t, s, "a/object", []byte("as it was put"))
}

func closeHalfway(t testing.TB, s sinks.Sink) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	mustPut(t, s, "a/object", data)
	half, err := s.Get(t.Context(), "a/object")
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if _, err := io.ReadFull(half, make([]byte, 1000)); err != nil {
		t.Errorf("read the beginning: %v", err)
	}
	wantObject(t, s, "a/object", data) // while the first reader is open
	if err := half.Close(); err != nil {
		t.Errorf("close halfway: %v", err)
	}
	wantObject(t, s, "a/object", data)
}

func sameBytes(t testing.TB, s sinks.Sink) {
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("x"), 1<<20)} {
		key := fmt.Sprintf("a/%d", len(data))
		for range 3 {
			mustPut(t, s, key, data)
			wantObject(t, s, key, data)
		}
	}
}

func emptyObject(t testing.TB, s sinks.Sink) {
	mustPut(t, s, "a/nil", nil)
	mustPut(t, s, "a/empty", []byte{})
	wantObject(t, s, "a/nil", nil)
	wantObject(t, s, "a/empty", nil)
}

func largeObject(t testing.TB, s sinks.Sink) {
	data := make([]byte, 20<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	mustPut(t, s, "a/large", data)
	wantObject(t, s, "a/large", data)
	data[len(data)-1]++
	if err := s.Put(t.Context(), "a/large", data); !errors.Is(err, sinks.ErrExists) {
		t.Errorf("put with another last byte: %v, want ErrExists", err)
	}
}
