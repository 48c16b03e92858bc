package sinktest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// S3 speaks the protocol of S3 in front of a session: PutObject, GetObject
// and ListObjectsV2 of one bucket, path style, whose keys are those of the
// sink. Each request is one of Mem's, with its faults: one that fails is
// answered with an error or not at all, in turn; one that is lost or in flight
// is not answered; an answer that is cut breaks off. A killed session answers
// nothing. It blocks on nothing that Mem does not, so that it can be called
// in a synctest bubble through an in-process transport.
//
// What no correct client does is a violation: a put that is not conditional
// or carries no SHA-256, a request that is not signed, any other request.
// (Amazon S3 API Reference, PutObject, GetObject, ListObjectsV2.)
func S3(session *Session, bucket string) http.Handler { return &s3Front{session, bucket} }

type s3Front struct {
	s      *Session
	bucket string
}

func (f *s3Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("x-amz-request-id", "made-up-request")
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		f.s.mem.violate("%s %s is not signed", r.Method, r.URL.Path)
		f.refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/"+f.bucket)
	key = strings.TrimPrefix(key, "/")
	switch {
	case !ok:
		f.refuse(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut && key != "":
		f.put(w, r, key)
	case r.Method == http.MethodGet && key != "":
		f.get(w, r, key)
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		f.list(w, r)
	default:
		f.s.mem.violate("%s %s is not a request of the contract", r.Method, r.URL.Path)
		f.refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

func (f *s3Front) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the store says %s</Message></Error>", code, code)
}

// begin begins a request of Mem's. It reports whether it is to be carried out
// and answered; otherwise it has been answered, or never will be.
func (f *s3Front) begin(w http.ResponseWriter, r *http.Request, op Op, key string) (Fault, bool) {
	fault, err := f.s.begin(r.Context(), op, key)
	if err == nil {
		return fault, true
	}
	if fault.Outcome != Failed || f.s.killed() || r.Context().Err() != nil || f.s.mem.turn(op)%2 == 0 {
		return fault, false
	}
	f.refuse(w, http.StatusServiceUnavailable, "SlowDown")
	return fault, false
}

func (f *s3Front) put(w http.ResponseWriter, r *http.Request, key string) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	m := f.s.mem
	sum := sha256.Sum256(data)
	if err := checkKey(key); err != nil {
		m.violate("put %q: %v", key, err)
	}
	if r.Header.Get("If-None-Match") != "*" {
		m.violate("put %q is not conditional", key)
	}
	if r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]) {
		m.violate("put %q has not the SHA-256 of its bytes", key)
		f.refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	fault, ok := f.begin(w, r, OpPut, key)
	taken := false
	func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.layout != nil && !f.s.killed() {
			if err := m.layout(key); err != nil {
				m.violations = append(m.violations, fmt.Sprintf("put %q: %v", key, err))
			}
		}
		_, taken = m.objects[key]
		switch {
		case fault.Outcome == InFlight:
			m.inFlight = append(m.inFlight, put{key, data})
		case (ok || fault.Outcome == Lost) && !taken:
			m.store(key, data)
		}
	}()
	switch {
	case !ok:
		f.unanswered(w, fault)
	case taken:
		f.refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		w.Header().Set("ETag", etag(data))
	}
}

// unanswered breaks the connection, unless the fault has been answered.
func (f *s3Front) unanswered(w http.ResponseWriter, fault Fault) {
	if fault.Outcome != Failed || w.Header().Get("Content-Type") == "" {
		panic(http.ErrAbortHandler)
	}
}

func (f *s3Front) get(w http.ResponseWriter, r *http.Request, key string) {
	fault, ok := f.begin(w, r, OpGet, key)
	if !ok {
		f.unanswered(w, fault)
		return
	}
	m := f.s.mem
	m.mu.Lock()
	data, ok := m.objects[key]
	m.mu.Unlock()
	if !ok {
		f.refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", etag(data))
	status := http.StatusOK
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		at, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
		switch {
		case r.Header.Get("If-Match") != etag(data): // the rest might be of another object
			m.violate("get %q: a range of no certain object", key)
			f.refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		case err != nil || at >= len(data):
			f.refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		data, status = data[at:], http.StatusPartialContent
	} else if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
		sum := sha256.Sum256(data)
		w.Header().Set("x-amz-checksum-sha256", base64.StdEncoding.EncodeToString(sum[:]))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if fault.Outcome == Cut {
		_, _ = w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(data)
}

// etag is one, like any that S3 makes up.
func etag(data []byte) string {
	sum := sha256.Sum256(data)
	return fmt.Sprintf(`"%x"`, sum[:16])
}

func (f *s3Front) list(w http.ResponseWriter, r *http.Request) {
	ask := r.URL.Query()
	fault, ok := f.begin(w, r, OpList, ask.Get("prefix"))
	if !ok {
		f.unanswered(w, fault)
		return
	}
	type object struct{ Key, Size string }
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []object
	}
	last := max(ask.Get("start-after"), ask.Get("continuation-token"))
	for {
		o, ok := f.s.mem.next(ask.Get("prefix"), last)
		if !ok {
			break
		}
		if len(page.Contents) == listPage {
			page.IsTruncated, page.NextContinuationToken = true, last
			break
		}
		page.Contents, last = append(page.Contents, object{o.Key, strconv.FormatInt(o.Size, 10)}), o.Key
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(page) // a client that has gone is its own affair
}

// turn is how many requests of a kind there have been.
func (m *Mem) turn(op Op) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.counts.of(op)
}

// Killed says whether the session's process is dead.
func (s *Session) Killed() bool { return s.dead != nil && s.killed() }
