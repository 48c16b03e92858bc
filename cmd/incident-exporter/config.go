package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"incident-exporter/auth"
)

// config is the whole configuration: one field a variable, named by its path, so that
// Exporter.BatchBytes is EXPORTER_BATCH_BYTES. Field types decode and check their own text; the
// tags say the rest:
//
//	default    the value when the variable is unset or empty
//	oneof      the only values there are
//	supported  the ones among them that this version can do
//	later      "true": the variable is known, but this version cannot do what it asks for
//	positive   "true": zero is refused
//
// Reading it is safe for concurrent use.
type config struct {
	Azure    azureConfig
	Exporter exporterConfig
	S3       s3Config

	rows     []configRow
	problems []problem
}

// azureConfig holds the variables that Azure's own tools share. Those for certificates and
// federated tokens are often set for other programs (the AKS webhook injects them), so their
// presence is no problem.
type azureConfig struct {
	TenantID                      tenantID    `split_words:"true"`
	ClientID                      guid        `split_words:"true"`
	ClientSecret                  auth.Secret `split_words:"true"`
	ClientSecretFile              text        `split_words:"true"`
	ClientCertificatePath         text        `split_words:"true"`
	ClientCertificatePassword     auth.Secret `split_words:"true"`
	ClientCertificatePasswordFile text        `split_words:"true"`
	FederatedTokenFile            text        `split_words:"true"`
	AuthorityHost                 httpsURL    `split_words:"true" default:"https://login.microsoftonline.com"`
}

// exporterConfig holds the variables of this program.
type exporterConfig struct {
	Source         text        `split_words:"true" default:"defender" oneof:"defender,graph" supported:"defender"`
	Cloud          text        `split_words:"true" default:"commercial" oneof:"commercial,gcc,gcc-high,dod" supported:"commercial"`
	ApiURL         httpsURL    `split_words:"true" default:"https://api.security.microsoft.com"`
	Audience       audience    `split_words:"true" default:"https://api.security.microsoft.com"`
	Auth           text        `split_words:"true" default:"auto" oneof:"auto,secret,certificate,workload-identity,managed-identity" supported:"auto,secret"`
	TokenEndpoint  text        `split_words:"true" default:"v2" oneof:"v2,v1"`
	SecretExpires  date        `split_words:"true"`
	Tenants        text        `split_words:"true" later:"true"`
	TenantsFile    text        `split_words:"true" later:"true"`
	Shard          text        `split_words:"true" later:"true"`
	Shards         text        `split_words:"true" later:"true"`
	Sink           sinkURL     `split_words:"true" default:"file:./archive"`
	Schedule       schedule    `split_words:"true" default:"*/5 * * * *"`
	Timezone       timezone    `split_words:"true" default:"UTC"`
	Jitter         duration    `split_words:"true" default:"0s"`
	Start          start       `split_words:"true" default:"180d"`
	Settle         duration    `split_words:"true" default:"1m"`
	Overlap        duration    `split_words:"true" default:"1h"`
	DeepOverlap    duration    `split_words:"true" default:"168h"`
	DeepEvery      duration    `split_words:"true" default:"24h" positive:"true"`
	Heartbeat      duration    `split_words:"true" default:"15m" positive:"true"`
	BatchRecords   count       `split_words:"true" default:"5000" positive:"true"`
	BatchBytes     byteSize    `split_words:"true" default:"16MiB" positive:"true"`
	MaxAnswerBytes byteSize    `split_words:"true" default:"32MiB" positive:"true"`
	Compression    text        `split_words:"true" default:"gzip" oneof:"gzip,zstd,none"`
	Concurrency    count       `split_words:"true" default:"10" positive:"true"`
	Quota          quota       `split_words:"true" default:"50/1m,1500/1h"`
	RunTimeout     duration    `split_words:"true" default:"1h" positive:"true"`
	Grace          duration    `split_words:"true" default:"20s"`
	MaxLag         duration    `split_words:"true" default:"1h" positive:"true"`
	Listen         text        `split_words:"true" later:"true"`
	PingURL        auth.Secret `split_words:"true" later:"true"`      // its path is what authorises a ping
	LogFormat      text        `split_words:"true" oneof:"text,json"` // default: text on a terminal, else json
	LogLevel       logLevel    `split_words:"true" default:"info"`
}

