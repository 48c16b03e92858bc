package local_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
	"incident-exporter/sinks/sinktest"
)

func TestContract(t *testing.T) {
	sinktest.Run(t, "local directory", func(t *testing.T) sinks.Sink { return open(t, filepath.Join(t.TempDir(), "archive")) })
}

func open(t *testing.T, dir string) *local.Sink {
	t.Helper()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s sinks.Sink, key, content string) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// keys lists everything that a sink shows.
func keys(t *testing.T, s sinks.Reader) []string {
	t.Helper()
	var all []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Key)
	}
	return all
}

// temps are the names in the directory of temporary files.
func temps(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".incident-exporter", "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOpenReaderWithoutArchive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := local.OpenReader(dir)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no archive there") || !strings.Contains(err.Error(), dir) {
		t.Errorf("open reader: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestReaderOnEmptyDirectoryChangesNothing(t *testing.T) {
	dir := t.TempDir()
	r, err := local.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := keys(t, r); got != nil {
		t.Errorf("list: %q", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestOpenRefusesAFileInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "archive")} {
		if _, err := local.Open(dir); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), dir) {
			t.Errorf("open %q: %v, want ENOTDIR", dir, err)
		}
	}
	if _, err := local.OpenReader(file); err == nil {
		t.Error("open reader on a file: no error")
	}
}

func TestModesAndNothingLeftBehind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "archive")
	s := open(t, dir)
	put(t, s, "incidents/date=2026-03-02/1.ndjson", "x")
	for name, want := range map[string]fs.FileMode{
		".": 0o750, "incidents": 0o750, "incidents/date=2026-03-02": 0o750, "incidents/date=2026-03-02/1.ndjson": 0o440,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got&^want != 0 || got&0o400 == 0 {
			t.Errorf("%s: mode %o, want at most %o", name, got, want)
		}
	}
	if left := temps(t, dir); left != nil {
		t.Errorf("temporary files left: %q", left)
	}
	if got, want := keys(t, s), []string{"incidents/date=2026-03-02/1.ndjson"}; !slices.Equal(got, want) {
		t.Errorf("list: %q, want %q", got, want)
	}
}

func TestTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, ".incident-exporter/probe", "x")
	tmp := filepath.Join(dir, ".incident-exporter", "tmp")
	for name, age := range map[string]time.Duration{"dead": 25 * time.Hour, "alive": 23 * time.Hour} {
		file, when := filepath.Join(tmp, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, []byte("half"), 0o600), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, ".incident-exporter", "probe")
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", ".incident-exporter/", ".incident-exporter/tmp", ".incident-exporter/tmp/"} {
		for o, err := range s.List(t.Context(), prefix, "") {
			if err != nil || o.Key != ".incident-exporter/probe" {
				t.Errorf("list %q: %v, %v", prefix, o, err)
			}
		}
	}
	for op, err := range map[string]error{
		"put": s.Put(t.Context(), ".incident-exporter/tmp/mine", nil),
		"get": errOf(s.Get(t.Context(), ".incident-exporter/tmp/alive")),
	} {
		if err == nil || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("%s among the temporary files: %v", op, err)
		}
	}
	s = open(t, dir)
	if left := temps(t, dir); !slices.Equal(left, []string{"alive"}) {
		t.Errorf("after a day: %q, want only the young one", left)
	}
	if got := keys(t, s); !slices.Equal(got, []string{".incident-exporter/probe"}) {
		t.Errorf("list: %q", got)
	}
}

func errOf(_ io.ReadCloser, err error) error { return err }

// A daemon's archive is looked after by people with a shell.
func TestDirectoriesRemovedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		put(t, s, "a/b/c/object", "x")
		for _, name := range []string{"a", ".incident-exporter"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if got := keys(t, s); got != nil {
			t.Errorf("round %d: list %q", i, got)
		}
	}
}

