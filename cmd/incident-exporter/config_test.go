package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"incident-exporter/auth"
)

const (
	testTenant = "5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa"
	testClient = "b8b7f8f4-1f6e-49c7-8c0e-6a5f5b1c9e77"
	canary     = "Canary~8Q.secret/+=&value"
)

// load loads a configuration from settings and nothing else.
func load(t *testing.T, settings ...string) *config {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "EXPORTER_") || strings.HasPrefix(name, "AZURE_") {
			t.Setenv(name, "") // restores it afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	return loadConfig(os.Environ())
}

// defaults are the rows of the documented table.
func defaults() map[string]string {
	return map[string]string{
		"EXPORTER_SOURCE": "defender", "EXPORTER_CLOUD": "commercial", "EXPORTER_API_URL": "https://api.security.microsoft.com",
		"EXPORTER_AUDIENCE": "https://api.security.microsoft.com", "EXPORTER_AUTH": "auto", "EXPORTER_TOKEN_ENDPOINT": "v2",
		"EXPORTER_SECRET_EXPIRES": "", "EXPORTER_TENANTS": "", "EXPORTER_TENANTS_FILE": "", "EXPORTER_SHARD": "", "EXPORTER_SHARDS": "0",
		"EXPORTER_SINK": "file:./archive", "EXPORTER_SCHEDULE": "*/5 * * * *", "EXPORTER_TIMEZONE": "UTC", "EXPORTER_JITTER": "0s",
		"EXPORTER_START": "180d", "EXPORTER_SETTLE": "1m", "EXPORTER_OVERLAP": "1h", "EXPORTER_DEEP_OVERLAP": "168h",
		"EXPORTER_DEEP_EVERY": "24h", "EXPORTER_HEARTBEAT": "15m", "EXPORTER_BATCH_RECORDS": "5000", "EXPORTER_BATCH_BYTES": "16MiB",
		"EXPORTER_MAX_ANSWER_BYTES": "32MiB", "EXPORTER_COMPRESSION": "gzip", "EXPORTER_CONCURRENCY": "10",
		"EXPORTER_QUOTA": "50/1m,1500/1h", "EXPORTER_RUN_TIMEOUT": "1h", "EXPORTER_GRACE": "20s", "EXPORTER_MAX_LAG": "1h",
		"EXPORTER_S3_PATH_STYLE": "false", "EXPORTER_S3_STORAGE_CLASS": "", "EXPORTER_S3_SSE": "", "EXPORTER_S3_KMS_KEY": "", "EXPORTER_S3_LOCK_MODE": "",
		"EXPORTER_S3_LOCK_DAYS": "0", "EXPORTER_S3_LEGAL_HOLD": "false", "EXPORTER_S3_CHECKSUM": "when_supported", "EXPORTER_S3_BUCKET_OWNER": "",
		"EXPORTER_LISTEN": "", "EXPORTER_PING_URL": "", "EXPORTER_PING_URL_FILE": "", "EXPORTER_LOG_FORMAT": "", "EXPORTER_LOG_LEVEL": "info",
		"AZURE_TENANT_ID": "", "AZURE_CLIENT_ID": "", "AZURE_CLIENT_SECRET": "", "AZURE_CLIENT_SECRET_FILE": "",
		"AZURE_CLIENT_CERTIFICATE_PATH": "", "AZURE_CLIENT_CERTIFICATE_PASSWORD": "", "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE": "",
		"AZURE_FEDERATED_TOKEN_FILE": "", "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com",
	}
}

func TestDefaults(t *testing.T) {
	for name, cfg := range map[string]*config{
		"unset": load(t),
		"empty": load(t, "EXPORTER_SOURCE=", "EXPORTER_SETTLE=", "EXPORTER_BATCH_RECORDS= ", "EXPORTER_SINK=", "EXPORTER_UNKNOWN=", "EXPORTER_TENANTS=", "AZURE_CLIENT_SECRET="),
	} {
		if len(cfg.problems) > 0 {
			t.Errorf("%s: %v", name, cfg.problems)
		}
		want := defaults()
		for _, row := range cfg.rows {
			value, ok := want[row.name]
			if got := cfg.show(row); !ok || got != value || row.origin != originDefault {
				t.Errorf("%s: %s = %q from %s, want %q", name, row.name, got, row.origin, value)
			}
			delete(want, row.name)
		}
		for missing := range want {
			t.Errorf("%s: no variable %s", name, missing)
		}
	}
}

