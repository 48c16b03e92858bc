package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxDepth is more than any manifest nests.
const maxDepth = 32

// members checks the names of all members of a manifest, which must be valid
// JSON. A name that repeats, or differs from one of ours only in case or by
// escapes, would be read differently by different readers: two would see two
// manifests. The members of "how" are ids and may have any name.
func members(data []byte) error {
	type level struct {
		names  map[string]bool // of an object, nil until there are many
		few    [][]byte
		object bool
		ids    bool // its members' names are ids
		name   bool // a name comes next
	}
	var stack []level
	var last []byte // the name of the member whose value comes
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '{', '[':
			if len(stack) == maxDepth {
				return errors.New("nested deeper than any manifest")
			}
			ids := c == '{' && len(stack) == 1 && string(last) == "how"
			stack = append(stack, level{object: c == '{', name: c == '{', ids: ids})
		case '}', ']':
			stack = stack[:len(stack)-1]
		case ',':
			top := &stack[len(stack)-1]
			top.name = top.object
		case '"':
			end := i + 1
			for data[end] != '"' {
				if data[end] == '\\' {
					end++
				}
				end++
			}
			text := data[i+1 : end]
			i = end
			if len(stack) == 0 {
				continue
			}
			top := &stack[len(stack)-1]
			if !top.name {
				continue
			}
			top.name, last = false, text
			if top.ids {
				var id string
				if err := json.Unmarshal(data[end-len(text)-1:end+1], &id); err != nil {
					return err
				}
				text = []byte(id)
			} else if !plainName(text) {
				return fmt.Errorf("member %.40q is not a name of this format", text)
			}
			twice := top.names[string(text)]
			for _, n := range top.few {
				twice = twice || bytes.Equal(n, text)
			}
			if twice {
				return fmt.Errorf("member %.40q is there twice", text)
			}
			if top.few = append(top.few, text); len(top.few) == 64 {
				if top.names == nil {
					top.names = map[string]bool{}
				}
				for _, n := range top.few {
					top.names[string(n)] = true
				}
				top.few = top.few[:0]
			}
		}
	}
	return nil
}

func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
