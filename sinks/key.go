package sinks

import (
	"errors"
	"fmt"
	"strings"
)

// maxKey is how long a key may be, in bytes.
const maxKey = 512

// CheckKey refuses what is no key by the contract of Reader. The error names
// the key.
func CheckKey(key string) error {
	if err := keyFault(key); err != nil {
		return fmt.Errorf("key %.600q: %w", key, err)
	}
	return nil
}

func keyFault(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("longer than %d bytes", maxKey)
	}
	for i := range len(key) {
		if c := key[i]; c < ' ' || c > '~' || c == '\\' {
			return fmt.Errorf("byte %#02x at %d is not allowed", c, i)
		}
	}
	for element := range strings.SplitSeq(key, "/") {
		switch element {
		case "":
			return errors.New("an element is empty")
		case ".", "..":
			return fmt.Errorf("element %q is not allowed", element)
		}
	}
	return nil
}
