package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"incident-exporter/auth"
)

// pinger reports to a dead man's switch (EXPORTER_PING_URL) that passes begin, succeed and fail, in
// the protocol of healthchecks.io and of what is compatible with it
// (https://healthchecks.io/docs/http_api/): a POST to the URL for success, to URL/start and URL/fail,
// with rid, a UUID, for what belongs to one run, and in the body what a person should read. It
// delays no pass and fails none. On nil it does nothing.
type pinger struct {
	url    func() (auth.Secret, error) // read anew for each report
	client *http.Client
	told   atomic.Bool // that it does not work; told again once it has worked
}

const (
	// pingTime bounds a report, its retries included; pingPauses are before them.
	pingTime = 10 * time.Second

	// maxReason is how much of a reason is sent; healthchecks.io keeps 100 kB.
	maxReason = 10_000
)

func pingPauses() []time.Duration { return []time.Duration{0, time.Second, 3 * time.Second} }

// newPinger returns what reports to the configured URL, nil if there is none.
func (c *config) newPinger() *pinger {
	if c.Exporter.PingURL.IsZero() && c.Exporter.PingURLFile == "" {
		return nil
	}
	return &pinger{url: c.pingURL, client: newHTTPClient(2)}
}

// pinging are the reports of one run. On nil it does nothing.
type pinging struct {
	p     *pinger
	log   *slog.Logger
	id    string // a UUID
	begun sync.Once
	start chan struct{} // closed when the first report is over; nil before it
}

// begin prepares the reports of a run.
func (p *pinger) begin(log *slog.Logger) *pinging {
	if p == nil {
		return nil
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return &pinging{p: p, log: log, id: fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])}
}

// started reports that the run has begun. It returns at once, and reports once only.
func (r *pinging) started() {
	if r == nil {
		return
	}
	r.begun.Do(func() {
		r.start = make(chan struct{})
		go func() {
			defer close(r.start)
			r.p.send(r.log, "start", r.id, "")
		}()
	})
}

// ended reports what became of the run: reason is why it failed, "" if it did not. A run that never
// began has no success. It returns when the report is made or given up.
func (r *pinging) ended(reason string) {
	if r == nil {
		return
	}
	r.begun.Do(func() {}) // too late
	switch {
	case r.start != nil:
		<-r.start // in this order
	case reason == "":
		return
	}
	if reason == "" {
		r.p.send(r.log, "", r.id, "")
		return
	}
	r.p.send(r.log, "fail", r.id, reason[:min(len(reason), maxReason)])
}

// send makes one report. What goes wrong with it is logged, once until it works again, without the
// URL, of which only the host may be known.
func (p *pinger) send(log *slog.Logger, what, id, body string) {
	err := p.try(what, id, body)
	if err == nil {
		p.told.Store(false)
		return
	}
	if !p.told.Swap(true) {
		log.Warn("the dead man's switch cannot be told; runs go on", "error", err, "remedy", "check EXPORTER_PING_URL, and that this machine may connect to its host")
	}
}

func (p *pinger) try(what, id, body string) error {
	secret, err := p.url()
	if err != nil {
		return err
	}
	u, err := parsePingURL(secret)
	if err != nil {
		return err
	}
	if what != "" {
		u = u.JoinPath(what)
	}
	query := u.Query()
	query.Set("rid", id)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	for _, pause := range pingPauses() {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		var again bool
		if again, err = p.post(ctx, u, body); err == nil || !again {
			return err
		}
	}
	return err
}

func (p *pinger) post(ctx context.Context, u *url.URL, body string) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(body))
	if err != nil {
		return false, errors.New("the URL cannot be asked for")
	}
	version, _ := buildVersion()
	req.Header.Set("User-Agent", "incident-exporter/"+version)
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := p.client.Do(req)
	if err != nil {
		var whole *url.Error // names the URL
		if errors.As(err, &whole) {
			err = whole.Err
		}
		return true, fmt.Errorf("ping %s: %w", u.Hostname(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 4096)
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("ping %s: status %d", u.Hostname(), resp.StatusCode)
}
