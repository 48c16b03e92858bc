package mapping

import (
	"strings"
	"unicode"
)

// word is a member of an enumeration in one spelling: the APIs write
// TruePositive and truePositive, and documents prose. The sets are open: a
// word that is not known stands for itself.
func word(value string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, value)
}

// severity is a word; a redirected incident has UnSpecified in one API, and
// unknown in the other, which has no such member.
func severity(value string) string {
	if w := word(value); w != "unspecified" {
		return w
	}
	return "unknown"
}

// incidentStatus is a word. Graph tells those in progress that wait for an
// action apart from the others; Defender has one word for both.
func incidentStatus(value string) string {
	if w := word(value); w != "awaitingaction" {
		return w
	}
	return "inprogress"
}

// determination is a word under the name that Graph's schema has for it.
// Both APIs, and pages of the same API, have spelled several of them in more
// than one way since 2022.
func determination(value string) string {
	switch w := word(value); w {
	case "notavailable":
		return "unknown"
	case "compromiseduser":
		return "compromisedaccount"
	case "confirmeduseractivity":
		return "confirmedactivity"
	case "clean":
		return "notmalicious"
	case "insufficientdata", "noenoughdatatovalidate":
		return "notenoughdatatovalidate"
	default:
		return w
	}
}
