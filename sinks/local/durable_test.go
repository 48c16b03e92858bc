package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"incident-exporter/sinks"
)

// journal records what is asked of the filesystem, and refuses it on demand.
type journal struct {
	dir     string
	steps   []string
	linkErr error
	syncErr func(step string) error
	onSync  func(step string)
}

func (j *journal) system() system {
	return system{
		link: func(root *os.Root, from, to string) error {
			j.steps = append(j.steps, "link "+to)
			if j.linkErr != nil {
				return &os.LinkError{Op: "link", Old: from, New: to, Err: j.linkErr}
			}
			return root.Link(from, to)
		},
		sync: func(f *os.File) error {
			name := strings.TrimPrefix(strings.TrimPrefix(f.Name(), j.dir), "/")
			if strings.HasPrefix(name, tempDir+"/") {
				name = "temporary file"
			}
			step := "sync " + name
			j.steps = append(j.steps, step)
			if j.onSync != nil {
				j.onSync(step)
			}
			if j.syncErr != nil {
				if err := j.syncErr(step); err != nil {
					return &os.PathError{Op: "sync", Path: f.Name(), Err: err}
				}
			}
			return f.Sync()
		},
	}
}

func (j *journal) open(t *testing.T) (*Sink, error) {
	t.Helper()
	j.dir = filepath.Join(t.TempDir(), "archive")
	s, err := open(j.dir, j.system())
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func (j *journal) mustOpen(t *testing.T) *Sink {
	t.Helper()
	s, err := j.open(t)
	if err != nil {
		t.Fatal(err)
	}
	j.steps = nil
	return s
}

func (j *journal) want(t *testing.T, what string, steps ...string) {
	t.Helper()
	if !slices.Equal(j.steps, steps) {
		t.Errorf("%s:\n got %q\nwant %q", what, j.steps, steps)
	}
	j.steps = nil
}

// TestOrderOfSyncs holds the guarantee against a power cut: bytes before the
// name, the names of new directories before anything in them, and the name
// before Put returns.
func TestOrderOfSyncs(t *testing.T) {
	var j journal
	s := j.mustOpen(t)
	put := func(key, content string) {
		t.Helper()
		if err := s.Put(t.Context(), key, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	put("a/b/1", "x")
	j.want(t, "in new directories", "sync .", "sync a", "sync temporary file", "link a/b/1", "sync a/b")
	put("a/b/2", "x")
	j.want(t, "in a known directory", "sync temporary file", "link a/b/2", "sync a/b")
	put("3", "x")
	j.want(t, "at the top", "sync temporary file", "link 3", "sync .")
	put("a/b/1", "x")
	j.want(t, "the same bytes", "sync temporary file", "link a/b/1", "sync a/b/1", "sync a/b")

	// Another process made the directories and the object, and died.
	if err := os.MkdirAll(filepath.Join(j.dir, "c/d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.dir, "c/d/1"), []byte("x"), 0o400); err != nil {
		t.Fatal(err)
	}
	put("c/d/1", "x")
	j.want(t, "what a dead process left", "sync .", "sync c", "sync temporary file", "link c/d/1", "sync c/d/1", "sync c/d")
}

func TestOpenSyncsWhatItMakes(t *testing.T) {
	var synced []string
	sys := realSystem()
	sys.sync = func(f *os.File) error {
		synced = append(synced, f.Name())
		return f.Sync()
	}
	top := t.TempDir()
	s, err := open(filepath.Join(top, "x", "y"), sys)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, dir := range []string{top, filepath.Join(top, "x")} {
		if !slices.Contains(synced, dir) {
			t.Errorf("%q was not synced: %q", dir, synced)
		}
	}
}

func TestNoHardLinks(t *testing.T) {
	for _, no := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV} {
		j := journal{linkErr: no}
		_, err := j.open(t)
		if !errors.Is(err, no) || !strings.Contains(err.Error(), "hard links") || !strings.Contains(err.Error(), j.dir) {
			t.Errorf("open: %v, want a sentence about hard links and %v", err, no)
		}
		for _, sub := range []string{".", tempDir} {
			entries, err := os.ReadDir(filepath.Join(j.dir, sub))
			if err != nil || sub == tempDir && len(entries) > 0 || len(entries) > 1 {
				t.Errorf("left in %s: %v, %v", sub, entries, err)
			}
		}
	}
}

// TestFailedSteps fails each step of a Put: until the name is there nothing
// is stored, after that the object is whole.
func TestFailedSteps(t *testing.T) {
	for step, stored := range map[string]bool{
		"sync .": false, "sync a": false, "sync temporary file": false, "link a/b/1": false, "sync a/b": true,
	} {
		var j journal
		s := j.mustOpen(t)
		j.syncErr = func(now string) error {
			if now == step {
				return syscall.EIO
			}
			return nil
		}
		if strings.HasPrefix(step, "link") {
			j.linkErr = syscall.EIO
		}
		err := s.Put(t.Context(), "a/b/1", []byte("x"))
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), `"a/b/1"`) || !strings.Contains(err.Error(), j.dir) {
			t.Errorf("%s failed: put: %v, want EIO with key and directory", step, err)
		}
		if stored != strings.Contains(err.Error(), "power cut") {
			t.Errorf("%s failed: put: %v, stored: %t", step, err, stored)
		}
		wantState(t, s, "a/b/1", stored)
		j.syncErr, j.linkErr = nil, nil
		if err := s.Put(t.Context(), "a/b/1", []byte("x")); err != nil {
			t.Errorf("%s failed: put again: %v", step, err)
		}
		wantState(t, s, "a/b/1", true)
	}
}

// wantState proves that the object is stored, or not, and no temporary file left.
func wantState(t *testing.T, s *Sink, key string, stored bool) {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if stored != (err == nil) || err != nil && !errors.Is(err, sinks.ErrNotExist) {
		t.Errorf("get %q: %v, want it stored: %t", key, err, stored)
	}
	if err == nil {
		r.Close()
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir, tempDir)); err != nil || len(entries) > 0 {
		t.Errorf("temporary files: %v, %v", entries, err)
	}
}

