package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"incident-exporter/exporter/ledger"
)

// tenant is one whose incidents are exported.
type tenant struct {
	id     string // GUID in lower case
	name   string // for people; may be empty
	source string // defender or graph
}

// String is the tenant as people know it.
func (t tenant) String() string {
	if t.name == "" {
		return t.id
	}
	return t.name + " (" + t.id + ")"
}

// attrs name the tenant's stream in a log record.
func (t tenant) attrs() []any {
	attrs := []any{"source", t.source, "tenant", t.id}
	if t.name != "" {
		attrs = append(attrs, "name", t.name)
	}
	return attrs
}

var tenantNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// parseTenant reads ID or NAME=ID.
func parseTenant(text string) (tenant, error) {
	name, id, named := strings.Cut(strings.TrimSpace(text), "=")
	if !named {
		name, id = "", name
	}
	var g guid
	switch {
	case g.UnmarshalText([]byte(id)) != nil && domainForm.MatchString(strings.ToLower(strings.TrimSpace(id))):
		return tenant{}, errors.New("must name a tenant by its GUID, not by a domain name, which can change (`incident-exporter token` with AZURE_TENANT_ID set to it shows the GUID as tid)")
	case g.UnmarshalText([]byte(id)) != nil:
		return tenant{}, errors.New("must be a tenant's GUID, or NAME=GUID, such as contoso=5d0c1b7e-9a44-4f0e-8f6b-2c9d1a7730aa")
	case named && !tenantNameForm.MatchString(strings.TrimSpace(name)):
		return tenant{}, errors.New("must have a name of letters, digits, dots, dashes and underscores, 64 at most")
	}
	return tenant{id: string(g), name: strings.TrimSpace(name)}, nil
}

// tenantList is EXPORTER_TENANTS: tenants with commas between them.
type tenantList []tenant

func (l *tenantList) UnmarshalText(b []byte) error {
	var list tenantList
	for i, part := range strings.Split(strings.Trim(string(b), ", \t\r\n"), ",") {
		t, err := parseTenant(part)
		if err != nil {
			return fmt.Errorf("entry %d %w", i+1, err)
		}
		if slices.ContainsFunc(list, func(other tenant) bool { return other.id == t.id }) {
			return fmt.Errorf("entry %d names a tenant that is there already", i+1)
		}
		list = append(list, t)
	}
	*l = list
	return nil
}

func (l tenantList) String() string {
	parts := make([]string, len(l))
	for i, t := range l {
		parts[i] = t.id
		if t.name != "" {
			parts[i] = t.name + "=" + t.id
		}
	}
	return strings.Join(parts, ",")
}

// badLine is a line of the file of tenants that names none.
type badLine struct {
	line int
	err  error
}

func (b badLine) Error() string {
	return fmt.Sprintf("line %d of EXPORTER_TENANTS_FILE %v", b.line, b.err)
}

// mostBadLines is how many lines are named of a file that names nobody.
const mostBadLines = 20

// maxTenantsFile is far above a file of all the tenants that one process can serve.
const maxTenantsFile = 8 << 20

// readTenants reads the file of tenants: one a line, ID or NAME=ID and perhaps a source after it;
// what follows a # is a comment. A line that names no tenant costs only itself. source is that of
// those who name none.
func readTenants(r io.Reader, source string) (list []tenant, bad []badLine, err error) {
	content, err := io.ReadAll(io.LimitReader(r, maxTenantsFile+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(content) > maxTenantsFile:
		return nil, nil, fmt.Errorf("larger than %d MiB", maxTenantsFile>>20)
	case bytes.IndexByte(content, 0) >= 0:
		return nil, nil, errors.New("not text in UTF-8: save it as such")
	}
	there := map[tenant]bool{}
	n := 0
	for line := range bytes.Lines(content) {
		n++
		text, _, _ := strings.Cut(strings.TrimPrefix(string(line), "\ufeff"), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		t, err := parseTenant(fields[0])
		t.source = source
		if len(fields) == 2 {
			t.source = fields[1]
		}
		same := tenant{id: t.id, source: t.source}
		switch {
		case err != nil:
		case len(fields) > 2 || len(fields) == 2 && fields[1] != "defender" && fields[1] != "graph":
			err = errors.New("must have nothing after the tenant but its source, defender or graph")
		case there[same]:
			err = errors.New("names a tenant that is there already")
		}
		if err != nil {
			bad = append(bad, badLine{n, err})
			continue
		}
		there[same] = true
		list = append(list, t)
	}
	return list, bad, nil
}

// shard is a part of the tenants: the index-th of n, counted from 1. n is 0 where there are no
// parts.
type shard struct{ index, of int }

var shardForm = regexp.MustCompile(`^([1-9][0-9]{0,4})/([1-9][0-9]{0,4})$`)

func (s *shard) UnmarshalText(b []byte) error {
	m := shardForm.FindStringSubmatch(strings.TrimSpace(string(b)))
	if m == nil {
		return errors.New("must be i/n, the i-th of n parts, such as 1/4 to 4/4")
	}
	s.index, _ = strconv.Atoi(m[1])
	s.of, _ = strconv.Atoi(m[2])
	if s.index > s.of {
		return fmt.Errorf("must be i/n with i from 1 to n: there is no part %d of %d", s.index, s.of)
	}
	return nil
}

func (s shard) String() string {
	if s.of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.index, s.of)
}

// has says whether a tenant is in this part, by rendezvous hashing (Thaler and Ravishankar, 1998):
// each part has a rank for the tenant, and the highest has it. So a tenant that comes or goes moves
// no other, and one part more takes only what it gets itself.
func (s shard) has(id string) bool {
	if s.of == 0 {
		return true
	}
	best, rank := 0, uint64(0)
	for i := 1; i <= s.of; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", id, i))
		if r := binary.BigEndian.Uint64(sum[:]); best == 0 || r > rank {
			best, rank = i, r
		}
	}
	return best == s.index
}

