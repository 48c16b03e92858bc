package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"incident-exporter/sinks"
)

// Put stores an object. See sinks.Sink. What the filesystem says, no space
// left for instance, is wrapped by the error, which names key and directory.
func (s *Sink) Put(ctx context.Context, key string, data []byte) error {
	if err := checkKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	linked, err := s.create(ctx, key, data)
	if err != nil && !linked {
		// Whatever went wrong, someone may have stored it: a full disk does
		// not make an object that is there a failure.
		err = s.look(key, data, err)
	}
	if err != nil {
		return fmt.Errorf("put %q in %q: %w", key, s.dir, err)
	}
	return nil
}

// create writes a new object. Until it is linked an error leaves nothing that
// a reader sees; after that, an error means that the object is there whole
// and may not survive a power cut.
func (s *Sink) create(ctx context.Context, key string, data []byte) (linked bool, err error) {
	dir := path.Dir(key)
	if err := s.ensureDir(tempDir); err != nil {
		return false, err
	}
	if err := s.ensureDir(dir); err != nil {
		return false, err
	}
	temp, err := s.writeTemp(data)
	if err != nil {
		return false, err
	}
	// A name that stays behind is harmless; Open removes it in time.
	defer s.root.Remove(temp)
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := s.link(s.root, temp, key); err != nil {
		return false, explainLink(err)
	}
	if err := s.syncDir(dir); err != nil {
		return true, fmt.Errorf("stored, but a power cut may lose it: %w", err)
	}
	return true, nil
}

// writeTemp leaves data, synced, in a new read-only temporary file.
func (s *Sink) writeTemp(data []byte) (name string, err error) {
	name = tempDir + "/" + rand.Text()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(fileMode)
	}
	if err == nil {
		err = s.sync(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		s.root.Remove(name)
		return "", err
	}
	return name, nil
}

// look decides what a Put that ended in cause has come to. If the object is
// there it is made to last: whoever stored it may have died before that.
func (s *Sink) look(key string, data []byte, cause error) error {
	f, size, err := s.open(key)
	if errors.Is(err, sinks.ErrNotExist) {
		return cause
	}
	if err != nil {
		return fmt.Errorf("%w; looking whether it is stored: %w", cause, err)
	}
	defer f.Close()
	same, err := sameBytes(f, size, data)
	if err != nil {
		return fmt.Errorf("%w; comparing it with what is stored: %w", cause, err)
	}
	if !same {
		return sinks.ErrExists
	}
	if err := s.sync(f); err != nil {
		return fmt.Errorf("stored by another, but a power cut may lose it: %w", err)
	}
	dir := path.Dir(key)
	if err := s.ensureDir(dir); err != nil {
		return err
	}
	if err := s.syncDir(dir); err != nil {
		return fmt.Errorf("stored by another, but a power cut may lose it: %w", err)
	}
	return nil
}

// ensureDir makes dir, and what is missing above it, so that it lasts. The
// names of directories that others made are synced as well, once each: their
// makers may have died before they did it.
func (s *Sink) ensureDir(dir string) error {
	if dir == "." {
		return nil
	}
	err := s.root.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.ensureDir(path.Dir(dir)); err != nil {
			return err
		}
		err = s.root.Mkdir(dir, dirMode)
	}
	exists := errors.Is(err, fs.ErrExist)
	if err != nil && !exists {
		return err
	}
	if _, lasting := s.lasting.Load(dir); lasting && exists {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.ensureDir(parent); err != nil {
		return err
	}
	if err := s.syncDir(parent); err != nil {
		return err
	}
	s.lasting.Store(dir, true)
	return nil
}

// syncDir forces the names in dir to the device.
func (s *Sink) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return s.sync(d)
}
