package local_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"incident-exporter/sinks"
	"incident-exporter/sinks/local"
)

// roleVariable makes the test binary play another process: "ROLE DIR ARG".
const roleVariable = "LOCAL_TEST_ROLE"

func TestMain(m *testing.M) {
	role := strings.Fields(os.Getenv(roleVariable))
	if len(role) == 0 {
		os.Exit(m.Run())
	}
	roles := map[string]func(dir, arg string) error{
		"race": raceRole, "write": writeRole, "limit": limitRole, "mounts": mountsRole,
	}
	if err := roles[role[0]](role[1], role[2]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is this test binary in another role; its directories have no spaces.
func process(t *testing.T, role, dir, arg string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role+" "+dir+" "+arg)
	cmd.Stderr = os.Stderr
	return cmd
}

const raceKeys = 100

func raceRole(dir, name string) error {
	s, err := local.Open(dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for i := range raceKeys {
		key := fmt.Sprintf("race/%d/object", i)
		switch err := s.Put(context.Background(), key, raceContent(name)); {
		case err == nil:
			fmt.Println("won", key)
		case errors.Is(err, sinks.ErrExists):
			fmt.Println("lost", key)
		default:
			return err
		}
	}
	return nil
}

func raceContent(name string) []byte { return bytes.Repeat([]byte(name), 10_000) }

func TestTwoProcessesRace(t *testing.T) {
	dir := t.TempDir()
	type racer struct {
		name string
		in   io.WriteCloser
		out  *bufio.Scanner
		wait func() error
	}
	var racers []racer
	for _, name := range []string{"red", "blue"} {
		cmd := process(t, "race", dir, name)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		racers = append(racers, racer{name, in, bufio.NewScanner(out), cmd.Wait})
	}
	for _, r := range racers {
		if !r.out.Scan() || r.out.Text() != "ready" {
			t.Fatalf("%s says %q", r.name, r.out.Text())
		}
	}
	for _, r := range racers {
		if _, err := io.WriteString(r.in, "go\n"); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	said := make([][]string, len(racers))
	for i, r := range racers {
		wg.Go(func() {
			for r.out.Scan() {
				said[i] = append(said[i], r.out.Text())
			}
		})
	}
	wg.Wait()
	winner := map[string]string{}
	for i, r := range racers {
		if err := r.wait(); err != nil {
			t.Errorf("%s: %v, said %q", r.name, err, said[i])
		}
		if len(said[i]) != raceKeys {
			t.Errorf("%s spoke of %d keys, want %d", r.name, len(said[i]), raceKeys)
		}
		for _, line := range said[i] {
			if key, won := strings.CutPrefix(line, "won "); won {
				if winner[key] != "" {
					t.Errorf("%q was won by both", key)
				}
				winner[key] = r.name
			}
		}
	}
	s := open(t, dir)
	if got := keys(t, s); len(got) != raceKeys || len(winner) != raceKeys {
		t.Errorf("%d objects and %d winners, want %d", len(got), len(winner), raceKeys)
	}
	for key, name := range winner {
		if got := read(t, s, key); !bytes.Equal(got, raceContent(name)) {
			t.Errorf("%q: won by %s, holds %d bytes %.10q", key, name, len(got), got)
		}
	}
	if left := temps(t, dir); left != nil {
		t.Errorf("temporary files left: %q", left)
	}
}

func read(t *testing.T, s sinks.Reader, key string) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeRole puts without end and says what is stored.
func writeRole(dir, round string) error {
	s, err := local.Open(dir)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 { // so that a kill finds Puts at different steps
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("round%s/%d/%d", round, w, i)
				if err := s.Put(context.Background(), key, killContent(key)); err != nil {
					failed <- err
				}
				fmt.Println(key)
			}
		}()
	}
	return <-failed
}

func killContent(key string) []byte { return bytes.Repeat([]byte(key+"\n"), 10_000) }

func TestKilledInTheMiddle(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range rounds {
		cmd := process(t, "write", dir, fmt.Sprint(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				break // it is dead; what it said before that counts
			}
			if err != nil || strings.HasPrefix(line, "error") {
				t.Fatalf("round %d: %q, %v", round, line, err)
			}
			acknowledged[strings.TrimSuffix(line, "\n")] = true
			if n == round {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("round %d: the process was not killed", round)
		}
	}
	s := open(t, dir)
	stored := keys(t, s)
	for _, key := range stored {
		if got := read(t, s, key); !bytes.Equal(got, killContent(key)) {
			t.Errorf("%q holds %d bytes, want %d", key, len(got), len(killContent(key)))
		}
		put(t, s, key, string(killContent(key)))
		delete(acknowledged, key)
	}
	if len(acknowledged) > 0 {
		t.Errorf("acknowledged but not stored: %v", acknowledged)
	}
	t.Logf("%d kills, %d objects stored, %d temporary files left", rounds, len(stored), len(temps(t, dir)))
}

// limitRole meets the limit on the size of a file, which any user can set.
func limitRole(dir, _ string) error {
	s, err := local.Open(dir)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
		return err
	}
	return refused(s, dir, "incidents/large", make([]byte, 2<<20), syscall.EFBIG)
}

// refused says what is wrong unless the Put fails for the reason given, with
// key and directory in its error, and leaves nothing.
func refused(s *local.Sink, dir, key string, data []byte, reason error) error {
	ctx := context.Background()
	err := s.Put(ctx, key, data)
	if !errors.Is(err, reason) || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), dir) {
		return fmt.Errorf("put %q: %w, want %w with key and directory", key, err, reason)
	}
	if _, err := s.Get(ctx, key); !errors.Is(err, sinks.ErrNotExist) {
		return fmt.Errorf("get %q after the refusal: %w, want ErrNotExist", key, err)
	}
	for o, err := range s.List(ctx, key, "") {
		return fmt.Errorf("list after the refusal: %v, %w", o, err)
	}
	entries, err := os.ReadDir(dir + "/.incident-exporter/tmp")
	if err != nil || len(entries) > 0 {
		return fmt.Errorf("temporary files after the refusal: %v, %w", entries, err)
	}
	return nil
}

func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	if out, err := process(t, "limit", dir, "-").Output(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := open(t, dir)
	if got := keys(t, s); got != nil {
		t.Errorf("list: %q", got)
	}
	put(t, s, "incidents/large", strings.Repeat("x", 2<<20))
}
