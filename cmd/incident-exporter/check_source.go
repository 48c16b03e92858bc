package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"incident-exporter/auth"
	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
)

// checkWidth is how many tenants are looked at at once.
const checkWidth = 8

// probeTimeout bounds the calls of the API for one tenant: who is told to wait longer is throttled.
const probeTimeout = 45 * time.Second

// source checks the way from the credential to the incidents of each tenant.
func (c *checker) source(ctx context.Context, own []tenant) {
	usable := c.credential(c.now())
	reached := true
	if c.cfg.kind != auth.ManagedIdentity {
		reached = c.reach(ctx, "authority", "AZURE_AUTHORITY_HOST", string(c.cfg.Azure.AuthorityHost)+"/common/v2.0/.well-known/openid-configuration")
	}
	wait := ""
	switch {
	case !usable:
		wait = "waits for a credential that can be used"
	case !reached:
		wait = "waits for the authority to be reached"
	}
	streams := make([]*streamPasses, len(own))
	c.each(own, func(i int, t tenant) verdict {
		if wait != "" {
			return verdict{State: skipped, Detail: wait}
		}
		s := &streamPasses{p: c.p, tenant: t}
		v := c.token(ctx, s)
		if v.State == passed || v.State == warning {
			streams[i] = s
		}
		return v
	}, "token")

	answers := c.apis(ctx, own)
	c.each(own, func(i int, t tenant) verdict {
		switch {
		case streams[i] == nil:
			return verdict{State: skipped, Detail: "waits for a token that can read incidents"}
		case !answers[t.source]:
			return verdict{State: skipped, Detail: "waits for the API to be reached"}
		}
		return c.incidents(ctx, streams[i])
	}, "incidents")
}

// apis says which of the sources that tenants have can be reached.
func (c *checker) apis(ctx context.Context, own []tenant) map[string]bool {
	answers := map[string]bool{}
	for _, t := range append([]tenant{{source: string(c.cfg.Exporter.Source)}}, own...) {
		if _, tried := answers[t.source]; tried {
			continue
		}
		a, err := c.cfg.api(t.source)
		if err != nil {
			continue // getting a token says so
		}
		answers[t.source] = c.reach(ctx, "api", a.setBy, a.origin.String())
	}
	return answers
}

// each makes a check for every tenant, several at once, and tells what came of it in their order.
func (c *checker) each(own []tenant, check func(int, tenant) verdict, name string) {
	came := make([]chan verdict, len(own))
	room := make(chan struct{}, checkWidth)
	var running sync.WaitGroup
	defer running.Wait()
	for i, t := range own {
		came[i] = make(chan verdict, 1)
		running.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			came[i] <- check(i, t)
		})
	}
	for i, t := range own {
		v := <-came[i]
		v.Name, v.of = name, t
		c.say(v)
	}
}

// token gets a token for a tenant and judges it.
func (c *checker) token(ctx context.Context, s *streamPasses) verdict {
	_, wired, err := c.p.wire(s.tenant, nil, c.log, nil, func(exporter.Progress) {})
	if err != nil {
		return verdict{State: failed, Detail: err.Error(), Remedy: "check AZURE_AUTHORITY_HOST, EXPORTER_API_URL and EXPORTER_AUDIENCE"}
	}
	s.wiring = wired
	claims, err := wired.tokens.Get(ctx)
	if err != nil {
		return c.refusedToken(s, err)
	}
	findings := auth.Judge(claims, auth.Want{
		Source: s.tenant.source, Audience: s.api.audience, Tenant: s.tenant.id, AuthorityHost: string(c.cfg.Azure.AuthorityHost),
		Credential: c.cfg.kind, Now: c.now(),
	})
	roles := strings.Join(claims.Roles, ", ")
	if roles == "" {
		roles = "none"
	}
	v := verdict{Detail: fmt.Sprintf("audience %s, roles %s, expires %s", claims.Audience, roles, claims.Expires.Format(time.RFC3339))}
	if len(findings) == 0 {
		return v
	}
	v.State = failed
	if claims.Opaque {
		v.State = warning // reading incidents tells
	}
	var texts, remedies []string
	for _, f := range findings {
		texts, remedies = append(texts, f.Text), append(remedies, f.Remedy)
	}
	v.Detail, v.Remedy = strings.Join(texts, "; ")+" ("+v.Detail+")", strings.Join(remedies, "; ")
	if len(claims.Roles) == 0 && !claims.Opaque {
		v.Remedy += c.consent(s)
	}
	return v
}

