package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"incident-exporter/exporter/simulator"
	"incident-exporter/sinks/sinktest/s3server"
)

// setup is a set-up that is broken, and what a check says to it.
type setup struct {
	bucket bool // the archive is in S3
	fresh  bool // there is no archive yet
	spoil  func(*scene)
	env    []string
	code   int      // exitFailed if it is not said
	fails  []string // the checks that fail, by name
	warns  []string // those that warn
	skips  []string // those that wait
	says   []string // fragments of the detail of the first that fails, or else warns
	remedy string   // a fragment of its remedy
}

// hops are all checks of a set-up, in order.
func hops(bucket bool) []string {
	names := []string{"configuration", "credential", "authority", "authority clock", "token", "api", "api clock", "incidents", "archive", "schedule", "chain"}
	if bucket {
		names = slices.Insert(names, 8, "s3", "s3 clock")
	}
	return names
}

// TestBrokenSetups breaks one thing after another: the check that it is about fails with the cause
// and the remedy, what has to wait for it is skipped, all else passes, and nothing is written but
// what is no part of the archive.
func TestBrokenSetups(t *testing.T) {
	if testing.Short() { // the race detector's pass: others run the same code, and these many processes
		return
	}
	t.Parallel()
	store := brokenStore(t)
	for name, b := range brokenSetups(t, store) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, simulator.Options{Seed: 5, Incidents: 150, FurtherTenants: []string{thirdTenant}})
			s.behave(func(b *simulator.Behaviour) { b.ClockSkew = 0 })
			if b.bucket {
				s.dir = filepath.Join(store.Root, testBucket, "xdr")
				s.env = append(append(s.env, store.Environment()...), "EXPORTER_SINK=s3://"+testBucket+"/xdr", "EXPORTER_S3_PATH_STYLE=true")
			} else if !b.fresh {
				s.done("export")
			}
			if b.spoil != nil {
				b.spoil(s)
			}
			b.check(s)
		})
	}
}

// check runs the check, as text and as JSON, and holds what it says to what it should.
func (b setup) check(s *scene) {
	s.Helper()
	code := b.code
	if code == 0 && len(b.fails) > 0 {
		code = exitFailed
	}
	before := s.content()
	one, two := s.start(s.Context(), b.env, "check", "--json"), s.start(s.Context(), b.env, "check")
	asJSON, text := one.wait(), two.wait()
	if asJSON.code != code || text.code != code {
		s.Errorf("exit %d and %d, want %d\n%s%s", asJSON.code, text.code, code, text.stdout, text.stderr)
	}
	if s.content() != before {
		s.Error("the archive has been changed")
	}
	if strings.Contains(asJSON.stdout+text.stdout+text.stderr, "hidden") {
		s.Errorf("the proxy's password is shown:\n%s", text.stdout)
	}
	first := ""
	for _, name := range append(slices.Clone(b.fails), b.warns...) {
		if first == "" {
			first = name
		}
	}
	var seen []string
	for _, line := range jsonLines(s.T, asJSON.stdout) {
		name, state := fmt.Sprint(line["name"]), fmt.Sprint(line["state"])
		detail, remedy := fmt.Sprint(line["detail"]), fmt.Sprint(line["remedy"])
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
		}
		want := "ok"
		for s, names := range map[string][]string{"failed": b.fails, "warning": b.warns, "skipped": b.skips} {
			if slices.Contains(names, name) {
				want = s
			}
		}
		if state != want || line["ok"] != (want == "ok" || want == "warning") {
			s.Errorf("%s is %s, want %s: %s; remedy: %s", name, state, want, detail, remedy)
		}
		if (remedy == "") != (state == "ok" || state == "skipped") || state == "skipped" && !strings.HasPrefix(detail, "waits for") {
			s.Errorf("%s, %s: %q, remedy %q", name, state, detail, remedy)
		}
		if name != first {
			continue
		}
		for _, fragment := range b.says {
			if !strings.Contains(detail, fragment) {
				s.Errorf("%s: %q is not in %q", name, fragment, detail)
			}
		}
		if !strings.Contains(remedy, b.remedy) {
			s.Errorf("%s: remedy %q, want %q in it", name, remedy, b.remedy)
		}
	}
	if code == exitUsage {
		for _, fragment := range b.says {
			if !strings.Contains(text.stderr, fragment) || text.stdout != "" {
				s.Errorf("%q is not in %q, %q", fragment, text.stderr, text.stdout)
			}
		}
		return
	}
	if want := slices.DeleteFunc(hops(b.bucket), func(name string) bool {
		return strings.HasSuffix(name, " clock") && slices.Contains(b.fails, strings.TrimSuffix(name, " clock"))
	}); !slices.Equal(slices.DeleteFunc(seen, func(n string) bool { return n == "tenants" }), want) {
		s.Errorf("checks %v, want %v", seen, want)
	}
	if !strings.Contains(text.stdout, "remedy: ") || strings.Contains(text.stdout, "\x1b") {
		s.Errorf("text:\n%s", text.stdout)
	}
}

