package auth

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// maxCredentialFile bounds what is read of a credential's file; real ones hold some kilobytes.
const maxCredentialFile = 1 << 20

// errTooLarge says that a file cannot be what it is taken for.
var errTooLarge = errors.New("the file is too large")

// readCredentialFile reads a file whole. The error does not hold the path: a credential may have
// been pasted in its place.
func readCredentialFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxCredentialFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(content) > maxCredentialFile {
		return nil, errTooLarge
	}
	return content, nil
}

func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readSecret calls read. Its error becomes an [*Error] in read's own words.
func readSecret(read func() (Secret, error), kind Kind) (Secret, error) {
	secret, err := read()
	if err != nil {
		name := kind.variable()
		if kind == Certificate {
			name = "AZURE_CLIENT_CERTIFICATE_PASSWORD"
		}
		return Secret{}, &Error{Summary: err.Error(), Remedy: "check " + name + " and " + name + "_FILE, and who may read the file", Err: err}
	}
	return secret, nil
}
