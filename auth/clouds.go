package auth

import (
	"slices"
	"strings"
)

// Cloud is a national cloud's set of addresses. The incidents APIs are in no others.
type Cloud struct {
	Name string // the value of EXPORTER_CLOUD

	AuthorityHost string // login host, https
	DefenderURL   string // host of /api/incidents, https
	// DefenderAudience is the resource that tokens for /api/incidents are asked for. For the
	// government clouds none is documented; clients use the API host itself, and so does this
	// table. EXPORTER_AUDIENCE overrides it.
	DefenderAudience string
	// GraphURL is the root of Microsoft Graph, https, and at the same time its audience.
	GraphURL string
	// FederatedAudience is what a federated token's audience must be.
	FederatedAudience string
}

// Clouds lists the clouds, the one that most tenants are in first.
// Source: Microsoft Defender XDR supported APIs and government customer pages, Microsoft Graph
// national cloud deployments, Microsoft Entra national clouds.
func Clouds() []Cloud {
	const (
		worldLogin, governmentLogin       = PublicAuthorityHost, "https://login.microsoftonline.us"
		worldExchange, governmentExchange = "api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov"
		gcc, government                   = "https://api-gcc.security.microsoft.us", "https://api-gov.security.microsoft.us"
	)
	return []Cloud{
		{"commercial", worldLogin, defenderAudience, defenderAudience, "https://graph.microsoft.com", worldExchange},
		{"gcc", worldLogin, gcc, gcc, "https://graph.microsoft.com", worldExchange},
		{"gcc-high", governmentLogin, government, government, "https://graph.microsoft.us", governmentExchange},
		{"dod", governmentLogin, government, government, "https://dod-graph.microsoft.us", governmentExchange},
	}
}

// CloudNamed returns the cloud of that name, or false.
func CloudNamed(name string) (Cloud, bool) {
	for _, cloud := range Clouds() {
		if cloud.Name == name {
			return cloud, true
		}
	}
	return Cloud{}, false
}

// CloudsOf names the clouds that a host belongs to, as in [Clouds], or "china", where there are
// no incidents. It returns nil for a host that does not tell: a test, a proxy, and
// sts.windows.net, which issues the v1 tokens of more than one cloud.
func CloudsOf(host string) []string {
	host = strings.ToLower(host)
	var names []string
	for _, cloud := range Clouds() {
		for _, address := range []string{cloud.AuthorityHost, cloud.DefenderURL, cloud.GraphURL} {
			if hostOf(address) == host && !slices.Contains(names, cloud.Name) {
				names = append(names, cloud.Name)
			}
		}
	}
	under := func(domains ...string) bool {
		return slices.ContainsFunc(domains, func(domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) })
	}
	switch {
	case len(names) > 0:
		return names
	case under("security.microsoft.com"): // the regional hosts, in both forms, and the alias of the audience
		return []string{"commercial"}
	case under("microsoftonline.us"):
		return []string{"gcc-high", "dod"}
	case under("microsoft.us"):
		return []string{"gcc", "gcc-high", "dod"}
	case under("microsoftonline.cn", "chinacloudapi.cn"):
		return []string{"china"}
	case under("microsoftonline.com", "microsoft.com", "login.windows.net", "securitycenter.windows.com"):
		return []string{"commercial", "gcc"}
	}
	return nil
}

// federatedAudience is what the audience of federated tokens must be at an authority.
func federatedAudience(authority string) string {
	for _, cloud := range Clouds() {
		if slices.Contains(CloudsOf(authority), cloud.Name) {
			return cloud.FederatedAudience
		}
	}
	return "api://AzureADTokenExchange"
}

// Contradiction says which two of the settings cannot be right together, because they belong to
// different clouds, and what would be. It returns nil if there are none such. cloud is the value
// of EXPORTER_CLOUD, authorityHost that of AZURE_AUTHORITY_HOST, apiURL that of EXPORTER_API_URL,
// audience that of EXPORTER_AUDIENCE; what is empty, and a host of no known cloud, contradicts
// nothing.
func Contradiction(cloud, authorityHost, apiURL, audience string) *Finding {
	type setting struct {
		variable, value string
		clouds          []string
	}
	settings := []setting{
		{"EXPORTER_API_URL", apiURL, CloudsOf(hostOf(apiURL))},
		{"AZURE_AUTHORITY_HOST", authorityHost, CloudsOf(hostOf(authorityHost))},
		{"EXPORTER_AUDIENCE", audience, audienceClouds(audience)},
	}
	if _, known := CloudNamed(cloud); known {
		settings = append(settings, setting{"EXPORTER_CLOUD", cloud, []string{cloud}})
	}
	for i, one := range settings {
		for _, two := range settings[i+1:] {
			if len(one.clouds) == 0 || len(two.clouds) == 0 || overlap(one.clouds, two.clouds) {
				continue
			}
			return &Finding{
				one.variable + " (" + one.value + ") belongs to " + orList(one.clouds) + ", but " + two.variable + " (" + two.value + ") to " + orList(two.clouds),
				rightPair(one.variable, one.clouds, two.variable),
			}
		}
	}
	return nil
}

// rightPair says what the second setting must be for the first to stay.
func rightPair(keep string, clouds []string, change string) string {
	var right []string
	for _, name := range clouds {
		cloud, ok := CloudNamed(name)
		if !ok {
			continue
		}
		value := cloud.Name
		switch change {
		case "AZURE_AUTHORITY_HOST":
			value = cloud.AuthorityHost
		case "EXPORTER_AUDIENCE":
			value = cloud.DefenderAudience + " (" + cloud.GraphURL + " for Microsoft Graph)"
		}
		if !slices.Contains(right, value) {
			right = append(right, value)
		}
	}
	if len(right) == 0 {
		return "set EXPORTER_CLOUD and unset " + keep + ": there is no incidents API in that cloud"
	}
	return "unset " + keep + " and set EXPORTER_CLOUD to the tenant's cloud, or set " + change + " to " + orList(right)
}

// audienceClouds is CloudsOf for an audience. The resource of Defender is documented for the
// commercial cloud only and may be asked for in others.
func audienceClouds(audience string) []string {
	if resourceOf(audience) == "Microsoft Defender XDR" {
		return nil
	}
	return CloudsOf(hostOf(audience))
}

func overlap(one, two []string) bool {
	return slices.ContainsFunc(one, func(name string) bool { return slices.Contains(two, name) })
}

func orList(names []string) string { return strings.Join(names, " or ") }
