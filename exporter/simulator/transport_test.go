package simulator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/simulator"
)

func do(t *testing.T, ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://simulated.example/a?b=c", strings.NewReader("sent"))
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: simulator.Transport(h)}).Do(r)
}

func TestTransportStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan struct{})
		r, err := do(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
			sent, err := io.ReadAll(r.Body)
			if err != nil || string(sent) != "sent" || r.Host != "simulated.example" || r.RequestURI != "/a?b=c" || r.TLS == nil {
				t.Errorf("the server sees %+v, %s, %v", r, sent, err)
			}
			w.Header().Set("X-Sent", "yes")
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-Late", "too late")
			fmt.Fprint(w, "one")
			<-more
			fmt.Fprint(w, "two")
		})
		if err != nil || r.StatusCode != http.StatusAccepted || r.Header.Get("X-Sent") != "yes" || r.Header.Get("X-Late") != "" {
			t.Fatal(r, err)
		}
		three := make([]byte, 3)
		if _, err := io.ReadFull(r.Body, three); err != nil || string(three) != "one" {
			t.Errorf("%s %v", three, err)
		}
		close(more)
		if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "two" {
			t.Errorf("%s %v", rest, err)
		}
	})
}

func TestTransportBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if r, err := do(t, t.Context(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }); err == nil {
			t.Errorf("abort before the headers: %v", r)
		}
		r, err := do(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "half" {
			t.Errorf("abort in the body: %s %v", body, err)
		}
	})
}

// TestTransportCancels: both sides end with the request's context, and the
// handler learns that the client has closed the body. The bubble would not end
// if a goroutine stayed.
func TestTransportCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := do(t, ctx, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the headers: %v", err)
		}
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("it took %v", took)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := do(t, ctx, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "half")
			<-r.Context().Done()
		})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); !errors.Is(err, context.DeadlineExceeded) || string(body) != "half" {
			t.Errorf("in the body: %s %v", body, err)
		}

		ended := make(chan error, 1)
		r, err = do(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := fmt.Fprint(w, "more"); err != nil {
					<-r.Context().Done()
					ended <- err
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing to a closed body: %v", err)
		}
	})
}
