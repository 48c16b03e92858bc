// Package local keeps an archive in a directory: the contract of package
// sinks over a filesystem.
//
// It guarantees that a Put which returned nil has forced to the storage
// device the object's bytes, then its name, and before that the names of the
// directories above it, up to the archive's own and those that Open had to
// make for it. A process killed at any moment, and a power cut at any
// moment, leaves each object whole under its name or not there at all:
// objects are written under a temporary name, synced, and only then given
// their own by link(2), which never replaces what is there. Objects are
// read-only files (0440) in directories of mode 0750, less the umask.
//
// What it cannot guarantee: a device, a hypervisor or a network filesystem
// that acknowledges a sync and keeps the data in volatile memory can still
// lose it, and nobody but a reader of the archive will notice. A sync that
// fails once may be reported as done when it is asked for again, so a Put
// whose last sync failed is an error although the object can be seen; that
// object may be gone after a power cut. And whoever may write to the
// directory can change what is in it: that is found by verifying the
// archive, not here.
//
// A filesystem without hard links is refused when the archive is opened for
// writing. Limits that the filesystem adds to the contract: an element of a
// key is at most 255 bytes long, "a" and "a/b" cannot both be stored, and
// where letters of either case are the same (macOS) keys that differ in
// nothing else collide, which Put reports as sinks.ErrExists.
//
// Temporary files are in .incident-exporter/tmp. They are not listed, and no
// key may lie there. One that a dead process left is removed by the next
// Open when it is a day old.
//
// The archive's directory may be a symbolic link. Below it, a link to a
// regular file inside the archive is an object like any other; a link to a
// directory is not listed, for what it leads to is listed where it is; a
// link that leads out of the archive is not listed, and Get refuses it.
// Directories, devices, pipes and sockets are no objects. A directory that
// may not be read makes a listing fail, but for a volume's own lost+found.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"incident-exporter/sinks"
)

const (
	private  = ".incident-exporter"
	tempDir  = private + "/tmp"
	dirMode  = 0o750
	fileMode = 0o440
)

// Reader reads the archive in a directory. Its methods may be called
// concurrently, and while other processes write.
type Reader struct {
	dir  string
	root *os.Root
}

var _ sinks.Reader = (*Reader)(nil)

// OpenReader opens the archive in dir for reading. It creates nothing. Where
// there is no directory the error wraps fs.ErrNotExist; an empty one is an
// archive without objects.
func OpenReader(dir string) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open archive %q: no archive there: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open archive %q: %w", dir, err)
	}
	return &Reader{dir: dir, root: root}, nil
}

// Close gives the directory back. Objects that are being read stay readable.
func (r *Reader) Close() error { return r.root.Close() }

// Get opens an object. See sinks.Reader; ctx matters before the file is
// opened only.
func (r *Reader) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	f, _, err := r.open(key)
	if err != nil {
		return nil, fmt.Errorf("get %q from %q: %w", key, r.dir, err)
	}
	return f, nil
}

// Exists implements sinks.Prober.
func (r *Reader) Exists(ctx context.Context, key string) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, fmt.Errorf("look for: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("look for %q: %w", key, err)
	}
	info, err := r.root.Stat(key)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %q in %q: %w", key, r.dir, err)
	}
	return info.Mode().IsRegular(), nil
}

// open returns the object's file and its size, or sinks.ErrNotExist.
func (r *Reader) open(key string) (*os.File, int64, error) {
	// Without O_NONBLOCK a pipe under that name would block for ever.
	f, err := r.root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if absent(err) {
		return nil, 0, sinks.ErrNotExist
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = sinks.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// absent tells the errors that mean that no file of that name can be there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// sameBytes says whether f, of size bytes, holds exactly data.
func sameBytes(f io.Reader, size int64, data []byte) (bool, error) {
	if size != int64(len(data)) {
		return false, nil
	}
	buf := make([]byte, 64<<10)
	for len(data) > 0 {
		n := min(len(buf), len(data))
		if _, err := io.ReadFull(f, buf[:n]); err != nil {
			return false, err
		}
		if !bytes.Equal(buf[:n], data[:n]) {
			return false, nil
		}
		data = data[n:]
	}
	return true, nil
}
