package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
)

// maxImage is the most bytes that the image's files may have, uncompressed.
const maxImage = 25_000_000

// image is the image of deploy/container, built by buildah and unpacked, for runc to start.
type image struct {
	*testing.T
	root   string
	config imageConfig
	n      int // containers so far
}

// imageConfig is what the image says of how to start it.
type imageConfig struct {
	User        string
	Env         []string
	Entrypoint  []string
	Cmd         []string
	Volumes     map[string]struct{}
	Healthcheck struct{ Test []string }
}

// buildImage builds it from a program that is compiled here: no base image is wanted, so that no
// registry is asked. Where buildah or runc is not there, or this is not root, the test is left out,
// but not in CI.
func buildImage(t *testing.T) *image {
	t.Helper()
	for _, tool := range []string{"buildah", "runc"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			message := fmt.Sprintf("building the image needs root and %s (%v); .ci/deployment installs it", tool, err)
			if os.Getenv("CI") != "" {
				t.Fatal(message)
			}
			t.Skip(message)
		}
	}
	dir := t.TempDir()
	context := filepath.Join(dir, "context")
	files := filepath.Join(context, "root-of-image")
	for _, d := range []string{"system/etc/ssl/certs", "own/archive", "own/tmp"} {
		if err := os.MkdirAll(filepath.Join(files, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(files, "system", "incident-exporter")
	t.Setenv("CGO_ENABLED", "0")
	tool(t, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=1.2.3", "-o", program, "./cmd/incident-exporter")
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(files, "system/etc/ssl/certs/ca-certificates.crt"), certificates, 0o644),
		os.Chmod(filepath.Join(files, "own", "archive"), 0o700),
		os.Chmod(filepath.Join(files, "own", "tmp"), fs.ModeSticky|0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", dir)
	buildah := func(args ...string) []byte {
		return tool(t, "buildah", append([]string{"--storage-driver", "vfs", "--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run")}, args...)...)
	}
	buildah("bud", "--isolation", "chroot", "--timestamp", "0", "--format", "docker", "--pull-never", "--build-context", "root="+context,
		"--build-arg", "VERSION=1.2.3", "-f", "deploy/container/Dockerfile", "-t", "incident-exporter", context)
	var inspected struct {
		Docker struct {
			Config imageConfig `json:"config"`
		}
	}
	if err := json.Unmarshal(buildah("inspect", "--type", "image", "incident-exporter"), &inspected); err != nil {
		t.Fatal(err)
	}
	container := strings.TrimSpace(string(buildah("from", "incident-exporter")))
	return &image{T: t, root: strings.TrimSpace(string(buildah("mount", container))), config: inspected.Docker.Config}
}

// container is one that runs, or did.
type container struct {
	*process
	image *image
	id    string
}

// start starts the image as its user, without a capability, with a read-only root and the network of
// this machine. args take the place of the image's own command; mounts are directories by where they
// are to be seen.
func (i *image) start(s *scene, mounts map[string]string, env []string, args ...string) *container {
	i.Helper()
	var uid, gid int
	if n, err := fmt.Sscanf(i.config.User, "%d:%d", &uid, &gid); n != 2 || uid == 0 || gid == 0 {
		i.Fatalf("the image's user is %q, %v", i.config.User, err)
	}
	if len(args) == 0 {
		args = i.config.Cmd
	}
	type object = map[string]any
	all := []object{{"destination": "/proc", "type": "proc", "source": "proc"}}
	for at, dir := range mounts {
		all = append(all, object{"destination": at, "type": "bind", "source": dir, "options": []string{"rbind", "nosuid", "nodev", "noexec"}})
	}
	spec, err := json.Marshal(object{
		"ociVersion": "1.0.0",
		"root":       object{"path": i.root, "readonly": true},
		"mounts":     all,
		"process": object{
			"user": object{"uid": uid, "gid": gid}, "cwd": "/", "noNewPrivileges": true, "capabilities": object{},
			"env": append(slices.Clone(i.config.Env), env...), "args": append(slices.Clone(i.config.Entrypoint), args...),
		},
		"linux": object{"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}},
	})
	if err != nil {
		i.Fatal(err)
	}
	bundle := i.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600); err != nil {
		i.Fatal(err)
	}
	i.n++
	c := &container{image: i, id: fmt.Sprintf("incident-exporter-%d-%d", os.Getpid(), i.n)}
	c.process = &process{Cmd: exec.CommandContext(i.Context(), "runc", "--root", filepath.Join(filepath.Dir(i.root), "runc"), "run", "--bundle", bundle, c.id), s: s}
	c.Stdout, c.Stderr = &c.out, &c.err
	if err := c.Start(); err != nil {
		i.Fatal(err)
	}
	i.Cleanup(func() { // of one that the test did not see end; it outlives its runc
		_ = exec.Command("runc", "--root", filepath.Join(filepath.Dir(i.root), "runc"), "delete", "--force", c.id).Run()
	})
	return c
}

// runc asks the runtime for something, as a container engine does.
func (c *container) runc(args ...string) (string, error) {
	command := exec.CommandContext(c.image.Context(), "runc", append([]string{"--root", filepath.Join(filepath.Dir(c.image.root), "runc")}, args...)...)
	said, err := command.CombinedOutput()
	return string(said), err
}

// TestImage builds the image, and starts it as its user with a read-only root: an export from the
// simulator to the S3 server, the daemon with its health, SIGTERM, and a volume of local files.
func TestImage(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	built := buildImage(t)
	var size int64
	err := filepath.WalkDir(built.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
			t.Logf("%s: %d bytes", strings.TrimPrefix(path, built.root), info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %.1f MB", float64(size)/1e6)
	if size > maxImage {
		t.Errorf("the image has %d bytes, more than %d", size, maxImage)
	}
	for name, owner := range map[string]uint32{"incident-exporter": 0, "archive": 65532, "tmp": 65532} {
		info, err := os.Stat(filepath.Join(built.root, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != owner {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	if _, volume := built.config.Volumes["/archive"]; !volume || !slices.Contains(built.config.Env, "EXPORTER_SINK=file:/archive") {
		t.Errorf("%+v", built.config)
	}

	// What the program needs of this machine: the certificates of the simulator and of the S3 server.
	s, server := newLockedScene(t, simulator.Options{Seed: 12, Incidents: 400})
	certificates := t.TempDir()
	env := slices.Clone(s.env)
	for i, e := range env {
		name, path, _ := strings.Cut(e, "=")
		if name != "SSL_CERT_FILE" && name != "AWS_CA_BUNDLE" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil || os.WriteFile(filepath.Join(certificates, name), content, 0o644) != nil {
			t.Fatal(err)
		}
		env[i] = name + "=/tmp/" + name
	}
	if err := os.Chmod(certificates, 0o755); err != nil {
		t.Fatal(err)
	}
	mounts := map[string]string{"/tmp": certificates}

	if r := built.start(s, nil, nil, "version").wait(); r.code != exitDone || !strings.HasPrefix(r.stdout, "incident-exporter 1.2.3\n") {
		t.Errorf("version: %+v", r)
	}
	if r := built.start(s, mounts, append(env, "EXPORTER_SINK=file:/elsewhere"), "export").wait(); r.code != exitFailed || !strings.Contains(r.stderr, "read-only file system") {
		t.Errorf("the root is to be read-only: %+v", r)
	}
	if r := built.start(s, mounts, env, "export").wait(); r.code != exitDone {
		t.Errorf("export: %+v", r)
	}
	s.whole()
	for _, id := range s.sim.RandomIDs(20) {
		_, _ = s.sim.Update(id)
	}
	s.later()

	// The daemon, which is what the image starts by itself.
	port, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "EXPORTER_LISTEN="+port)
	defer func() { http.DefaultClient.CloseIdleConnections() }()
	daemon := built.start(s, mounts, env)
	daemon.said(t, `"msg":"run done"`)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		answer, err := http.Get("http://" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, answer.StatusCode)
		}
	}
	test := built.config.Healthcheck.Test
	if len(test) < 2 || test[0] != "CMD" {
		t.Fatalf("the health check is %q", test)
	}
	if said, err := daemon.runc(append([]string{"exec", daemon.id}, test[1:]...)...); err != nil {
		t.Errorf("%q: %v: %s", test, err, said)
	}
	if said, err := daemon.runc(append([]string{"exec", "--env", "EXPORTER_SINK=s3://" + testBucket + "/elsewhere", daemon.id}, test[1:]...)...); err == nil {
		t.Errorf("the health check finds nothing wrong with an archive that is not there: %s", said)
	}
	daemon.terminate(t)
	s.whole()
	if strings.Contains(server.Stop(), "panic") {
		t.Error("the S3 server failed")
	}

	// The image's own sink, on a volume that comes as an engine makes it: with the owner of /archive.
	volume := t.TempDir()
	if err := os.Chown(volume, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	s.dir, mounts["/archive"] = volume, volume
	env = append(slices.DeleteFunc(env, func(e string) bool {
		return strings.HasPrefix(e, "EXPORTER_SINK=") || strings.HasPrefix(e, "EXPORTER_S3_") || strings.HasPrefix(e, "AWS_")
	}), "EXPORTER_LOG_LEVEL=warn")
	if r := built.start(s, mounts, env, "export").wait(); r.code != exitDone {
		t.Errorf("export to the volume: %+v", r)
	}
	if r := built.start(s, mounts, env, "verify", "--strict").wait(); r.code != exitDone || !strings.HasPrefix(r.stdout, "whole: 1 streams, ") {
		t.Errorf("verify the volume: %+v", r)
	}
}

// said waits until the container has said something.
func (c *container) said(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	moment(t.Context(), func() bool { return strings.Contains(c.err.String(), text) || time.Now().After(deadline) })
	if said := c.err.String(); !strings.Contains(said, text) {
		t.Fatalf("it has not said %q: %s", text, said)
	}
}

// terminate stops the container as an engine does. It must end by itself, and in good order.
func (c *container) terminate(t *testing.T) {
	t.Helper()
	if said, err := c.runc("kill", c.id, "TERM"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	begun := time.Now()
	if r := c.wait(); r.code != exitDone || !strings.Contains(r.stderr, "daemon stopped") {
		t.Errorf("SIGTERM: %+v", r)
	}
	t.Logf("stopped within %v of SIGTERM", time.Since(begun).Round(time.Millisecond))
}
