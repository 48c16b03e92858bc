package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
)

// readAssertion reads the token of another issuer, such as a Kubernetes cluster, that proves the
// app's identity (workload identity federation). The file is renewed by what wrote it, so it is
// read for each request. Errors are of type [*Error] and quote nothing of the file.
// Source: Microsoft Entra workload identity federation.
func readAssertion(path string) (Secret, error) {
	content, err := readCredentialFile(path)
	if err != nil {
		return Secret{}, explainTokenFile(err)
	}
	token := strings.TrimSpace(string(content))
	switch {
	case token == "":
		return Secret{}, &Error{
			Summary: "the federated token file is empty",
			Remedy:  "check what writes the file that AZURE_FEDERATED_TOKEN_FILE names: on Kubernetes, the projected service account token",
		}
	case !isJWT(token):
		return Secret{}, &Error{
			Summary: "the federated token file does not hold a JWT",
			Remedy:  "set AZURE_FEDERATED_TOKEN_FILE to the file with the token of the external issuer, and nothing else in it",
		}
	}
	return NewSecret(token), nil
}

// explainTokenFile says why the file cannot be read; err holds no path.
func explainTokenFile(err error) *Error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{
			Summary: "the federated token file does not exist",
			Remedy:  "check AZURE_FEDERATED_TOKEN_FILE; on Kubernetes, the pod needs the label azure.workload.identity/use=true and its service account the annotation azure.workload.identity/client-id",
			Err:     err,
		}
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Summary: "the federated token file may not be read by this process's user",
			Remedy:  "on Kubernetes, set fsGroup in the pod's securityContext; elsewhere, let the user read the file that AZURE_FEDERATED_TOKEN_FILE names",
			Err:     err,
		}
	}
	return &Error{
		Summary: "the federated token file cannot be read: " + err.Error(),
		Remedy:  "check AZURE_FEDERATED_TOKEN_FILE",
		Err:     err,
	}
}

// isJWT reports whether text has the form of a signed JWT: three parts, the first two of which
// hold JSON objects.
func isJWT(text string) bool {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[2] == "" {
		return false
	}
	for _, part := range parts[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		var members map[string]json.RawMessage
		if err != nil || json.Unmarshal(raw, &members) != nil || members == nil {
			return false
		}
	}
	return true
}