func TestEachProblemNamesItsVariableAndNotItsValue(t *testing.T) {
	tests := []struct{ setting, want string }{
		{"AZURE_TENANT_ID=not a tenant", "GUID"}, {"AZURE_CLIENT_ID=app", "GUID"},
		{"AZURE_AUTHORITY_HOST=http://login.fabrikam.example", "https://"}, {"AZURE_AUTHORITY_HOST=login", "URL"},
		{"EXPORTER_API_URL=http://127.0.0.1:1", "https://"}, {"EXPORTER_API_URL=https://a:b@fabrikam.example", "password"},
		{"EXPORTER_API_URL=https://fabrikam.example/?a=b", "query"}, {"EXPORTER_API_URL=https://fabrikam.example/#f", "query"},
		{"EXPORTER_AUDIENCE=https://fabrikam.example/.default", "/.default"}, {"EXPORTER_AUDIENCE=x y", "resource"},
		{"EXPORTER_SOURCE=sentinel", "one of defender, graph"},
		{"EXPORTER_CLOUD=moon", "one of commercial"},
		{"EXPORTER_AUTH=magic", "one of auto"},
		{"EXPORTER_TOKEN_ENDPOINT=v3", "v2, v1"}, {"EXPORTER_SECRET_EXPIRES=tomorrow", "date"},
		{"EXPORTER_TENANTS=a", "entry 1 must be a tenant's GUID"}, {"EXPORTER_TENANTS=contoso.example", "not by a domain name"},
		{"EXPORTER_TENANTS=a b=" + testTenant, "a name of letters"}, {"EXPORTER_TENANTS=" + testTenant + ",x=" + testTenant, "entry 2 names a tenant that is there already"},
		{"EXPORTER_SHARD=0/2", "i/n"}, {"EXPORTER_SHARD=3/2", "no part 3 of 2"}, {"EXPORTER_SHARD=1", "i/n"}, {"EXPORTER_SHARDS=2", "JOB_COMPLETION_INDEX"}, {"EXPORTER_LISTEN=9464", "host:port"}, {"EXPORTER_LISTEN=fd00::1:9464", "in brackets"},
		{"EXPORTER_LISTEN=:65536", "host:port"}, {"EXPORTER_LISTEN=http://127.0.0.1:9464", "host:port"}, {"EXPORTER_LISTEN=127.0.0.1:metrics", "host:port"},
		{"EXPORTER_PING_URL=http://fabrikam.example/" + canary, "https://"}, {"EXPORTER_PING_URL=ping", "the URL that the service gives"},
		{"EXPORTER_PING_URL_FILE=/nonexistent/" + canary, "readable file"}, {"EXPORTER_S3_PATH_STYLE=yes", "true or false"},
		{"EXPORTER_S3_LOCK_DAYS=30", "set both"}, {"EXPORTER_S3_KMS_KEY=alias/x", "EXPORTER_S3_SSE"}, {"EXPORTER_S3_BUCKET_OWNER=me", "12 digits"},
		{"EXPORTER_S3_CHECKSUM=never", "when_required"}, {"EXPORTER_S3_BUCKET=x", "not a known"}, {"EXPORTER_SINK=s3://", "a bucket"}, {"EXPORTER_SINK=s3://Upper/x", "a bucket"},
		{"EXPORTER_SINK=s3://bucket/a//b", "prefix"}, {"EXPORTER_SINK=/srv/incidents", "file:DIR"}, {"EXPORTER_SINK=file:", "file:DIR"},
		{"EXPORTER_SINK=file://host/dir", "host"},
		{"EXPORTER_SCHEDULE=TZ=UTC", "EXPORTER_TIMEZONE"}, {"EXPORTER_SCHEDULE=CRON_TZ=Europe/Berlin * * * * *", "EXPORTER_TIMEZONE"},
		{"EXPORTER_SCHEDULE=@every 0s", "10s"}, {"EXPORTER_SCHEDULE=@every -5m", "10s"}, {"EXPORTER_SCHEDULE=@every 9999ms", "10s"},
		{"EXPORTER_SCHEDULE=0 0 31 2 *", "never"}, {"EXPORTER_SCHEDULE=*/90 * * * *", "cron expression"}, {"EXPORTER_SCHEDULE=0 0/24 * * *", "cron expression"}, {"EXPORTER_SCHEDULE=often", "cron expression"}, {"EXPORTER_SCHEDULE=* * * * * *", "cron expression"},
		{"EXPORTER_TIMEZONE=Mars/Olympus", "IANA"}, {"EXPORTER_TIMEZONE=Local", "IANA"},
		{"EXPORTER_START=yesterday", "180d"}, {"EXPORTER_START=-5h", "180d"},
		{"EXPORTER_SETTLE=-1m", "negative"}, {"EXPORTER_SETTLE=300", "unit"}, {"EXPORTER_OVERLAP=1w", "unit"}, {"EXPORTER_OVERLAP=30s", "EXPORTER_SETTLE"},
		{"EXPORTER_HEARTBEAT=0s", "more than 0"}, {"EXPORTER_BATCH_RECORDS=0", "more than 0"}, {"EXPORTER_BATCH_RECORDS=0100", "leading zeros"},
		{"EXPORTER_BATCH_RECORDS=0x10", "decimal"}, {"EXPORTER_BATCH_RECORDS=+5", "decimal"}, {"EXPORTER_BATCH_RECORDS=50001", "at most 50000"},
		{"EXPORTER_BATCH_BYTES=16 megs", "16MiB"}, {"EXPORTER_BATCH_BYTES=0", "more than 0"}, {"EXPORTER_BATCH_BYTES=999999999999999GiB", "too large"},
		{"EXPORTER_MAX_ANSWER_BYTES=-1", "16MiB"}, {"EXPORTER_COMPRESSION=brotli", "gzip, zstd, none"}, {"EXPORTER_CONCURRENCY=101", "at most 100"},
		{"EXPORTER_QUOTA=50", "50/1m"}, {"EXPORTER_QUOTA=50/1m,", "50/1m"}, {"EXPORTER_QUOTA=0/1m", "at least one"}, {"EXPORTER_QUOTA=5/0s", "at least one"},
		{"EXPORTER_LOG_FORMAT=xml", "text, json"}, {"EXPORTER_LOG_LEVEL=loud", "debug, info"},
		{"EXPORTER_MAX_LAG=19m", "EXPORTER_HEARTBEAT"}, {"EXPORTER_DEEP_OVERLAP=30m", "EXPORTER_OVERLAP"},
		{"EXPORTER_SCHEDULE=0 3 * * *", "24h15m"}, {"EXPORTER_JITTER=5m", "EXPORTER_SCHEDULE"},
		{"EXPORTER_BATCH_RECORD=1", "did you mean EXPORTER_BATCH_RECORDS?"}, {"EXPORTER_SHEDULE=x", "did you mean EXPORTER_SCHEDULE?"},
		{"EXPORTER_SOMETHING_ELSE_ALTOGETHER=1", "lists them all"}, {"EXPORTER_LISTEN_PORT=9090", "not a known"},
		{"AZURE_CLIENT_SECRET_FILE=/nonexistent/" + canary, "readable file"},
	}
	all, expected := []string{}, map[string]string{}
	for _, test := range tests {
		name, value, _ := strings.Cut(test.setting, "=")
		t.Run(test.setting, func(t *testing.T) {
			cfg := load(t, test.setting)
			at := name
			if strings.Contains(test.setting, "0 3 * * *") {
				at = "EXPORTER_MAX_LAG"
			}
			if len(cfg.problems) != 1 || cfg.problems[0].name != at || !strings.Contains(cfg.problems[0].text, test.want) {
				t.Fatalf("got %v, want %s: %s", cfg.problems, at, test.want)
			}
			for _, row := range cfg.rows {
				if row.name == name && row.field.Kind().String() != "struct" && cfg.faulty(name) && cfg.show(row) != "[invalid]" && cfg.show(row) != "[redacted]" {
					t.Errorf("the bad value is shown: %q", cfg.show(row))
				}
			}
			if len(value) > 6 && strings.Contains(cfg.problems[0].text, value) && !strings.Contains(test.want, value) {
				t.Errorf("the bad value is echoed: %s", cfg.problems[0].text)
			}
		})
		if _, ok := expected[name]; !ok && !strings.Contains(test.setting, "0 3 * * *") {
			all, expected[name] = append(all, test.setting), test.want
		}
	}
	t.Run("all together", func(t *testing.T) {
		cfg := load(t, all...)
		text := (&configError{cfg.problems}).Error()
		for name := range expected {
			// Contradictions are left out where one of the two is wrong by itself.
			if !strings.Contains(text, name+" ") && name != "EXPORTER_MAX_LAG" && name != "EXPORTER_SHARDS" && name != "EXPORTER_DEEP_OVERLAP" && name != "EXPORTER_JITTER" {
				t.Errorf("%s is not reported in:\n%s", name, text)
			}
		}
	})
}