// brokenStore is one S3 server for all set-ups, with buckets for users who may not do everything.
func brokenStore(t *testing.T) *s3server.Server {
	server := s3server.Start(t, false)
	server.Bucket(t, testBucket, false)
	for name, actions := range map[string][]string{
		"no-put": {"s3:GetObject", "s3:ListBucket"}, "no-list": {"s3:PutObject", "s3:GetObject"}, "no-get": {"s3:PutObject", "s3:ListBucket"},
	} {
		server.Bucket(t, "for-"+name, false)
		user, _ := server.User(t, name)
		policy(t, server, "for-"+name, user, actions...)
	}
	server.Bucket(t, "for-something", false)
	if _, err := server.Client(t).PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("for-something"), Key: aws.String("xdr/photos/cat.jpeg"), Body: strings.NewReader("x"),
	}); err != nil {
		t.Fatal(err)
	}
	return server
}

// afterToken are the checks that wait for a token.
func afterToken() []string { return []string{"incidents"} }

// brokenSetups are the table.
func brokenSetups(t *testing.T, store *s3server.Server) map[string]setup {
	all := map[string]setup{}
	for _, part := range []map[string]setup{brokenTokens(), brokenCredentials(t), brokenNetworks(t), brokenAPIs(), brokenArchives(), brokenBuckets(t, store), brokenSettings()} {
		for name, b := range part {
			all[name] = b
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d set-ups", len(all))
	}
	return all
}

func behaves(change func(*simulator.Behaviour)) func(*scene) {
	return func(s *scene) { s.behave(change) }
}

// brokenTokens is what the authority refuses, and tokens that are no good.
func brokenTokens() map[string]setup {
	token := func(b setup) setup {
		b.fails, b.skips = []string{"token"}, afterToken()
		return b
	}
	roles := func(roles ...string) func(*scene) {
		return behaves(func(b *simulator.Behaviour) { b.Roles = roles })
	}
	return map[string]setup{
		"wrong secret": token(setup{env: []string{"AZURE_CLIENT_SECRET=" + canary + "x"}, says: []string{"the client secret is wrong", "AADSTS7000215"}, remedy: "set AZURE_CLIENT_SECRET to the secret's value"}),
		"secret id": {env: []string{"AZURE_CLIENT_SECRET=" + otherTenant}, fails: []string{"token"}, warns: []string{"credential"}, skips: afterToken(),
			says: []string{"AADSTS7000215"}, remedy: "often its id (a GUID) was pasted instead"},
		"expired secret": token(setup{spoil: behaves(func(b *simulator.Behaviour) { b.SecretExpired = true }), says: []string{"has expired", "AADSTS7000222"}, remedy: "add a new client secret"}),
		"unknown tenant": token(setup{fresh: true, env: []string{"AZURE_TENANT_ID=" + otherTenant}, says: []string{"no such tenant", "AADSTS90002"}, remedy: "check AZURE_TENANT_ID"}),
		"unknown app": token(setup{env: []string{"AZURE_CLIENT_ID=" + otherTenant}, says: []string{"the app is unknown in this tenant", "AADSTS700016"},
			remedy: "/" + testTenant + "/v2.0/adminconsent?client_id=" + otherTenant}),
		"no consent": token(setup{spoil: behaves(func(b *simulator.Behaviour) { b.Consent = false }), says: []string{"AADSTS65001"},
			remedy: "/" + testTenant + "/v2.0/adminconsent?client_id=" + simulator.DefaultClientID}),
		"no role":        token(setup{spoil: roles(), says: []string{"the token carries no roles", "roles none"}, remedy: "Incident.Read.All of Microsoft Threat Protection and grant admin consent"}),
		"plural role":    token(setup{spoil: roles("Incidents.Read.All"), says: []string{"(plural)"}, remedy: "application permission Incident.Read.All"}),
		"Graph's role":   token(setup{spoil: roles("SecurityIncident.Read.All"), says: []string{"belongs to the other incidents API", "Incident.Read.All is missing"}, remedy: "application permission Incident.Read.All"}),
		"wrong audience": token(setup{env: []string{"EXPORTER_AUDIENCE=https://api.securitycenter.microsoft.com"}, says: []string{"Microsoft Defender for Endpoint"}, remedy: "unset EXPORTER_AUDIENCE"}),
		"unknown audience": token(setup{env: []string{"EXPORTER_AUDIENCE=https://api.fabrikam.example"}, says: []string{"AADSTS500011", "the resource does not exist in this tenant"},
			remedy: "check EXPORTER_AUDIENCE"}),
		"other national cloud": token(setup{spoil: behaves(func(b *simulator.Behaviour) {
			b.Refuse = simulator.Refusal{Status: 400, Kind: "invalid_request", Code: 900382}
		}),
			says: []string{"another national cloud"}, remedy: "set EXPORTER_CLOUD"}),
		"conditional access": token(setup{spoil: behaves(func(b *simulator.Behaviour) {
			b.Refuse = simulator.Refusal{Status: 400, Kind: "access_denied", Code: 53003}
		}),
			says: []string{"conditional access blocks the app"}, remedy: "egress address"}),
	}
}

// brokenCredentials is about the other two kinds of them.
func brokenCredentials(t *testing.T) map[string]setup {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	until := func(end time.Time) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exporter"}, NotBefore: end.Add(-1000 * time.Hour), NotAfter: end}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	good, expired := until(time.Now().Add(900*time.Hour)), until(time.Now().Add(-time.Hour))
	with := func(path string) []string {
		return []string{"AZURE_CLIENT_SECRET=", "AZURE_CLIENT_CERTIFICATE_PATH=" + path}
	}
	federated := func(path string) []string {
		return []string{"AZURE_CLIENT_SECRET=", "AZURE_FEDERATED_TOKEN_FILE=" + path}
	}
	unusable := []string{"token", "incidents"}
	registered := func(s *scene) {
		block, _ := pem.Decode(good)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			s.Fatal(err)
		}
		s.behave(func(b *simulator.Behaviour) {
			b.Certificates, b.ClockSkew = []*x509.Certificate{certificate}, time.Hour
		})
	}
	part := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	jwt := part(`{"alg":"RS256"}`) + "." + part(`{"iss":"https://issuer.fabrikam.example/","sub":"system:serviceaccount:siem:other","aud":"api://AzureADTokenExchange"}`) + "." + part("x")
	return map[string]setup{
		"expired certificate":     {env: with(write("expired.pem", append(slices.Clone(private), expired...))), fails: []string{"credential"}, skips: unusable, says: []string{"it has expired"}, remedy: "upload a new certificate"},
		"certificate without key": {env: with(write("bare.pem", good)), fails: []string{"credential"}, skips: unusable, says: []string{"but not its private key"}, remedy: "put private key and certificate into the one file"},
		"no certificate file":     {env: with(filepath.Join(dir, "none.pem")), fails: []string{"credential"}, skips: unusable, says: []string{"cannot be read"}, remedy: "set AZURE_CLIENT_CERTIFICATE_PATH"},
		"unregistered certificate": {env: with(write("good.pem", append(slices.Clone(private), good...))), fails: []string{"token"}, skips: afterToken(),
			says: []string{"does not know the certificate", "AADSTS700027"}, remedy: "upload the matching certificate"},
		"certificate, clock an hour off": {env: with(filepath.Join(dir, "good.pem")), spoil: registered, fails: []string{"authority clock", "token"}, warns: []string{"api clock", "chain"}, skips: afterToken(),
			says: []string{"behind that of the authority", "assertions that are signed more than 5 minutes off are refused"}, remedy: "NTP"},
		"no token file": {env: federated(filepath.Join(dir, "none")), fails: []string{"token"}, skips: afterToken(), says: []string{"the federated token file does not exist"}, remedy: "azure.workload.identity/use=true"},
		"token of another subject": {env: federated(write("token", []byte(jwt))), spoil: behaves(func(b *simulator.Behaviour) {
			b.Federated = []simulator.FederatedCredential{{Issuer: "https://issuer.fabrikam.example/", Subject: "system:serviceaccount:siem:exporter", Audience: simulator.FederatedAudience, Key: &key.PublicKey}}
		}), fails: []string{"token"}, skips: afterToken(), says: []string{"the presented token's subject", "AADSTS700213"}, remedy: "system:serviceaccount:NAMESPACE:NAME"},
	}
}

