package auth

// explanation is what a person is told about an AADSTS code.
type explanation struct {
	summary   string
	remedy    string
	temporary bool
}

// asked is what an explanation depends on besides the answer: whom was asked, with what and for
// what.
type asked struct {
	host     string // of the authority
	kind     Kind
	audience string
}

// explainCode explains the AADSTS codes that the client credentials grant runs into. The vendor
// says that the numbers may change, so nothing depends on one being known.
// Source: Microsoft Entra authentication and authorization error codes.
func explainCode(code int, a asked) (explanation, bool) {
	for _, explain := range []func(int, asked) explanation{explainCredentialCode, explainTenantCode, explainResourceCode, explainPolicyCode} {
		if e := explain(code, a); e.summary != "" {
			return e, true
		}
	}
	return explanation{}, false
}

// explainCredentialCode explains what is wrong with the credential. The authority reports some of
// these for more than one kind of credential, and what helps is then another thing.
func explainCredentialCode(code int, a asked) explanation {
	switch code {
	case 7000215:
		if a.kind == ClientSecret {
			return explanation{summary: "the client secret is wrong", remedy: "set AZURE_CLIENT_SECRET to the secret's value; often its id (a GUID) was pasted instead"}
		}
		return explanation{summary: "the authority does not accept the app's credential", remedy: a.kind.mend()}
	case 7000222:
		if a.kind == ClientSecret {
			return explanation{summary: "the client secret has expired", remedy: "add a new client secret to the app registration and set AZURE_CLIENT_SECRET to its value; a certificate lasts longer"}
		}
		return explanation{summary: "the app's credential has expired at the authority", remedy: a.kind.mend()}
	case 7000218:
		if a.kind == ClientSecret {
			return explanation{summary: "the request carried neither a client secret nor an assertion", remedy: "set AZURE_CLIENT_SECRET or AZURE_CLIENT_SECRET_FILE"}
		}
		return explanation{summary: "the request arrived without the assertion that it was sent with", remedy: "check whether a proxy alters the requests, and " + a.kind.variable()}
	case 700027, 50012:
		if a.kind == WorkloadIdentity {
			return explanation{summary: "the authority cannot verify the signature of the federated token", remedy: a.kind.mend()}
		}
		return explanation{summary: "the authority does not know the certificate that signed the assertion, or holds it as expired", remedy: "upload the matching certificate to the app registration: the one in the file that AZURE_CLIENT_CERTIFICATE_PATH names"}
	case 700030:
		return explanation{summary: "the certificate's subject name or issuer is not authorised for this app", remedy: "correct the app's subject name and issuer settings, or upload the certificate itself"}
	case 50013, 500133, 50027, 700024:
		if a.kind == WorkloadIdentity {
			return explanation{summary: "the federated token is expired, not yet valid, badly signed or meant for another audience", remedy: "check that the file that AZURE_FEDERATED_TOKEN_FILE names is renewed before it expires, and the clock of what issues it"}
		}
		return explanation{summary: "the assertion is expired, not yet valid or meant for another audience", remedy: "set this machine's clock (NTP) and check AZURE_AUTHORITY_HOST"}
	case 70021:
		return explanation{summary: "no federated credential of the app matches the presented token, or it is not replicated yet", remedy: "compare its issuer, subject and audience with the token; if it was just created, wait a few minutes"}
	case 700211:
		return explanation{summary: "no federated credential of the app has the presented token's issuer", remedy: "make the issuer match exactly, case and trailing slash included"}
	case 7002121:
		return explanation{summary: "no federated credential of the app has the presented token's audience", remedy: "make the audience match exactly; in this cloud it is " + federatedAudience(a.host)}
	case 700213:
		return explanation{summary: "no federated credential of the app has the presented token's subject", remedy: "make the subject match exactly, case included; for Kubernetes it is system:serviceaccount:NAMESPACE:NAME"}
	case 90061:
		return explanation{summary: "the authority cannot fetch the keys of the external token issuer", remedy: "publish the issuer's discovery document and keys where the internet can reach them"}
	}
	return explanation{}
}

// mend is the remedy for a credential that the authority refuses without more words.
func (k Kind) mend() string {
	switch k {
	case Certificate:
		return "upload a certificate that is valid to the app registration and put it, with its key, into the file that AZURE_CLIENT_CERTIFICATE_PATH names"
	case WorkloadIdentity:
		return "compare the federated credential of the app (issuer, subject, audience) with the token in the file that AZURE_FEDERATED_TOKEN_FILE names"
	case ManagedIdentity:
		return "check in the Azure portal that the managed identity still exists, and restart the machine or service that has it"
	}
	return "check AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
}