func TestGoodValues(t *testing.T) {
	for _, test := range []struct{ setting, shown string }{
		{"AZURE_TENANT_ID=" + strings.ToUpper(testTenant) + "\n", testTenant}, {"EXPORTER_API_URL= https://fabrikam.example/ ", "https://fabrikam.example"},
		{"EXPORTER_API_URL=https://127.0.0.1:8443/api/", "https://127.0.0.1:8443/api"},
		{"EXPORTER_AUDIENCE=https://security.microsoft.com/mtp/", "https://security.microsoft.com/mtp/"}, {"EXPORTER_AUDIENCE=" + testClient, testClient},
		{"EXPORTER_SINK=file:/var/lib/x", "file:/var/lib/x"}, {"EXPORTER_SINK=file:///var/lib/x", "file:/var/lib/x"},
		{"EXPORTER_SCHEDULE=@every 10m", "@every 10m"}, {"EXPORTER_SCHEDULE=@hourly", ""}, {"EXPORTER_TIMEZONE=Europe/Berlin", "Europe/Berlin"},
		{"EXPORTER_START=now", "now"}, {"EXPORTER_START=0s", "now"}, {"EXPORTER_START=36h", "36h"}, {"EXPORTER_START=48h", "2d"},
		{"EXPORTER_START=2026-03-02T09:00:00.1234567+01:00", "2026-03-02T08:00:00.1234567Z"},
		{"EXPORTER_SETTLE=0s", "0s"}, {"EXPORTER_SETTLE=90s", "1m30s"}, {"EXPORTER_DEEP_OVERLAP=14d", "336h"}, {"EXPORTER_BATCH_BYTES=32MB", "32MB"},
		{"EXPORTER_BATCH_BYTES=1000001", "1000001"}, {"EXPORTER_BATCH_BYTES=512 KiB", "512KiB"}, {"EXPORTER_BATCH_RECORDS=50000\n", "50000"},
		{"EXPORTER_QUOTA= 10/1m , 100/1h", "10/1m,100/1h"}, {"EXPORTER_LOG_LEVEL=WARN", "warn"}, {"EXPORTER_SECRET_EXPIRES=2027-01-31", "2027-01-31"},
		{"EXPORTER_LISTEN= :9464 ", ":9464"}, {"EXPORTER_LISTEN=[::1]:0", "[::1]:0"}, {"EXPORTER_LISTEN=localhost:9464", "localhost:9464"},
		{"EXPORTER_PING_URL=https://hc.fabrikam.example/" + canary + "?create=1", "[redacted]"}, {"EXPORTER_PING_URL=http://127.0.0.1:8000/" + canary, "[redacted]"},
		{"EXPORTER_MAX_LAG=20m", "20m"}, {"AZURE_CLIENT_SECRET=" + canary, "[redacted]"}, {"AZURE_FEDERATED_TOKEN_FILE=/var/run/token", "/var/run/token"},
	} {
		t.Run(test.setting, func(t *testing.T) {
			settings := []string{test.setting}
			if test.shown == "" { // once an hour is beyond the default of MAX_LAG
				settings, test.shown = append(settings, "EXPORTER_MAX_LAG=75m"), "@hourly"
			}
			cfg := load(t, settings...)
			if len(cfg.problems) > 0 {
				t.Fatal(cfg.problems)
			}
			name, _, _ := strings.Cut(test.setting, "=")
			for _, row := range cfg.rows {
				if row.name == name && (cfg.show(row) != test.shown || row.origin != originEnvironment) {
					t.Errorf("shown as %q from %s, want %q", cfg.show(row), row.origin, test.shown)
				}
			}
		})
	}
}

