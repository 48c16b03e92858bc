package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"incident-exporter/sinks"
	"incident-exporter/sinks/s3"
	"incident-exporter/sinks/sinktest"
)

// store is an S3 server that does what no server does on demand.
type store struct {
	mem   *sinktest.Mem
	front http.Handler

	mu   sync.Mutex // a request whose answer was lost may still be under way
	puts []http.Header

	// fault may answer a request in the store's place, after in its place once
	// it has carried it out.
	fault func(w http.ResponseWriter, r *http.Request, n int) bool
	after func(w http.ResponseWriter, r *http.Request, n int) bool
	n     map[string]int

	damage bool // of what is asked for in parts
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("x-amz-request-id", "made-up-request")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the store says %s</Message></Error>", code, code)
}

// reset closes the connection without an answer.
func reset(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/.incident-exporter/s3/") { // opening goes well
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[r.Method]++
	n := s.n[r.Method]
	if s.fault != nil && s.fault(w, r, n) {
		return
	}
	if r.Method == http.MethodPut {
		s.puts = append(s.puts, r.Header.Clone())
	}
	answer := httptest.NewRecorder()
	s.front.ServeHTTP(answer, r)
	maps.Copy(w.Header(), answer.Header())
	if s.after != nil && s.after(w, r, n) {
		return
	}
	w.WriteHeader(answer.Code)
	body := answer.Body.Bytes()
	if s.damage && answer.Code == http.StatusPartialContent {
		body[len(body)/2] ^= 1
	}
	_, _ = w.Write(body)
}

func open(t *testing.T, cfg s3.Config) (*store, *s3.Sink) {
	mem := sinktest.NewMem()
	s := &store{mem: mem, front: sinktest.S3(mem.Session(), "bucket"), n: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": server.URL, "AWS_REGION": "eu-north-1", "AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
	cfg.Bucket, cfg.PathStyle = "bucket", true
	sink, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, sink
}

const at = "a/b.json"

// TestPutOutcomes: whatever the answer was, or its loss, Put says what is stored.
func TestPutOutcomes(t *testing.T) {
	mine, others := []byte("mine"), []byte("others")
	only := func(n, times int, f func()) bool {
		if n > times {
			return false
		}
		f()
		return true
	}
	for name, c := range map[string]struct {
		there  []byte
		fault  func(w http.ResponseWriter, r *http.Request, n int) bool
		after  func(w http.ResponseWriter, r *http.Request, n int) bool
		stored []byte // in the end
		want   func(error) bool
	}{
		"stored": {stored: mine, want: isNil},
		"a conflict, then stored": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 2, func() { refuse(w, http.StatusConflict, "ConditionalRequestConflict") })
		}, stored: mine, want: isNil},
		"slow down, then stored": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 2, func() { refuse(w, http.StatusServiceUnavailable, "SlowDown") })
		}, stored: mine, want: isNil},
		"stored, the answer lost": {after: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 1, func() { reset(w) })
		}, stored: mine, want: isNil},
		"stored, every answer lost": {after: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { reset(w) })
		}, stored: mine, want: isNil},
		"refused, the refusal lost": {there: others, after: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { reset(w) })
		}, stored: others, want: isExists},
		"the same bytes are there": {there: mine, stored: mine, want: isNil},
		"others are there":         {there: others, stored: others, want: isExists},
		"more is there":            {there: append([]byte("mine"), others...), stored: append([]byte("mine"), others...), want: isExists},
		"an internal error that stored it": {after: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { refuse(w, http.StatusInternalServerError, "InternalError") })
		}, stored: mine, want: isNil},
		"forbidden": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { refuse(w, http.StatusForbidden, "AccessDenied") })
		}, want: remedied("s3:PutObject")},
		"the session has expired": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return only(n, 100, func() { refuse(w, http.StatusBadRequest, "ExpiredToken") })
		}, want: remedied("renew the session's credentials")},
		"the clock is off": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return only(n, 100, func() { refuse(w, http.StatusForbidden, "RequestTimeTooSkewed") })
		}, want: remedied("set this machine's clock")},
		"another region": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return only(n, 100, func() { refuse(w, http.StatusMovedPermanently, "PermanentRedirect") })
		}, want: remedied("it is eu-north-1 now")},
		"the key may not be used": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { refuse(w, http.StatusBadRequest, "KMS.NotFoundException") })
		}, want: remedied("EXPORTER_S3_KMS_KEY")},
		"it exists, and then it does not": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 2, func() { refuse(w, http.StatusPreconditionFailed, "PreconditionFailed") })
		}, stored: mine, want: isNil},
		"it always exists and never does": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return r.Method == http.MethodPut && only(n, 100, func() { refuse(w, http.StatusPreconditionFailed, "PreconditionFailed") })
		}, want: func(err error) bool { return err != nil && !errors.Is(err, sinks.ErrExists) }},
		"not even looking is possible": {fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			return only(n, 100, func() { reset(w) })
		}, want: func(err error) bool { return err != nil && !errors.Is(err, sinks.ErrExists) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink := open(t, s3.Config{})
			if c.there != nil {
				s.mem.Set(at, c.there)
			}
			s.fault, s.after = c.fault, c.after
			if err := sink.Put(t.Context(), "a/b.json", mine); !c.want(err) {
				t.Errorf("error %v", err)
			}
			if got := s.mem.Bytes(at); !bytes.Equal(got, c.stored) {
				t.Errorf("stored %q, want %q", got, c.stored)
			}
			if v := s.mem.Violations(); len(v) > 0 {
				t.Errorf("violations: %q", v)
			}
		})
	}
}

