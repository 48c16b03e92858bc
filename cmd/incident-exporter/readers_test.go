package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest/s3server"
)

// readers are programs of others that read an archive. `.ci/readers` installs them.
type readers struct {
	*testing.T
	aws, duckdb string
	endpoint    string
	env         []string // for the AWS CLI
}

// findReaders leaves the test out where they are not there and cannot be built, but not in CI.
func findReaders(t *testing.T, server *s3server.Server) *readers {
	t.Helper()
	absent := func(what string, err error, said string) {
		t.Helper()
		message := fmt.Sprintf("%s: %v: %s; .ci/readers installs it", what, err, said)
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	r := &readers{T: t, endpoint: server.Endpoint}
	var err error
	if r.aws, err = exec.LookPath("aws"); err != nil {
		absent("find the AWS CLI", err, "")
	}
	if said, err := exec.CommandContext(t.Context(), r.aws, "--version").CombinedOutput(); err != nil {
		absent("start the AWS CLI", err, string(said))
	} else {
		t.Logf("%s", said)
	}
	var said bytes.Buffer
	build := exec.CommandContext(t.Context(), "go", "tool", "-C", filepath.Join("..", "..", ".ci", "duckdb"), "-n", "duckdb")
	build.Stderr = &said
	built, err := build.Output()
	if err != nil {
		absent("build DuckDB", err, said.String())
	}
	r.duckdb = strings.TrimSpace(string(built))
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			r.env = append(r.env, e)
		}
	}
	for _, e := range server.Environment() {
		name, value, _ := strings.Cut(e, "=")
		if value != "" { // it looks for a profile whose name is empty
			r.env = append(r.env, e)
		}
		if name == "AWS_REGION" { // which version 1 does not read
			r.env = append(r.env, "AWS_DEFAULT_REGION="+value)
		}
	}
	r.env = append(r.env, "AWS_PAGER=", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	return r
}

// cli runs the AWS CLI, which must succeed. Versions before 2.13 do not read the endpoint from the
// environment.
func (r *readers) cli(args ...string) string {
	r.Helper()
	return r.output(r.env, "", r.aws, append(args, "--endpoint-url", r.endpoint)...)
}

// query runs DuckDB in a directory and decodes its rows.
func (r *readers) query(dir, sql string, rows any) {
	r.Helper()
	lines := strings.Split(strings.TrimSpace(r.output([]string{"HOME=" + r.TempDir()}, dir, r.duckdb, sql)), "\n")
	if err := json.Unmarshal([]byte("["+strings.Join(lines, ",")+"]"), rows); err != nil {
		r.Fatalf("%s: %v", sql, err)
	}
}

func (r *readers) output(env []string, dir, name string, args ...string) string {
	r.Helper()
	command := exec.CommandContext(r.Context(), name, args...)
	command.Env, command.Dir = env, dir
	var errs bytes.Buffer
	command.Stderr = &errs
	out, err := command.Output()
	if err != nil {
		r.Fatalf("%s: %v: %s%s", command, err, out, errs.String())
	}
	return string(out)
}

// documentedQuery is the one that the README shows.
func documentedQuery(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, begun := strings.Cut(string(readme), "\n    duckdb -c \"")
	sql, _, ended := strings.Cut(after, "\"\n")
	if !begun || !ended {
		t.Fatal("the README shows no query of DuckDB")
	}
	return sql
}