func TestServiceVariablesAreNoTypingErrors(t *testing.T) {
	cfg := load(t, "EXPORTER_SERVICE_HOST=10.0.0.1", "EXPORTER_SERVICE_PORT=443", "EXPORTER_SERVICE_PORT_HTTPS=443", "EXPORTER_PORT=tcp://10.0.0.1:443",
		"EXPORTER_PORT_443_TCP=tcp://10.0.0.1:443", "EXPORTER_PORT_443_TCP_PROTO=tcp", "EXPORTER_PORT_443_TCP_PORT=443", "EXPORTER_PORT_443_TCP_ADDR=10.0.0.1",
		"EXPORTER_METRICS_SERVICE_HOST=fd00::1", "EXPORTER_METRICS_SERVICE_PORT=9090", "EXPORTER_METRICS_PORT=udp://[fd00::1]:9090", "EXPORTER_METRICS_PORT_9090_UDP_ADDR=fd00::1")
	if len(cfg.problems) > 0 {
		t.Error(cfg.problems)
	}
}

func TestRequiredDependsOnTheCommand(t *testing.T) {
	names := func(cfg *config) (names []string) {
		for _, p := range cfg.problems {
			names = append(names, p.name)
		}
		return names
	}
	cfg := load(t)
	cfg.require(need{})
	if len(cfg.problems) > 0 {
		t.Errorf("the archive alone needs %v", names(cfg))
	}
	cfg.require(need{API: true})
	if got := fmt.Sprint(names(cfg)); got != "[AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET]" {
		t.Errorf("the API needs %s", got)
	}
	cfg = load(t, "AZURE_TENANT_ID=Fabrikam.example", "AZURE_CLIENT_ID="+testClient, "AZURE_CLIENT_SECRET="+canary)
	cfg.require(need{API: true, Domain: true})
	if len(cfg.problems) > 0 {
		t.Errorf("a domain name is to do: %v", cfg.problems)
	}
	cfg.require(need{API: true})
	if len(cfg.problems) != 1 || !strings.Contains(cfg.problems[0].text, "GUID") || !strings.Contains(cfg.problems[0].text, "tid") {
		t.Errorf("a domain name: %v", cfg.problems)
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(canary + "\n")
	cfg := load(t, "AZURE_CLIENT_SECRET_FILE="+path)
	for content, want := range map[string]string{canary + "\n": canary, " x \n\n": " x \n", "x\r\n": "x", "rotated": "rotated"} {
		write(content)
		if secret, err := cfg.clientSecret(); err != nil || secret.Reveal() != want {
			t.Errorf("%q: %q, %v", content, secret.Reveal(), err)
		}
	}
	for _, row := range cfg.rows {
		if row.name == "AZURE_CLIENT_SECRET" && (row.origin != "file "+path || cfg.show(row) != "[redacted]") {
			t.Errorf("shown as %q from %q", cfg.show(row), row.origin)
		}
	}
	for _, bad := range []string{"", "\n", strings.Repeat("x", maxSecretFile+1)} {
		write(bad)
		if _, err := cfg.clientSecret(); err == nil {
			t.Errorf("a file of %d bytes is accepted", len(bad))
		}
		if problems := load(t, "AZURE_CLIENT_SECRET_FILE="+path).problems; len(problems) != 1 {
			t.Errorf("a file of %d bytes: %v", len(bad), problems)
		}
	}
	if problems := load(t, "AZURE_CLIENT_SECRET_FILE="+t.TempDir()).problems; len(problems) != 1 {
		t.Errorf("a directory: %v", problems)
	}
	write(canary)
	if problems := load(t, "AZURE_CLIENT_SECRET_FILE="+path, "AZURE_CLIENT_SECRET=x").problems; len(problems) != 1 || !strings.Contains(problems[0].text, "both") {
		t.Errorf("both: %v", problems)
	}
}

func TestConfigNeverRendersASecret(t *testing.T) {
	cfg := load(t, "AZURE_CLIENT_SECRET="+canary, "AZURE_CLIENT_CERTIFICATE_PASSWORD="+canary, "EXPORTER_PING_URL=https://fabrikam.example/"+canary)
	if cfg.Azure.ClientSecret.Reveal() != canary {
		t.Fatal("the secret is not there")
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "config", cfg.Azure, "whole", cfg)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "config", cfg.Azure, "group", map[string]auth.Secret{"s": cfg.Azure.ClientSecret})
	encoded, err := json.Marshal(cfg.Azure)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(encoded), fmt.Sprint(cfg.problems)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		texts = append(texts, fmt.Sprintf(verb, cfg.Azure), fmt.Sprintf(verb, cfg), fmt.Sprintf(verb, cfg.Exporter))
	}
	for _, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
			t.Errorf("shows the secret: %s", text)
		}
	}
}

func TestForeignEnvironIsRefused(t *testing.T) {
	if cfg := loadConfig([]string{"EXPORTER_SETTLE=2m"}); len(cfg.problems) != 1 {
		t.Errorf("got %v", cfg.problems)
	}
}
