package auth

// explanation is what a person is told about an AADSTS code.
type explanation struct {
	summary   string
	remedy    string
	temporary bool
}

// explainCode explains the AADSTS codes that the client credentials grant runs into. The vendor
// says that the numbers may change, so nothing depends on one being known.
// Source: Microsoft Entra authentication and authorization error codes.
func explainCode(code int) (explanation, bool) {
	var e explanation
	switch code {
	// The credential.
	case 7000215:
		e = explanation{summary: "the client secret is wrong", remedy: "set AZURE_CLIENT_SECRET to the secret's value; often its id (a GUID) was pasted instead"}
	case 7000222:
		e = explanation{summary: "the client secret has expired", remedy: "add a new client secret to the app registration and set AZURE_CLIENT_SECRET to its value"}
	case 7000218:
		e = explanation{summary: "the request carried neither a client secret nor an assertion", remedy: "set AZURE_CLIENT_SECRET or AZURE_CLIENT_SECRET_FILE"}
	case 700027, 50012:
		e = explanation{summary: "the authority does not know the certificate that signed the assertion", remedy: "upload the matching certificate to the app registration"}
	case 700030:
		e = explanation{summary: "the certificate's subject name or issuer is not authorised for this app", remedy: "correct the app's subject name and issuer settings, or upload the certificate itself"}
	case 50013, 500133, 50027:
		e = explanation{summary: "the assertion is expired, not yet valid or meant for another audience", remedy: "set this machine's clock (NTP) and check AZURE_AUTHORITY_HOST"}
	case 70021:
		e = explanation{summary: "no federated credential of the app matches the presented token, or it is not replicated yet", remedy: "compare its issuer, subject and audience with the token; if it was just created, wait a few minutes"}
	case 700211:
		e = explanation{summary: "no federated credential of the app has the presented token's issuer", remedy: "make the issuer match exactly, case and trailing slash included"}
	case 7002121:
		e = explanation{summary: "no federated credential of the app has the presented token's audience", remedy: "make the audience match exactly; it is api://AzureADTokenExchange in the global cloud"}
	case 700213:
		e = explanation{summary: "no federated credential of the app has the presented token's subject", remedy: "make the subject match exactly; for Kubernetes it is system:serviceaccount:NAMESPACE:NAME"}
	case 90061:
		e = explanation{summary: "the authority cannot fetch the keys of the external token issuer", remedy: "publish the issuer's discovery document and keys where the internet can reach them"}

	// The app and the tenant.
	case 700016:
		e = explanation{summary: "the app is unknown in this tenant", remedy: "check AZURE_CLIENT_ID (the application id, not the object id) and AZURE_TENANT_ID; for an app of another tenant, grant admin consent"}
	case 7000229:
		e = explanation{summary: "the app has no service principal in this tenant", remedy: "have an administrator of the tenant grant admin consent to the app"}
	case 7000112, 70001:
		e = explanation{summary: "the app is disabled in this tenant", remedy: "enable it in Microsoft Entra ID under Enterprise applications"}
	case 90002:
		e = explanation{summary: "there is no such tenant in this cloud", remedy: "check AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST for a national cloud"}
	case 900023:
		e = explanation{summary: "the tenant is neither a GUID nor a domain name", remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	case 50059, 90019:
		e = explanation{summary: "the request named no tenant", remedy: "set AZURE_TENANT_ID to the tenant's GUID"}
	case 9001023, 50194:
		e = explanation{summary: "the request went to a path for all tenants, which gives apps no tokens", remedy: "set AZURE_TENANT_ID to the tenant's GUID, not to common, organizations or consumers"}
	case 90038, 900382, 900432:
		e = explanation{summary: "the tenant or the app belongs to another national cloud", remedy: "set AZURE_AUTHORITY_HOST to that cloud's login host"}
	case 50034, 50053:
		e = explanation{summary: "the authority treats the request as a user's sign-in, which this program never makes", remedy: "check AZURE_AUTHORITY_HOST and AZURE_CLIENT_ID: the app must be registered as a confidential client"}

	// The resource and the permissions.
	case 500011, 50001:
		e = explanation{summary: "the resource does not exist in this tenant", remedy: "check EXPORTER_AUDIENCE for typing errors; if it is right, open the Microsoft Defender portal once as an administrator so that it is provisioned"}
	case 650052:
		e = explanation{summary: "the organisation has no subscription to the service", remedy: "check the tenant's Microsoft Defender XDR licence"}
	case 650056, 650057:
		e = explanation{summary: "the app does not list a permission of the resource, or has no consent for it", remedy: "add the application permission Incident.Read.All of Microsoft Threat Protection to the app and grant admin consent"}
	case 65001, 90094:
		e = explanation{summary: "no administrator has consented to the app's permissions", remedy: "grant admin consent in Microsoft Entra ID under App registrations, API permissions"}
	case 70011:
		e = explanation{summary: "the requested scope is malformed", remedy: "set EXPORTER_AUDIENCE to the resource alone, such as https://api.security.microsoft.com"}
	case 1002012:
		e = explanation{summary: "the requested scope does not end in /.default, or is encoded twice", remedy: "set EXPORTER_AUDIENCE to the resource alone, without /.default and without percent signs"}
	case 700022:
		e = explanation{summary: "the requested scope names more than one resource", remedy: "set EXPORTER_AUDIENCE to one resource"}
	case 901002:
		e = explanation{summary: "the v2 endpoint was asked with the v1 parameter resource", remedy: "set EXPORTER_TOKEN_ENDPOINT=v1, or check AZURE_AUTHORITY_HOST for an extra path"}

	// Policy and pace.
	case 53003, 530032:
		e = explanation{summary: "conditional access blocks the app, by location or by risk", remedy: "allow this machine's egress address in the policy, or exclude the app's service principal from it"}
	case 50196:
		e = explanation{summary: "the app asks for tokens in a loop", remedy: "look for another program that uses the same app without caching tokens; wait a few minutes"}
	case 90055:
		e = explanation{summary: "the authority is throttling this app", remedy: "try again later", temporary: true}
	case 90024, 90033, 90012, 90006, 50033:
		e = explanation{summary: "the authority has a transient failure", remedy: "try again later", temporary: true}
	default:
		return explanation{}, false
	}
	return e, true
}