// TestIndependentReaders: what knows nothing of this project finds in an archive what its own
// `list` and `verify` say is there, in objects of all compressions.
func TestIndependentReaders(t *testing.T) {
	t.Parallel()
	if testing.Short() { // the race detector's pass: the programs are not ours
		return
	}
	s, server := newLockedScene(t, simulator.Options{Seed: 15, Incidents: 400, Tie: 30})
	r := findReaders(t, server)
	s.env = append(s.env, "EXPORTER_BATCH_RECORDS=60")
	// The archive begins a day ago, so that it has two dates.
	var skew time.Duration
	s.behave(func(b *simulator.Behaviour) { skew, b.ClockSkew = b.ClockSkew, -24*time.Hour })
	s.done("export")
	s.behave(func(b *simulator.Behaviour) { b.ClockSkew = skew })
	for _, compression := range []string{"gzip", "zstd", "none"} { // each acts one manifest later
		s.sim.Bulk(70)
		s.later()
		if result := s.run([]string{"EXPORTER_COMPRESSION=" + compression}, "export"); result.code != exitDone {
			t.Fatalf("%+v", result)
		}
	}
	if len(s.files(".gz")) == 0 || len(s.files(".zst")) == 0 || len(s.files(".ndjson")) == 0 {
		t.Fatalf("not all compressions: %s", s.content())
	}

	// What the archive says of itself.
	type partition struct{ Tenant, Date string }
	lines, batches := map[partition]int{}, 0
	var keys []string
	for _, row := range jsonLines(t, s.done("list", "--json").stdout) {
		keys = append(keys, fmt.Sprintf("xdr/manifests/source=%s/tenant=%s/%012.0f.json", row["source"], row["tenant"], row["seq"]))
		key := row["key"].(string)
		if key == "" { // the first manifest has no data
			continue
		}
		keys = append(keys, "xdr/"+key)
		_, date, _ := strings.Cut(filepath.Base(filepath.Dir(key)), "=")
		if n := int(row["lines"].(float64)); n > 0 {
			batches++
			lines[partition{row["tenant"].(string), date}] += n
		}
	}
	slices.Sort(keys)
	verified := jsonLines(t, s.done("verify", "--strict", "--json").stdout)
	summary := verified[len(verified)-1]["summary"].(map[string]any)
	total := int(summary["versions"].(float64))
	if len(lines) < 2 || total < 500 {
		t.Fatalf("too little of a scene: %v, %v", lines, summary)
	}

	// The AWS CLI lists all of it, page by page, and copies it down and up.
	var listed []string
	text := r.cli("s3api", "list-objects-v2", "--bucket", testBucket, "--prefix", "xdr/", "--page-size", "9", "--query", "Contents[].Key", "--output", "json")
	if err := json.Unmarshal([]byte(text), &listed); err != nil {
		t.Fatal(err)
	}
	listed = slices.DeleteFunc(listed, func(key string) bool { return strings.HasPrefix(key, "xdr/.incident-exporter/") })
	if !slices.Equal(listed, keys) {
		t.Errorf("the AWS CLI lists %q\nlist says %q", listed, keys)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	r.cli("s3", "sync", "--only-show-errors", "s3://"+testBucket+"/xdr", dir)
	server.Bucket(t, "second", false)
	r.cli("s3", "sync", "--only-show-errors", dir, "s3://second/copy")
	for _, sink := range []string{"file:" + dir, "s3://second/copy"} {
		result := s.run([]string{"EXPORTER_SINK=" + sink}, "verify", "--strict", "--json")
		if found := jsonLines(t, result.stdout); result.code != exitDone || fmt.Sprint(found) != fmt.Sprint(verified) {
			t.Errorf("%s: %+v, want %v", sink, result, verified)
		}
	}

	// DuckDB reads the copy as it lies.
	var counted []struct {
		partition
		Lines, Versions int
	}
	r.query(dir, documentedQuery(t), &counted)
	versions := 0
	for _, c := range counted {
		c.Date, _, _ = strings.Cut(c.Date, "T")
		if c.Lines != lines[c.partition] {
			t.Errorf("%v: DuckDB counts %d lines, list says %d", c.partition, c.Lines, lines[c.partition])
		}
		delete(lines, c.partition)
		versions += c.Versions
	}
	if len(lines) != 0 || versions != total {
		t.Errorf("DuckDB does not see %v, and counts %d versions of %d", lines, versions, total)
	}

	// It finds types for all that is in an incident by itself.
	var whole []struct{ Lines, Objects, Numbers int }
	r.query(dir, `SELECT count(*) AS lines, count(DISTINCT filename) AS objects, count(incidentId::BIGINT) AS numbers
		FROM read_json('incidents/*/*/*/*', hive_partitioning = true, union_by_name = true, sample_size = -1, filename = true)`, &whole)
	if w := whole[0]; w.Lines != total || w.Numbers != total || w.Objects != batches {
		t.Errorf("DuckDB reads %+v of %d lines in %d objects", w, total, batches)
	}

	// Each line has the hash, the incident and the update time that its manifest says.
	var proved []struct{ Claimed, Proved int }
	r.query(dir, `WITH line AS (
			SELECT filename AS key, sha256(json::VARCHAR) AS sha256, json->>'incidentId' AS id, json->>'lastUpdateTime' AS updated
			FROM read_ndjson_objects('incidents/*/*/*/*', filename = true)),
		version AS (SELECT key, v.sha256, v.id, v.updated FROM (
			SELECT object.key, unnest(versions) AS v FROM read_ndjson('manifests/*/*/*', columns = {
				object: 'STRUCT(key VARCHAR)', versions: 'STRUCT(id VARCHAR, updated VARCHAR, sha256 VARCHAR)[]'})))
		SELECT count(*) AS claimed, count(line.id) AS proved FROM version LEFT JOIN line USING (key, sha256, id, updated)`, &proved)
	if p := proved[0]; p.Claimed != total || p.Proved != total {
		t.Errorf("of %d versions the manifests have %d, and DuckDB finds %d in the objects", total, p.Claimed, p.Proved)
	}
	s.whole()
}
