package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"incident-exporter/auth"
)

// Exit codes; they are part of the contract.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // usage or configuration
	exitFaults  = 3 // verify found faults
	exitPartial = 4 // some tenants failed
)

// exitError is an error with the exit code that it stands for. A command that has said all there
// is to say returns one without err; nothing more is printed then.
type exitError struct {
	code   int
	err    error
	remedy string // what to do about it; may be empty
}

// Error returns the text of the error, or "" if there is nothing to print.
func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns the error.
func (e *exitError) Unwrap() error { return e.err }

// app is what every command works with. Commands are its methods: each returns a *cobra.Command,
// and newRoot lists them.
type app struct {
	environ []string
	stdout  io.Writer // results
	stderr  io.Writer // everything else

	started bool // a command's own work has begun: the command line was understood
}

// run is the program: it carries out the command that args name and returns the exit code. environ
// must be the environment of the process, which is what envconfig reads; see loadConfig.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdout: stdout, stderr: stderr}
	root := a.newRoot()
	root.SetArgs(args)
	return a.report(root.ExecuteContext(ctx))
}

// newRoot builds the command tree.
func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "incident-exporter",
		Short:             "Keeps a complete, provable archive of Microsoft Defender XDR incidents",
		Args:              cobra.NoArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { a.started = true },
		RunE: func(*cobra.Command, []string) error {
			return &exitError{exitUsage, errors.New("no command is given"), "`incident-exporter --help` lists the commands"}
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{exitUsage, err, "`" + c.CommandPath() + " --help` lists its flags"}
	})
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(a.commands()...)
	root.AddCommand(a.manualCommand())
	return root
}

// report prints err once and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	code, remedy := exitFailed, ""
	if !a.started {
		code, remedy = exitUsage, "`incident-exporter --help` lists commands and flags"
	}
	var exit *exitError
	var config *configError
	var token *auth.Error
	switch {
	case errors.As(err, &exit):
		code, remedy = exit.code, exit.remedy
	case errors.As(err, &config):
		code = exitUsage
	}
	if remedy == "" && errors.As(err, &token) {
		remedy = tokenRemedy(token)
	}
	if text := err.Error(); text != "" {
		// cobra's suggestions come on lines of their own.
		fmt.Fprintf(a.stderr, "incident-exporter: %s\n", strings.TrimSpace(text))
		if remedy != "" {
			fmt.Fprintf(a.stderr, "remedy: %s\n", remedy)
		}
	}
	return code
}

// getenv returns the value of an environment variable, or "" if it is not set.
func (a *app) getenv(name string) string {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if key, value, ok := strings.Cut(a.environ[i], "="); ok && key == name {
			return value
		}
	}
	return ""
}

// isTerminal reports whether w is a terminal.
func (a *app) isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	// The null device is a character device too.
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull && a.getenv("TERM") != "dumb"
}
