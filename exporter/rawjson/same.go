package rawjson

import (
	"bytes"
	"slices"
)

// Same says whether two lines differ in nothing but the order of members and
// of elements. Tokens are compared as they are written. A text that is not
// valid JSON without whitespace is the same as nothing else.
func Same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	var s scan
	for _, text := range [][]byte{a, b} {
		if n, err := s.value(text); err != nil || n != len(text) || s.spaces {
			return false
		}
	}
	ca, _ := canonical(a)
	cb, _ := canonical(b)
	return bytes.Equal(ca, cb)
}

// canonical returns the value that src begins with in one fixed order, and
// its length. src has been scanned: its syntax and depth are known to be right.
func canonical(src []byte) (out []byte, n int) {
	switch src[0] {
	case '"':
		n, _ = str(src, 0)
		return src[:n], n
	case '{', '[':
		var parts [][]byte
		n = 1
		for src[n] != src[0]+2 {
			if src[n] == ',' {
				n++
			}
			from := n
			if src[0] == '{' {
				n, _ = str(src, n)
				n++ // the colon
			}
			v, size := canonical(src[n:])
			parts = append(parts, slices.Concat(src[from:n], v))
			n += size
		}
		slices.SortFunc(parts, bytes.Compare)
		out = append(out, src[0])
		out = append(out, bytes.Join(parts, []byte{','})...)
		return append(out, src[0]+2), n + 1
	}
	for n < len(src) && src[n] != ',' && src[n] != '}' && src[n] != ']' {
		n++
	}
	return src[:n], n
}