func isNil(err error) bool    { return err == nil }
func isExists(err error) bool { return errors.Is(err, sinks.ErrExists) }

func remedied(text string) func(error) bool {
	return func(err error) bool {
		var e *s3.Error
		return errors.As(err, &e) && strings.Contains(e.Remedy, text) && e.Request == "made-up-request" && !strings.Contains(e.Error(), "\n")
	}
}

// TestPutSays what the configuration asks for.
func TestPutSays(t *testing.T) {
	s, sink := open(t, s3.Config{
		Prefix: "xdr", Owner: "123456789012", StorageClass: "STANDARD_IA", Encryption: "aws:kms", KMSKey: "alias/made-up",
		LockMode: "COMPLIANCE", LockFor: 48 * time.Hour, LegalHold: true,
	})
	if err := sink.Put(t.Context(), "a/b.ndjson.zst", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if keys := s.mem.Keys(); !slices.Equal(keys, []string{"xdr/a/b.ndjson.zst"}) || len(s.puts) != 1 {
		t.Fatalf("objects %q, %d puts", keys, len(s.puts))
	}
	h := s.puts[0]
	for name, want := range map[string]string{
		"X-Amz-Expected-Bucket-Owner": "123456789012", "X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Server-Side-Encryption": "aws:kms",
		"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "alias/made-up", "X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Legal-Hold": "ON",
		"Content-Type": "application/zstd", "If-None-Match": "*", "Content-Encoding": "",
	} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
	until, err := time.Parse(time.RFC3339, h.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil || time.Until(until).Round(time.Hour) != 48*time.Hour {
		t.Errorf("locked until %v, %v", until, err)
	}
}

// TestEncryptionIsConfirmed: a store that does not echo the encryption that it
// was asked for is warned of, once.
func TestEncryptionIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		echo  string
		warns int
	}{"confirmed": {"aws:kms", 0}, "another": {"AES256", 1}, "ignored": {"", 1}} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s, sink := open(t, s3.Config{Encryption: "aws:kms", Log: slog.New(slog.NewTextHandler(&log, nil))})
			s.after = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
				w.Header().Set("X-Amz-Server-Side-Encryption", c.echo)
				return false
			}
			for _, key := range []string{"a", "b", "c"} {
				if err := sink.Put(t.Context(), key, []byte(key)); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(log.String(), "does not confirm the encryption"); n != c.warns || c.warns > 0 && !strings.Contains(log.String(), "EXPORTER_S3_SSE") {
				t.Errorf("warned %d times: %s", n, log.String())
			}
		})
	}
}

// TestGetGoesOn: a connection that breaks is made again for the rest, and what
// is not what the store says it has is an error.
func TestGetGoesOn(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	half := func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.Method != http.MethodGet || n > 1 {
			return false
		}
		_, _ = w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		reset(w)
		return true
	}
	for name, c := range map[string]struct {
		fault, after func(w http.ResponseWriter, r *http.Request, n int) bool
		damage       bool
		fails        bool
	}{
		"cut, and damaged then": {after: half, damage: true, fails: true},

		"whole": {},
		"cut":   {after: half},
		"cut, and refused then": {after: half, fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.Method == http.MethodGet && n > 1 {
				refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
				return true
			}
			return false
		}, fails: true},
		"damaged": {after: func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.Method != http.MethodGet {
				return false
			}
			damaged := bytes.Clone(data)
			damaged[len(damaged)/2] ^= 1
			_, _ = w.Write(damaged)
			return true
		}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink := open(t, s3.Config{})
			if err := sink.Put(t.Context(), "a/b.json", data); err != nil {
				t.Fatal(err)
			}
			s.fault, s.after, s.damage = c.fault, c.after, c.damage
			r, err := sink.Get(t.Context(), "a/b.json")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if c.fails != (err != nil) || err == nil && !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestIgnoredCondition: a store that overwrites is refused at the start.
func TestIgnoredCondition(t *testing.T) {
	puts := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts++
		}
	}))
	t.Cleanup(server.Close)
	open(t, s3.Config{})
	t.Setenv("AWS_ENDPOINT_URL_S3", server.URL)
	_, err := s3.Open(t.Context(), s3.Config{Bucket: "bucket", PathStyle: true})
	var e *s3.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "ignores If-None-Match") || e.Remedy == "" || puts != 2 {
		t.Errorf("%v after %d puts", err, puts)
	}
}
