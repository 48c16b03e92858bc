package auth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The resource applications that an incident token may be confused with, by their app ids.
const (
	defenderAppID = "8ee8fdad-f234-4243-8f3b-15c294843740"
	endpointAppID = "fc780465-2017-40d4-a0c5-307022471b92"
	graphAppID    = "00000003-0000-0000-c000-000000000000"

	defenderAudience = "https://api.security.microsoft.com"
)

// clockMargin is the difference between clocks that is not worth a word.
const clockMargin = 5 * time.Minute

// Want is what a token is to be used for.
type Want struct {
	Source        string    // "defender" or "graph"
	Audience      string    // the resource that the token was asked for
	Tenant        string    // the configured tenant; empty: any
	AuthorityHost string    // https URL of the login host
	Credential    Kind      // what the token was got with; empty: not known
	Now           time.Time // for the expiry; zero: the local clock
}

// Finding is a reason why a token cannot read incidents, and what to do about it.
type Finding struct {
	Text   string
	Remedy string
}

// Judge says why a token with these claims cannot read incidents. No finding: it can, as far as
// claims can tell.
func Judge(claims Claims, want Want) []Finding {
	if claims.Opaque {
		return []Finding{{
			"the token is not a readable JWT, so its audience and roles cannot be checked",
			"check that the authority host is Microsoft Entra ID; otherwise only a call to the API can tell",
		}}
	}
	var findings []Finding
	add := func(found *Finding) {
		if found != nil {
			findings = append(findings, *found)
		}
	}
	add(judgeTenant(claims, want))
	add(judgeCloud(claims, want))
	audience := judgeAudience(claims, want)
	add(audience)
	// The roles of another resource say nothing about this one, but their absence does.
	if audience == nil || len(claims.Roles) == 0 {
		add(judgeRoles(claims, want))
	}
	add(judgeTime(claims, want))
	return findings
}

func judgeTenant(claims Claims, want Want) *Finding {
	switch {
	case want.Tenant == "" || claims.Tenant == "" || strings.EqualFold(claims.Tenant, want.Tenant):
		return nil
	case !strings.Contains(want.Tenant, ".") || !strings.Contains(claims.Tenant, "-"):
		return &Finding{
			fmt.Sprintf("the token is for tenant %s, but tenant %s is configured", claims.Tenant, want.Tenant),
			"set AZURE_TENANT_ID to the tenant whose incidents are wanted",
		}
	}
	return &Finding{
		"the tenant is configured by a domain name, which can change; the archive is kept by tenant GUID",
		"set AZURE_TENANT_ID=" + claims.Tenant,
	}
}

