package auth

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// documented lists the codes of the vendor's pages that an app-only flow meets.
func documented() []int {
	return []int{
		7000215, 7000222, 7000218, 700016, 7000229, 7000112, 70001, 90002, 900023, 50059, 90019, 9001023, 50194,
		500011, 50001, 650052, 650056, 650057, 65001, 90094, 70011, 1002012, 700022, 901002, 700027, 50012, 700030,
		50013, 500133, 50027, 70021, 700211, 7002121, 700213, 90061, 53003, 530032, 90038, 900382, 900432, 50196,
		90055, 90024, 90033, 90012, 90006, 50033, 50034, 50053,
	}
}

func atFabrikam() asked {
	return asked{host: "login.fabrikam.example", kind: ClientSecret, audience: defenderAudience}
}

func TestEveryDocumentedCodeHasASentenceAndARemedy(t *testing.T) {
	transient := map[int]bool{90055: true, 90024: true, 90033: true, 90012: true, 90006: true, 50033: true}
	for _, code := range documented() {
		body := fmt.Appendf(nil, `{"error":"invalid_client","error_description":"AADSTS%d: text.\r\nTrace ID: x","error_codes":[%d]}`, code, code)
		e := explainAnswer(atFabrikam(), 400, body)
		if e.Code != code || e.Summary == "" || e.Remedy == "" || e.Temporary != transient[code] {
			t.Errorf("AADSTS%d: %#v", code, e)
		}
		if strings.HasSuffix(e.Summary, ".") || strings.Contains(e.Summary, "\n") || !strings.Contains(e.Error(), fmt.Sprintf("AADSTS%d", code)) {
			t.Errorf("AADSTS%d: not one clause with its code: %s", code, e)
		}
	}
}

func TestCodeIsFoundInTheDescription(t *testing.T) {
	e := explainAnswer(atFabrikam(), 401, []byte(`{"error":"invalid_client","error_description":"AADSTS7000222: expired","error_codes":"none"}`))
	if e.Code != 7000222 || !strings.Contains(e.Summary, "expired") {
		t.Errorf("%#v", e)
	}
	e = explainAnswer(atFabrikam(), 400, []byte(`{"error":"invalid_grant","error_codes":[424242,65001]}`))
	if e.Code != 65001 {
		t.Errorf("the known one of several codes is to be explained: %#v", e)
	}
}

func TestUnknownCodesFallBack(t *testing.T) {
	for _, test := range []struct {
		status    int
		body      string
		want      string
		temporary bool
	}{
		{400, `{"error":"invalid_scope","error_codes":[424242]}`, "does not know the audience", false},
		{401, `{"error":"invalid_client"}`, "does not accept the app's credential", false},
		{400, `{"error":"temporarily_unavailable"}`, "temporarily unavailable", true},
		{400, `{"error":"` + canary + `"}`, "without saying why", false},
		{429, ``, "throttling", true},
		{500, `<html>`, "failing", true},
		{404, `not found`, "no token endpoint", false},
		{302, ``, "redirect", false},
		{407, ``, "proxy", false},
		{200, `{}`, "not what Microsoft Entra ID answers", false},
	} {
		e := explainAnswer(atFabrikam(), test.status, []byte(test.body))
		if !strings.Contains(e.Error(), test.want) || e.Temporary != test.temporary || e.Remedy == "" {
			t.Errorf("%d %s: %v, temporary %v, remedy %q", test.status, test.body, e, e.Temporary, e.Remedy)
		}
		absent(t, "error", fmt.Sprintf("%#v", e))
	}
}

func FuzzErrorBody(f *testing.F) {
	f.Add(400, []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: x","error_codes":[7000215],"trace_id":"a","correlation_id":"b"}`))
	f.Add(503, []byte(`<html>`))
	f.Add(400, []byte(`{"error":["x"],"error_codes":{"a":1}}`))
	f.Add(0, []byte(`{"error_description":"AADSTS999999999999999999"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		echo, err := json.Marshal(map[string]any{"error": canary, "error_description": string(body) + canary, "trace_id": canary, "correlation_id": canary})
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{body, echo} {
			e := explainAnswer(atFabrikam(), status, body)
			if e.Summary == "" || e.Remedy == "" || strings.ContainsAny(e.Error(), "\r\n") || len(e.Error()) > 1000 {
				t.Errorf("%#v", e)
			}
		}
		absent(t, "error", fmt.Sprintf("%#v", explainAnswer(atFabrikam(), status, echo)))
	})
}