// TestFailureButStoredByAnother: what is there decides, not what went wrong.
func TestFailureButStoredByAnother(t *testing.T) {
	var j journal
	s := j.mustOpen(t)
	if err := s.Put(t.Context(), "a/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	j.syncErr = func(step string) error {
		if step == "sync temporary file" {
			return syscall.ENOSPC
		}
		return nil
	}
	if err := s.Put(t.Context(), "a/1", []byte("x")); err != nil {
		t.Errorf("put the same on a full disk: %v", err)
	}
	if err := s.Put(t.Context(), "a/1", []byte("y")); !errors.Is(err, sinks.ErrExists) {
		t.Errorf("put other bytes on a full disk: %v, want ErrExists", err)
	}
	if err := s.Put(t.Context(), "a/2", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v, want ENOSPC", err)
	}
	j.syncErr = func(step string) error {
		if step == "sync a/1" || step == "sync a/3" {
			return syscall.EIO
		}
		return nil
	}
	if err := s.Put(t.Context(), "a/1", []byte("x")); !errors.Is(err, syscall.EIO) {
		t.Errorf("put the same without being able to sync it: %v, want EIO", err)
	}
}

func TestCancelledBeforeTheLink(t *testing.T) {
	for _, step := range []string{"sync .", "sync a", "sync temporary file"} {
		var j journal
		s := j.mustOpen(t)
		ctx, cancel := context.WithCancel(t.Context())
		j.onSync = func(now string) {
			if now == step {
				cancel()
			}
		}
		if err := s.Put(ctx, "a/b/1", []byte("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %q: %v", step, err)
		}
		wantState(t, s, "a/b/1", false)
		cancel()
	}
	// After the link it is stored, and cancelling changes nothing.
	var j journal
	s := j.mustOpen(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j.onSync = func(now string) {
		if now == "sync a/b" {
			cancel()
		}
	}
	if err := s.Put(ctx, "a/b/1", []byte("x")); err != nil {
		t.Errorf("cancelled after the link: %v", err)
	}
	wantState(t, s, "a/b/1", true)
}

// TestPagesOfADirectory: pages of any size give the same listing, and keep no
// more than they must.
func TestPagesOfADirectory(t *testing.T) {
	var j journal
	s := j.mustOpen(t)
	var want []string
	for i := range 40 {
		for _, name := range []string{fmt.Sprintf("d%02d", i), fmt.Sprintf("d%02d-x", i)} {
			if err := os.WriteFile(filepath.Join(j.dir, name), nil, 0o400); err != nil {
				t.Fatal(err)
			}
			want = append(want, name)
		}
		if err := os.Mkdir(filepath.Join(j.dir, fmt.Sprintf("d%02d.y", i)), 0o700); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("d%02d.y/", i))
	}
	slices.Sort(want)
	want = append([]string{private + "/"}, want...)
	l := lister{Reader: s.Reader, ctx: t.Context()}
	for _, size := range []int{1, 2, 3, 7, 119, 120, 121, 122, 1000} {
		var got []string
		last := ""
		for {
			page, err := l.page(s.root, ".", last, size)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > size {
				t.Fatalf("a page of %d has %d entries", size, len(page))
			}
			for _, e := range page {
				got = append(got, e.place)
			}
			if len(page) < size {
				break
			}
			last = page[size-1].place
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, want %q", size, got, want)
		}
	}
}
