package simulator

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// Tenants plays several tenants of one app, as a partner has them: each is a
// Simulator of its own, told apart by the tenant in the path of a request for
// a token, and by that of the token in a call. What belongs to none of them
// goes to the first.
func Tenants(sims ...*Simulator) http.Handler {
	t := tenants{first: sims[0], byID: map[string]*Simulator{}}
	for _, s := range sims {
		t.byID[s.opts.Tenant] = s
	}
	return t
}

type tenants struct {
	first *Simulator
	byID  map[string]*Simulator
}

func (t tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		id = tenantOf(token)
	}
	s := t.byID[strings.ToLower(id)]
	if s == nil {
		s = t.first
	}
	s.ServeHTTP(w, r)
}

// tenantOf is the tid claim of a token; whether the token is good is for its
// tenant to say.
func tenantOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		Tenant string `json:"tid"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Tenant
}