func judgeCloud(claims Claims, want Want) *Finding {
	configured := want.AuthorityHost
	wanted := CloudsOf(hostOf(configured))
	if len(wanted) == 0 {
		configured = want.Audience
		wanted = audienceClouds(configured)
	}
	meant := hostOf(claims.Audience)
	if normalAudience(claims.Audience) == normalAudience(want.Audience) {
		meant = "" // as asked for; whether that fits the rest is not the token's fault
	}
	for _, found := range []struct{ claim, host string }{{"issued", hostOf(claims.Issuer)}, {"meant", meant}} {
		clouds := CloudsOf(found.host)
		if len(clouds) > 0 && len(wanted) > 0 && !overlap(clouds, wanted) {
			return &Finding{
				fmt.Sprintf("the token is %s for another cloud, %s (%s), than the configured one, %s (%s); tokens do not work across clouds",
					found.claim, orList(clouds), found.host, orList(wanted), hostOf(configured)),
				"set EXPORTER_CLOUD, or make AZURE_AUTHORITY_HOST, EXPORTER_API_URL and EXPORTER_AUDIENCE belong to one cloud; the app must be registered in that cloud",
			}
		}
	}
	return nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// resourceOf names the resource application of an audience, or returns "" for one that is not
// known: government hosts, for one, are not documented.
func resourceOf(audience string) string {
	switch normalAudience(audience) {
	case defenderAppID, defenderAudience, "https://security.microsoft.com/mtp":
		return "Microsoft Defender XDR"
	case endpointAppID, "https://api.securitycenter.windows.com", "https://api.securitycenter.microsoft.com",
		"https://securitycenter.microsoft.com", "https://securitycenter.onmicrosoft.com/windowsatpservice":
		return "Microsoft Defender for Endpoint"
	case graphAppID, "https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us":
		return "Microsoft Graph"
	}
	return ""
}

func normalAudience(audience string) string {
	return strings.TrimRight(strings.ToLower(audience), "/")
}

func judgeAudience(claims Claims, want Want) *Finding {
	wanted := "Microsoft Defender XDR"
	remedy := "ask for the audience " + defenderAudience + " (unset EXPORTER_AUDIENCE)"
	if want.Source == "graph" {
		wanted = "Microsoft Graph"
		remedy = "ask for the audience of Microsoft Graph (unset EXPORTER_AUDIENCE)"
	}
	found := resourceOf(claims.Audience)
	switch {
	case claims.Audience == "":
		return &Finding{"the token names no audience", remedy}
	case found == wanted:
		return nil
	case found != "":
		return &Finding{
			fmt.Sprintf("the token is for %s (audience %s); the incidents API refuses it", found, claims.Audience),
			remedy,
		}
	case normalAudience(claims.Audience) == normalAudience(want.Audience):
		return nil
	}
	return &Finding{
		fmt.Sprintf("the token is for %s, not for %s; the incidents API refuses it", claims.Audience, want.Audience),
		remedy,
	}
}

func judgeRoles(claims Claims, want Want) *Finding {
	role, other, api := "Incident.Read.All", "SecurityIncident.Read.All", "Microsoft Threat Protection"
	superset := "Incident.ReadWrite.All"
	if want.Source == "graph" {
		role, other, api = other, role, "Microsoft Graph"
		superset = "SecurityIncident.ReadWrite.All"
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(claims.Roles, name) })
	}
	grant := fmt.Sprintf("give the app the application permission %s of %s and grant admin consent, then get a new token", role, api)
	delegated := " (a delegated permission is not enough)"
	if want.Credential == ManagedIdentity {
		// The portal cannot do it, and the endpoint keeps tokens for a day.
		grant = fmt.Sprintf("assign the app role %s of %s to the managed identity, by New-MgServicePrincipalAppRoleAssignment or Microsoft Graph; it can take a day until its tokens show it", role, api)
		delegated = ""
	}
	switch {
	case has(role, superset):
		return nil
	case len(claims.Roles) == 0:
		return &Finding{
			"the token carries no roles: no application permission of this app has admin consent in this tenant",
			grant + delegated,
		}
	case want.Source != "graph" && has("Incidents.Read.All", "Incidents.ReadWrite.All"):
		return &Finding{
			"the token has the role Incidents.Read.All (plural); the API asks for Incident.Read.All (singular)",
			grant,
		}
	case has(other, strings.Replace(other, ".Read.", ".ReadWrite.", 1)):
		return &Finding{
			fmt.Sprintf("the token has the role %s, which belongs to the other incidents API; %s is missing", other, role),
			grant,
		}
	}
	return &Finding{
		fmt.Sprintf("the token lacks the role %s (it has: %s)", role, strings.Join(claims.Roles, ", ")),
		grant,
	}
}

func judgeTime(claims Claims, want Want) *Finding {
	now := want.Now
	if now.IsZero() {
		now = time.Now()
	}
	const remedy = "set this machine's clock (NTP)"
	switch {
	case !claims.Expires.IsZero() && !now.Before(claims.Expires):
		return &Finding{
			fmt.Sprintf("the token expired at %s, it is now %s by this machine's clock", claims.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			"get a new token; if this one is new, " + remedy,
		}
	case !claims.NotBefore.IsZero() && now.Add(clockMargin).Before(claims.NotBefore):
		return &Finding{
			fmt.Sprintf("the token is valid only from %s, it is now %s by this machine's clock", claims.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			remedy,
		}
	}
	return nil
}
