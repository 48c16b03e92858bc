package auth

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Claims is what an access token says about itself. The names are those of the platform's access
// token claims reference. Nothing in it is verified.
type Claims struct {
	Audience  string    // aud: the resource's URI, or its app id
	Issuer    string    // iss
	Tenant    string    // tid
	AppID     string    // appid (v1 tokens) or azp (v2 tokens)
	Roles     []string  // roles: granted application permissions; absent if none was consented to
	Version   string    // ver: "1.0" or "2.0", chosen by the resource
	Expires   time.Time // exp, UTC; zero if not given
	NotBefore time.Time // nbf, UTC; zero if not given
	TokenID   string    // uti
	ObjectID  string    // oid: the app's service principal
	Opaque    bool      // the token is not a JWT: nothing is known but perhaps Expires
}

// ParseClaims reads the payload of a JWT without validating it. The vendor allows a token to be
// anything, so what is no JWT gives Opaque claims and not an error.
func ParseClaims(token string) Claims {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{Opaque: true}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Claims{Opaque: true}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil || members == nil {
		return Claims{Opaque: true}
	}
	claims := Claims{
		Audience:  first(texts(members["aud"])),
		Issuer:    first(texts(members["iss"])),
		Tenant:    strings.ToLower(first(texts(members["tid"]))),
		AppID:     first(texts(members["appid"])),
		Roles:     texts(members["roles"]),
		Version:   first(texts(members["ver"])),
		Expires:   instant(members["exp"]),
		NotBefore: instant(members["nbf"]),
		TokenID:   first(texts(members["uti"])),
		ObjectID:  first(texts(members["oid"])),
	}
	if claims.AppID == "" {
		claims.AppID = first(texts(members["azp"]))
	}
	return claims
}

// texts reads a claim that is a string or a list of strings; the JWT standard allows both for aud.
func texts(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		if one == "" {
			return nil
		}
		return []string{one}
	}
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		return many
	}
	return nil
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// instant reads seconds since 1970, as a number or as text: the v1 endpoint writes both.
func instant(raw json.RawMessage) time.Time {
	text := strings.Trim(string(raw), `"`)
	seconds, err := strconv.ParseFloat(text, 64)
	// Years beyond 9999 cannot be written as RFC 3339.
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds >= 253402300800 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
