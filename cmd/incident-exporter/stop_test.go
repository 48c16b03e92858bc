package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"incident-exporter/exporter/ledger"
	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest/s3server"
)

// hanging passes requests on to a store, and puts to nobody while it is told to.
type hanging struct {
	*httptest.Server
	hangs atomic.Bool
	hung  atomic.Int64 // puts
}

func newHanging(t *testing.T, to string) *hanging {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	h := &hanging{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && h.hangs.Load() {
			h.hung.Add(1)
			_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
			select {
			case <-r.Context().Done():
			case <-t.Context().Done():
			}
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

// TestStopWhileTheStoreHangs: a store that takes requests and never answers keeps neither an export
// nor a daemon from stopping within the grace period, and a second signal ends either at once. What
// is in the archive is valid, and the next run goes on from it.
func TestStopWhileTheStoreHangs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, command string
		reading       bool // the signal comes while the API is read, and the last commit hangs
		second        bool
	}{
		{"export in a put", "export", false, false},
		{"run in a put", "run", false, false},
		{"export in its last commit", "export", true, false},
		{"run in its last commit", "run", true, false},
		{"export, second signal", "export", true, true},
		{"run, second signal", "run", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := s3server.Start(t, false)
			server.Bucket(t, testBucket, false)
			store := newHanging(t, server.Endpoint)
			s := newScene(t, simulator.Options{Seed: 4, Incidents: 20_000, Size: 700})
			s.dir = filepath.Join(server.Root, testBucket)
			s.env = append(append(s.env, server.Environment()...), "EXPORTER_SINK=s3://"+testBucket, "EXPORTER_S3_PATH_STYLE=true", "AWS_ENDPOINT_URL_S3="+store.URL)
			s.behave(func(b *simulator.Behaviour) { b.Latency = 5 * time.Millisecond })
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			records := "300"
			if test.reading {
				records = "50000" // so that there is an open batch behind the first commit
			}
			p := s.start(ctx, []string{"EXPORTER_BATCH_RECORDS=" + records, "EXPORTER_CONCURRENCY=1"}, test.command)
			moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"committed"`) })
			if test.reading { // some answers are in the batch, and the next one takes its time
				first := s.sim.Calls().API()
				moment(ctx, func() bool { return s.sim.Calls().API() > first+5 })
				s.behave(func(b *simulator.Behaviour) { b.Latency = 30 * time.Second })
				calls, since := 0, time.Now()
				moment(ctx, func() bool {
					if n := s.sim.Calls().API(); n != calls {
						calls, since = n, time.Now()
					}
					return time.Since(since) > time.Second
				})
			}
			store.hangs.Store(true)
			if !test.reading {
				moment(ctx, func() bool { return store.hung.Load() > 0 })
			}
			begun := time.Now()
			signal := func() {
				if err := p.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			signal()
			if test.second {
				moment(ctx, func() bool { return store.hung.Load() > 0 })
				begun = time.Now()
				// Two that come at the same moment are one to a process: until it is seen that there is another.
				ended := make(chan struct{})
				defer close(ended)
				go func() {
					for again := time.NewTicker(200 * time.Millisecond); ; {
						_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
						select {
						case <-again.C:
						case <-ended:
							again.Stop()
							return
						}
					}
				}()
			}
			r := p.wait()
			took := time.Since(begun)
			switch status, _ := p.ProcessState.Sys().(syscall.WaitStatus); {
			case ctx.Err() != nil:
				t.Errorf("it did not stop: %+v", r)
			case test.second && (!status.Signaled() || took > 3*time.Second):
				t.Errorf("it ended after %v: %+v", took, r)
			case !test.second && (r.code != exitDone || took > 15*time.Second):
				t.Errorf("it ended after %v: %+v", took, r)
			}
			store.hangs.Store(false)
			s.done("verify")
			s.behave(func(b *simulator.Behaviour) { b.Latency = 0 })
			s.done("export")
			s.whole()
		})
	}
}

// deafArchive is one that nothing interrupts, as a file system of a server that is gone.
type deafArchive struct {
	memArchive
	deaf <-chan struct{}
}

func (a deafArchive) Put(ctx context.Context, key string, data []byte) error {
	<-a.deaf
	return a.memArchive.Put(ctx, key, data)
}

// TestExportLeavesWhatHangs once the grace period is over.
func TestExportLeavesWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartner(t, []int{20})
		deaf := make(chan struct{})
		p.sink = deafArchive{memArchive{p.mem.Session()}, deaf}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Minute, cancel)
		begun := time.Now()
		err := p.export(ctx)
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitFailed || !strings.Contains(err.Error(), "EXPORTER_GRACE") || time.Since(begun) != time.Minute+20*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		close(deaf)
		synctest.Wait()
		p.sink = memArchive{p.mem.Session()}
		p.streams = map[ledger.Stream]*streamPasses{}
		time.Sleep(5 * time.Minute)
		if err := p.make(t.Context()); err != nil {
			t.Error(err)
		}
		p.whole(t, nil)
	})
}

// TestHangup: a daemon reads its tenants again and begins a pass; an export takes no notice.
func TestHangup(t *testing.T) {
	t.Parallel()
	s := newScene(t, simulator.Options{Seed: 4, Incidents: 200, Size: 700})
	s.behave(func(b *simulator.Behaviour) { b.Latency = 50 * time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p := s.start(ctx, []string{"EXPORTER_CONCURRENCY=1"}, "export")
	moment(ctx, func() bool { return s.sim.Calls().API() > 0 })
	_ = p.Process.Signal(syscall.SIGHUP)
	if r := p.wait(); r.code != exitDone {
		t.Errorf("export: %+v", r)
	}
	s.whole()
	p = s.start(ctx, nil, "run")
	moment(ctx, func() bool { return strings.Contains(p.err.String(), `"msg":"run done"`) })
	s.sim.Create()
	s.later()
	_ = p.Process.Signal(syscall.SIGHUP)
	moment(ctx, func() bool { return strings.Count(p.err.String(), `"msg":"run done"`) == 2 })
	_ = p.Process.Signal(syscall.SIGTERM)
	r := p.wait()
	if ctx.Err() != nil || r.code != exitDone || !strings.Contains(r.stderr, `"tenants":1,"bad_lines":0`) {
		t.Errorf("run: %+v", r)
	}
	runs := map[string]int{} // lines by run
	for _, line := range jsonLines(t, r.stderr) {
		if id, ok := line["run"].(string); ok {
			if runs[id]++; len(id) != 8 {
				t.Errorf("run %q", id)
			}
		} else if line["msg"] == "run done" || line["msg"] == "committed" {
			t.Errorf("no run in %v", line)
		}
	}
	if len(runs) != 2 {
		t.Errorf("lines by run: %v", runs)
	}
}
