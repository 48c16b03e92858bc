package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"incident-exporter/sinks"
)

// Sink writes an archive to a directory. Its methods may be called
// concurrently, and any number of processes may write to one directory.
type Sink struct {
	*Reader
	system
	lasting sync.Map // directories, by path, whose own names are synced
}

var _ sinks.Sink = (*Sink)(nil)

// system is what a test replaces to see, or to refuse, what Sink asks of the
// filesystem.
type system struct {
	link func(root *os.Root, from, to string) error
	sync func(*os.File) error
}

func realSystem() system {
	return system{
		link: (*os.Root).Link,
		sync: (*os.File).Sync, // on macOS, too, this waits for the device
	}
}

// staleAfter is how old a temporary file must be to be taken for a dead
// process's. If it is not dead after all its Put fails, and nothing is stored.
const staleAfter = 24 * time.Hour

// Open opens the archive in dir for writing. It makes the directory if need
// be, with those above it, tries that the filesystem can do what the
// package's guarantee rests on, and removes temporary files that were left
// there more than a day ago.
func Open(dir string) (*Sink, error) {
	return open(dir, realSystem())
}

func open(dir string, sys system) (*Sink, error) {
	if err := makeRoot(dir, sys); err != nil {
		return nil, fmt.Errorf("make archive directory %q: %w", dir, err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		return nil, err
	}
	s := &Sink{Reader: r, system: sys}
	if err := s.probe(); err != nil {
		r.Close()
		return nil, fmt.Errorf("open archive %q for writing: %w", dir, err)
	}
	s.removeStale()
	return s, nil
}

// makeRoot makes dir and what is missing above it, each with a name that
// lasts. The name of a directory that is there already is synced where its
// parent may be read: its maker may have died before that.
func makeRoot(dir string, sys system) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	existed, parent := err == nil, filepath.Dir(filepath.Clean(dir))
	if !existed {
		if err := makeRoot(parent, sys); err != nil {
			return err
		}
		if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	d, err := os.Open(parent)
	if err != nil {
		if existed {
			return nil
		}
		return err
	}
	defer d.Close()
	if err := sys.sync(d); err != nil && !existed {
		return err
	}
	return nil
}

// probe does once, with an empty file, what every Put does.
func (s *Sink) probe() error {
	if err := s.ensureDir(tempDir); err != nil {
		return err
	}
	temp, err := s.writeTemp(nil)
	if err != nil {
		return err
	}
	defer s.root.Remove(temp)
	second := tempDir + "/" + rand.Text()
	if err := s.link(s.root, temp, second); err != nil {
		return explainLink(err)
	}
	return s.root.Remove(second)
}

// removeStale is housekeeping: what it cannot do is left for the next time.
func (s *Sink) removeStale() {
	d, err := s.root.Open(tempDir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		name = tempDir + "/" + name
		if info, err := s.root.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			s.root.Remove(name)
		}
	}
}

// explainLink adds the remedy where the filesystem cannot do what Put needs.
func explainLink(err error) error {
	for _, no := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK} {
		if errors.Is(err, no) {
			return fmt.Errorf("the filesystem has no hard links, without which an object cannot be stored "+
				"at once and never overwritten; keep the archive on one that has them (ext4, xfs, btrfs, zfs, apfs): %w", err)
		}
	}
	if errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("the archive's directory spans more than one filesystem or mount, and hard links cannot; "+
			"mount one filesystem over all of it: %w", err)
	}
	return err
}