// explainTenantCode explains what is wrong with app and tenant.
func explainTenantCode(code int, _ asked) explanation {
	switch code {
	case 700016:
		return explanation{summary: "the app is unknown in this tenant", remedy: "check AZURE_CLIENT_ID (the application id, not the object id) and AZURE_TENANT_ID; for an app of another tenant, grant admin consent"}
	case 7000229:
		return explanation{summary: "the app has no service principal in this tenant", remedy: "have an administrator of the tenant grant admin consent to the app; `incident-exporter consent-url` prints the link"}
	case 7000112, 70001:
		return explanation{summary: "the app is disabled in this tenant", remedy: "enable it in Microsoft Entra ID under Enterprise applications"}
	case 90002:
		return explanation{summary: "there is no such tenant in this cloud", remedy: "check AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST for a national cloud"}
	case 900023:
		return explanation{summary: "the tenant is neither a GUID nor a domain name", remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	case 50059, 90019:
		return explanation{summary: "the request named no tenant", remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	case 9001023, 50194:
		return explanation{summary: "the request went to a path for all tenants, which gives apps no tokens", remedy: "set AZURE_TENANT_ID to the tenant's GUID, not to common, organizations or consumers"}
	case 90038, 900382, 900432:
		return explanation{summary: "the tenant or the app belongs to another national cloud", remedy: "set EXPORTER_CLOUD, or AZURE_AUTHORITY_HOST to that cloud's login host"}
	case 50034, 50053:
		return explanation{summary: "the authority treats the request as a user's sign-in, which this program never makes", remedy: "check AZURE_AUTHORITY_HOST and AZURE_CLIENT_ID: the app must be registered as a confidential client"}
	}
	return explanation{}
}

// explainResourceCode explains what is wrong with the audience or with the app's permissions for
// it.
func explainResourceCode(code int, a asked) explanation {
	role, api, example := "Incident.Read.All", "Microsoft Threat Protection", defenderAudience
	missing := "check EXPORTER_AUDIENCE for typing errors; if it is right, open the Microsoft Defender portal once as an administrator so that it is provisioned"
	if resourceOf(a.audience) == "Microsoft Graph" {
		role, api, example = "SecurityIncident.Read.All", "Microsoft Graph", normalAudience(a.audience)
		missing = "check EXPORTER_AUDIENCE for typing errors, and EXPORTER_CLOUD: each national cloud has its own Microsoft Graph"
	}
	permission := "the application permission " + role + " of " + api
	consent := "grant admin consent in Microsoft Entra ID under App registrations, API permissions"
	if a.kind == ManagedIdentity {
		consent = "assign it to the managed identity by New-MgServicePrincipalAppRoleAssignment or Microsoft Graph"
	}
	switch code {
	case 500011, 50001:
		return explanation{summary: "the resource does not exist in this tenant", remedy: missing}
	case 650052:
		return explanation{summary: "the organisation has no subscription to the service", remedy: "check the tenant's Microsoft Defender XDR licence"}
	case 650056, 650057:
		return explanation{summary: "the app does not list a permission of the resource, or has no consent for it", remedy: "add " + permission + " to the app and " + consent}
	case 65001, 90094:
		return explanation{summary: "no administrator has consented to the app's permissions", remedy: consent + "; what is needed is " + permission + " (`incident-exporter consent-url` prints the link for a customer's tenant)"}
	case 70011:
		return explanation{summary: "the requested scope is malformed", remedy: "set EXPORTER_AUDIENCE to the resource alone, such as " + example}
	case 1002012:
		return explanation{summary: "the requested scope does not end in /.default, or is encoded twice", remedy: "set EXPORTER_AUDIENCE to the resource alone, without /.default and without percent signs"}
	case 700022:
		return explanation{summary: "the requested scope names more than one resource", remedy: "set EXPORTER_AUDIENCE to one resource, such as " + example}
	case 901002:
		if a.kind != ClientSecret {
			return explanation{summary: "the v2 endpoint was asked with the v1 parameter resource", remedy: "check AZURE_AUTHORITY_HOST for an extra path"}
		}
		return explanation{summary: "the v2 endpoint was asked with the v1 parameter resource", remedy: "set EXPORTER_TOKEN_ENDPOINT=v2, or check AZURE_AUTHORITY_HOST for an extra path"}
	}
	return explanation{}
}

// explainPolicyCode explains what policy, pace and luck refuse.
func explainPolicyCode(code int, _ asked) explanation {
	switch code {
	case 53003, 530032:
		return explanation{summary: "conditional access blocks the app, by location or by risk", remedy: "allow this machine's egress address in the policy, or exclude the app's service principal from it"}
	case 50196:
		return explanation{summary: "the app asks for tokens in a loop", remedy: "look for another program that uses the same app without caching tokens; wait a few minutes"}
	case 90055:
		return explanation{summary: "the authority is throttling this app", remedy: "try again later", temporary: true}
	case 90024, 90033, 90012, 90006, 50033:
		return explanation{summary: "the authority has a transient failure", remedy: "try again later", temporary: true}
	}
	return explanation{}
}
