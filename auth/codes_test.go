package auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"incident-exporter/exporter/simulator"
)

// refusal is a row of the API reference's table of codes, and what must be said about it.
type refusal struct {
	codes  []int
	kind   string // the member "error"
	remedy []string
	// Where the remedy depends on the credential, or the source, it is said here.
	certificate, workload, graph []string
}

func refusals() []refusal {
	words := func(words ...string) []string { return words }
	return []refusal{
		{codes: []int{7000215}, kind: "invalid_client", remedy: words("AZURE_CLIENT_SECRET", "value", "GUID"), certificate: words("AZURE_CLIENT_CERTIFICATE_PATH"), workload: words("AZURE_FEDERATED_TOKEN_FILE")},
		{codes: []int{7000222}, kind: "invalid_client", remedy: words("new client secret", "certificate"), certificate: words("upload", "AZURE_CLIENT_CERTIFICATE_PATH"), workload: words("AZURE_FEDERATED_TOKEN_FILE")},
		{codes: []int{7000218}, kind: "invalid_client", remedy: words("AZURE_CLIENT_SECRET_FILE"), certificate: words("AZURE_CLIENT_CERTIFICATE_PATH"), workload: words("AZURE_FEDERATED_TOKEN_FILE")},
		{codes: []int{700016}, kind: "unauthorized_client", remedy: words("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "consent")},
		{codes: []int{7000229}, kind: "invalid_client", remedy: words("admin consent")},
		{codes: []int{7000112, 70001}, kind: "unauthorized_client", remedy: words("enable", "Enterprise applications")},
		{codes: []int{90002}, kind: "invalid_request", remedy: words("AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST")},
		{codes: []int{900023, 50059, 90019, 9001023, 50194}, kind: "invalid_request", remedy: words("AZURE_TENANT_ID", "GUID")},
		{codes: []int{500011, 50001}, kind: "invalid_resource", remedy: words("EXPORTER_AUDIENCE", "Defender portal"), graph: words("EXPORTER_AUDIENCE", "EXPORTER_CLOUD")},
		{codes: []int{650052}, kind: "invalid_client", remedy: words("licence")},
		{codes: []int{650056, 650057}, kind: "invalid_client", remedy: words("Incident.Read.All of Microsoft Threat Protection", "admin consent"), graph: words("SecurityIncident.Read.All of Microsoft Graph", "admin consent")},
		{codes: []int{65001, 90094}, kind: "invalid_grant", remedy: words("admin consent", "Incident.Read.All of Microsoft Threat Protection", "consent-url"), graph: words("SecurityIncident.Read.All of Microsoft Graph")},
		{codes: []int{70011}, kind: "invalid_scope", remedy: words("EXPORTER_AUDIENCE", defenderAudience), graph: words("EXPORTER_AUDIENCE", graphAudience)},
		{codes: []int{1002012}, kind: "invalid_scope", remedy: words("/.default", "percent")},
		{codes: []int{700022}, kind: "invalid_scope", remedy: words("one resource")},
		{codes: []int{901002}, kind: "invalid_request", remedy: words("EXPORTER_TOKEN_ENDPOINT"), certificate: words("AZURE_AUTHORITY_HOST"), workload: words("AZURE_AUTHORITY_HOST")},
		{codes: []int{700027, 50012}, kind: "invalid_client", remedy: words("upload", "certificate"), workload: words("issuer, subject, audience")},
		{codes: []int{700030}, kind: "invalid_client", remedy: words("subject name and issuer")},
		{codes: []int{50013, 500133, 50027}, kind: "invalid_client", remedy: words("clock"), workload: words("AZURE_FEDERATED_TOKEN_FILE", "renewed")},
		{codes: []int{70021}, kind: "invalid_request", remedy: words("issuer, subject and audience", "few minutes")},
		{codes: []int{700211}, kind: "invalid_request", remedy: words("issuer", "trailing slash")},
		{codes: []int{7002121}, kind: "invalid_request", remedy: words("audience", "api://AzureADTokenExchange")},
		{codes: []int{700213}, kind: "invalid_request", remedy: words("subject", "case", "system:serviceaccount:")},
		{codes: []int{90061}, kind: "invalid_request", remedy: words("publish", "keys")},
		{codes: []int{53003, 530032}, kind: "invalid_grant", remedy: words("egress address")},
		{codes: []int{90038, 900382, 900432}, kind: "invalid_request", remedy: words("EXPORTER_CLOUD", "login host")},
		{codes: []int{50196}, kind: "invalid_request", remedy: words("without caching")},
		{codes: []int{50034, 50053}, kind: "invalid_grant", remedy: words("confidential client")},
		{codes: []int{90055, 90024, 90033, 90012, 90006, 50033}, kind: "temporarily_unavailable", remedy: words("try again later")},
	}
}

// wantWords is the remedy of the row for a credential and an audience.
func (r refusal) wantWords(kind Kind, audience string) []string {
	for _, special := range []struct {
		applies bool
		words   []string
	}{{kind == Certificate, r.certificate}, {kind == WorkloadIdentity, r.workload}, {audience == graphAudience, r.graph}} {
		if special.applies && special.words != nil {
			return special.words
		}
	}
	return r.remedy
}

// checkRefusal looks at the error that a real credential made of a code.
func checkRefusal(t *testing.T, row refusal, code int, options Options, err error) {
	t.Helper()
	e := new(Error)
	if !errors.As(err, &e) || e.Code != code || e.OAuthError != row.kind {
		t.Errorf("%s, AADSTS%d: %v", options.Kind, code, err)
		return
	}
	for _, word := range row.wantWords(options.Kind, options.Audience) {
		if !strings.Contains(e.Remedy, word) {
			t.Errorf("%s, AADSTS%d: remedy %q lacks %q", options.Kind, code, e.Remedy, word)
		}
	}
	if options.Kind != ClientSecret && strings.Contains(e.Remedy, "AZURE_CLIENT_SECRET") {
		t.Errorf("%s, AADSTS%d: remedy %q is for another credential", options.Kind, code, e.Remedy)
	}
	if options.Audience == graphAudience && strings.Contains(e.Remedy, "Threat Protection") {
		t.Errorf("%s, AADSTS%d: remedy %q is for another API", options.Kind, code, e.Remedy)
	}
	if strings.HasSuffix(e.Summary, ".") || strings.ContainsAny(e.Summary+e.Remedy, "\r\n") {
		t.Errorf("AADSTS%d: not one clause: %q, %q", code, e.Summary, e.Remedy)
	}
}

// TestEveryCodeThroughEveryCredential has the authority refuse with each code that is documented,
// whatever it is asked with and for.
func TestEveryCodeThroughEveryCredential(t *testing.T) {
	r := newRig(t)
	listed := map[int]bool{}
	for _, row := range refusals() {
		for _, code := range row.codes {
			listed[code] = true
		}
		if row.kind == "temporarily_unavailable" {
			continue // these are tried again, on virtual time: see below
		}
		for _, code := range row.codes {
			r.refuse(http.StatusBadRequest, code, row.kind)
			for _, kind := range kinds() {
				for _, audience := range []string{defenderAudience, graphAudience} {
					options := r.options(kind)
					options.Audience = audience
					before := r.sim.Calls().Token
					_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
					checkRefusal(t, row, code, options, err)
					if asked := r.sim.Calls().Token - before; asked != 1 {
						t.Errorf("%s, AADSTS%d: asked %d times", kind, code, asked)
					}
				}
			}
			options := r.options(ClientSecret)
			options.Endpoint = EndpointV1
			_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
			checkRefusal(t, row, code, options, err)
		}
	}
	for _, code := range documented() {
		if !listed[code] {
			t.Errorf("AADSTS%d is in no row", code)
		}
	}
}

// TestTransientCodesAreTriedAgain does so through the in-process transport.
func TestTransientCodesAreTriedAgain(t *testing.T) {
	for _, endpoint := range []Endpoint{EndpointV1, EndpointV2} {
		synctest.Test(t, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 1})
			options := Options{
				Kind: ClientSecret, Endpoint: endpoint, ClientID: simulator.DefaultClientID, Audience: defenderAudience, AuthorityHost: "https://login.fabrikam.example",
				Secret:     func() (Secret, error) { return NewSecret(simulator.DefaultSecret), nil },
				HTTPClient: &http.Client{Transport: simulator.Transport(sim)},
			}
			row := refusals()[len(refusals())-1]
			for _, code := range row.codes {
				sim.Change(func(b *simulator.Behaviour) { b.Refuse = simulator.Refusal{Status: 400, Kind: row.kind, Code: code} })
				before := sim.Calls().Token
				_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
				checkRefusal(t, row, code, options, err)
				if asked := sim.Calls().Token - before; asked != attempts {
					t.Errorf("%s, AADSTS%d: asked %d times, want %d", endpoint, code, asked, attempts)
				}
			}
		})
	}
}
