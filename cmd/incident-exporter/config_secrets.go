package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"incident-exporter/auth"
)

// clientSecret returns the client secret. One that is given as a file is read each time, so that
// rotation needs no restart.
func (c *config) clientSecret() (auth.Secret, error) {
	return secretOf(c.Azure.ClientSecret, "AZURE_CLIENT_SECRET_FILE", c.Azure.ClientSecretFile)
}

// certificatePassword returns the password of the certificate's file in the same way.
func (c *config) certificatePassword() (auth.Secret, error) {
	return secretOf(c.Azure.ClientCertificatePassword, "AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE", c.Azure.ClientCertificatePasswordFile)
}

func secretOf(value auth.Secret, name string, file text) (auth.Secret, error) {
	if file == "" {
		return value, nil
	}
	secret, err := readSecretFile(string(file))
	if err != nil {
		return auth.Secret{}, fmt.Errorf("read the file that %s names: %w", name, err)
	}
	return secret, nil
}

// resolveFiles looks after the variables that name a file with a secret.
func (c *config) resolveFiles() {
	for _, s := range []struct {
		name  string
		value auth.Secret
		file  text
	}{
		{"AZURE_CLIENT_SECRET", c.Azure.ClientSecret, c.Azure.ClientSecretFile},
		{"AZURE_CLIENT_CERTIFICATE_PASSWORD", c.Azure.ClientCertificatePassword, c.Azure.ClientCertificatePasswordFile},
		{"EXPORTER_PING_URL", c.Exporter.PingURL, c.Exporter.PingURLFile},
	} {
		if s.file == "" {
			continue
		}
		if !s.value.IsZero() {
			c.problem(s.name+"_FILE", "and %s are both set: unset one of them", s.name)
			continue
		}
		if _, err := readSecretFile(string(s.file)); err != nil {
			c.problem(s.name+"_FILE", "must name a readable file that holds the secret: %v", err)
			continue
		}
		for i := range c.rows {
			if c.rows[i].name == s.name {
				c.rows[i].origin = "file " + string(s.file)
			}
		}
	}
}

// maxSecretFile is far above any secret; a larger file is another file.
const maxSecretFile = 64 << 10

// readSecretFile reads a secret; one trailing newline is not part of it. The error holds neither
// the path, which may be a secret that was pasted into the wrong variable, nor the content.
func readSecretFile(path string) (auth.Secret, error) {
	file, err := openRegular(path)
	if err != nil {
		return auth.Secret{}, bareError(err)
	}
	defer func() { _ = file.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return auth.Secret{}, bareError(err)
	}
	content := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case len(data) > maxSecretFile:
		return auth.Secret{}, errors.New("file too large for a secret")
	case content == "":
		return auth.Secret{}, errors.New("file is empty")
	}
	return auth.NewSecret(content), nil
}

// openRegular opens a file for reading. A pipe, which is read once and may keep whoever opens it
// waiting for ever, is refused: what is configured is read again and again.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDir) != 0 {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		_ = file.Close() // read only
		return nil, err
	}
	return file, nil
}

// bareError strips the path off a file error.
func bareError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
