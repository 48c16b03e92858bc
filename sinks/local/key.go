package local

import (
	"fmt"
	"strings"

	"incident-exporter/sinks"
)

// checkKey refuses what is no key by the contract in sinks.Reader, and keys
// in the directory of temporary files.
func checkKey(key string) error {
	if err := sinks.CheckKey(key); err != nil {
		return err
	}
	if strings.HasPrefix(key, tempDir+"/") {
		return fmt.Errorf("key %.600q: the place is reserved for temporary files", key)
	}
	return nil
}
