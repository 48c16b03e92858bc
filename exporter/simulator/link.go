package simulator

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// nextMarker is the query option by which a nextLink names its position.
const nextMarker = "$skiptoken"

// markerForm is what a marker says, before it is made opaque.
const markerForm = "position:"

// link is the address of the rest of a question, which begins at a position.
func link(r *http.Request, position int) string {
	values := r.URL.Query()
	values.Del("$skip")
	return linkTo(r, r.URL.Path, values, position)
}

// linkTo is the address of a list from a position on.
func linkTo(r *http.Request, path string, options url.Values, position int) string {
	marker := base64.StdEncoding.EncodeToString([]byte(markerForm + strconv.Itoa(position)))
	options.Set(nextMarker, marker)
	next := url.URL{Scheme: "https", Host: r.Host, Path: path, RawQuery: options.Encode()}
	return next.String()
}

// follow takes the position of a followed link, if one was, in place of $skip.
func (q *query) follow(options url.Values, code string) *refusal {
	if !options.Has(nextMarker) {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(options.Get(nextMarker))
	if err == nil {
		text, ours := strings.CutPrefix(string(raw), markerForm)
		if n, err := strconv.Atoi(text); ours && err == nil && n >= 0 {
			q.skip, q.marked = n, true
			return nil
		}
	}
	return &refusal{"option", code, fmt.Sprintf("The value of '%s' is not one of a nextLink.", nextMarker)}
}

// linked reports whether an answer to a list request names where the rest is.
// ordinary says whether the API does so without being made to.
func (s *Simulator) linked(p *page, ordinary bool) bool {
	return p.more && (ordinary || s.behaviour.ShortLinks > 0 || p.emptied)
}

// refuseSkip refuses a $skip beyond the limit, if the server does.
func (s *Simulator) refuseSkip(q query, code string) *refusal {
	if !s.behaviour.SkipRefused || !s.beyond(q) {
		return nil
	}
	const message = "The limit of '%d' for Skip query has been exceeded. The value from the incoming request is '%d'."
	return &refusal{"", code, fmt.Sprintf(message, s.behaviour.SkipLimit-1, q.skip)}
}

// beyond reports whether a $skip, not a followed link, is beyond the limit.
func (s *Simulator) beyond(q query) bool {
	limit := s.behaviour.SkipLimit
	return limit > 0 && !q.marked && q.skip >= limit
}
