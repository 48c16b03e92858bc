package main

import (
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"incident-exporter/auth"
)

// listenAddress is where the daemon answers questions about itself: host:port, or :port for every
// address of the machine. Port 0 is any that is free. "" is off.
type listenAddress string

var hostForm = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

func (l *listenAddress) UnmarshalText(b []byte) error {
	value := strings.TrimSpace(string(b))
	host, port, err := net.SplitHostPort(value)
	var n count
	if err != nil || n.UnmarshalText([]byte(port)) != nil || n > 65535 || net.ParseIP(host) == nil && !hostForm.MatchString(host) {
		return errors.New("must be an address as host:port or :port, such as 127.0.0.1:9464; an IPv6 address in brackets")
	}
	*l = listenAddress(net.JoinHostPort(host, strconv.Itoa(int(n))))
	return nil
}

// pingURL returns the URL of the dead man's switch, nothing if there is none. Errors do not quote it.
func (c *config) pingURL() (auth.Secret, error) {
	secret, err := secretOf(c.Exporter.PingURL, "EXPORTER_PING_URL_FILE", c.Exporter.PingURLFile)
	if err != nil || secret.IsZero() {
		return auth.Secret{}, err
	}
	if _, err := parsePingURL(secret); err != nil {
		return auth.Secret{}, err
	}
	return secret, nil
}

// parsePingURL takes it apart. It authorises whoever has it, so that it goes over TLS, but for a
// service on this machine.
func parsePingURL(secret auth.Secret) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(secret.Reveal()))
	switch {
	case err != nil || u.Hostname() == "" || u.Fragment != "":
		return nil, errors.New("must be the URL that the service gives for a check, such as https://hc-ping.com/UUID")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()):
		return u, nil
	}
	return nil, errors.New("must begin with https://, but for a service on this machine: who has the URL can report in this program's name")
}

// checkPing notes what is wrong with the URL of the dead man's switch.
func (c *config) checkPing() {
	for _, name := range []string{"EXPORTER_PING_URL", "EXPORTER_PING_URL_FILE"} {
		if c.faulty(name) {
			return
		}
	}
	name := "EXPORTER_PING_URL"
	if c.Exporter.PingURLFile != "" {
		name = "EXPORTER_PING_URL_FILE"
	}
	if _, err := c.pingURL(); err != nil {
		c.problem(name, "%v", err)
	}
}
