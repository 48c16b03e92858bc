package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest/s3server"
)

const testBucket = "archive"

// newS3Scene exports to a bucket of a real server with Object Lock. The server keeps the bucket's
// objects as files of the same names, so that what looks at a scene's directory looks at the bucket.
func newS3Scene(t *testing.T, opts simulator.Options) *scene {
	t.Helper()
	s, _ := newLockedScene(t, opts)
	return s
}

func newLockedScene(t *testing.T, opts simulator.Options) (*scene, *s3server.Server) {
	t.Helper()
	server := s3server.Start(t, true)
	server.Bucket(t, testBucket, true)
	s := newScene(t, opts)
	s.dir = filepath.Join(server.Root, testBucket, "xdr")
	s.env = append(append(s.env, server.Environment()...), "EXPORTER_SINK=s3://"+testBucket+"/xdr/", "EXPORTER_S3_PATH_STYLE=true",
		"EXPORTER_S3_LOCK_MODE=governance", "EXPORTER_S3_LOCK_DAYS=1")
	return s, server
}

func TestExportToS3(t *testing.T) {
	t.Parallel()
	s, server := newLockedScene(t, simulator.Options{Seed: 5, Incidents: 700, Tie: 40})
	first := s.done("export")
	if !strings.Contains(first.stderr, `"credentials":"EnvConfigCredentials"`) || strings.Contains(first.stderr, server.Secret) || strings.Contains(first.stderr, server.Access) {
		t.Errorf("the source of the credentials, and not they, is to be logged: %s", first.stderr)
	}
	s.whole()
	for _, id := range s.sim.RandomIDs(30) {
		_, _ = s.sim.Update(id)
	}
	s.later()
	s.done("export")
	s.whole()
	id := fmt.Sprint(s.sim.RandomIDs(1)[0])
	if r := s.done("show", id); !strings.Contains(r.stdout, `"incidentId":`+id) {
		t.Errorf("show: %+v", r)
	}
	if r := s.done("list", "--json"); strings.Count(r.stdout, "\n") != len(s.files(".json")) {
		t.Errorf("list: %s, manifests %v", r.stdout, s.files(".json"))
	}

	// Copied to a directory by anything it is the same archive.
	client := server.Client(t)
	copied := t.TempDir()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(testBucket)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: o.Key})
			if err != nil {
				t.Fatal(err)
			}
			var body bytes.Buffer
			_, err = body.ReadFrom(out.Body)
			path := filepath.Join(copied, *o.Key)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err != nil || os.WriteFile(path, body.Bytes(), 0o600) != nil {
				t.Fatal(err)
			}
			n++
			want := map[string]string{".gz": "application/gzip", ".json": "application/json"}[filepath.Ext(*o.Key)]
			if want != "" && aws.ToString(out.ContentType) != want || out.ContentEncoding != nil && *out.ContentEncoding != "" {
				t.Errorf("%s is %q, %v", *o.Key, aws.ToString(out.ContentType), out.ContentEncoding)
			}
			// The lock keeps it, whoever asks.
			if want == "" {
				continue
			}
			lock, err := client.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: aws.String(testBucket), Key: o.Key})
			if err != nil || lock.Retention.Mode != types.ObjectLockRetentionModeGovernance || time.Until(*lock.Retention.RetainUntilDate).Round(time.Hour) != 24*time.Hour {
				t.Errorf("%s: %+v, %v", *o.Key, lock, err)
			}
			_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: o.Key, VersionId: out.VersionId})
			if err == nil {
				t.Errorf("%s could be deleted", *o.Key)
			}
		}
	}
	if n < 4 {
		t.Fatalf("%d objects", n)
	}
	if r := s.run([]string{"EXPORTER_SINK=file:" + filepath.Join(copied, "xdr")}, "verify", "--strict"); r.code != exitDone {
		t.Errorf("the copy: %+v", r)
	}
	s.whole()

	// And a directory that is copied to a bucket.
	server.Bucket(t, "second", false)
	err := filepath.WalkDir(filepath.Join(copied, "xdr"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, _ := filepath.Rel(copied, path)
		_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("second"), Key: aws.String(key), Body: bytes.NewReader(data)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.run([]string{"EXPORTER_SINK=s3://second/xdr"}, "verify", "--strict"); r.code != exitDone {
		t.Errorf("the copied directory: %+v", r)
	}
}

func TestManyExportersOfOneBucket(t *testing.T) {
	t.Parallel()
	s := newS3Scene(t, simulator.Options{Seed: 9, Incidents: 500})
	var processes []*process
	for range 8 {
		processes = append(processes, s.start(t.Context(), []string{"EXPORTER_BATCH_RECORDS=50"}, "export"))
	}
	for _, p := range processes {
		if r := p.wait(); r.code != exitDone || !strings.Contains(r.stdout, ":") {
			t.Errorf("%+v", r)
		}
	}
	s.whole()
}

// policy allows a user some actions on the archive, and to see the bucket's list if that is among them.
func policy(t *testing.T, server *s3server.Server, bucket, user string, actions ...string) {
	t.Helper()
	var statements []string
	for _, action := range actions {
		resource := bucket + "/*"
		if action == "s3:ListBucket" {
			resource = bucket
		}
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":[%q]},"Action":[%q],"Resource":["arn:aws:s3:::%s"]}`, user, action, resource))
	}
	text := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	_, err := server.Client(t).PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(text)})
	if err != nil {
		t.Fatalf("put the policy of %s: %v", user, err)
	}
}

