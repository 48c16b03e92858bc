package auth

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func goodClaims() map[string]any {
	return map[string]any{
		"aud": "https://api.security.microsoft.com", "iss": "https://sts.windows.net/" + tenant + "/", "tid": tenant,
		"appid": clientID, "roles": []string{"Incident.Read.All"}, "ver": "1.0", "exp": now().Add(time.Hour).Unix(),
		"uti": "u", "oid": "o",
	}
}

func now() time.Time { return time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC) }

func wanted() Want {
	return Want{Source: "defender", Audience: defenderAudience, Tenant: tenant, AuthorityHost: PublicAuthorityHost, Now: now()}
}

func toGraph(w *Want) { w.Source, w.Audience = "graph", graphAudience }

func TestParseClaims(t *testing.T) {
	claims := ParseClaims(jwt(goodClaims()))
	if claims.Opaque || claims.Audience != defenderAudience || claims.Tenant != tenant || claims.AppID != clientID || claims.Version != "1.0" ||
		!slices.Equal(claims.Roles, []string{"Incident.Read.All"}) || !claims.Expires.Equal(now().Add(time.Hour)) || claims.TokenID != "u" || claims.ObjectID != "o" {
		t.Errorf("%+v", claims)
	}
	claims = ParseClaims(jwt(map[string]any{"aud": []string{"a", "b"}, "azp": clientID, "roles": "One", "exp": "1772438400", "tid": strings.ToUpper(tenant)}))
	if claims.Audience != "a" || claims.AppID != clientID || !slices.Equal(claims.Roles, []string{"One"}) || claims.Expires.IsZero() || claims.Tenant != tenant {
		t.Errorf("v2 and odd forms: %+v", claims)
	}
	for _, opaque := range []string{"", "opaque", "a.b.c", "a.bnVsbA.c", "a.W10.c", "a.e30", "....."} {
		if got := ParseClaims(opaque); !got.Opaque {
			t.Errorf("%q: %+v", opaque, got)
		}
	}
}

