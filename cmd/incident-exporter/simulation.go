package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// simulation serves a simulator over TLS on a loopback address, with a certificate of its own that
// nobody but who is told of it trusts.
type simulation struct {
	origin      string // https URL
	certificate string // path of the certificate that answers for it, PEM

	server *http.Server
	ended  chan error
}

// certificateLife is how long the certificate is valid: longer than anybody simulates, and not
// long enough to be of use elsewhere. Its key never leaves the process.
const certificateLife = 7 * 24 * time.Hour

// serveSimulation begins to serve handler at listen, a loopback address with a port, and writes the
// certificate into dir. What the server has to complain about goes to complaints.
func serveSimulation(handler http.Handler, listen, dir string, complaints io.Writer) (*simulation, error) {
	address, err := loopback(listen)
	if err != nil {
		return nil, err
	}
	certificate, pemBytes, err := selfSigned(time.Now())
	if err != nil {
		return nil, fmt.Errorf("make the simulator's certificate: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, "certificate.pem"))
	if err != nil {
		return nil, fmt.Errorf("place the simulator's certificate: %w", err)
	}
	if err := os.WriteFile(path, pemBytes, 0o644); err != nil {
		return nil, fmt.Errorf("write the simulator's certificate: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the simulator: %w", err)
	}
	s := &simulation{
		origin:      "https://" + listener.Addr().String(),
		certificate: path,
		server: &http.Server{
			Handler:           handler,
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(complaints, "simulator: ", 0),
		},
		ended: make(chan error, 1),
	}
	go func() { s.ended <- s.server.ServeTLS(listener, "", "") }()
	return s, nil
}

// Close stops serving; calls in flight get a second to end.
func (s *simulation) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // what is still open is cut: nobody waits for a simulator
	}
	if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the simulator: %w", err)
	}
	return nil
}

// loopback returns listen as an address of this machine that no other machine reaches.
func loopback(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", errors.New("must be a loopback address with a port, such as 127.0.0.1:0")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", errors.New("must be a loopback address such as 127.0.0.1:0: the simulator serves this machine only")
	}
	return net.JoinHostPort(host, port), nil
}

// selfSigned makes a certificate for the loopback addresses.
func selfSigned(now time.Time) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "incident-exporter simulator"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // some clients trust nothing else that signed itself
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// setting is one environment variable.
type setting struct{ name, value string }

// shell words settings as commands of a shell.
func shell(settings []setting) string {
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "export %s='%s'\n", s.name, strings.ReplaceAll(s.value, "'", `'\''`))
	}
	return b.String()
}