// TestS3Refusals: each gets one sentence and its remedy, and the bucket stays as it is.
func TestS3Refusals(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	server := s3server.Start(t, false)
	server.Bucket(t, testBucket, false)
	s := newScene(t, simulator.Options{Seed: 6, Incidents: 30})
	s.dir = filepath.Join(server.Root, testBucket, "xdr")
	s.env = append(append(s.env, server.Environment()...), "EXPORTER_SINK=s3://"+testBucket+"/xdr", "EXPORTER_S3_PATH_STYLE=true")
	for name, actions := range map[string][]string{
		"no-put": {"s3:GetObject", "s3:ListBucket"}, "no-get": {"s3:PutObject", "s3:ListBucket"},
		"no-list": {"s3:PutObject", "s3:GetObject"},
	} {
		bucket := "for-" + name
		server.Bucket(t, bucket, false)
		user, _ := server.User(t, name)
		policy(t, server, bucket, user, actions...)
	}
	server.Bucket(t, "for-nothing", false)
	server.Bucket(t, "for-something", false)
	if _, err := server.Client(t).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("for-something"), Key: aws.String("xdr/photos/cat.jpeg"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	server.User(t, "nothing")
	s.done("export")
	before := s.content()
	as := func(name string) []string {
		return append(server.EnvironmentAs(name, name+"-secret"), "EXPORTER_SINK=s3://for-"+name+"/xdr")
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ignoring := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a store without conditions
		if r.Method == http.MethodPut {
			w.Header().Set("ETag", `"x"`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(ignoring.Close)
	tls := s3server.Start(t, true)
	for name, test := range map[string]struct {
		env          []string
		code         int
		says, remedy string
	}{
		"no bucket":     {[]string{"EXPORTER_SINK=s3://not-there"}, exitFailed, "NoSuchBucket", "create the bucket"},
		"no region":     {[]string{"AWS_REGION="}, exitUsage, "no region is set", "set AWS_REGION"},
		"no profile":    {[]string{"AWS_PROFILE=none", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, exitUsage, "profile", "AWS_"},
		"nobody":        {[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, exitUsage, "get credentials", "AWS_ACCESS_KEY_ID"},
		"wrong key":     {[]string{"AWS_ACCESS_KEY_ID=unknown"}, exitFailed, "status ", "check the credentials"},
		"wrong secret":  {[]string{"AWS_SECRET_ACCESS_KEY=wrong"}, exitFailed, "SignatureDoesNotMatch", "check the credentials"},
		"unreachable":   {[]string{"AWS_ENDPOINT_URL_S3=http://" + closed.Addr().String()}, exitFailed, "connection refused", "AWS_ENDPOINT_URL_S3"},
		"unknown CA":    {append(tls.Environment(), "AWS_CA_BUNDLE="), exitFailed, "certificate", "AWS_CA_BUNDLE"},
		"no conditions": {[]string{"AWS_ENDPOINT_URL_S3=" + ignoring.URL}, exitFailed, "ignores If-None-Match", "conditional PutObject"},
		"other region":  {[]string{"AWS_REGION=eu-north-1"}, exitFailed, "status 4", "set AWS_REGION to the region of the bucket"},
		"path style":    {[]string{"AWS_ENDPOINT_URL_S3=http://store.invalid", "EXPORTER_S3_PATH_STYLE=false"}, exitFailed, "archive.store.invalid", "EXPORTER_S3_PATH_STYLE=true"},
		"something":     {[]string{"EXPORTER_SINK=s3://for-something/xdr"}, exitFailed, "holds no archive but something else", "empty directory or prefix"},
		"no lock":       {[]string{"EXPORTER_SINK=s3://archive/other", "EXPORTER_S3_LOCK_MODE=compliance", "EXPORTER_S3_LOCK_DAYS=30"}, exitFailed, "Lock", "enable Object Lock"},
		"lock alone":    {[]string{"EXPORTER_S3_LOCK_MODE=compliance"}, exitUsage, "EXPORTER_S3_LOCK_DAYS", ""},
		"key alone":     {[]string{"EXPORTER_S3_KMS_KEY=alias/made-up"}, exitUsage, "EXPORTER_S3_KMS_KEY", ""},
		"no rights":     {as("nothing"), exitFailed, "AccessDenied", "s3:PutObject"},
		"no put":        {as("no-put"), exitFailed, "AccessDenied", "s3:PutObject"},
		"no list":       {as("no-list"), exitFailed, "AccessDenied", "s3:ListBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.run(test.env, "export")
			if r.code != test.code || !strings.Contains(r.stderr, test.says) || !strings.Contains(r.stderr, test.remedy) {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
			if test.remedy != "" && !strings.Contains(r.stderr, "\nremedy: ") {
				t.Errorf("no remedy: %s", r.stderr)
			}
			if len(slices.DeleteFunc(strings.Split(r.stderr, "\n"), func(l string) bool { return !strings.HasPrefix(l, "incident-exporter: ") })) != 1 {
				t.Errorf("more than one sentence: %s", r.stderr)
			}
		})
	}
	t.Run("no get", func(t *testing.T) {
		if r := s.run(as("no-get"), "export"); r.code != exitFailed || !strings.Contains(r.stderr, "AccessDenied") || !strings.Contains(r.stderr, "s3:GetObject") {
			t.Errorf("%+v", r)
		}
		if r := s.run(as("no-get"), "verify"); r.code != exitFaults || !strings.Contains(r.stdout, "fault: unreadable") || !strings.Contains(r.stdout, "AccessDenied") {
			t.Errorf("%+v", r)
		}
	})
	if s.content() != before {
		t.Error("the archive has changed")
	}
	s.whole()
}

// TestOnlyItsRights: with what deploy/aws gives, a user can export and verify, and cannot delete.
func TestOnlyItsRights(t *testing.T) {
	t.Parallel()
	s, server := newLockedScene(t, simulator.Options{Seed: 7, Incidents: 60})
	user, secret := server.User(t, "exporter")
	policy(t, server, testBucket, user, "s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:PutObjectRetention")
	s.env = append(s.env, server.EnvironmentAs(user, secret)...)
	s.done("export")
	s.whole()
	key, err := filepath.Rel(filepath.Join(server.Root, testBucket), s.files(".json")[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.ClientAs(t, user, secret).DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: aws.String(key)})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("delete: %v", err)
	}
	s.whole()
}
