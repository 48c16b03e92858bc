package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/local"
	"incident-exporter/sinks/s3"
)

const (
	// demoSettle is the demo's EXPORTER_SETTLE: what changes while it runs must not have to wait
	// for the usual minute.
	demoSettle = time.Second

	// demoPatience ends a demo that hangs.
	demoPatience = 2 * time.Minute
)

func (a *app) demoCommand() *cobra.Command {
	var dir, to string
	command := &cobra.Command{
		Use:   "demo",
		Short: "Shows the whole job on a simulated tenant, in a local directory or a bucket",
		Long: "Starts the simulator, exports a tenant of a few thousand incidents while they are being updated and the\n" +
			"API misbehaves, exports again, verifies the archive, and shows that one changed byte is found.\n" +
			"Takes some ten seconds. Every step is this same program with other settings: nothing is staged but the API.\n" +
			"Exits with 0 only if the archive is whole, nothing is missing or there twice, and the change was found.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoPatience)
			defer cancel()
			var sink sinkURL
			if to != "" {
				if err := sink.UnmarshalText([]byte(to)); err != nil || sink.bucket == "" {
					return &exitError{exitUsage, errors.New("--sink must be s3://BUCKET/PREFIX"), "leave it out to archive in a directory (--dir)"}
				}
			}
			return a.demo(ctx, dir, sink)
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "empty or new `directory` for the archive (default: a temporary one, which stays)")
	command.Flags().StringVar(&to, "sink", "", "archive in this new `prefix` of a bucket, s3://BUCKET/PREFIX, with the AWS_ and EXPORTER_S3_ variables, instead")
	return command
}

// demo is one demonstration.
type demo struct {
	app     *app
	program string // this program
	env     []string

	archive sinkURL
	copy    string // directory
	tenant  *demoTenant
}

// demo runs the demonstration in dir.
func (a *app) demo(ctx context.Context, dir string, sink sinkURL) (err error) {
	begun := time.Now()
	dir, err = demoDir(dir)
	if err != nil {
		return err
	}
	if sink.bucket == "" {
		sink = sinkURL{dir: filepath.Join(dir, "archive")}
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	d := &demo{app: a, program: program, archive: sink, copy: filepath.Join(dir, "copy"), tenant: newDemoTenant()}
	if err := d.empty(ctx); err != nil {
		return err
	}
	served, err := serveSimulation(d.tenant, "127.0.0.1:0", dir, io.Discard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, served.Close()) }()
	d.env = d.environment(served)
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("demo in %s: %w", dir, err)
	}
	if d.archive.bucket == "" {
		d.heading("Look for yourself")
		d.say("%s", demoLook(d.archive.dir))
	}
	d.say("Done in %.0f s. To remove everything: rm -rf %s", time.Since(begun).Seconds(), quote(dir))
	return nil
}

// open opens the archive for reading.
func (d *demo) open(ctx context.Context) (reader, error) {
	if d.archive.bucket == "" {
		return local.OpenReader(d.archive.dir)
	}
	cfg := loadConfig(d.app.environ)
	cfg.Exporter.Sink = d.archive
	r, err := s3.OpenReader(ctx, cfg.s3(nil))
	return r, settingError(err)
}

// empty refuses a prefix that holds something.
func (d *demo) empty(ctx context.Context) error {
	if d.archive.bucket == "" {
		return nil // a directory is made for it
	}
	r, err := d.open(ctx)
	if err != nil {
		return err
	}
	for _, err := range r.List(ctx, "", "") {
		if err != nil {
			return readFailed(err)
		}
		return &exitError{exitUsage, fmt.Errorf("--sink %s is not empty", d.archive), "name a new prefix: the demo begins an archive of its own"}
	}
	return r.Close()
}

// demoDir makes the directory that the demo works in.
func demoDir(dir string) (string, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "incident-exporter-demo-")
		if err != nil {
			return "", fmt.Errorf("make a directory for the demo: %w", err)
		}
		return made, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of --dir: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read the directory of --dir: %w", err)
	}
	if len(entries) > 0 {
		return "", &exitError{exitUsage, fmt.Errorf("--dir %s is not empty", dir), "name a new directory: the demo begins an archive of its own"}
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the directory of --dir: %w", err)
	}
	return absolute, nil
}

