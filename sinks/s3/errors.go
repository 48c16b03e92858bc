package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"incident-exporter/sinks"
)

// Codes of the store that mean something here (Amazon S3 API Reference, "Error
// responses"). A HEAD has no code, and some stores have none for a status.
const (
	preconditionFailed = "PreconditionFailed"
	noSuchKey          = "NoSuchKey"
)

// code is the store's code of an error, "" if the store did not answer.
func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	switch status(err) {
	case http.StatusPreconditionFailed:
		return preconditionFailed
	case http.StatusNotFound:
		if c := api.ErrorCode(); c == "NotFound" || c == "" {
			return noSuchKey
		}
	}
	return api.ErrorCode()
}

func status(err error) int {
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil {
		return resp.HTTPStatusCode()
	}
	return 0
}

var errNoRegion = errors.New("no region is set")

// credentialsError is that none were found, or that those that there are could not be used.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "get credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Error is what became of a request.
type Error struct {
	Op      string // open, put, get, read or list
	Archive string // URL
	Key     string // may be empty
	Code    string // the store's, "" if it did not answer
	Status  int    // HTTP, 0 if it did not answer
	Request string // the store's id of the request

	// Remedy is what to do about it, a sentence without its full stop, "" if
	// that is not known. Setting says that the configuration is wrong.
	Remedy  string
	Setting bool

	Err error
}

// Error is one sentence on one line.
func (e *Error) Error() string {
	text := e.Op
	if e.Key != "" {
		text += fmt.Sprintf(" %q", e.Key)
	}
	text += " in " + e.Archive + ": "
	var api smithy.APIError
	if !errors.As(e.Err, &api) {
		return text + oneLine(e.Err.Error())
	}
	text += fmt.Sprintf("status %d, %s", e.Status, e.Code)
	if api.ErrorMessage() != "" {
		text += ": " + oneLine(api.ErrorMessage())
	}
	if e.Request != "" {
		text += ", request id " + e.Request
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = s[:500] + "…"
	}
	return s
}

// failed makes an error of the contract of what the SDK says.
func (r *Reader) failed(op, key string, err error) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, sinks.ErrNotExist), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s %q in %s: %w", op, key, r.cfg, err)
	}
	e := &Error{Op: op, Archive: r.cfg.String(), Key: key, Code: code(err), Status: status(err), Err: err}
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		e.Request = resp.ServiceRequestID()
	}
	e.Remedy, e.Setting = r.remedy(e)
	return e
}

// permissions are what each request needs.
var permissions = map[string]string{"put": "s3:PutObject", "get": "s3:GetObject", "read": "s3:GetObject", "list": "s3:ListBucket"}

func (r *Reader) remedy(e *Error) (remedy string, setting bool) {
	bucket := r.cfg.Bucket
	message := strings.ToLower(e.Err.Error())
	var (
		credentials *credentialsError
		dns         *net.DNSError
		op          *net.OpError
		authority   x509.UnknownAuthorityError
		proxy       *ProxyError
	)
	locked := r.cfg.LockMode != "" || r.cfg.LegalHold
	switch {
	case errors.Is(e.Err, errNoRegion):
		return "set AWS_REGION to the bucket's region (for a store without regions any will do, such as us-east-1)", true
	case errors.Is(e.Err, errIgnored):
		return "keep the archive in a store that refuses a conditional PutObject (If-None-Match: *) of a key that exists: Amazon S3 does", false
	case errors.As(e.Err, &proxy):
		return proxy.remedy(), false
	case errors.As(e.Err, &credentials):
		return "give credentials in one of the ways of the AWS SDK: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of the pod, task or machine", true
	case e.Op == "open":
		return "check the AWS_ variables and the files that they name", true
	}
	switch e.Code {
	case "NoSuchBucket":
		return fmt.Sprintf("create the bucket %q, or correct EXPORTER_SINK; with a store of your own also AWS_ENDPOINT_URL_S3 and EXPORTER_S3_PATH_STYLE=true", bucket), false
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently", "BadRequest301":
		return fmt.Sprintf("set AWS_REGION to the region of the bucket %q: it is %s now", bucket, r.region), false
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound", "InvalidToken", "UnrecognizedClientException":
		return "check the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or the profile or role that is used instead", false
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return "renew the session's credentials, or let the program use a role that the SDK renews by itself", false
	case "RequestTimeTooSkewed":
		return "set this machine's clock: the store refuses requests that are signed more than 15 minutes off", false
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout":
		return "none is needed if it passes: the next run goes on", false
	case "InvalidStorageClass":
		return "correct EXPORTER_S3_STORAGE_CLASS", false
	case "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError":
		return fmt.Sprintf("enable Object Lock on the bucket %q, or unset EXPORTER_S3_LOCK_MODE, EXPORTER_S3_LOCK_DAYS and EXPORTER_S3_LEGAL_HOLD", bucket), false
	}
	switch {
	case strings.HasPrefix(e.Code, "KMS") || strings.Contains(message, "kms"):
		return "correct EXPORTER_S3_KMS_KEY, and let the credentials use the key: kms:GenerateDataKey to write, kms:Decrypt to read", false
	case locked && e.Status == http.StatusBadRequest && strings.Contains(message, "lock"):
		return fmt.Sprintf("enable Object Lock on the bucket %q, or unset EXPORTER_S3_LOCK_MODE, EXPORTER_S3_LOCK_DAYS and EXPORTER_S3_LEGAL_HOLD", bucket), false
	case e.Status == http.StatusForbidden:
		more := ""
		if locked && e.Op == "put" {
			more = " and s3:PutObjectRetention, with a legal hold s3:PutObjectLegalHold"
		}
		if r.cfg.Owner != "" {
			more += ", and check EXPORTER_S3_BUCKET_OWNER"
		}
		return fmt.Sprintf("let the credentials do %s%s on %s (deploy/aws has the policies)", permissions[e.Op], more, r.cfg), false
	case e.Status == http.StatusMovedPermanently || e.Status == http.StatusTemporaryRedirect || e.Status == http.StatusBadRequest && strings.Contains(message, "region"):
		return fmt.Sprintf("set AWS_REGION to the region of the bucket %q: it is %s now", bucket, r.region), false
	case e.Status == http.StatusNotImplemented || e.Status == http.StatusBadRequest && strings.Contains(message, "checksum"):
		return "set EXPORTER_S3_CHECKSUM=when_required if the store does not know the SDK's default checksums", false
	case errors.As(e.Err, &authority) || strings.Contains(message, "x509: certificate"):
		return "set AWS_CA_BUNDLE or SSL_CERT_FILE to the CA certificates that the store, or the proxy before it, is signed by", false
	case errors.As(e.Err, &dns) && !r.cfg.PathStyle:
		return fmt.Sprintf("check AWS_ENDPOINT_URL_S3 and AWS_REGION; a store that does not know %s as a host needs EXPORTER_S3_PATH_STYLE=true", bucket), false
	case errors.As(e.Err, &dns) || errors.As(e.Err, &op):
		return "check AWS_ENDPOINT_URL_S3, HTTPS_PROXY and NO_PROXY, and that the store can be reached from here", false
	case errors.Is(e.Err, errDamaged):
		return "run `incident-exporter verify`: it says all that is wrong with the archive", false
	}
	return "", false
}