// s3Config holds how objects are stored in S3: EXPORTER_S3_. Where the store is and who asks is
// said by the variables of the AWS SDK.
type s3Config struct {
	PathStyle    toggle  `split_words:"true" default:"false"`
	StorageClass text    `split_words:"true"`
	SSE          text    `split_words:"true" oneof:"AES256,aws:kms,aws:kms:dsse"`
	KMSKey       text    `split_words:"true"`
	LockMode     text    `split_words:"true" oneof:"compliance,governance"`
	LockDays     count   `split_words:"true" default:"0"`
	LegalHold    toggle  `split_words:"true" default:"false"`
	Checksum     text    `split_words:"true" default:"when_supported" oneof:"when_supported,when_required"`
	BucketOwner  account `split_words:"true"`
}

// need says which variables a command cannot do without.
type need struct {
	API    bool // tenant, app and credential
	Domain bool // a tenant given by its domain name will do
}

// problem is what is wrong with one variable.
type problem struct {
	name string
	text string // what would be right; never the value, which may be a secret in the wrong place
}

// configError reports every problem of the configuration at once.
type configError struct {
	problems []problem
}

// Error lists the problems, one a line.
func (e *configError) Error() string {
	lines := make([]string, 0, len(e.problems)+1)
	if len(e.problems) == 1 {
		return "configuration: " + e.problems[0].name + " " + e.problems[0].text
	}
	lines = append(lines, fmt.Sprintf("configuration: %d problems", len(e.problems)))
	for _, p := range e.problems {
		lines = append(lines, "  "+p.name+" "+p.text)
	}
	return strings.Join(lines, "\n")
}

// config loads the configuration and checks that it has what a command needs. The error is a
// *configError with all problems.
func (a *app) config(need need) (*config, error) {
	cfg := loadConfig(a.environ)
	if cfg.Exporter.LogFormat == "" {
		cfg.Exporter.LogFormat = "json"
		if a.isTerminal(a.stderr) {
			cfg.Exporter.LogFormat = "text"
		}
	}
	cfg.require(need)
	if len(cfg.problems) > 0 {
		return cfg, &configError{cfg.problems}
	}
	return cfg, nil
}

func (c *config) problem(name, format string, args ...any) {
	c.problems = append(c.problems, problem{name, fmt.Sprintf(format, args...)})
}

// faulty reports whether a problem with the variable is known already.
func (c *config) faulty(name string) bool {
	for _, p := range c.problems {
		if p.name == name {
			return true
		}
	}
	return false
}

// require notes as problems what need asks for and is not there.
func (c *config) require(need need) {
	if id := c.Azure.TenantID; id.domain() && !need.Domain {
		c.problem("AZURE_TENANT_ID", "is a domain name, which can change: set it to the tenant's GUID (`incident-exporter token` shows it as tid)")
	}
	if !need.API {
		return
	}
	if c.Azure.TenantID == "" && !c.faulty("AZURE_TENANT_ID") {
		c.problem("AZURE_TENANT_ID", "is not set: set it to the GUID of the tenant whose incidents are wanted")
	}
	if c.Azure.ClientID == "" && !c.faulty("AZURE_CLIENT_ID") {
		c.problem("AZURE_CLIENT_ID", "is not set: set it to the application (client) id of the app registration")
	}
	if c.Azure.ClientSecret.IsZero() && c.Azure.ClientSecretFile == "" && !c.faulty("AZURE_CLIENT_SECRET") && !c.faulty("EXPORTER_AUTH") {
		c.problem("AZURE_CLIENT_SECRET", "is not set: set it, or AZURE_CLIENT_SECRET_FILE; this version supports no other credential than a client secret")
	}
}

// clientSecret returns the client secret. One that is given as a file is read each time, so that
// rotation needs no restart.
func (c *config) clientSecret() (auth.Secret, error) {
	if c.Azure.ClientSecretFile == "" {
		return c.Azure.ClientSecret, nil
	}
	secret, err := readSecretFile(string(c.Azure.ClientSecretFile))
	if err != nil {
		return auth.Secret{}, fmt.Errorf("read the file that AZURE_CLIENT_SECRET_FILE names: %w", err)
	}
	return secret, nil
}

// maxSecretFile is far above any secret; a larger file is another file.
const maxSecretFile = 64 << 10

// readSecretFile reads a secret; one trailing newline is not part of it. The error holds neither
// the path, which may be a secret that was pasted into the wrong variable, nor the content.
func readSecretFile(path string) (auth.Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return auth.Secret{}, bareError(err)
	}
	defer func() { _ = file.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return auth.Secret{}, bareError(err)
	}
	content := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case len(data) > maxSecretFile:
		return auth.Secret{}, errors.New("file too large for a secret")
	case content == "":
		return auth.Secret{}, errors.New("file is empty")
	}
	return auth.NewSecret(content), nil
}

// bareError strips the path off a file error.
func bareError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