// run is the demonstration once the tenant is served.
func (d *demo) run(ctx context.Context) error {
	d.heading("A tenant")
	d.say("%d incidents of the last %d days, in a simulator on this machine that plays Microsoft Entra ID\n"+
		"and the incidents API over TLS. While they are read, incidents are opened, updated, edited in bulk\n"+
		"and merged, and the API misbehaves: an error 503, an answer that breaks off, a connection that is\n"+
		"reset, and a 429 that calls of somebody else have earned.", demoIncidents, demoDays)

	d.heading("First export: everything there is")
	d.say("Pages shift while they are read, and whoever just follows them loses incidents. Here a stretch of\n" +
		"time counts as read only when the answers show that it is complete; else it is read again.")
	stop := d.tenant.live()
	err := d.step(ctx, nil, exitDone, "export", fmt.Sprintf("EXPORTER_START=%dd", demoDays+1))
	stop()
	if err != nil {
		return err
	}
	d.say("%s", d.tenant.said())

	d.heading("Second export: what has changed since")
	d.say("The tenant is quiet now. After this every incident's last version must be in the archive, and no\n" +
		"version twice.")
	if err := pause(ctx, demoSettle+2*time.Second); err != nil {
		return err
	}
	if err := d.step(ctx, nil, exitDone, "export"); err != nil {
		return err
	}

	d.heading("Proof, from the archive alone")
	d.say("Every batch has a manifest that names its versions and holds the hash of the manifest before it.\n" +
		"`verify` reads all of it. It asks no API.")
	if err := d.step(ctx, nil, exitDone, "verify"); err != nil {
		return err
	}

	d.heading("Against the truth")
	d.say("The simulator knows every version that it ever showed. The archive has to agree.")
	archive, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }() // read only
	counted, err := d.tenant.compare(ctx, archive)
	if err != nil {
		return err
	}
	d.say("%s", counted)

	d.heading("Tampering")
	changed, err := tamper(ctx, archive, d.copy)
	if err != nil {
		return err
	}
	d.say("In a copy of the archive one byte of %d is changed: byte %d of\n%s", changed.size, changed.at, changed.key)
	var found strings.Builder
	if err := d.step(ctx, &found, exitFaults, "verify --json", "EXPORTER_SINK=file:"+d.copy); err != nil {
		return err
	}
	if err := names(found.String(), changed.key); err != nil {
		return err
	}
	d.say("verify names the file and the lines in it, and exits with %d.", exitFaults)
	return nil
}

// names requires that the findings, one JSON object a line, say that key was altered, and no more.
func names(findings, key string) error {
	found := false
	for line := range strings.Lines(findings) {
		var f ledger.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return fmt.Errorf("read a finding of verify: %w", err)
		}
		switch {
		case f.Kind == "": // the summary
		case f.Key == key:
			found = found || f.Kind == ledger.Altered
		default:
			return fmt.Errorf("verify found %s at %q, which was not touched", f.Kind, f.Key)
		}
	}
	if !found {
		return fmt.Errorf("verify did not find that %s was changed", key)
	}
	return nil
}

// step runs a command line of this program as a process of its own, with more settings, and requires
// its exit code. Its output is shown, and written to output too if that is not nil.
func (d *demo) step(ctx context.Context, output io.Writer, code int, command string, more ...string) error {
	shown := []string{"$", "incident-exporter", command}
	if len(more) > 0 {
		shown = append([]string{"$"}, append(more, shown[1:]...)...)
	}
	d.say("%s", strings.Join(shown, " "))
	child := exec.CommandContext(ctx, d.program, strings.Fields(command)...)
	child.Env = append(d.env, more...)
	child.Stdout, child.Stderr = d.app.stdout, d.app.stderr
	if output != nil {
		child.Stdout = io.MultiWriter(d.app.stdout, output)
	}
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = 10 * time.Second
	err := child.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", command, ctx.Err())
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("%s: %w", command, err)
	case child.ProcessState.ExitCode() != code:
		return fmt.Errorf("%s exited with %d, not with %d", command, child.ProcessState.ExitCode(), code)
	}
	return nil
}

// environment is that of the demo's processes: ours without what configures the exporter, with the
// settings of the simulation.
func (d *demo) environment(served *simulation) []string {
	var env []string
	for _, entry := range d.app.environ {
		name, _, _ := strings.Cut(entry, "=")
		if (!strings.HasPrefix(name, "EXPORTER_") || strings.HasPrefix(name, "EXPORTER_S3_")) && !strings.HasPrefix(name, "AZURE_") && !strings.HasPrefix(name, "SSL_CERT_") {
			env = append(env, entry)
		}
	}
	settings := append(served.settings(),
		setting{"AZURE_CLIENT_SECRET", simulator.DefaultSecret},
		setting{"EXPORTER_SINK", d.archive.String()},
		setting{"EXPORTER_SETTLE", demoSettle.String()},
		setting{"EXPORTER_QUOTA", demoQuota},
		setting{"EXPORTER_LOG_FORMAT", "text"},
	)
	if !d.app.isTerminal(d.app.stderr) {
		// Where there is no line that shows how far it is, there would be one for each commit.
		settings = append(settings, setting{"EXPORTER_LOG_LEVEL", "warn"})
	}
	for _, s := range settings {
		env = append(env, s.name+"="+s.value)
	}
	return env
}

// heading begins a part of the demo.
func (d *demo) heading(text string) {
	fmt.Fprintf(d.app.stdout, "\n== %s %s\n", text, strings.Repeat("=", max(0, 76-len(text))))
}

// say prints a paragraph.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.app.stdout, format+"\n", args...) }

// pause waits, or returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// demoLook are commands that show what is in an archive.
func demoLook(archive string) string {
	return "Go to the archive:\n" +
		"  cd " + quote(archive) + "\n" +
		"How many versions there are, by status:\n" +
		"  zcat incidents/*/*/*/*.ndjson.gz | jq -r .status | sort | uniq -c\n" +
		"The incidents with the most versions:\n" +
		"  zcat incidents/*/*/*/*.ndjson.gz | jq -r .incidentId | sort | uniq -c | sort -rn | head -5\n" +
		"What a batch claims, and what holds it in the chain:\n" +
		"  jq 'del(.versions)' manifests/*/*/000000000003.json"
}

// quote makes a path one word of a shell.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
