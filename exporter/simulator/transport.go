package simulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// Transport returns a RoundTripper that calls h in this process, in a
// goroutine per request and without a network, so that it works in a
// testing/synctest bubble. The body is streamed as the handler writes it. A
// handler that panics with http.ErrAbortHandler breaks the connection: before
// the headers RoundTrip fails, behind them reading the body ends in
// io.ErrUnexpectedEOF. When the request's context ends, so do both sides. Any
// other panic of the handler is not caught.
func Transport(h http.Handler) http.RoundTripper { return transport{h} }

type transport struct{ handler http.Handler }

// errReset is what a connection that breaks before the headers looks like.
var errReset = errors.New("connection reset by the simulated server")

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	closeBody := func() {
		if r.Body != nil {
			r.Body.Close()
		}
	}
	if err := r.Context().Err(); err != nil {
		closeBody()
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	pr, pw := io.Pipe()
	w := &responder{header: make(http.Header), body: pw, started: make(chan struct{})}
	stop := context.AfterFunc(r.Context(), func() { pw.CloseWithError(r.Context().Err()) })
	broken := make(chan struct{})
	go func() {
		defer closeBody()
		defer cancel()
		defer stop()
		whole := serve(t.handler, w, serverRequest(ctx, r))
		// A handler that stops because the client has must not look as if
		// it had finished.
		gone := r.Context().Err()
		switch {
		case gone != nil:
			pw.CloseWithError(gone)
		case !whole:
			pw.CloseWithError(io.ErrUnexpectedEOF)
		default:
			w.WriteHeader(http.StatusOK) // if the handler has not
			pw.Close()
		}
		if gone != nil || !whole {
			close(broken)
		}
	}()

	select {
	case <-w.started:
	case <-r.Context().Done():
		cancel()
		return nil, r.Context().Err()
	case <-broken:
		select {
		case <-w.started: // it broke behind the headers
		default:
			if err := r.Context().Err(); err != nil {
				return nil, err
			}
			return nil, errReset
		}
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          &body{pr, cancel},
		ContentLength: -1,
		Request:       r,
	}, nil
}

// serve reports whether the handler returned, not aborted.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (whole bool) {
	defer func() {
		if !whole {
			if p := recover(); p != http.ErrAbortHandler {
				panic(p)
			}
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

// serverRequest is the request as a server sees it.
func serverRequest(ctx context.Context, r *http.Request) *http.Request {
	in := r.Clone(ctx)
	in.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if r.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// responder is the handler's side of an answer.
type responder struct {
	header  http.Header
	body    *io.PipeWriter
	once    sync.Once
	started chan struct{} // closed when the two below are set
	status  int
	sent    http.Header
}

func (w *responder) Header() http.Header { return w.header }

func (w *responder) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, make(http.Header, len(w.header))
		for name, values := range w.header {
			if len(values) > 0 { // nil values suppress a header
				w.sent[name] = append([]string(nil), values...)
			}
		}
		close(w.started)
	})
}

func (w *responder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush does nothing but send the headers: every Write is handed over at once.
func (w *responder) Flush() { w.WriteHeader(http.StatusOK) }

// body is the client's side; closing it tells the handler.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
