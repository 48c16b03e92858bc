package main

import (
	"fmt"
	"strings"

	"incident-exporter/auth"
)

// config is the whole configuration: one field a variable, named by its path, so that
// Exporter.BatchBytes is EXPORTER_BATCH_BYTES. Field types decode and check their own text; the
// tags say the rest:
//
//	default    the value when the variable is unset or empty
//	oneof      the only values there are
//	positive   "true": zero is refused
//
// Reading it is safe for concurrent use.
type config struct {
	Azure    azureConfig
	Exporter exporterConfig
	S3       s3Config

	kind  auth.Kind // of the credential; "" if none is set
	shard shard     // this process's part of the tenants

	rows     []configRow
	problems []problem
}

// azureConfig holds the variables that Azure's own tools share.
type azureConfig struct {
	TenantID                      tenantID    `split_words:"true"`
	ClientID                      guid        `split_words:"true"`
	ClientSecret                  auth.Secret `split_words:"true"`
	ClientSecretFile              text        `split_words:"true"`
	ClientCertificatePath         text        `split_words:"true"`
	ClientCertificatePassword     auth.Secret `split_words:"true"`
	ClientCertificatePasswordFile text        `split_words:"true"`
	FederatedTokenFile            text        `split_words:"true"`
	AuthorityHost                 httpsURL    `split_words:"true"` // default: by the cloud
}

// exporterConfig holds the variables of this program.
type exporterConfig struct {
	Source         text          `split_words:"true" default:"defender" oneof:"defender,graph"`
	Cloud          text          `split_words:"true" default:"commercial" oneof:"commercial,gcc,gcc-high,dod"`
	ApiURL         httpsURL      `split_words:"true"` // default: by cloud and source
	Audience       audience      `split_words:"true"` // default: by cloud and source
	Auth           text          `split_words:"true" default:"auto" oneof:"auto,secret,certificate,workload-identity,managed-identity"`
	TokenEndpoint  text          `split_words:"true" default:"v2" oneof:"v2,v1"`
	SecretExpires  date          `split_words:"true"`
	Tenants        tenantList    `split_words:"true"`
	TenantsFile    text          `split_words:"true"`
	Shard          shard         `split_words:"true"`
	Shards         count         `split_words:"true" default:"0"`
	Sink           sinkURL       `split_words:"true" default:"file:./archive"`
	Schedule       schedule      `split_words:"true" default:"*/5 * * * *"`
	Timezone       timezone      `split_words:"true" default:"UTC"`
	Jitter         duration      `split_words:"true" default:"0s"`
	Start          start         `split_words:"true" default:"180d"`
	Settle         duration      `split_words:"true" default:"1m"`
	Overlap        duration      `split_words:"true" default:"1h"`
	DeepOverlap    duration      `split_words:"true" default:"168h"`
	DeepEvery      duration      `split_words:"true" default:"24h" positive:"true"`
	Heartbeat      duration      `split_words:"true" default:"15m" positive:"true"`
	BatchRecords   count         `split_words:"true" default:"5000" positive:"true"`
	BatchBytes     byteSize      `split_words:"true" default:"16MiB" positive:"true"`
	MaxAnswerBytes byteSize      `split_words:"true" default:"32MiB" positive:"true"`
	Compression    text          `split_words:"true" default:"gzip" oneof:"gzip,zstd,none"`
	Concurrency    count         `split_words:"true" default:"10" positive:"true"`
	Quota          quota         `split_words:"true"` // default: by source
	RunTimeout     duration      `split_words:"true" default:"1h" positive:"true"`
	Grace          duration      `split_words:"true" default:"20s"`
	MaxLag         duration      `split_words:"true" default:"1h" positive:"true"`
	Listen         listenAddress `split_words:"true"`
	PingURL        auth.Secret   `split_words:"true"` // its path is what authorises a ping
	PingURLFile    text          `split_words:"true"`
	LogFormat      text          `split_words:"true" oneof:"text,json"` // default: text on a terminal, else json
	LogLevel       logLevel      `split_words:"true" default:"info"`
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
	listed := len(c.Exporter.Tenants) > 0 || c.Exporter.TenantsFile != ""
	if id := c.Azure.TenantID; id.domain() && !need.Domain && !listed {
		c.problem("AZURE_TENANT_ID", "is a domain name, which can change: set it to the tenant's GUID (`incident-exporter token` shows it as tid)")
	}
	if !need.API {
		return
	}
	if c.Azure.TenantID == "" && !listed && !c.faulty("AZURE_TENANT_ID") && !c.faulty("EXPORTER_TENANTS") {
		c.problem("AZURE_TENANT_ID", "is not set: set it to the GUID of the tenant whose incidents are wanted, or several in EXPORTER_TENANTS")
	}
	if c.Azure.ClientID == "" && c.kind != auth.ManagedIdentity && !c.faulty("AZURE_CLIENT_ID") {
		c.problem("AZURE_CLIENT_ID", "is not set: set it to the application (client) id of the app registration")
	}
	if c.kind == "" && !c.faulty("AZURE_CLIENT_SECRET") && !c.faulty("AZURE_CLIENT_SECRET_FILE") && !c.faulty("EXPORTER_AUTH") {
		c.problem("AZURE_CLIENT_SECRET", "is not set, and no other credential is: set it, AZURE_CLIENT_SECRET_FILE, AZURE_CLIENT_CERTIFICATE_PATH or "+
			"AZURE_FEDERATED_TOKEN_FILE, or EXPORTER_AUTH=managed-identity")
	}
}
