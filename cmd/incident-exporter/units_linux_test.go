package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxExposure is what `systemd-analyze security` calls OK and more: of 10, 0 being the best.
const maxExposure = 2.0

// TestUnits: systemd finds nothing to say about the units, and its review of their sandboxes says OK.
func TestUnits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		message := fmt.Sprintf("%v; .ci/deployment installs it", err)
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("../../deploy/systemd/*.*")
	if err != nil || len(paths) != 3 {
		t.Fatalf("%v, %v", paths, err)
	}
	dir := t.TempDir()
	texts := map[string]string{}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var copies []string
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The program must be there.
		texts[filepath.Base(path)] = string(content)
		copies = append(copies, write(filepath.Base(path), strings.ReplaceAll(string(content), "/usr/local/bin/incident-exporter", self)))
	}
	// It exits with 0 also for keys that do not exist.
	verify := func(paths ...string) string {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, paths...)...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return string(out)
	}
	if said := verify(copies...); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	for _, damage := range [][2]string{{"WatchdogSec=", "WatchDogSec="}, {"Type=notify", "Type=notified"}, {"[Install]", "[Instal]"}, {"ProtectSystem=strict", "ProtectSystem=strictly"}} {
		text := strings.Replace(texts["incident-exporter.service"], damage[0], damage[1], 1)
		if said := verify(write("broken.service", strings.ReplaceAll(text, "/usr/local/bin/incident-exporter", self))); said == "" {
			t.Errorf("%q is not found", damage[1])
		}
	}
	exposure := regexp.MustCompile(`Overall exposure level for (\S+): ([0-9.]+) OK`)
	for _, path := range copies {
		if !strings.HasSuffix(path, ".service") {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
		m := exposure.FindStringSubmatch(string(out))
		if err != nil || m == nil {
			t.Fatalf("systemd-analyze security: %v: %s", err, out)
		}
		if level, err := strconv.ParseFloat(m[2], 64); err != nil || level > maxExposure {
			t.Errorf("%s: exposure %s, %v\n%s", m[1], m[2], err, out)
		}
		t.Logf("%s", m[0])
	}

	// Both services are one sandbox, and their patience is longer than the program's.
	_, daemon, _ := strings.Cut(texts["incident-exporter.service"], "\nEnvironmentFile=")
	_, export, _ := strings.Cut(texts["incident-exporter-export.service"], "\nEnvironmentFile=")
	daemon, _, _ = strings.Cut(daemon, "\n[Install]")
	if strings.TrimSpace(daemon) != strings.TrimSpace(export) || daemon == "" {
		t.Error("the services differ from EnvironmentFile on")
	}
	cfg := loadConfig(os.Environ())
	for _, limit := range []struct {
		unit, key string
		least     time.Duration
	}{
		{"incident-exporter.service", "TimeoutStopSec", cfg.Exporter.Grace.Duration},
		{"incident-exporter-export.service", "TimeoutStopSec", cfg.Exporter.Grace.Duration},
		{"incident-exporter-export.service", "TimeoutStartSec", cfg.Exporter.RunTimeout.Duration + cfg.Exporter.Grace.Duration},
	} {
		m := regexp.MustCompile(`(?m)^` + limit.key + `=(\d+)(s|min)$`).FindStringSubmatch(texts[limit.unit])
		if m == nil {
			t.Fatalf("%s has no %s", limit.unit, limit.key)
		}
		given, err := time.ParseDuration(m[1] + m[2][:1])
		if err != nil || given <= limit.least {
			t.Errorf("%s: %s is %s, the program takes %s", limit.unit, limit.key, given, limit.least)
		}
	}
}
