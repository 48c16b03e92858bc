package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest"
	"incident-exporter/sinks/sinktest/s3server"
)

// The program that `make bench` has built. The test binary would do, but is not what people run.
const builtProgram = "../../bin/incident-exporter"

// benchRounds is how often CPU is measured; the least of each side counts, for what is above it is
// the work of others.
const benchRounds = 3

// cost is what processes used.
type cost struct {
	cpu    time.Duration // user and system
	memory int64         // largest resident set of one of them, bytes
}

// costOf is what finished processes used.
//
// Linux counts in what the process that started it had in memory at that moment. Ours is small as
// long as these tests run before those that simulate in this process: files are run by name.
func costOf(t *testing.T, processes ...*exec.Cmd) (c cost) {
	t.Helper()
	for _, p := range processes {
		usage, ok := p.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			t.Fatalf("no resource usage of %s", p.Path)
		}
		c.cpu += p.ProcessState.UserTime() + p.ProcessState.SystemTime()
		size := int64(usage.Maxrss)
		if runtime.GOOS != "darwin" {
			size *= 1024
		}
		c.memory = max(c.memory, size)
	}
	return c
}

// exportOnce exports a simulated tenant into a new archive with a process of its own. The error is
// that of the export, or says that it did not export everything.
func exportOnce(t *testing.T, env []string, incidents int) (archive string, c cost, err error) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "archive")
	_, c, err = exportTo(t, append(slices.Clone(env), "EXPORTER_SINK=file:"+archive), incidents)
	return archive, c, err
}

// exportTo does so to the archive that env names, and says how many commits it took.
func exportTo(t *testing.T, env []string, incidents int) (commits int, c cost, err error) {
	t.Helper()
	program, err := filepath.Abs(builtProgram)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "export", "--json")
	// What was updated in the last minute is to be counted too.
	command.Env = append(slices.Clone(env), "EXPORTER_LOG_LEVEL=warn", "EXPORTER_SETTLE=0s")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return 0, cost{}, fmt.Errorf("export: %w, %s", err, errs.String())
	}
	versions := 0
	for _, result := range jsonLines(t, out.String()) { // one a tenant
		got, _ := result["versions"].(float64)
		made, _ := result["commits"].(float64)
		versions, commits = versions+int(got), commits+int(made)
	}
	if versions != incidents {
		return 0, cost{}, fmt.Errorf("export: %d versions of %d incidents, %s", versions, incidents, errs.String())
	}
	return commits, costOf(t, command), nil
}

