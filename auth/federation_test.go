package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"incident-exporter/exporter/simulator"
)

func TestUnusableTokenFilesAreRefusedBeforeAnythingIsSent(t *testing.T) {
	r := newRig(t)
	good := federated(t, r.key, nil)
	for name, test := range map[string]struct {
		path         string
		text, remedy string
	}{
		"missing":     {filepath.Join(r.dir, "mark"), "does not exist", "azure.workload.identity/use=true"},
		"a directory": {r.dir, "cannot be read", "AZURE_FEDERATED_TOKEN_FILE"},
		"empty":       {r.write("empty", []byte(" \n")), "empty", "projected"},
		"no JWT":      {r.write("text", []byte("mark")), "not hold a JWT", "AZURE_FEDERATED_TOKEN_FILE"},
		"cut":         {r.write("cut", []byte(good[:strings.LastIndex(good, ".")+1])), "not hold a JWT", "AZURE_FEDERATED_TOKEN_FILE"},
		"no claims":   {r.write("array", []byte("e30.W10.eA")), "not hold a JWT", "AZURE_FEDERATED_TOKEN_FILE"},
		"two":         {r.write("two", []byte(good+"\n"+good)), "not hold a JWT", "AZURE_FEDERATED_TOKEN_FILE"},
		"too large":   {r.write("large", make([]byte, maxCredentialFile+1)), "too large", "AZURE_FEDERATED_TOKEN_FILE"},
	} {
		options := r.options(WorkloadIdentity)
		options.TokenFile = test.path
		_, err := must(t, options).Token(t.Context(), simulator.DefaultTenant)
		refusal := new(Error)
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Summary, test.text) || !strings.Contains(refusal.Remedy, test.remedy) || strings.Contains(err.Error(), "mark") {
			t.Errorf("%s: %v, remedy %q", name, err, refusal.Remedy)
		}
	}
	if calls := r.sim.Calls(); calls.Token+calls.Discovery > 0 {
		t.Errorf("requests were sent: %+v", calls)
	}
}

// TestTokenFileOfAnotherUser: old clusters write it for root alone.
func TestTokenFileOfAnotherUser(t *testing.T) {
	if refusal := explainTokenFile(syscall.EACCES); !errors.Is(refusal, os.ErrPermission) || !strings.Contains(refusal.Remedy, "fsGroup") {
		t.Errorf("%v, remedy %q", refusal, refusal.Remedy)
	}
	if os.Geteuid() == 0 {
		return // may read anything
	}
	r := newRig(t)
	if err := os.Chmod(r.tokenFile, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := must(t, r.options(WorkloadIdentity)).Token(t.Context(), simulator.DefaultTenant); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
}