// brokenNetworks is about hosts that are not reached.
func brokenNetworks(t *testing.T) map[string]setup {
	proxy := func(status int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return "HTTPS_PROXY=" + strings.Replace(server.URL, "//", "//user:hidden@", 1)
	}
	unreached := []string{"token", "incidents"}
	return map[string]setup{
		"authority unreachable": {env: []string{"AZURE_AUTHORITY_HOST=https://127.0.0.1:1"}, fails: []string{"authority"}, skips: unreached,
			says: []string{"127.0.0.1:1 refuses the connection"}, remedy: "the host is set by AZURE_AUTHORITY_HOST"},
		"CA unknown": {env: []string{"SSL_CERT_FILE=" + os.DevNull}, fails: []string{"authority", "api"}, skips: unreached,
			says: []string{"signed by an authority that this machine does not trust", "holds no certificate"}, remedy: "SSL_CERT_FILE"},
		"proxy refuses": {env: []string{"EXPORTER_API_URL=https://api.fabrikam.example", proxy(http.StatusForbidden)}, fails: []string{"api"}, skips: afterToken(),
			says: []string{"the proxy 127.0.0.1:", "refuses to connect to api.fabrikam.example:443 (HTTP 403)"}, remedy: "NO_PROXY"},
		"proxy wants a password": {env: []string{"EXPORTER_API_URL=https://api.fabrikam.example", proxy(http.StatusProxyAuthRequired)}, fails: []string{"api"}, skips: afterToken(),
			says: []string{"(HTTP 407)"}, remedy: "put the proxy's user and password into HTTPS_PROXY"},
		"API unreachable": {env: []string{"EXPORTER_API_URL=https://127.0.0.1:1"}, fails: []string{"api"}, skips: afterToken(), says: []string{"refuses the connection"}, remedy: "the host is set by EXPORTER_API_URL"},
		"clock an hour off": {spoil: behaves(func(b *simulator.Behaviour) { b.ClockSkew = time.Hour }), warns: []string{"authority clock", "api clock", "chain"},
			says: []string{"this machine's clock is off", "behind that of the authority"}, remedy: "NTP"},
		"clock two minutes off": {spoil: behaves(func(b *simulator.Behaviour) { b.ClockSkew = 2 * time.Minute }), warns: []string{"authority clock", "api clock"}, says: []string{"behind that of the authority"}, remedy: "NTP"},
	}
}

