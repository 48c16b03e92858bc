package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/ledger"
	"incident-exporter/sinks/s3"
)

// explain says in one sentence why a pass failed, and in another what to do about it.
func (s *streamPasses) explain(ctx context.Context, err error) (text, remedy string) {
	return s.p.explain(ctx, s, err)
}

// explain does so for a stream, or for what is of no stream: the archive as a whole.
func (p *passes) explain(ctx context.Context, s *streamPasses, err error) (text, remedy string) {
	var (
		refusal    *ledger.Refusal
		token      *auth.Error
		api        *defender.APIError
		ignored    *defender.IgnoredFilterError
		limited    *defender.LimitedError
		unfinished *exporter.Unfinished
		store      *s3.Error
		network    *net.OpError
	)
	at, setBy := string(p.cfg.Exporter.ApiURL), "EXPORTER_API_URL"
	if s != nil && s.wiring != nil {
		at, setBy = s.api.origin.String(), s.api.setBy
	}
	text = strings.ReplaceAll(err.Error(), "\n", "; ")
	switch {
	case errors.As(err, &refusal):
		return refusal.Text, refusal.Remedy
	case errors.As(err, &limited):
		return text, "the next run goes on; raise EXPORTER_RUN_TIMEOUT, or leave the API's quota to this program alone"
	case errors.As(err, &store):
		return text, store.Remedy
	case errors.As(err, &unfinished):
		return explainUnfinished(ctx)
	case errors.As(err, &token):
		return token.Error(), tokenRemedy(token)
	case errors.As(err, &api) && s != nil && s.wiring != nil:
		return s.explainAPI(ctx, api)
	case errors.As(err, &ignored):
		return text, "check " + setBy + ", and whether a proxy on the way drops query options; nothing can be shown complete without filters"
	case !errors.As(err, &network):
		if remedy := p.explainStorage(err); remedy != "" {
			return text, remedy
		}
	}
	if summary, remedy, ok := auth.ExplainTransport(&url.Error{Op: "Get", URL: at, Err: err}); ok {
		return "read incidents: " + summary, hostSetBy(setBy, remedy)
	}
	return text, ""
}

// tokenRemedy is what to do about a token that was not got.
func tokenRemedy(e *auth.Error) string {
	if _, _, unreached := auth.ExplainTransport(e.Err); unreached {
		return hostSetBy("AZURE_AUTHORITY_HOST", e.Remedy)
	}
	return e.Remedy
}

// hostSetBy adds to the remedy for a host that was not reached which variable names the host. What
// is the proxy's doing is mended elsewhere, and says so.
func hostSetBy(name, remedy string) string {
	if remedy == "" || strings.Contains(remedy, "HTTPS_PROXY") || strings.Contains(remedy, "NO_PROXY") {
		return remedy
	}
	return remedy + "; the host is set by " + name
}

func explainUnfinished(ctx context.Context) (text, remedy string) {
	if ctx.Err() != nil {
		return "stopped by a signal before its end", "none is needed: the next run goes on"
	}
	return "the run took longer than EXPORTER_RUN_TIMEOUT", "none is needed if this is a backfill: the next run goes on; else raise EXPORTER_RUN_TIMEOUT"
}

// explainAPI says what an answer of the API means. Where it refuses the token, the token's own
// claims tell why.
func (s *streamPasses) explainAPI(ctx context.Context, api *defender.APIError) (text, remedy string) {
	text = "read incidents: " + api.Error()
	switch {
	case api.Status == http.StatusUnauthorized || api.Status == http.StatusForbidden || api.Status == http.StatusNotFound:
		if claims, err := s.tokens.Get(ctx); err == nil {
			if report := judgeToken(s.p.cfg, s.tenant, s.api, claims); !report.OK {
				return text + ": " + strings.Join(report.Problems, "; "), report.Remedy
			}
		}
		if api.Status == http.StatusNotFound {
			return text, "check " + s.api.setBy + " (unset it for the default), and that the tenant is licensed for Microsoft Defender XDR"
		}
		permission := "Incident.Read.All of Microsoft Threat Protection"
		if s.tenant.source == "graph" {
			permission = "SecurityIncident.Read.All of Microsoft Graph"
		}
		return text, "give the app the application permission " + permission + " and grant admin consent, " +
			"unset EXPORTER_AUDIENCE, and check that the tenant is licensed for Microsoft Defender XDR; `incident-exporter token` shows what the token says"
	case api.Status == http.StatusOK && strings.HasPrefix(api.Excerpt, "<"):
		return text, "check " + s.api.setBy + ", and whether a proxy or a sign-in page answers in the API's place (HTTPS_PROXY, NO_PROXY)"
	case api.Status >= 300 && api.Status < 400:
		return text, "check " + s.api.setBy + " and HTTPS_PROXY: the API does not redirect, a captive portal or proxy does"
	case api.Temporary():
		return text, "try again later; if it stays, check " + s.api.setBy + ", and tell Microsoft's support what is said here"
	}
	return text, "check " + s.api.setBy + "; if it is right, tell Microsoft's support what is said here"
}

// explainStorage returns the remedy for what the archive's filesystem refuses, "" if it is not
// known.
func (p *passes) explainStorage(err error) string {
	dir := p.cfg.Exporter.Sink.dir
	is := func(errnos ...syscall.Errno) bool {
		for _, errno := range errnos {
			if errors.Is(err, errno) {
				return true
			}
		}
		return false
	}
	const goesOn = "; what is committed stays valid, and the next run goes on"
	var link *os.LinkError
	switch {
	case errors.As(err, &link) && is(syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV):
		return "set EXPORTER_SINK to a directory on one filesystem that has hard links"
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return fmt.Sprintf("make room on the filesystem of %q, without removing anything of the archive%s", dir, goesOn)
	case is(syscall.EFBIG):
		return "raise the limit on the size of files, or lower EXPORTER_BATCH_BYTES" + goesOn
	case is(syscall.EROFS):
		return fmt.Sprintf("mount the filesystem of %q for writing, or set EXPORTER_SINK to another directory", dir)
	case is(syscall.EACCES, syscall.EPERM):
		return fmt.Sprintf("let this program's user write to %q and what is in it, or set EXPORTER_SINK to another directory", dir)
	case is(syscall.ENOTDIR):
		return "set EXPORTER_SINK to a directory: a file is in its place, or in the place of one above it"
	case is(syscall.EIO, syscall.ESTALE):
		return "check the disk or the mount" + goesOn
	case is(syscall.EMFILE, syscall.ENFILE):
		return "raise the limit on open files" + goesOn
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("check that %q is mounted and nothing in it is removed%s", dir, goesOn)
	}
	return ""
}