// jobIndex is the variable by which Kubernetes tells the pods of an Indexed Job apart, from 0 on.
const jobIndex = "JOB_COMPLETION_INDEX"

// chooseShard settles this process's part: EXPORTER_SHARD, or EXPORTER_SHARDS and the job's index.
func (c *config) chooseShard() {
	for _, name := range []string{"EXPORTER_SHARD", "EXPORTER_SHARDS"} {
		if c.faulty(name) {
			return
		}
	}
	c.shard = c.Exporter.Shard
	if c.Exporter.Shards == 0 {
		return
	}
	if c.shard.of > 0 {
		c.problem("EXPORTER_SHARDS", "and EXPORTER_SHARD are both set: unset one of them")
		return
	}
	var index count
	value := os.Getenv(jobIndex)
	switch err := index.UnmarshalText([]byte(value)); {
	case value == "":
		c.problem("EXPORTER_SHARDS", "is set without %s, which Kubernetes sets in the pods of an Indexed Job: set EXPORTER_SHARD=i/n instead", jobIndex)
	case err != nil || index >= c.Exporter.Shards:
		c.problem("EXPORTER_SHARDS", "is %d, and %s must be a number from 0 to %d then: make the Job's completions equal to EXPORTER_SHARDS", c.Exporter.Shards, jobIndex, c.Exporter.Shards-1)
	default:
		c.shard = shard{int(index) + 1, int(c.Exporter.Shards)}
	}
}

// tenantConflicts notes what cannot be said about tenants at once.
func (c *config) tenantConflicts() {
	if len(c.Exporter.Tenants) > 0 && c.Exporter.TenantsFile != "" {
		c.problem("EXPORTER_TENANTS_FILE", "and EXPORTER_TENANTS are both set: unset one of them")
	}
}

// tenants are all that are configured, of every part. The file is read anew; bad are its lines that
// name none. It is an error if the file cannot be read, or names nobody at all.
func (c *config) tenants() (list []tenant, bad []badLine, err error) {
	switch {
	case c.Exporter.TenantsFile != "":
		file, err := openRegular(string(c.Exporter.TenantsFile))
		if err != nil {
			return nil, nil, &configError{[]problem{{"EXPORTER_TENANTS_FILE", fmt.Sprintf("must name a readable file of tenants, one a line: %v", bareError(err))}}}
		}
		defer func() { _ = file.Close() }() // read only
		if list, bad, err = readTenants(file, string(c.Exporter.Source)); err != nil {
			return nil, nil, &configError{[]problem{{"EXPORTER_TENANTS_FILE", fmt.Sprintf("must name a readable file of tenants, one a line: %v", bareError(err))}}}
		}
		if len(list) == 0 {
			text := "names no tenant: write one a line, GUID or NAME=GUID"
			for i, b := range bad {
				if i == mostBadLines {
					text += fmt.Sprintf("; and %d lines more", len(bad)-i)
					break
				}
				text += "; " + b.Error()
			}
			return nil, bad, &configError{[]problem{{"EXPORTER_TENANTS_FILE", text}}}
		}
	case len(c.Exporter.Tenants) > 0:
		for _, t := range c.Exporter.Tenants {
			t.source = string(c.Exporter.Source)
			list = append(list, t)
		}
	default:
		list = []tenant{{id: string(c.Azure.TenantID), source: string(c.Exporter.Source)}}
	}
	return list, bad, nil
}

// severalTenants says whether tenants are listed, so that there may be more than one.
func (c *config) severalTenants() bool {
	return len(c.Exporter.Tenants) > 1 || c.Exporter.TenantsFile != ""
}

// own are those of them that are in this process's part.
func (c *config) own(list []tenant) []tenant {
	return slices.DeleteFunc(slices.Clone(list), func(t tenant) bool { return !c.shard.has(t.id) })
}

// set says whether the variable was set.
func (c *config) set(name string) bool {
	for _, row := range c.rows {
		if row.name == name {
			return row.origin != originDefault
		}
	}
	return false
}

// stream is the tenant's chain.
func (t tenant) stream() ledger.Stream { return ledger.Stream{Source: t.source, Tenant: t.id} }