// brokenAPIs is about what the API answers.
func brokenAPIs() map[string]setup {
	incidents := []string{"incidents"}
	faulty := func(fault simulator.Fault) func(*scene) {
		return behaves(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if strings.HasPrefix(r.URL.Path, "/api/") {
					return fault
				}
				return simulator.NoFault
			}
		})
	}
	return map[string]setup{
		"HTML":            {spoil: faulty(simulator.HTML200), fails: incidents, says: []string{"unreadable answer", "it begins"}, remedy: "HTTPS_PROXY"},
		"failing API":     {spoil: faulty(simulator.Error503), fails: incidents, says: []string{"status 503"}, remedy: "try again later"},
		"wrong path":      {spoil: func(s *scene) { s.env = append(s.env, "EXPORTER_API_URL="+s.server.URL+"/v2") }, fails: incidents, says: []string{"status 404"}, remedy: "check EXPORTER_API_URL"},
		"filters ignored": {spoil: behaves(func(b *simulator.Behaviour) { b.IgnoreFilter = true }), fails: incidents, says: []string{"does not filter", "first page"}, remedy: "a proxy on the way drops query options"},
		"throttled":       {spoil: behaves(func(b *simulator.Behaviour) { b.Quota = []simulator.Limit{{N: 1, Per: time.Hour}} }), fails: incidents, says: []string{"throttling", "status 429"}, remedy: "EXPORTER_QUOTA"},
		"short pages":     {spoil: behaves(func(b *simulator.Behaviour) { b.PageCap = 40 }), warns: incidents, says: []string{"$top up to 40 is served"}, remedy: "pages are shorter than asked for"},
		"no upper bound":  {spoil: behaves(func(b *simulator.Behaviour) { b.UpperBound = simulator.NoUpperBound }), warns: incidents, says: []string{"no upper bound by lt, le, gt or not ge", "newest update first"}, remedy: "takes more calls"},
	}
}

