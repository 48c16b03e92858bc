package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells systemd how the daemon is, by the protocol of sd_notify(3): datagrams to the socket
// that NOTIFY_SOCKET names. On nil, where there is no such socket, it does nothing.
type notifier struct {
	socket   *net.UnixConn
	watchdog time.Duration // systemd ends the daemon if it hears nothing for so long; 0: it does not
}

// newNotifier connects to systemd, if it started this process as a service of Type=notify.
func (a *app) newNotifier() (*notifier, error) {
	name := a.getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil, nil
	}
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "@") { // @: in the abstract namespace
		return nil, errors.New("notify systemd: NOTIFY_SOCKET is no path of a socket")
	}
	socket, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, errors.Join(errors.New("notify systemd"), err)
	}
	n := &notifier{socket: socket}
	usec, err := strconv.ParseInt(a.getenv("WATCHDOG_USEC"), 10, 64)
	pid := a.getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n, nil
}

// tell sends assignments such as READY=1. Nobody waits for it, and nothing depends on it.
func (n *notifier) tell(assignments ...string) {
	if n == nil {
		return
	}
	_ = n.socket.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = n.socket.Write([]byte(strings.Join(assignments, "\n")))
}

// watch keeps the watchdog quiet until ctx is done, while the daemon is alive.
func (n *notifier) watch(ctx context.Context, alive func() error) {
	if n == nil || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		if alive() == nil {
			n.tell("WATCHDOG=1")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
