// Package s3 keeps an archive in a bucket of S3, or of a store that speaks
// its protocol: the contract of package sinks over PutObject, GetObject and
// ListObjectsV2.
//
// An object is created by a PutObject with If-None-Match: *, which the store
// refuses if there is one under that key. Nothing is ever overwritten or
// deleted, and no permission to do so is needed. A store that ignores the
// condition could overwrite, so it is found out when the sink is opened, and
// refused. Every put carries its SHA-256, which the store verifies before it
// stores anything and keeps beside the object.
//
// Durability is the store's: a Put that returned nil was acknowledged by it.
// A put whose answer was lost, or that was refused, is resolved by looking at
// what is stored. One that fails while the store is unreachable may still
// arrive there later; like any other it then changes nothing that is there.
//
// What the SDK reads of the environment and of its files (region, endpoint,
// credentials, roles, profiles, proxies, CA bundle) holds here as well.
package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"incident-exporter/sinks"
)

// Config says where the archive is and how its objects are stored. What is
// empty is left to the bucket.
type Config struct {
	Bucket string
	Prefix string // of all keys, without slashes around it; may be empty

	PathStyle bool   // the bucket in the path, not in the host
	Owner     string // account id that must own the bucket

	StorageClass string
	Encryption   string // AES256, aws:kms or aws:kms:dsse
	KMSKey       string // id or ARN

	LockMode  string        // COMPLIANCE or GOVERNANCE
	LockFor   time.Duration // retention of each object, from its put on
	LegalHold bool

	// WhenRequired leaves out the checksums that a request does not need, for
	// stores that refuse the SDK's default.
	WhenRequired bool

	Log *slog.Logger // told the source of the credentials; may be nil

	// Transport makes the requests in the place of the SDK's own client, which
	// reads proxies and CA bundles from the environment. nil: the SDK's.
	Transport http.RoundTripper
}

// Reader reads the archive in a bucket. Its methods may be called concurrently.
type Reader struct {
	cfg    Config
	client *s3.Client
	region string
}

// Sink writes as well. Any number of processes may write to one prefix.
type Sink struct {
	*Reader
	warnOnce sync.Once
}

var _ sinks.Sink = (*Sink)(nil)

// attempts is how often a request is tried that fails for no lasting reason.
const attempts = 5

// connections is how many are kept for the requests that follow.
const connections = 64

// OpenReader prepares reading. It finds the credentials, and asks the store
// for nothing.
func OpenReader(ctx context.Context, cfg Config) (*Reader, error) {
	r := &Reader{cfg: cfg}
	calculate, validate := aws.RequestChecksumCalculationWhenSupported, aws.ResponseChecksumValidationWhenSupported
	if cfg.WhenRequired {
		calculate, validate = aws.RequestChecksumCalculationWhenRequired, aws.ResponseChecksumValidationWhenRequired
	}
	// As many connections are kept as there are requests at once.
	var client config.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.OnProxyConnectResponse = connections, proxyAnswered
	})
	if cfg.Transport != nil {
		client = &http.Client{Transport: cfg.Transport}
	}
	// The SDK's own logger writes to standard error what is no fault, such as
	// that a store keeps no checksums; what is one comes as an error.
	loaded, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithLogger(logging.Nop{}),
		config.WithRequestChecksumCalculation(calculate), config.WithResponseChecksumValidation(validate),
		config.WithRetryer(func() aws.Retryer {
			// Its rate limiter would give up for good after some fifty failures;
			// what bounds a run here is the run's time.
			standard := retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.RateLimiter = attempts, ratelimit.None
			})
			return retry.AddWithErrorCodes(standard, "ConditionalRequestConflict", "OperationAborted")
		}))
	if err != nil {
		return nil, r.failed("open", "", err)
	}
	if loaded.Region == "" {
		return nil, r.failed("open", "", errNoRegion)
	}
	r.region = loaded.Region
	credentials, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, r.failed("open", "", &credentialsError{err})
	}
	if cfg.Log != nil {
		cfg.Log.Info("archive in S3", "bucket", cfg.Bucket, "prefix", cfg.Prefix, "region", loaded.Region, "credentials", credentials.Source)
	}
	r.client = s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = cfg.PathStyle })
	return r, nil
}

// Open prepares writing, and tries that the store keeps what the archive
// rests on: it creates the object .incident-exporter/s3/conditional-put as
// every Put does, unless it is there, and sees that it cannot be created again.
func Open(ctx context.Context, cfg Config) (*Sink, error) {
	r, err := OpenReader(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Sink{Reader: r}
	if err := s.probe(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

const (
	// reserved is for this package: no object of the archive lies there, and
	// what does is not listed.
	reserved = ".incident-exporter/s3/"

	// probeKey is written once and for ever in a store that keeps the condition.
	probeKey = reserved + "conditional-put"
)

// errIgnored is a store that overwrites.
var errIgnored = errors.New("the store ignores If-None-Match, so that an object that exists would be overwritten")

func (s *Sink) probe(ctx context.Context) error {
	for _, text := range []string{"first\n", "second\n"} {
		_, err := s.put(ctx, probeKey, []byte(text))
		if code(err) == preconditionFailed {
			return nil
		}
		if err != nil {
			return s.failed("put", probeKey, err)
		}
	}
	return s.failed("put", probeKey, errIgnored)
}

// Close is there for what other sinks hold; it does nothing.
func (r *Reader) Close() error { return nil }

// checkKey refuses what is no key by the contract in sinks.Reader, and what is
// reserved.
func checkKey(key string) error {
	if err := sinks.CheckKey(key); err != nil {
		return err
	}
	if strings.HasPrefix(key, reserved) {
		return fmt.Errorf("key %.600q: the place is reserved", key)
	}
	return nil
}

// object is the key in the bucket.
func (r *Reader) object(key string) *string {
	if r.cfg.Prefix != "" {
		key = r.cfg.Prefix + "/" + key
	}
	return aws.String(key)
}

// key is the archive's key of an object of the bucket.
func (r *Reader) key(object string) string {
	if r.cfg.Prefix == "" {
		return object
	}
	return strings.TrimPrefix(object, r.cfg.Prefix+"/")
}

func optional(value string) *string {
	if value == "" {
		return nil
	}
	return aws.String(value)
}

// String is the archive's URL.
func (c Config) String() string {
	if c.Prefix == "" {
		return "s3://" + c.Bucket
	}
	return fmt.Sprintf("s3://%s/%s", c.Bucket, c.Prefix)
}

// lock sets what keeps the object from being deleted.
func (c Config) lock(in *s3.PutObjectInput, now time.Time) {
	if c.LockMode != "" {
		in.ObjectLockMode = types.ObjectLockMode(c.LockMode)
		in.ObjectLockRetainUntilDate = aws.Time(now.Add(c.LockFor).UTC())
	}
	if c.LegalHold {
		in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn
	}
}