// brokenArchives is about a directory and what is in it.
func brokenArchives() map[string]setup {
	chain := []string{"chain"}
	photos := func(s *scene) {
		if err := os.MkdirAll(filepath.Join(s.dir, "photos"), 0o700); err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "photos", "cat.jpeg"), []byte("x"), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	return map[string]setup{
		"a file in the directory's place": {fresh: true, spoil: func(s *scene) {
			if err := os.WriteFile(s.dir, []byte("x"), 0o600); err != nil {
				s.Fatal(err)
			}
			s.env = append(s.env, "EXPORTER_SINK=file:"+filepath.Join(s.dir, "below"))
		}, fails: []string{"archive"}, skips: chain, says: []string{"not a directory"}, remedy: "set EXPORTER_SINK to a directory"},
		"a directory in the probe's place": {fresh: true, spoil: func(s *scene) {
			if err := os.MkdirAll(filepath.Join(s.dir, probeKey), 0o700); err != nil {
				s.Fatal(err)
			}
		}, fails: []string{"archive"}, says: []string{".incident-exporter/check"}, remedy: "which is this program's alone"},
		"foreign files": {fresh: true, spoil: photos, fails: chain, says: []string{"holds no archive but something else", "photos/cat.jpeg"}, remedy: "an empty directory or prefix"},
		"another tenant's archive": {spoil: func(s *scene) { s.env = append(s.env, "AZURE_TENANT_ID="+thirdTenant) }, fails: []string{"chain", "incidents"},
			says: []string{"holds the archive of tenant " + testTenant}, remedy: "AZURE_TENANT_ID to the tenant whose archive this is"},
		"damaged head": {spoil: func(s *scene) { s.change(s.last(".json"), func(b []byte) []byte { return b[:len(b)/2] }) }, fails: chain, says: []string{"manifest cut"}, remedy: "restore this object from a copy"},
		"hole in the chain": {spoil: func(s *scene) {
			if err := os.Remove(s.files(".json")[1]); err != nil {
				s.Fatal(err)
			}
		}, fails: chain, says: []string{"has a hole"}, remedy: "restore the missing objects"},
		"stale": {env: []string{"EXPORTER_MAX_LAG=16m", "EXPORTER_SCHEDULE=@every 1m"}, spoil: behaves(func(b *simulator.Behaviour) { b.ClockSkew = 20 * time.Minute }),
			warns: []string{"chain", "authority clock", "api clock"}, says: []string{"more than EXPORTER_MAX_LAG allows"}, remedy: "the next export makes up for it"},
		"archive from the future": {spoil: behaves(func(b *simulator.Behaviour) { b.ClockSkew = -30 * time.Minute }), fails: chain, warns: []string{"authority clock", "api clock"},
			says: []string{"which is still to come"}, remedy: "set the clocks"},
	}
}

