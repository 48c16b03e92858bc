//go:build !linux

package local_test

import "errors"

// mountsRole needs the mount namespaces of Linux.
func mountsRole(string, string) error { return errors.ErrUnsupported }
