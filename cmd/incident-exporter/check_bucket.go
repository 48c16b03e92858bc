package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"incident-exporter/auth"
	"incident-exporter/sinks/s3"
)

// bucket checks an archive in S3. What is opened is for reading: the check has written what there is
// to write.
func (c *checker) bucket(ctx context.Context) (sink archive, wait string) {
	cfg := c.cfg.s3(nil)
	v := verdict{Name: "s3"}
	found, err := s3.Check(ctx, cfg)
	if err != nil {
		v.State = failed
		v.Detail, v.Remedy = c.p.explain(ctx, nil, err)
		c.say(v)
		c.say(verdict{Name: "archive", State: skipped, Detail: "waits for the settings of the AWS SDK"})
		return nil, "waits for the settings of the AWS SDK"
	}
	way := ""
	if found.Endpoint != nil {
		way = route(found.Endpoint, "AWS_CA_BUNDLE")
	}
	if !found.Answered {
		v.State = failed
		v.Detail, v.Remedy = c.unreached(ctx, found, way)
		c.say(v)
		c.say(verdict{Name: "archive", State: skipped, Detail: "waits for the store to be reached"})
		return nil, "waits for the store to be reached"
	}
	v.Detail = fmt.Sprintf("%s, region %s, credentials by %s", way, found.Region, found.Credentials)
	c.say(v)
	c.clock("s3", found.Server, found.Here)
	c.say(c.stored(ctx, cfg, found))
	r, err := s3.OpenReader(ctx, cfg)
	if err != nil {
		return nil, "waits for the settings of the AWS SDK"
	}
	return unwritten{r}, ""
}

// unreached says why the store did not answer, in the words of the transport rather than in the
// SDK's, which are long.
func (c *checker) unreached(ctx context.Context, found s3.Findings, way string) (text, remedy string) {
	err := found.Steps[0].Err
	var store *s3.Error
	if errors.As(err, &store) {
		remedy = store.Remedy
	}
	text, _ = c.p.explain(ctx, nil, err)
	var proxy *s3.ProxyError
	if summary, mend, known := auth.ExplainTransport(err); errors.As(err, &proxy) {
		text = proxy.Error()
	} else if known {
		text = summary
		if remedy == "" {
			remedy = mend
		}
	}
	if remedy == "" {
		remedy = "check AWS_ENDPOINT_URL_S3, HTTPS_PROXY and NO_PROXY, and that the store can be reached from here"
	}
	if way != "" {
		text += " (" + way + ")"
	}
	return text, remedy
}

// stored says what became of the steps, and holds what the store shows of the probe to what is
// configured.
func (c *checker) stored(ctx context.Context, cfg s3.Config, found s3.Findings) verdict {
	v := verdict{Name: "archive"}
	var done, remedies []string
	for _, step := range found.Steps {
		if step.Err == nil {
			done = append(done, step.Name)
			continue
		}
		text, remedy := c.p.explain(ctx, nil, step.Err)
		v.State = failed
		v.Detail += step.Name + ": " + text + "; "
		if remedy != "" && !slices.Contains(remedies, remedy) {
			remedies = append(remedies, remedy)
		}
	}
	if v.State == failed {
		v.Detail, v.Remedy = strings.TrimSuffix(v.Detail, "; "), strings.Join(remedies, "; ")
		if len(done) > 0 {
			v.Detail += " (what can be done: " + strings.Join(done, ", ") + ")"
		}
		return v
	}
	if (cfg.LockMode != "" || cfg.LegalHold) && found.Lockless {
		// Some stores refuse such an object and keep it all the same.
		v.State, v.Detail = failed, "the bucket has no Object Lock, and each object is to be locked"
		v.Remedy = fmt.Sprintf("enable Object Lock on the bucket %q, or unset EXPORTER_S3_LOCK_MODE, EXPORTER_S3_LOCK_DAYS and EXPORTER_S3_LEGAL_HOLD", cfg.Bucket)
		return v
	}
	v.Detail = fmt.Sprintf("%s: an object is kept, read back, listed and not overwritten; encryption %s, retention %s; default of the bucket %s",
		c.cfg.Exporter.Sink, orNone(found.Encryption, found.KMSKey), retention(found.LockMode, found.LockUntil, found.LegalHold), orNone(found.DefaultLock))
	var doubts []string
	if cfg.Encryption != "" && found.Encryption != cfg.Encryption {
		doubts = append(doubts, "the store does not confirm the encryption that it was asked for, "+cfg.Encryption)
	}
	if cfg.LockMode != "" && (found.LockMode != cfg.LockMode || found.LockUntil.Before(c.now().Add(cfg.LockFor-25*time.Hour))) {
		doubts = append(doubts, fmt.Sprintf("the store does not show the lock that it was asked for, %s %s", strings.ToLower(cfg.LockMode), duration{cfg.LockFor}))
	}
	if cfg.LegalHold && !found.LegalHold {
		doubts = append(doubts, "the store does not show the legal hold that it was asked for")
	}
	if len(doubts) > 0 {
		v.State, v.Detail = warning, v.Detail+"; "+strings.Join(doubts, "; ")
		v.Remedy = "check with the store that it does; to see locks, let the credentials of this check do s3:GetObjectRetention and s3:GetObjectLegalHold; if it has no such thing, unset what asks for it"
	}
	return v
}

// orNone is what is set of some words.
func orNone(words ...string) string {
	if text := strings.TrimSpace(strings.Join(words, " ")); text != "" {
		return text
	}
	return "none shown"
}

func retention(mode string, until time.Time, hold bool) string {
	text := strings.ToLower(mode)
	if !until.IsZero() {
		text += " until " + until.Format(time.RFC3339)
	}
	if hold {
		text += " with a legal hold"
	}
	return orNone(text)
}
