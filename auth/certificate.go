package auth

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// keyPair is a private key and the chain that it belongs to. The key's own certificate comes
// first.
type keyPair struct {
	key   *rsa.PrivateKey
	chain []*x509.Certificate
}

// CertificateExpires returns when the certificate in the file at path ends to be valid (its
// NotAfter, UTC), also if that is over, so that there can be a warning before. The password is
// that of [Options]. The error is an [*Error].
func CertificateExpires(path string, password func() (Secret, error)) (time.Time, error) {
	pair, err := readKeyPair(path, password)
	if err != nil {
		return time.Time{}, err
	}
	return pair.chain[0].NotAfter.UTC(), nil
}

// readKeyPair reads a PEM or PKCS #12 file. What azidentity reads is not enough: it knows no
// PKCS #12 file with a SHA-256 MAC, which is what OpenSSL 3 and Windows write, and does not tell
// a wrong password from a wrong file. Errors are of type [*Error] and quote nothing of the file.
func readKeyPair(path string, password func() (Secret, error)) (keyPair, error) {
	content, err := readCredentialFile(path)
	if err != nil {
		return keyPair{}, &Error{
			Summary: "the certificate file cannot be read: " + err.Error(),
			Remedy:  "set AZURE_CLIENT_CERTIFICATE_PATH to a file with key and certificate that this process may read",
			Err:     err,
		}
	}
	var secret Secret
	if password != nil {
		if secret, err = readSecret(password, Certificate); err != nil {
			return keyPair{}, err
		}
	}
	parse := parsePKCS12
	if block, _ := pem.Decode(content); block != nil {
		parse = parsePEM
	}
	key, certificates, bad := parse(content, secret)
	if bad != nil {
		return keyPair{}, bad
	}
	pair, bad := matchKey(key, certificates)
	if bad != nil {
		return keyPair{}, bad
	}
	return pair, nil
}

// fileError is an Error about what a certificate file holds.
func fileError(summary, remedy string) *Error {
	return &Error{Summary: "the certificate file " + summary, Remedy: remedy}
}

// remedyWhole tells how to make a file that has all that it takes.
const remedyWhole = "put private key and certificate into the one file that AZURE_CLIENT_CERTIFICATE_PATH names, as PEM or PFX"

func parsePEM(content []byte, _ Secret) (key crypto.PrivateKey, certificates []*x509.Certificate, bad *Error) {
	for {
		var block *pem.Block
		block, content = pem.Decode(content)
		if block == nil {
			return key, certificates, nil
		}
		var found crypto.PrivateKey
		var err error
		switch _, encrypted := block.Headers["DEK-Info"]; {
		case block.Type == "ENCRYPTED PRIVATE KEY" || encrypted:
			return nil, nil, fileError("holds an encrypted private key in PEM form, which is not supported",
				"make a PFX of it, whose password may be given: openssl pkcs12 -export -in FILE -out FILE.pfx")
		case block.Type == "CERTIFICATE":
			var certificate *x509.Certificate
			if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
				certificates = append(certificates, certificate)
			}
		case block.Type == "PRIVATE KEY":
			found, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			found, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			found, err = x509.ParseECPrivateKey(block.Bytes)
		}
		switch {
		case err != nil:
			return nil, nil, fileError("has a block that is damaged", "export the certificate and its key again")
		case found != nil && key != nil:
			return nil, nil, fileError("holds more than one private key", "leave only the key of the app's certificate in it")
		case found != nil:
			key = found
		}
	}
}

func parsePKCS12(content []byte, password Secret) (crypto.PrivateKey, []*x509.Certificate, *Error) {
	key, leaf, rest, err := pkcs12.DecodeChain(content, password.Reveal())
	var unsupported pkcs12.NotImplementedError
	switch {
	case err == nil:
		return key, append([]*x509.Certificate{leaf}, rest...), nil
	case (errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption)) && password.IsZero():
		return nil, nil, fileError("needs a password", "set AZURE_CLIENT_CERTIFICATE_PASSWORD or AZURE_CLIENT_CERTIFICATE_PASSWORD_FILE")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, nil, fileError("does not open with the password given", "set AZURE_CLIENT_CERTIFICATE_PASSWORD to the password that the PFX was exported with")
	case errors.As(err, &unsupported):
		return nil, nil, fileError("is a PFX that uses an encryption which is not supported", "export it again with AES-256 and SHA-256, the default of OpenSSL 3")
	// The library has no value of its own for these two.
	case err.Error() == "pkcs12: private key missing":
		return nil, nil, noKey()
	case err.Error() == "pkcs12: certificate missing":
		return nil, nil, noCertificate()
	}
	if _, err := x509.ParseCertificate(content); err == nil {
		return nil, nil, noKey()
	}
	return nil, nil, fileError("is neither PEM nor a PFX that can be read", remedyWhole)
}

func noKey() *Error {
	return fileError("holds a certificate, but not its private key", remedyWhole)
}

func noCertificate() *Error {
	return fileError("holds a private key, but no certificate", remedyWhole)
}

// matchKey puts the certificate that the key belongs to first.
func matchKey(key crypto.PrivateKey, certificates []*x509.Certificate) (keyPair, *Error) {
	switch {
	case key == nil && len(certificates) == 0:
		return keyPair{}, fileError("holds neither a certificate nor a private key", remedyWhole)
	case key == nil:
		return keyPair{}, noKey()
	case len(certificates) == 0:
		return keyPair{}, noCertificate()
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return keyPair{}, fileError("holds a key that is not RSA", "Microsoft Entra ID takes RSA certificates only: make one, and upload it to the app registration")
	}
	for i, certificate := range certificates {
		if private.PublicKey.Equal(certificate.PublicKey) {
			chain := []*x509.Certificate{certificate}
			chain = append(chain, certificates[:i]...)
			return keyPair{private, append(chain, certificates[i+1:]...)}, nil
		}
	}
	return keyPair{}, fileError("holds a private key that belongs to none of its certificates", "put the key and the certificate of one pair into it")
}

// validAt returns an [*Error] if the certificate is not valid at now, which the authority would
// refuse.
func (p keyPair) validAt(now time.Time) error {
	leaf := p.chain[0]
	switch {
	case now.After(leaf.NotAfter):
		return &Error{
			Summary: "the app's certificate expired at " + leaf.NotAfter.UTC().Format(time.RFC3339) + "; it is now " + now.UTC().Format(time.RFC3339) + " by this machine's clock",
			Remedy:  "make a new certificate, upload it to the app registration and put it, with its key, into the file that AZURE_CLIENT_CERTIFICATE_PATH names",
		}
	case now.Before(leaf.NotBefore):
		return &Error{
			Summary: "the app's certificate is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339) + "; it is now " + now.UTC().Format(time.RFC3339) + " by this machine's clock",
			Remedy:  "set this machine's clock (NTP), or use the certificate that is valid now",
		}
	}
	return nil
}
