// Command incident-exporter keeps a complete, provable, append-only archive of the incidents of a
// Microsoft Defender XDR tenant.
//
// It is configured by environment variables; `incident-exporter config` lists them. Results go to
// standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 usage or
// configuration, 3 verify found faults, 4 some tenants failed.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // EXPORTER_TIMEZONE must work in an image without a time-zone database
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// collectOften is for the commands that read the API. Most of their memory is the text of a few
// answers and what a compressor has made of it: a heap of few pointers, which is cheap to collect often.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
}
