// Package s3server starts a real S3 server, versitygw, for tests and the demo
// into a bucket.
//
// It is built from the module for development tools in .ci. That it cannot be
// built or started fails the test: there is nothing else to take its place.
package s3server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Server is one that is running.
type Server struct {
	Endpoint string // URL
	CA       string // file with its certificate, "" without TLS
	Access   string
	Secret   string
	Version  string // what it says it is
	Root     string // directory of the buckets

	path    string
	iam     string
	process *exec.Cmd
	said    bytes.Buffer // to be read once it has ended
	ended   chan struct{}
}

const (
	region = "us-east-1"
	access = "made-up-access"
	secret = "made-up-secret"
)

// tool builds the server once a process.
var tool = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	build := exec.Command("go", "tool", "-modfile="+filepath.Join(strings.TrimSpace(string(root)), ".ci", "go.mod"), "-n", "versitygw")
	var stderr bytes.Buffer
	build.Stderr = &stderr
	path, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("build versitygw from .ci/go.mod: %w: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(path)), nil
})

// Start starts a server for a test.
func Start(t testing.TB, overTLS bool) *Server {
	t.Helper()
	s, err := Launch(t.TempDir(), overTLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said := s.Stop(); t.Failed() {
			t.Logf("versitygw said: %s", said)
		}
	})
	return s
}

// Launch starts a server on loopback that keeps all it has in dir, over TLS if
// so wanted. It runs until Stop.
func Launch(dir string, overTLS bool) (*Server, error) {
	path, err := tool()
	if err != nil {
		return nil, err
	}
	s := &Server{Access: access, Secret: secret, Root: filepath.Join(dir, "root"), iam: filepath.Join(dir, "iam"), path: path, ended: make(chan struct{})}
	for _, d := range []string{s.Root, s.iam, filepath.Join(dir, "versions")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	s.Version = "versitygw"
	if out, err := exec.Command("go", "version", "-m", path).Output(); err == nil {
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 2 && (f[0] == "mod" || f[0] == "dep") && f[1] == "github.com/versity/versitygw" {
				s.Version = f[1] + " " + f[2]
			}
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.Endpoint = "http://" + port
	args := []string{"--quiet", "--health", "/healthz", "--port", port, "--region", region, "--iam-dir", s.iam}
	if overTLS {
		s.Endpoint = "https://" + port
		s.CA = filepath.Join(dir, "cert.pem")
		key := filepath.Join(dir, "key.pem")
		if err := certificate(s.CA, key); err != nil {
			return nil, err
		}
		args = append(args, "--cert", s.CA, "--key", key)
	}
	s.process = exec.Command(path, append(args, "posix", "--versioning-dir", filepath.Join(dir, "versions"), s.Root)...)
	s.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	s.process.Stdout, s.process.Stderr = &s.said, &s.said
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("start versitygw: %w", err)
	}
	go func() {
		_ = s.process.Wait() // Stop ends it
		close(s.ended)
	}()
	if err := s.ready(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, s.Stop())
	}
	return s, nil
}

// Stop ends the server and returns what it said.
func (s *Server) Stop() string {
	_ = s.process.Process.Kill() // it may have ended already
	<-s.ended
	return s.said.String()
}

// ready waits until it answers: a real process, of which nothing else tells.
func (s *Server) ready() error {
	transport, err := s.transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		resp, err := client.Get(s.Endpoint + "/healthz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.ended:
			return errors.New("versitygw ended at once")
		default:
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("versitygw is not ready: %w", err)
		}
	}
}

func (s *Server) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.MaxIdleConnsPerHost = nil, 64
	if s.CA != "" {
		pool := x509.NewCertPool()
		text, err := os.ReadFile(s.CA)
		if err != nil || !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the server's certificate: %w", err)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return transport, nil
}

// Client speaks to the server as its owner, past the sink.
func (s *Server) Client(t testing.TB) *s3.Client { return s.ClientAs(t, s.Access, s.Secret) }

// Owner is the same outside of a test.
func (s *Server) Owner() (*s3.Client, error) {
	transport, err := s.transport()
	if err != nil {
		return nil, err
	}
	return s.client(transport, s.Access, s.Secret), nil
}

// ClientAs speaks to it as a user.
func (s *Server) ClientAs(t testing.TB, access, secret string) *s3.Client {
	t.Helper()
	transport, err := s.transport()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return s.client(transport, access, secret)
}

func (s *Server) client(transport http.RoundTripper, access, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
		HTTPClient:  &http.Client{Transport: transport},
	})
}

// Bucket creates a bucket, with Object Lock if so wanted.
func (s *Server) Bucket(t testing.TB, name string, locked bool) {
	t.Helper()
	_, err := s.Client(t).CreateBucket(context.Background(), &s3.CreateBucketInput{
		Bucket: aws.String(name), ObjectLockEnabledForBucket: aws.Bool(locked),
	})
	if err != nil {
		t.Fatalf("create bucket %s: %v", name, err)
	}
}

// User creates a user with no rights of its own, and returns its keys.
func (s *Server) User(t testing.TB, name string) (access, secret string) {
	t.Helper()
	secret = name + "-secret"
	args := []string{"admin", "--endpoint-url", s.Endpoint, "--access", s.Access, "--secret", s.Secret}
	if s.CA != "" {
		args = append(args, "--allow-insecure")
	}
	out, err := exec.Command(s.path, append(args, "create-user", "--access", name, "--secret", secret, "--role", "user")...).CombinedOutput()
	if err != nil {
		t.Fatalf("create user %s: %v: %s", name, err, out)
	}
	return name, secret
}

// Environment is what the SDK needs to know of the server. Nothing else that
// it may read is left: no file, no metadata of a machine.
func (s *Server) Environment() []string { return s.EnvironmentAs(s.Access, s.Secret) }

// EnvironmentAs is the same for a user.
func (s *Server) EnvironmentAs(access, secret string) []string {
	env := []string{
		"AWS_ENDPOINT_URL_S3=" + s.Endpoint, "AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=" + access, "AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CA_BUNDLE=" + s.CA,
	}
	return env
}

// Setenv sets the environment for this process.
func (s *Server) Setenv(t *testing.T) {
	for _, e := range s.Environment() {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// certificate makes one for loopback, signed by itself.
func certificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "s3 for tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
