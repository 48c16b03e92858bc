package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "Canary~8Q.secret/+=&value"

func TestSecretIsNeverRendered(t *testing.T) {
	type nested struct {
		Secret  Secret
		hidden  Secret
		Pointer *Secret
		Map     map[string]Secret
		List    []Secret
	}
	secret := NewSecret(canary)
	whole := nested{secret, secret, &secret, map[string]Secret{"k": secret}, []Secret{secret}}
	if secret.Reveal() != canary || whole.hidden.Reveal() != canary {
		t.Fatal("Reveal does not give the value")
	}
	values := []any{secret, &secret, whole, &whole, []any{secret, whole}, map[string]any{"a": whole}, struct{ any }{secret}}
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%10s", "%T %v"} {
			args := []any{value}
			if strings.HasPrefix(verb, "%T") {
				args = append(args, value)
			}
			absent(t, verb, fmt.Sprintf(verb, args...))
		}
		absent(t, "Sprint", fmt.Sprint(value))
		absent(t, "error", fmt.Errorf("x: %v", value).Error())
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", value, slog.Group("g", "v", value))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", value, slog.Group("g", "v", value))
		absent(t, "slog", log.String())
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		absent(t, "JSON", string(encoded))
	}
	if got := fmt.Sprintf("%v %s %x", secret, secret, secret); got != "[redacted] [redacted] [redacted]" {
		t.Errorf("got %q", got)
	}
	if got, err := secret.MarshalText(); err != nil || string(got) != redacted {
		t.Errorf("MarshalText: %q, %v", got, err)
	}
}

// absent fails the test if text shows the canary, plain, in hexadecimal, or as a list of bytes.
func absent(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{canary, canary[:8], fmt.Sprintf("%x", canary[:8]), fmt.Sprintf("%X", canary[:8]), fmt.Sprintf("% x", canary[:8]), "67 97 110 97"} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the secret: %s", where, text)
		}
	}
}
