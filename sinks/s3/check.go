package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"incident-exporter/sinks"
)

// Step is one thing that the archive asks of the store, and what came of it.
type Step struct {
	Name string // create, refuse to overwrite, read, list
	Err  error  // of the contract, an *Error as a rule
}

// Findings is what Check has found out about the store.
type Findings struct {
	Endpoint    *url.URL // scheme and host that requests go to
	Region      string
	Credentials string // where they come from, nothing of themselves

	Answered     bool      // the store did, be it with a refusal
	Server, Here time.Time // its clock and ours at the same moment; zero if it did not say

	Key   string // of the probe
	Steps []Step

	// What the store shows of the probe; empty what it does not show, or may not.
	Encryption, KMSKey string
	LockMode           string
	LockUntil          time.Time
	LegalHold          bool

	// DefaultLock is the retention that the bucket gives each object, "" if
	// there is none or if it may not be read. Lockless: it says that it has no
	// Object Lock at all.
	DefaultLock string
	Lockless    bool
}

// checkTries is how often a request of Check is tried: who waits for it wants
// to know what is wrong, not that it goes away.
const checkTries = 2

// Check tries, through the requests that Put, Get and List make, what the
// archive asks of the store, on an object below .incident-exporter/s3/check/
// of which there is one a day and setting: an object that is locked stays. It
// goes on after a step that fails. The error is of what comes before the first
// request: the configuration of the SDK.
func Check(ctx context.Context, cfg Config) (Findings, error) {
	cfg.Log = nil
	r, err := OpenReader(ctx, cfg)
	if err != nil {
		return Findings{}, err
	}
	c := &check{Sink: &Sink{Reader: r}}
	c.found.Region = r.region
	if credentials, err := r.client.Options().Credentials.Retrieve(ctx); err == nil {
		c.found.Credentials = credentials.Source
	}
	c.key = reserved + "check/" + time.Now().UTC().Format(time.DateOnly) + "-" + cfg.settings()
	c.found.Key = c.key
	r.client = s3.New(r.client.Options(), func(o *s3.Options) {
		o.RetryMaxAttempts = checkTries
		o.APIOptions = append(o.APIOptions, c.watch)
	})
	c.found.Endpoint = c.endpoint(ctx)
	c.run(ctx)
	return c.found, nil
}

// settings tells objects apart that are stored in different ways.
func (c Config) settings() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %v %v", c.StorageClass, c.Encryption, c.KMSKey, c.LockMode, c.LockFor, c.LegalHold))
	return hex.EncodeToString(sum[:4])
}

type check struct {
	*Sink
	key   string
	found Findings
}

// endpoint is where requests for the bucket go, by the SDK's own rules; nil if
// it cannot say.
func (c *check) endpoint(ctx context.Context) *url.URL {
	signed, err := s3.NewPresignClient(c.client).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(c.cfg.Bucket), Key: c.object(c.key)})
	if err != nil {
		return nil
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		return nil
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host} // the rest holds a signature
}

// watch notes the Date of answers.
func (c *check) watch(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("incident-exporter: clock", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		response, _ := out.RawResponse.(*smithyhttp.Response)
		if refused := (*awshttp.ResponseError)(nil); response == nil && errors.As(err, &refused) {
			response = refused.Response
		}
		if response != nil && response.Response != nil && response.StatusCode > 0 {
			c.found.Answered = true
			if at, dateErr := http.ParseTime(response.Header.Get("Date")); dateErr == nil && response.StatusCode < http.StatusInternalServerError {
				c.found.Server, c.found.Here = at, time.Now()
			}
		}
		return out, metadata, err
	}), middleware.After)
}

// noLock is the code for a bucket without Object Lock.
const noLock = "ObjectLockConfigurationNotFoundError"

const (
	checkText = "incident-exporter check\n"
	otherText = "this must not overwrite\n"
)

func (c *check) run(ctx context.Context) {
	step := func(name string, err error) bool {
		c.found.Steps = append(c.found.Steps, Step{name, err})
		return err == nil
	}
	_, err := c.put(ctx, c.key, []byte(checkText))
	if code(err) == preconditionFailed {
		err = nil // there since an earlier check
	}
	if err != nil {
		err = c.failed("put", c.key, err)
	}
	created := step("create", err)
	if !c.found.Answered {
		return // what follows would wait for the same
	}
	if created {
		_, err := c.put(ctx, c.key, []byte(otherText))
		switch {
		case err == nil:
			err = c.failed("put", c.key, errIgnored)
		case code(err) == preconditionFailed:
			err = nil
		default:
			err = c.failed("put", c.key, err)
		}
		if step("refuse to overwrite", err) {
			step("read", c.readBack(ctx))
			c.shown(ctx)
		}
	}
	step("list", c.listed(ctx, created))
}

// readBack sees that what was stored is what is there.
func (c *check) readBack(ctx context.Context) error {
	found, err := c.look(ctx, c.key, []byte(checkText))
	switch {
	case err != nil:
		return c.failed("get", c.key, err)
	case found == nothing:
		return c.failed("get", c.key, sinks.ErrNotExist)
	case found == other:
		return c.failed("get", c.key, errIgnored) // an earlier check's, overwritten since
	}
	return nil
}

// listed sees that the probe is listed where it was created, and that nothing
// is listed up to the key to begin after.
func (c *check) listed(ctx context.Context, created bool) error {
	in := &s3.ListObjectsV2Input{
		Bucket: aws.String(c.cfg.Bucket), Prefix: c.object(c.key), ExpectedBucketOwner: optional(c.cfg.Owner), MaxKeys: aws.Int32(2),
	}
	out, err := c.client.ListObjectsV2(ctx, in)
	if err == nil && created && len(out.Contents) == 0 {
		err = fmt.Errorf("%w: an object that is there is not listed", errDamaged)
	}
	if err == nil {
		in.StartAfter = c.object(c.key)
		_, err = c.client.ListObjectsV2(ctx, in)
	}
	if err != nil {
		return c.failed("list", c.key, err)
	}
	return nil
}

// shown notes what the store shows of how the probe is kept. It takes
// permissions that the archive does not need, so that nothing fails here.
func (c *check) shown(ctx context.Context) {
	f := &c.found
	if out, err := c.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(c.cfg.Bucket), Key: c.object(c.key), ExpectedBucketOwner: optional(c.cfg.Owner)}); err == nil {
		f.Encryption, f.KMSKey = string(out.ServerSideEncryption), aws.ToString(out.SSEKMSKeyId)
		f.LockMode, f.LegalHold = string(out.ObjectLockMode), out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn
		if out.ObjectLockRetainUntilDate != nil {
			f.LockUntil = out.ObjectLockRetainUntilDate.UTC()
		}
	}
	out, err := c.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: aws.String(c.cfg.Bucket), ExpectedBucketOwner: optional(c.cfg.Owner)})
	f.Lockless = code(err) == noLock
	if err != nil || out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.Rule == nil || out.ObjectLockConfiguration.Rule.DefaultRetention == nil {
		return
	}
	rule := out.ObjectLockConfiguration.Rule.DefaultRetention
	f.DefaultLock = strings.ToLower(string(rule.Mode)) + " " + span(aws.ToInt32(rule.Years), "year") + span(aws.ToInt32(rule.Days), "day")
}

// span words a number of units, "" for none.
func span(n int32, unit string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
