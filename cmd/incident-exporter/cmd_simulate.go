package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"incident-exporter/auth"
	"incident-exporter/exporter/simulator"
)

// unlimited is the exporter's setting for an API without a quota.
const unlimited = "1000000/1m"

// simulateFlags are the flags of `simulate`.
type simulateFlags struct {
	listen, dir, settings, auth string

	tenants                     int
	incidents, size, tie, churn int
	seed                        uint64
	span, late                  duration
	density, dialect            string
	misbehave                   float64
	latency                     time.Duration
	noQuota                     bool
}

// durationFlag reads a flag as the variables of the configuration are read.
type durationFlag struct{ *duration }

func (d durationFlag) Set(value string) error { return d.UnmarshalText([]byte(value)) }

// Type is the flag's placeholder in the help.
func (durationFlag) Type() string { return "duration" }

func (a *app) simulateCommand() *cobra.Command {
	var f simulateFlags
	f.span.Duration = 170 * 24 * time.Hour
	command := &cobra.Command{
		Use:   "simulate",
		Short: "Serves a simulated tenant on a loopback port, for trying configurations",
		Long: "Plays Microsoft Entra ID and the incidents API over TLS on a loopback address until it is interrupted.\n" +
			"The settings to use it are printed on standard output as shell commands, or written to a file to be\n" +
			"sourced, which is there once the simulator serves, and gone when it has ended:\n\n" +
			"  incident-exporter simulate --settings sim.env &\n" +
			"  . ./sim.env\n" +
			"  incident-exporter export && incident-exporter verify\n\n" +
			"At the end it says on standard error what its callers did that a good one does not.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), &f) },
	}
	flags := command.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "loopback `address` to serve at; port 0: any that is free")
	flags.StringVar(&f.dir, "dir", "", "`directory` for the certificate (default: a temporary one, removed at the end)")
	flags.StringVar(&f.settings, "settings", "", "write the settings to `file` instead of standard output")
	flags.IntVar(&f.tenants, "tenants", 1, "how many tenants the app is known in, as that of a partner; each has as many incidents")
	flags.IntVar(&f.incidents, "incidents", 20_000, "how many incidents there are at the start")
	flags.IntVar(&f.size, "size", 8_000, "`bytes` of an incident on average")
	flags.Uint64Var(&f.seed, "seed", 1, "decides everything that is random")
	flags.Var(durationFlag{&f.span}, "span", "how far back the incidents' update times go")
	flags.StringVar(&f.density, "density", "uniform", "how update times are spread: "+densityNames())
	flags.IntVar(&f.tie, "tie", 0, "how many incidents share one identical update time")
	flags.IntVar(&f.churn, "churn", 0, "how many incidents are updated at every call")
	flags.Var(durationFlag{&f.late}, "late", "how late an update may become visible")
	flags.Float64Var(&f.misbehave, "misbehave", 0, "`share` of API calls that go wrong: 5xx, cut and empty bodies, HTML, resets, 429 for others' calls")
	flags.StringVar(&f.dialect, "dialect", "seconds", "how a 429 says when to come back: seconds, decimal, date or body")
	flags.DurationVar(&f.latency, "latency", 0, "how long every call takes at least")
	flags.StringVar(&f.auth, "auth", "secret", "how the app proves itself: secret, certificate or workload-identity")
	flags.BoolVar(&f.noQuota, "no-quota", false, "allow any number of calls, and set EXPORTER_QUOTA accordingly")
	return command
}

// check says what is wrong with the flags, by name.
func (f *simulateFlags) check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if _, err := loopback(f.listen); err != nil {
		wrong("--listen %w", err)
	}
	if f.tenants < 1 || f.tenants > maxSimulated {
		wrong("--tenants must be from 1 to %d", maxSimulated)
	}
	if f.incidents < 0 || f.size <= 0 || f.tie < 0 || f.churn < 0 || f.latency < 0 || f.span.Duration <= 0 {
		wrong("--incidents, --tie, --churn and --latency must not be negative, --size and --span must be more than 0")
	}
	if _, ok := densities()[f.density]; !ok {
		wrong("--density must be %s", densityNames())
	}
	if _, ok := dialects()[f.dialect]; !ok {
		wrong("--dialect must be seconds, decimal, date or body")
	}
	if f.auth != string(auth.ClientSecret) && f.auth != string(auth.Certificate) && f.auth != string(auth.WorkloadIdentity) {
		wrong("--auth must be secret, certificate or workload-identity")
	}
	if !(f.misbehave >= 0 && f.misbehave < 1) {
		wrong("--misbehave must be a share of the calls: 0 or more, less than 1")
	}
	return errors.Join(problems...)
}

func densities() map[string]simulator.Density {
	return map[string]simulator.Density{
		"uniform": simulator.Uniform, "office-hours": simulator.OfficeHours, "dense-month": simulator.DenseMonth, "newest-day": simulator.NewestDay,
		"newest-half-hour": simulator.NewestHalfHour, "most-in-one-hour": simulator.MostInOneHour, "growing": simulator.Growing, "bulky": simulator.Bulky,
	}
}

