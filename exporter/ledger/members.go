package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// members checks the names of all members of a manifest. A name that repeats,
// or differs from one of ours only in case or by escapes, would be read
// differently by different readers: two would see two manifests.
func members(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return object(d, false, 0)
}

// maxDepth is more than any manifest nests. Without it a forged one could take
// the whole stack, which ends the process.
const maxDepth = 32

// object checks one value; anyName says that its members are ids and not names.
func object(d *json.Decoder, anyName bool, depth int) error {
	if depth > maxDepth {
		return errors.New("nested deeper than any manifest")
	}
	begin, err := d.Token()
	if err != nil {
		return err
	}
	switch begin {
	case json.Delim('['):
		for d.More() {
			if err := object(d, false, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		var few []string
		var many map[string]bool
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name, ok := token.(string)
			if !ok {
				return errors.New("no member name")
			}
			if !anyName && !plainName(name) {
				return fmt.Errorf("member %.40q is not a name of this format", name)
			}
			if many == nil && len(few) == 64 {
				many = map[string]bool{}
				for _, n := range few {
					many[n] = true
				}
			}
			twice := many[name]
			if many == nil {
				for _, n := range few {
					twice = twice || n == name
				}
				few = append(few, name)
			} else {
				many[name] = true
			}
			if twice {
				return fmt.Errorf("member %.40q is there twice", name)
			}
			if err := object(d, name == "how" && !anyName, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token() // the end
	return err
}

func plainName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