func TestWhatIsNotAPlainFile(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	put(t, s, "real/object", "content")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600),
		os.Symlink("real/object", at("link")),
		os.Symlink("real", at("linked-directory")),
		os.Symlink(".", at("cycle")),
		os.Symlink("nowhere", at("dangling")),
		os.Symlink(filepath.Join(outside, "secret"), at("escape")),
		os.Symlink(outside, at("escape-directory")),
		syscall.Mkfifo(at("pipe"), 0o600),
		os.Mkdir(at("lost+found"), 0),                           // root may read it all the same
		os.WriteFile(at("caf\u00e9"), []byte("foreign"), 0o600), // no key, but a verifier must see it
	); err != nil {
		t.Fatal(err)
	}
	if got, want := keys(t, s), []string{"caf\u00e9", "link", "real/object"}; !slices.Equal(got, want) {
		t.Errorf("list: %q, want %q", got, want)
	}
	for _, prefix := range []string{"linked-directory/", "escape-directory/", "cycle/", "cycle/real/", "pipe/"} {
		for o, err := range s.List(t.Context(), prefix, "") {
			t.Errorf("list %q: %v, %v, want nothing", prefix, o, err)
		}
	}
	for _, key := range []string{"dangling", "pipe", "real", "linked-directory"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, sinks.ErrNotExist) {
			t.Errorf("get %q: %v, want ErrNotExist", key, err)
		}
	}
	for _, key := range []string{"escape", "escape-directory/secret"} {
		if _, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("get %q: followed out of the archive", key)
		}
	}
	for _, key := range []string{"dangling", "pipe", "real", "escape", "escape-directory/new"} {
		if err := s.Put(t.Context(), key, []byte("x")); err == nil || errors.Is(err, sinks.ErrExists) || !strings.Contains(err.Error(), key) {
			t.Errorf("put %q: %v, want a refusal that is not ErrExists", key, err)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside the archive: %v, %v", entries, err)
	}
}

func TestRootMayBeALink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "archive")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, link), "a/b", "x")
	if got := keys(t, open(t, dir)); !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("list: %q", got)
	}
}

func TestLimitsOfTheFilesystem(t *testing.T) {
	s := open(t, t.TempDir())
	long := strings.Repeat("n", 256)
	if err := s.Put(t.Context(), long, nil); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("put a long name: %v", err)
	}
	if _, err := s.Get(t.Context(), long); !errors.Is(err, sinks.ErrNotExist) {
		t.Errorf("get a long name: %v", err)
	}
	put(t, s, "a", "x")
	if err := s.Put(t.Context(), "a/b", nil); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), `"a/b"`) {
		t.Errorf("put below an object: %v", err)
	}
}

func TestFilesVanishDuringAListing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 9 {
		put(t, s, fmt.Sprintf("d%d/object", i), "x")
		put(t, s, fmt.Sprintf("e/object%d", i), "x")
	}
	var seen []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		switch seen = append(seen, o.Key); o.Key {
		case "d0/object":
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, "d1")), os.Remove(filepath.Join(dir, "d2", "object"))); err != nil {
				t.Fatal(err)
			}
		case "e/object5":
			if err := os.RemoveAll(filepath.Join(dir, "e")); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Of a directory that was read before, what has vanished since may be shown.
	want := []string{"d0/object", "d3/object", "d4/object", "d5/object", "d6/object", "d7/object", "d8/object", "e/object0"}
	if len(seen) < len(want) || !slices.Equal(seen[:len(want)], want) || !slices.IsSorted(seen) {
		t.Errorf("list: %q, want it to begin %q", seen, want)
	}
}

func TestManyFilesInOneDirectory(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "m"), 0o700); err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprintf("m/%012d.json", i) }
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, name(i)), nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	r, err := local.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, first := range []int{0, n / 2, n - 3, n} {
		after := ""
		if first > 0 {
			after = name(first - 1)
		}
		next := first
		for o, err := range r.List(t.Context(), "m/", after) {
			if err != nil {
				t.Fatal(err)
			}
			if o.Key != name(next) {
				t.Fatalf("after %q: %q, want %q", after, o.Key, name(next))
			}
			next++
		}
		if next != n {
			t.Errorf("after %q: ended before %d of %d", after, next, n)
		}
	}
}

func TestExists(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "archive"))
	if err := s.Put(t.Context(), "a/b.json", nil); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a/b.json": true, "a": false, "a/c.json": false, "a/b.json/c": false} {
		if got, err := s.Exists(t.Context(), key); got != want || err != nil {
			t.Errorf("%s: %v, %v", key, got, err)
		}
	}
	if _, err := s.Exists(t.Context(), "../a"); err == nil {
		t.Error("what is no key is looked for")
	}
}