// brokenBuckets is about an archive in S3.
func brokenBuckets(t *testing.T, store *s3server.Server) map[string]setup {
	ignoring := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a store without conditions
		switch r.Method {
		case http.MethodPut:
			w.Header().Set("ETag", `"x"`)
		case http.MethodGet:
			if !strings.Contains(r.URL.Query().Get("prefix"), "/check/") {
				fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
				return
			}
			fmt.Fprint(w, `<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(ignoring.Close)
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>`)
	}))
	t.Cleanup(late.Close)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refusing.Close)
	overTLS := s3server.Start(t, true)
	as := func(name string) []string {
		return append(store.EnvironmentAs(name, name+"-secret"), "EXPORTER_SINK=s3://for-"+name+"/xdr")
	}
	in := func(b setup) setup {
		b.bucket, b.fresh = true, true
		if b.fails == nil {
			b.fails = []string{"archive", "chain"}
		}
		return b
	}
	archive, chain := []string{"archive"}, []string{"chain"}
	return map[string]setup{
		"no bucket":                in(setup{env: []string{"EXPORTER_SINK=s3://not-there"}, says: []string{"NoSuchBucket"}, remedy: "create the bucket"}),
		"no put":                   in(setup{env: as("no-put"), fails: archive, says: []string{"create: ", "AccessDenied", "what can be done: list"}, remedy: "s3:PutObject"}),
		"no list":                  in(setup{env: as("no-list"), says: []string{"list: ", "AccessDenied", "what can be done: create, refuse to overwrite, read"}, remedy: "s3:ListBucket"}),
		"no get":                   in(setup{env: as("no-get"), fails: archive, says: []string{"read: ", "AccessDenied", "what can be done: create, refuse to overwrite, list"}, remedy: "s3:GetObject"}),
		"wrong region":             in(setup{env: []string{"AWS_REGION=eu-north-1"}, says: []string{"status 4"}, remedy: "set AWS_REGION to the region of the bucket"}),
		"wrong key":                in(setup{env: []string{"AWS_SECRET_ACCESS_KEY=wrong"}, says: []string{"SignatureDoesNotMatch"}, remedy: "check the credentials"}),
		"lock on a bucket without": in(setup{env: []string{"EXPORTER_S3_LOCK_MODE=compliance", "EXPORTER_S3_LOCK_DAYS=30"}, fails: archive, says: []string{"Lock"}, remedy: "enable Object Lock on the bucket"}),
		"store without conditions": in(setup{env: []string{"AWS_ENDPOINT_URL_S3=" + ignoring.URL}, fails: archive, says: []string{"ignores If-None-Match"}, remedy: "conditional PutObject"}),
		"store unreachable": in(setup{env: []string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"}, fails: []string{"s3"}, skips: []string{"archive", "chain"},
			says: []string{"refuses the connection"}, remedy: "AWS_ENDPOINT_URL_S3"}),
		"proxy before the store": in(setup{env: []string{"HTTPS_PROXY=" + strings.Replace(refusing.URL, "//", "//user:hidden@", 1), "AWS_ENDPOINT_URL_S3=https://store.fabrikam.example"},
			fails: []string{"s3"}, skips: []string{"archive", "chain"}, says: []string{"refuses to connect to store.fabrikam.example:443 (HTTP 403)", "through the proxy 127.0.0.1:"}, remedy: "NO_PROXY"}),
		"store's CA unknown": in(setup{env: append(overTLS.Environment(), "AWS_CA_BUNDLE="), fails: []string{"s3"}, skips: []string{"archive", "chain"},
			says: []string{"signed by an authority that this machine does not trust"}, remedy: "set AWS_CA_BUNDLE"}),
		"encryption not confirmed":  in(setup{env: []string{"EXPORTER_S3_SSE=AES256"}, fails: []string{}, warns: archive, says: []string{"does not confirm the encryption"}, remedy: "check with the store"}),
		"no AWS credentials":        in(setup{env: []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, fails: []string{"s3"}, skips: []string{"archive", "chain"}, says: []string{"get credentials"}, remedy: "AWS_ACCESS_KEY_ID"}),
		"store's clock an hour off": in(setup{env: []string{"AWS_ENDPOINT_URL_S3=" + late.URL}, fails: []string{"s3 clock", "archive", "chain"}, says: []string{"behind that of the store", "more than 15 minutes"}, remedy: "NTP"}),
		"foreign objects":           in(setup{env: []string{"EXPORTER_SINK=s3://for-something/xdr"}, fails: chain, says: []string{"holds no archive but something else"}, remedy: "empty directory or prefix"}),
	}
}