// densityNames are the names of the densities in one text.
func densityNames() string {
	names := slices.Sorted(maps.Keys(densities()))
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func dialects() map[string]simulator.QuotaDialect {
	return map[string]simulator.QuotaDialect{
		"seconds": simulator.RetrySeconds, "decimal": simulator.RetryDecimal,
		"date": simulator.RetryHTTPDate, "body": simulator.RetryBodyOnly,
	}
}

// maxSimulated is how many tenants there may be: each has its incidents in memory.
const maxSimulated = 1000

// simulators makes what the flags describe, one for each tenant.
func (f *simulateFlags) simulators() []*simulator.Simulator {
	sims := make([]*simulator.Simulator, f.tenants)
	for i := range sims {
		sims[i] = f.simulator(f.seed+uint64(i), simulatedTenant(i))
	}
	return sims
}

// simulatedTenant is the GUID of the i-th tenant.
func simulatedTenant(i int) string {
	if i == 0 {
		return simulator.DefaultTenant
	}
	return fmt.Sprintf("%08x%s", i, simulator.DefaultTenant[8:])
}

// simulator makes one tenant.
func (f *simulateFlags) simulator(seed uint64, tenant string) *simulator.Simulator {
	sim := simulator.New(simulator.Options{
		Seed: seed, Tenant: tenant, Incidents: f.incidents, Size: f.size, Span: f.span.Duration,
		Density: densities()[f.density], Tie: f.tie,
	})
	sim.Change(func(b *simulator.Behaviour) {
		b.ChurnPerCall = f.churn
		b.LateBy = f.late.Duration
		b.Latency = f.latency
		b.QuotaDialect = dialects()[f.dialect]
		b.FailRate = f.misbehave
		b.FailKinds = []simulator.Fault{
			simulator.Error500, simulator.Error500Empty, simulator.Error502, simulator.Error503, simulator.Error504,
			simulator.HTML200, simulator.EmptyBody, simulator.CutBody, simulator.Reset, simulator.ForeignTooMany,
		}
		if f.noQuota {
			b.Quota = nil
		}
	})
	return sim
}

// simulate serves until ctx ends.
func (a *app) simulate(ctx context.Context, f *simulateFlags) (err error) {
	if err := f.check(); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	dir := f.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "incident-exporter-simulator-"); err != nil {
			return fmt.Errorf("make a directory for the simulator's certificate: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of --dir: %w", err)
	}
	sims := f.simulators()
	served, err := serveSimulation(simulator.Tenants(sims...), f.listen, dir, a.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, served.Close()) }()

	proof, err := f.prove(sims, dir)
	if err != nil {
		return err
	}
	settings := append(served.settings(), proof)
	if f.tenants > 1 {
		var list []string
		for i := range sims {
			list = append(list, fmt.Sprintf("customer-%d=%s", i+1, simulatedTenant(i)))
		}
		settings = append(settings, setting{"EXPORTER_TENANTS", strings.Join(list, ",")})
	}
	if f.noQuota {
		settings = append(settings, setting{"EXPORTER_QUOTA", unlimited})
	}
	if f.settings == "" {
		if _, err := fmt.Fprint(a.stdout, shell(settings)); err != nil {
			return fmt.Errorf("print settings: %w", err)
		}
	} else {
		if err := writeWhole(f.settings, shell(settings)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(f.settings)) }()
	}
	of := ""
	if f.tenants > 1 {
		of = fmt.Sprintf(" of each of %d tenants", f.tenants)
	}
	fmt.Fprintf(a.stderr, "simulator: serving %d incidents%s at %s until interrupted\n", f.incidents, of, served.origin)

	select {
	case <-ctx.Done():
	case failed := <-served.ended:
		served.ended <- failed // for Close
		return fmt.Errorf("serve the simulator: %w", failed)
	}
	a.reportSimulator(sims)
	return nil
}

// identityLife is how long the app's certificate is good: longer than the exporter warns ahead.
const identityLife = 90 * 24 * time.Hour

// prove registers the app's credential and writes its file into dir. It returns the setting for it.
func (f *simulateFlags) prove(sims []*simulator.Simulator, dir string) (setting, error) {
	if f.auth == string(auth.ClientSecret) {
		return setting{"AZURE_CLIENT_SECRET", simulator.DefaultSecret}, nil
	}
	now := time.Now()
	identity, err := simulator.NewIdentity(now.Add(-time.Hour), now.Add(identityLife))
	if err != nil {
		return setting{}, fmt.Errorf("make the app's certificate: %w", err)
	}
	for _, sim := range sims {
		sim.Change(identity.Register)
	}
	variable, file := "AZURE_CLIENT_CERTIFICATE_PATH", "app.pem"
	content, err := identity.PEM()
	if f.auth == string(auth.WorkloadIdentity) {
		variable, file = "AZURE_FEDERATED_TOKEN_FILE", "token"
		var token string
		token, err = identity.Token(nil)
		content = []byte(token)
	}
	if err != nil {
		return setting{}, fmt.Errorf("make the app's credential: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, file))
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		return setting{}, fmt.Errorf("write the app's credential: %w", err)
	}
	return setting{variable, path}, nil
}

// settings are what the exporter needs to take the simulation for its tenant, but for the app's
// credential.
func (s *simulation) settings() []setting {
	return []setting{
		{"SSL_CERT_FILE", s.certificate},
		{"AZURE_AUTHORITY_HOST", s.origin},
		{"AZURE_TENANT_ID", simulator.DefaultTenant},
		{"AZURE_CLIENT_ID", simulator.DefaultClientID},
		{"EXPORTER_API_URL", s.origin},
	}
}

// reportSimulator says what was asked of the simulator and what was wrong with that.
func (a *app) reportSimulator(sims []*simulator.Simulator) {
	calls, tokens := 0, 0
	var violations []string
	for _, sim := range sims {
		made := sim.Calls()
		calls, tokens = calls+made.API(), tokens+made.Token
		violations = append(violations, sim.Violations()...)
	}
	fmt.Fprintf(a.stderr, "simulator: %d API calls, %d token requests, %d violations\n", calls, tokens, len(violations))
	for _, v := range violations {
		fmt.Fprintf(a.stderr, "simulator: violation: %s\n", v)
	}
}

// writeWhole writes a file that is never seen half-written, and that replaces what is there.
func writeWhole(path, content string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".settings-*")
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	_, err = file.WriteString(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // the error is what counts
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