func TestJudge(t *testing.T) {
	const role, other = "Incident.Read.All", "SecurityIncident.Read.All"
	for name, test := range map[string]struct {
		claims map[string]any // over the good ones; nil removes
		want   func(*Want)
		text   string // of the only finding; empty: none
		remedy string
	}{
		"good":                     {},
		"superset":                 {claims: map[string]any{"roles": []string{"x", "Incident.ReadWrite.All"}}},
		"app id as audience":       {claims: map[string]any{"aud": "8EE8FDAD-F234-4243-8F3B-15C294843740"}},
		"alias as audience":        {claims: map[string]any{"aud": "https://security.microsoft.com/mtp/"}},
		"slash":                    {claims: map[string]any{"aud": defenderAudience + "/"}},
		"tenant in capitals":       {want: func(w *Want) { w.Tenant = strings.ToUpper(tenant) }},
		"no roles":                 {claims: map[string]any{"roles": nil}, text: "no roles", remedy: "admin consent"},
		"other role":               {claims: map[string]any{"roles": []string{"Alert.Read.All"}}, text: "lacks the role " + role, remedy: role},
		"plural":                   {claims: map[string]any{"roles": []string{"Incidents.Read.All"}}, text: "plural", remedy: role},
		"graph role":               {claims: map[string]any{"roles": []string{other}}, text: other, remedy: role},
		"endpoint":                 {claims: map[string]any{"aud": "https://api.securitycenter.windows.com"}, text: "Defender for Endpoint", remedy: defenderAudience},
		"endpoint, newer":          {claims: map[string]any{"aud": "https://api.securitycenter.microsoft.com/"}, text: "Defender for Endpoint", remedy: defenderAudience},
		"endpoint, windowsatp":     {claims: map[string]any{"aud": "https://securitycenter.onmicrosoft.com/windowsatpservice"}, text: "Defender for Endpoint", remedy: defenderAudience},
		"endpoint, app id":         {claims: map[string]any{"aud": endpointAppID}, text: "Defender for Endpoint", remedy: defenderAudience},
		"endpoint, though wanted":  {claims: map[string]any{"aud": endpointAppID}, want: func(w *Want) { w.Audience = endpointAppID }, text: "Defender for Endpoint", remedy: "EXPORTER_AUDIENCE"},
		"graph":                    {claims: map[string]any{"aud": "https://graph.microsoft.com"}, text: "Microsoft Graph", remedy: defenderAudience},
		"no audience":              {claims: map[string]any{"aud": nil}, text: "names no audience", remedy: defenderAudience},
		"another audience":         {claims: map[string]any{"aud": "api://fabrikam"}, text: "api://fabrikam", remedy: defenderAudience},
		"custom audience":          {claims: map[string]any{"aud": "https://api.fabrikam.example"}, want: func(w *Want) { w.Audience = "https://api.fabrikam.example/" }},
		"wrong tenant":             {claims: map[string]any{"tid": clientID}, text: "tenant " + clientID, remedy: "AZURE_TENANT_ID"},
		"domain":                   {want: func(w *Want) { w.Tenant = "fabrikam.example" }, text: "domain name", remedy: "AZURE_TENANT_ID=" + tenant},
		"issued elsewhere":         {claims: map[string]any{"iss": "https://login.microsoftonline.us/" + tenant + "/v2.0"}, text: "gcc-high or dod", remedy: "AZURE_AUTHORITY_HOST"},
		"issued for the world":     {claims: map[string]any{"iss": PublicAuthorityHost + "/" + tenant + "/v2.0"}, want: func(w *Want) { w.AuthorityHost = "https://login.microsoftonline.us" }, text: "commercial or gcc", remedy: "AZURE_AUTHORITY_HOST"},
		"government, as asked for": {want: func(w *Want) { w.AuthorityHost = "https://login.microsoftonline.us" }},
		"gcc": {claims: map[string]any{"iss": PublicAuthorityHost + "/" + tenant + "/v2.0", "aud": "https://api-gcc.security.microsoft.us"},
			want: func(w *Want) { w.Audience = "https://api-gcc.security.microsoft.us" }},
		"expired":                    {want: func(w *Want) { w.Now = now().Add(2 * time.Hour) }, text: "expired", remedy: "clock"},
		"not yet":                    {claims: map[string]any{"nbf": now().Add(time.Hour).Unix()}, text: "valid only from", remedy: "clock"},
		"clock slightly off":         {claims: map[string]any{"nbf": now().Add(time.Minute).Unix()}},
		"no roles, managed identity": {claims: map[string]any{"roles": nil}, want: func(w *Want) { w.Credential = ManagedIdentity }, text: "no roles", remedy: "New-MgServicePrincipalAppRoleAssignment"},

		// The same for Microsoft Graph.
		"graph: app id as audience": {claims: map[string]any{"aud": graphAppID, "roles": []string{other}}, want: toGraph},
		"graph: superset":           {claims: map[string]any{"aud": graphAudience + "/", "roles": []string{"SecurityIncident.ReadWrite.All"}}, want: toGraph},
		"graph: no roles":           {claims: map[string]any{"aud": graphAudience, "roles": nil}, want: toGraph, text: "no roles", remedy: other + " of Microsoft Graph"},
		"graph: defender role":      {claims: map[string]any{"aud": graphAudience}, want: toGraph, text: "the role " + role, remedy: other},
		"graph: other role":         {claims: map[string]any{"aud": graphAudience, "roles": []string{"SecurityAlert.Read.All"}}, want: toGraph, text: "lacks the role " + other, remedy: other},
		"graph: defender audience":  {want: toGraph, text: "Microsoft Defender XDR", remedy: "Microsoft Graph"},
		"graph: endpoint audience":  {claims: map[string]any{"aud": endpointAppID}, want: toGraph, text: "Defender for Endpoint", remedy: "Microsoft Graph"},
		"graph: no audience":        {claims: map[string]any{"aud": nil}, want: toGraph, text: "names no audience", remedy: "Microsoft Graph"},
		"graph: another audience":   {claims: map[string]any{"aud": "api://fabrikam"}, want: toGraph, text: "api://fabrikam", remedy: "Microsoft Graph"},
		"graph: wrong tenant":       {claims: map[string]any{"aud": graphAudience, "roles": []string{other}, "tid": clientID}, want: toGraph, text: "tenant " + clientID, remedy: "AZURE_TENANT_ID"},
		"graph: of another cloud":   {claims: map[string]any{"aud": "https://dod-graph.microsoft.us", "roles": []string{other}}, want: toGraph, text: "dod", remedy: "EXPORTER_CLOUD"},
		"graph: expired":            {claims: map[string]any{"aud": graphAudience, "roles": []string{other}, "exp": now().Unix()}, want: toGraph, text: "expired", remedy: "clock"},
		"graph: not yet":            {claims: map[string]any{"aud": graphAudience, "roles": []string{other}, "nbf": now().Add(time.Hour).Unix()}, want: toGraph, text: "valid only from", remedy: "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			claims, want := goodClaims(), wanted()
			for key, value := range test.claims {
				claims[key] = value
				if value == nil {
					delete(claims, key)
				}
			}
			if test.want != nil {
				test.want(&want)
			}
			findings := Judge(ParseClaims(jwt(claims)), want)
			switch {
			case test.text == "" && len(findings) > 0:
				t.Errorf("found %v, want nothing", findings)
			case test.text == "":
			case len(findings) != 1:
				t.Errorf("found %v, want one", findings)
			case !strings.Contains(findings[0].Text, test.text) || !strings.Contains(findings[0].Remedy, test.remedy):
				t.Errorf("found %v", findings)
			}
		})
	}
	if findings := Judge(ParseClaims("opaque"), wanted()); len(findings) != 1 {
		t.Errorf("opaque: %v", findings)
	}
	government := goodClaims()
	government["aud"] = "https://api-gov.security.microsoft.us"
	if findings := Judge(ParseClaims(jwt(government)), wanted()); len(findings) != 2 || !strings.Contains(findings[0].Text, "gcc-high or dod") {
		t.Errorf("government audience: %v", findings)
	}
}

func FuzzParseClaims(f *testing.F) {
	f.Add(jwt(goodClaims()))
	f.Add("a.e30.c")
	f.Add("opaque")
	f.Add(jwt(map[string]any{"aud": []any{1}, "exp": 1e300, "roles": map[string]any{}}))
	f.Add(jwt(map[string]any{"iss": "https://[::1", "exp": "NaN", "roles": []any{nil}}))
	f.Fuzz(func(t *testing.T, token string) {
		claims := ParseClaims(token)
		if _, err := claims.Expires.MarshalText(); err != nil {
			t.Errorf("expiry cannot be written: %v", err)
		}
		for _, finding := range Judge(claims, wanted()) {
			if finding.Text == "" || finding.Remedy == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}
