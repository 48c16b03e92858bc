package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
)

// notPermitted is the exit code of a process that may not mount anything.
const notPermitted = 77

// TestFullAndReadOnlyFilesystems runs mountsRole in a mount namespace of its
// own, as root or, where that is allowed, as any user. Where it is not,
// TestFileSizeLimit and TestNoHardLinks have shown what they can.
func TestFullAndReadOnlyFilesystems(t *testing.T) {
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
	} {
		cmd := process(t, "mounts", t.TempDir(), "-")
		cmd.SysProcAttr = attr
		out, err := cmd.Output()
		var exit *exec.ExitError
		switch {
		case err == nil:
			t.Logf("proved with clone flags %#x", attr.Cloneflags)
			return
		case errors.As(err, &exit) && exit.ExitCode() != notPermitted:
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("clone flags %#x: %v %s", attr.Cloneflags, err, out)
	}
	t.Log("mounting is not permitted here")
}

func mountsRole(dir, _ string) error {
	mount := func(source, target, kind string, flags uintptr, data string) {
		if err := syscall.Mount(source, target, kind, flags, data); err != nil {
			fmt.Println("mount:", err)
			os.Exit(notPermitted)
		}
	}
	mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	mount("none", dir, "tmpfs", 0, "size=1m,mode=0700")
	s, err := local.Open(dir)
	if err != nil {
		return err
	}
	if err := fillUp(s, dir); err != nil {
		return fmt.Errorf("full filesystem: %w", err)
	}
	mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
	if err := readOnly(s, dir); err != nil {
		return fmt.Errorf("read-only filesystem: %w", err)
	}

	other := filepath.Join(dir, "incidents")
	mount("none", dir, "tmpfs", 0, "size=1m,mode=0700")
	if err := os.Mkdir(other, 0o700); err != nil {
		return err
	}
	mount("none", other, "tmpfs", 0, "size=1m,mode=0700")
	if s, err = local.Open(dir); err != nil {
		return err
	}
	if err := refused(s, dir, "incidents/object", []byte("x"), syscall.EXDEV); err != nil {
		return fmt.Errorf("two filesystems: %w", err)
	}
	return s.Put(context.Background(), "manifests/object", []byte("x"))
}

// fillUp puts objects of 100 KB into 1 MB.
func fillUp(s *local.Sink, dir string) error {
	ctx := context.Background()
	stored := 0
	for ; stored < 20; stored++ {
		if err := s.Put(ctx, fmt.Sprint("incidents/", stored), content(stored)); err != nil {
			break
		}
	}
	if stored == 0 || stored == 20 {
		return fmt.Errorf("%d objects were stored", stored)
	}
	if err := refused(s, dir, "incidents/one-more", content(stored), syscall.ENOSPC); err != nil {
		return err
	}
	for i := range stored {
		if err := s.Put(ctx, fmt.Sprint("incidents/", i), content(i)); err != nil {
			return fmt.Errorf("the same bytes again: %w", err)
		}
		if err := s.Put(ctx, fmt.Sprint("incidents/", i), content(stored)); !errors.Is(err, sinks.ErrExists) {
			return fmt.Errorf("other bytes: %w, want ErrExists", err)
		}
	}
	n := 0
	for o, err := range s.List(ctx, "", "") {
		if err != nil || o.Size != int64(len(content(0))) {
			return fmt.Errorf("list: %v, %w", o, err)
		}
		n++
	}
	if n != stored {
		return fmt.Errorf("%d objects listed, %d stored", n, stored)
	}
	return nil
}

func content(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 100_000) }

func readOnly(s *local.Sink, dir string) error {
	if err := refused(s, dir, "incidents/late", nil, syscall.EROFS); err != nil {
		return err
	}
	if _, err := local.Open(dir); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
		return fmt.Errorf("open for writing: %w, want EROFS", err)
	}
	r, err := local.OpenReader(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := r.Get(context.Background(), "incidents/0")
	if err != nil {
		return err
	}
	return f.Close()
}
