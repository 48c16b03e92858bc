package auth

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every rendering of a Secret shows. It does not depend on the value, so it
// does not tell its length or whether there is one.
const redacted = "[redacted]"

// Secret holds a value that must not be shown. Every verb of fmt, encoding/json, text encoders
// and log/slog render it as "[redacted]". The value is kept behind a pointer because fmt cannot
// call methods on unexported fields: there it prints an address instead of the secret.
//
// The zero value is the empty secret. Secrets are immutable and safe for concurrent use.
type Secret struct {
	value *string
}

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal returns the value. It is the only way to get at it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// UnmarshalText takes text as the value, as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