// curlOnce fetches the same pages with curl through gzip -6, and returns the size of the result.
func curlOnce(t *testing.T, env []string, incidents int) (size int64, c cost) {
	t.Helper()
	setting := func(name string) string {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		t.Fatalf("no %s", name)
		return ""
	}
	curl := func(stdin string, args ...string) *exec.Cmd {
		command := exec.CommandContext(t.Context(), "curl", append([]string{"-q", "-sS", "--fail", "--noproxy", "*", "--cacert", setting("SSL_CERT_FILE")}, args...)...)
		command.Stdin, command.Stderr = strings.NewReader(stdin), os.Stderr
		return command
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {simulator.DefaultClientID}, "client_secret": {simulator.DefaultSecret},
		"scope": {simulator.DefaultAudience + "/.default"},
	}
	answer, err := curl(form.Encode(), "--data", "@-", setting("AZURE_AUTHORITY_HOST")+"/"+simulator.DefaultTenant+"/oauth2/v2.0/token").Output()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err != nil || json.Unmarshal(answer, &token) != nil || token.AccessToken == "" {
		t.Fatalf("token: %v", err)
	}
	var pages strings.Builder
	fmt.Fprintf(&pages, "header = \"Authorization: Bearer %s\"\n", token.AccessToken)
	for skip := 0; skip < incidents; skip += 100 {
		fmt.Fprintf(&pages, "url = \"%s/api/incidents?$top=100&$skip=%d\"\n", setting("EXPORTER_API_URL"), skip)
	}
	fetch := curl(pages.String(), "--globoff", "--config", "-")
	compress := exec.CommandContext(t.Context(), "gzip", "-6")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var compressed counter
	fetch.Stdout, compress.Stdin, compress.Stdout = w, r, &compressed
	for _, command := range []*exec.Cmd{compress, fetch} {
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = w.Close(), r.Close() // the processes have their own
	for _, command := range []*exec.Cmd{fetch, compress} {
		if err := command.Wait(); err != nil {
			t.Fatalf("%s: %v", command.Path, err)
		}
	}
	return int64(compressed), costOf(t, fetch, compress)
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)

// dataSize is how many bytes the data objects of an archive have.
func dataSize(t *testing.T, archive string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(archive, "incidents"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestBenchProcesses measures the real program, beside curl and gzip, on a simulator in a process of
// its own.
func TestBenchProcesses(t *testing.T) {
	if !benching() {
		return
	}
	tenant := func(incidents, size int, more ...string) (env []string, stop func()) {
		file := filepath.Join(t.TempDir(), "sim.env")
		// Not up to the edge of the retention: what would vanish is not to be missed.
		sim := simulate(t, append(more, "--settings", file, "--no-quota", "--incidents", fmt.Sprint(incidents), "--size", fmt.Sprint(size), "--span", "179d")...)
		return sourced(t, file), func() {
			if said := sim.stop(t); !strings.Contains(said, " 0 violations") {
				t.Error(said)
			}
		}
	}
	const mebi = 1 << 20
	env, stop := tenant(20_000, 8_000)
	var ours, theirs cost
	var stored, piped int64
	for n := range benchRounds {
		archive, c, err := exportOnce(t, env, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		size, d := curlOnce(t, env, 20_000)
		if n == 0 || c.cpu < ours.cpu {
			ours.cpu = c.cpu
		}
		if n == 0 || d.cpu < theirs.cpu {
			theirs.cpu = d.cpu
		}
		ours.memory = max(ours.memory, c.memory)
		stored, piped = dataSize(t, archive), size
	}
	benchS3(t, env, ours)
	stop()
	figure("CPU / curl and gzip -6 of the same pages", ours.cpu.Seconds()/theirs.cpu.Seconds(), 0.55, "",
		fmt.Sprintf("%v / %v, 20,000 incidents of 8 KB", ours.cpu.Round(10*time.Millisecond), theirs.cpu.Round(10*time.Millisecond)))
	figure("size / curl and gzip -6 of the same pages", float64(stored)/float64(piped), 1.1, "", fmt.Sprintf("%d / %d bytes", stored, piped))
	figure("peak memory, 20,000 incidents of 8 KB", float64(ours.memory)/mebi, 40, "MiB", "")

	for _, large := range []struct {
		incidents, size int
		name, density   string
	}{
		{200_000, 8_000, "200,000 incidents of 8 KB", "uniform"},
		{1_000_000, 2_000, "1,000,000 incidents of 2 KB, 80 % in one hour", "most-in-one-hour"},
	} {
		env, stop = tenant(large.incidents, large.size, "--density", large.density)
		_, c, err := exportOnce(t, env, large.incidents)
		stop()
		if err != nil {
			t.Fatal(err)
		}
		figure("peak memory, "+large.name, float64(c.memory)/mebi, 40, "MiB", fmt.Sprintf("%v CPU", c.cpu.Round(10*time.Millisecond)))
	}

	// A partner's first export of a hundred customers, all at once.
	env, stop = tenant(2_000, 8_000, "--tenants", "100")
	_, c, err := exportOnce(t, env, 200_000)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	figure("peak memory, 100 tenants of 2,000 incidents of 8 KB at once", float64(c.memory)/mebi, 256, "MiB", fmt.Sprintf("%v CPU", c.cpu.Round(10*time.Millisecond)))

	// A page of 100 is 100 MB, three times what one answer may have.
	env, stop = tenant(400, 1_000_000)
	_, c, err = exportOnce(t, env, 400)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	figure("peak memory, 400 incidents of 1 MB: a page is 100 MB", float64(c.memory)/mebi, 128, "MiB", "EXPORTER_MAX_ANSWER_BYTES is 32 MiB")
}

// counted passes requests on to a server and counts them.
type counted struct {
	*httptest.Server
	requests atomic.Int64
}

func counting(t *testing.T, to string) *counted {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// benchVerify measures a verification of 10,000 objects in a bucket beside listing them and fetching
// each, as many at once, and nothing else: what the store takes by itself.
func benchVerify(t *testing.T, server *s3server.Server) {
	const manifests = 5_000 // and as many data objects, but for the first one
	mem := sinktest.NewMem()
	makeChain(t, mem, manifests)
	server.Bucket(t, "verified", false)
	for _, key := range mem.Keys() { // the server shows the files of its directory as objects
		path := filepath.Join(server.Root, "verified", filepath.FromSlash(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, mem.Bytes(key), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	program, err := filepath.Abs(builtProgram)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	command := exec.CommandContext(t.Context(), program, "verify", "--strict")
	command.Env = append(server.Environment(), "EXPORTER_S3_PATH_STYLE=true", "EXPORTER_SINK=s3://verified")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("verify: %v, %s", err, out)
	}
	ours := time.Since(begun)

	client, keys := server.Client(t), make(chan string)
	begun = time.Now()
	var fetchers sync.WaitGroup
	for range (sinkURL{bucket: "verified"}).ahead() {
		fetchers.Go(func() {
			for key := range keys {
				out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("verified"), Key: aws.String(key)})
				if err != nil {
					t.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, out.Body)
				_ = out.Body.Close()
			}
		})
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String("verified")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys <- *o.Key
		}
	}
	close(keys)
	fetchers.Wait()
	alone := time.Since(begun)
	figure("time of verify, 10,000 objects / listing and fetching them", ours.Seconds()/alone.Seconds(), 1.5, "",
		fmt.Sprintf("%v / %v", ours.Round(10*time.Millisecond), alone.Round(10*time.Millisecond)))
}

// benchS3 measures the same export to a real S3 server beside it.
func benchS3(t *testing.T, env []string, local cost) {
	// It keeps connections as stores do. In other tests it does not: it loses the thread of one where the
	// AWS CLI has sent a request with Expect: 100-continue.
	t.Setenv("VGW_KEEP_ALIVE", "true")
	server := s3server.Start(t, false)
	env = append(append(slices.Clone(env), server.Environment()...), "EXPORTER_S3_PATH_STYLE=true")
	var best cost
	for n := range benchRounds {
		bucket := fmt.Sprintf("bench-%d", n)
		server.Bucket(t, bucket, false)
		_, c, err := exportTo(t, append(slices.Clone(env), "EXPORTER_SINK=s3://"+bucket), 20_000)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || c.cpu < best.cpu {
			best.cpu = c.cpu
		}
		best.memory = max(best.memory, c.memory)
	}
	figure("CPU of an export to S3 / to local files", best.cpu.Seconds()/local.cpu.Seconds(), 1.25, "",
		fmt.Sprintf("%v / %v, 20,000 incidents of 8 KB", best.cpu.Round(10*time.Millisecond), local.cpu.Round(10*time.Millisecond)))
	figure("peak memory of an export to S3", float64(best.memory)/(1<<20), 96, "MiB", "")

	benchVerify(t, server)

	proxy := counting(t, server.Endpoint)
	server.Bucket(t, "counted", false)
	env = append(env, "EXPORTER_SINK=s3://counted", "AWS_ENDPOINT_URL_S3="+proxy.URL)
	commits, _, err := exportTo(t, env, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	all := proxy.requests.Load()
	figure("S3 requests of a first export / batches", float64(all)/float64(commits), 2.2, "", fmt.Sprintf("%d requests, %d batches", all, commits))
}
