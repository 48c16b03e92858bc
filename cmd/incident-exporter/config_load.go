package main

import (
	"encoding"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"incident-exporter/auth"
)

// Where a value comes from, as `config` shows it.
const (
	originDefault     = "default"
	originEnvironment = "environment"
)

// configRow is one variable: what `config` shows of it.
type configRow struct {
	name   string
	field  reflect.Value
	origin string
}

// loadConfig reads the configuration. Everything that is wrong is in the result's problems.
//
// environ must be what os.Environ returns: envconfig reads values from the process's environment
// and from nowhere else, so another list could only disagree with it, which is refused. Tests set
// variables with t.Setenv.
//
// envconfig is asked for one field at a time, since it stops at the first problem, and only for
// variables that are not empty, since to it an empty value beats the default.
func loadConfig(environ []string) *config {
	c := &config{}
	if !slices.Equal(environ, os.Environ()) {
		c.problem("environment", "differs from the environment of the process")
		return c
	}
	known := map[string]bool{}
	spec := reflect.ValueOf(c).Elem()
	for _, group := range []struct{ field, prefix string }{{"Azure", "AZURE"}, {"Exporter", "EXPORTER"}, {"S3", "EXPORTER_S3"}} {
		fields := spec.FieldByName(group.field)
		for i := range fields.NumField() {
			c.loadField(group.prefix, fields.Type().Field(i), fields.Field(i), known)
		}
	}
	c.resolveFiles()
	c.addresses()
	c.chooseCredential()
	c.chooseShard()
	c.unknownNames(environ, known)
	c.contradictions()
	return c
}

// loadField decodes one variable and enters its name into known.
func (c *config) loadField(prefix string, field reflect.StructField, value reflect.Value, known map[string]bool) {
	single := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	name := variableName(prefix, field)
	known[name] = true
	row := configRow{name: name, field: value, origin: originDefault}

	var err error
	if strings.TrimSpace(os.Getenv(name)) != "" {
		row.origin = originEnvironment
		err = envconfig.Process(prefix, single.Interface())
		value.Set(single.Elem().Field(0))
	} else if def := field.Tag.Get("default"); def != "" {
		err = value.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(def))
	}
	c.rows = append(c.rows, row)
	c.checkField(row, field.Tag, err)
}

// checkField notes what is wrong with a variable by the error of its decoding and by its tags.
func (c *config) checkField(row configRow, tag reflect.StructTag, err error) {
	// envconfig's own text quotes the value.
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		err = parse.Err
	}
	if err != nil {
		c.problem(row.name, "%v", err)
		return
	}
	if tag.Get("positive") == "true" && row.field.IsZero() {
		c.problem(row.name, "must be more than 0")
	}
	chosen, ok := row.field.Interface().(text)
	if !ok || chosen == "" {
		return
	}
	if oneof := tag.Get("oneof"); oneof != "" && !slices.Contains(strings.Split(oneof, ","), string(chosen)) {
		c.problem(row.name, "must be one of %s", strings.ReplaceAll(oneof, ",", ", "))
	}
}

// variableName asks envconfig for the name of a field: by an error, which has it. Its function that
// lists names works by text/template, whose calls of methods by name make the linker keep every
// method of every type: a program that is larger by 40 per cent.
func variableName(prefix string, field reflect.StructField) string {
	single := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: field.Name, Type: reflect.TypeFor[takesNothing](), Tag: field.Tag + ` default:"any"`,
	}}))
	var parse *envconfig.ParseError
	if err := envconfig.Process(prefix, single.Interface()); !errors.As(err, &parse) {
		panic("the name of " + field.Name + " is not to be had") // the spec is our own struct: a mistake in this program
	}
	return parse.KeyName
}

// takesNothing is a variable that no value fits.
type takesNothing struct{}

func (*takesNothing) UnmarshalText([]byte) error { return errors.New("refused") }

// show returns the value of a row as `config` prints it: secrets redacted, "" if there is none. A
// value that has a problem is not shown: it may be a secret in the wrong variable.
func (c *config) show(row configRow) string {
	if c.faulty(row.name) && row.origin != originDefault {
		return "[invalid]"
	}
	switch value := row.field.Interface().(type) {
	case auth.Secret:
		if value.IsZero() && row.origin == originDefault {
			return ""
		}
		return value.String()
	case interface{ String() string }:
		return value.String()
	}
	return row.field.String()
}

// unknownNames notes every EXPORTER_ name that does not exist, with the nearest that does.
func (c *config) unknownNames(environ []string, known map[string]bool) {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, "EXPORTER_"), known[name], strings.TrimSpace(value) == "", serviceVariable(name, value):
		default:
			c.problem(name, "is not a known variable%s", suggestion(name, names))
		}
	}
}

// serviceVariable reports whether Kubernetes made the variable for a service whose name is
// "exporter" or begins with "exporter-". Names alone would hide a mistyped one, so values count too.
func serviceVariable(name, value string) bool {
	for _, kind := range []struct{ name, value string }{
		{`_SERVICE_HOST$`, `^[0-9a-fA-F.:]+$`},
		{`_SERVICE_PORT(_[A-Z0-9_]+)?$`, `^[0-9]+$`},
		{`_PORT$`, `^(tcp|udp|sctp)://`},
		{`_PORT_[0-9]+_(TCP|UDP|SCTP)$`, `^(tcp|udp|sctp)://`},
		{`_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO$`, `^(tcp|udp|sctp)$`},
		{`_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT$`, `^[0-9]+$`},
		{`_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR$`, `^[0-9a-fA-F.:]+$`},
	} {
		if regexp.MustCompile(kind.name).MatchString(name) && regexp.MustCompile(kind.value).MatchString(value) {
			return true
		}
	}
	return false
}

// suggestion words the known name that is nearest to name.
func suggestion(name string, known []string) string {
	nearest, best := "", len(name)
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < best {
			nearest, best = candidate, d
		}
	}
	if best > 2+len(strings.TrimPrefix(name, "EXPORTER_"))/3 {
		return ": `incident-exporter config` lists them all"
	}
	return ": did you mean " + nearest + "?"
}

// editDistance is the number of single letters to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, replace)
		}
	}
	return row[len(b)]
}