// refusedToken says why there is no token.
func (c *checker) refusedToken(s *streamPasses, err error) verdict {
	var refusal *auth.Error
	if !errors.As(err, &refusal) {
		return verdict{State: failed, Detail: "get token: no answer in time", Remedy: "try again; if it stays, check the network"}
	}
	v := verdict{State: failed, Detail: refusal.Error(), Remedy: tokenRemedy(refusal)}
	switch refusal.Code {
	case 65001, 90094, 650056, 650057, 700016, 7000229: // consent is missing, or may be
		v.Remedy += c.consent(s)
	}
	return v
}

// consent is how to go on in a remedy where consent is missing: the link, "" if there is none.
func (c *checker) consent(s *streamPasses) string {
	if c.cfg.kind == auth.ManagedIdentity {
		return ""
	}
	link, err := auth.Consent{
		AuthorityHost: string(c.cfg.Azure.AuthorityHost), Tenant: s.tenant.id, ClientID: string(c.cfg.Azure.ClientID), Audience: s.api.audience,
	}.AdminURL()
	if err != nil {
		return ""
	}
	return "; an administrator of the tenant can also follow this link, if the app has " + auth.ConsentRedirect + " registered as a redirect address: " + link
}

// incidents reads what takes few calls, and says how the API takes it.
func (c *checker) incidents(ctx context.Context, s *streamPasses) verdict {
	within, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	found, err := s.wiring.source.Probe(within)
	if err != nil {
		return c.unread(ctx, s, err)
	}
	graph := s.tenant.source == "graph"
	served := found.Asked
	if found.Capped {
		served = found.Rows
	}
	bound := "upper bound by " + found.UpperBound
	if found.UpperBound == "" {
		bound = "no upper bound by lt, le, gt or not ge"
	}
	parts := []string{plural(found.Rows, "incident") + " on the first page", fmt.Sprintf("$top up to %d is served", served), bound}
	switch {
	case found.Filtered:
		parts = append(parts, "$filter is honoured")
	case found.FilterTried:
		parts = append(parts, "it does not filter by update time")
	case found.Rows > 0:
		parts = append(parts, "$filter was not tried")
	default:
		parts = append(parts, "nothing there to try $filter on")
	}
	switch found.Order {
	case defender.NewestFirst:
		parts = append(parts, "newest update first")
	case defender.OtherOrder:
		parts = append(parts, "in no order of update time")
	}
	if graph && found.Rows > 0 && found.Expanded && found.Lacking == 0 {
		parts = append(parts, "with all their alerts")
	}
	if found.NextLink {
		parts = append(parts, "it sends nextLink")
	}
	v := verdict{Detail: strings.Join(parts, ", ")}
	var notes []string
	if found.Unread != nil {
		notes = append(notes, "the first page cannot be read whole ("+found.Unread.Error()+"): an export reads it in pieces, and by id")
	}
	switch {
	case graph && found.Unread != nil && found.Rows == 0:
		notes = append(notes, "$expand=alerts may be what fails: an export fetches such incidents by their ids, and their alerts apart if need be")
	case graph && found.Lacking > 0:
		notes = append(notes, fmt.Sprintf("%d of the incidents lack alerts: an export fetches those by their ids, and their alerts apart if need be", found.Lacking))
	}
	if found.Order == defender.OtherOrder {
		notes = append(notes, "without an order of update time an export takes half as many calls more")
	}
	if found.Capped {
		notes = append(notes, "pages are shorter than asked for: an export takes more calls")
	}
	if found.UpperBound == "" {
		notes = append(notes, "without upper bounds an export takes more calls, and needs an order of update time")
	}
	if !found.Dated {
		notes = append(notes, "its answers have no Date, so that this machine's clock counts: see that it is set (NTP)")
	}
	if found.FilterTried && !found.Filtered {
		return verdict{State: failed, Detail: v.Detail, Remedy: "check " + s.api.setBy + ", and whether a proxy on the way drops query options; nothing can be shown complete without filters"}
	}
	if len(notes) > 0 {
		v.State, v.Remedy = warning, "none is needed: "+strings.Join(notes, "; ")
	}
	return v
}

// unread says why the API cannot be read.
func (c *checker) unread(ctx context.Context, s *streamPasses, err error) verdict {
	v := verdict{State: failed}
	if limited := (*defender.LimitedError)(nil); errors.As(err, &limited) {
		v.Detail = fmt.Sprintf("the API is throttling this app in this tenant (status 429) until %s", limited.Until.UTC().Format(time.RFC3339))
		v.Remedy = "none is needed if it passes: an export waits; else see which other program uses the same app, or lower EXPORTER_QUOTA"
		return v
	}
	if errors.Is(err, context.DeadlineExceeded) {
		v.Detail, v.Remedy = "no answer within "+probeTimeout.String(), "try again; if it stays, check the network and "+s.api.setBy
		return v
	}
	v.Detail, v.Remedy = s.explain(ctx, err)
	return v
}