// brokenSettings is what is refused before anything is tried.
func brokenSettings() map[string]setup {
	usage := func(says []string, env ...string) setup {
		return setup{fresh: true, env: env, code: exitUsage, fails: []string{"configuration"}, says: says}
	}
	return map[string]setup{
		"cron line never fires":  usage([]string{"EXPORTER_SCHEDULE", "never comes round"}, "EXPORTER_SCHEDULE=0 0 31 2 *"),
		"max lag contradicts":    usage([]string{"EXPORTER_MAX_LAG", "less than EXPORTER_HEARTBEAT"}, "EXPORTER_MAX_LAG=5m"),
		"two credentials":        usage([]string{"AZURE_CLIENT_SECRET and AZURE_FEDERATED_TOKEN_FILE are both set"}, "AZURE_FEDERATED_TOKEN_FILE=/var/run/token"),
		"wrong cloud":            usage([]string{"EXPORTER_CLOUD does not fit", "gcc-high"}, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.us"),
		"no tenants in the file": usage([]string{"EXPORTER_TENANTS_FILE names no tenant"}, "EXPORTER_TENANTS_FILE="+os.DevNull),
		"start later than now":   usage([]string{"EXPORTER_START is 2199-01-01", "still to come"}, "EXPORTER_START=2199-01-01T00:00:00Z"),
		"bad tenants line": {fresh: true, spoil: func(s *scene) {
			path := filepath.Join(s.TempDir(), "tenants")
			if err := os.WriteFile(path, []byte("one="+testTenant+"\nfabrikam.example\n"), 0o600); err != nil {
				s.Fatal(err)
			}
			s.env = append(s.env, "EXPORTER_TENANTS_FILE="+path)
		}, fails: []string{"tenants"}, says: []string{"line 2 of EXPORTER_TENANTS_FILE", "domain name"}, remedy: "correct the line"},
	}
}
