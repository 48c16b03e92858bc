// Package cloudformation checks a CloudFormation template without an account:
// that each name it uses is there, that CloudFormation knows its properties,
// and what it makes with some parameters. It knows the few functions that the
// template in deploy/aws uses, and refuses others.
//
// Whether AWS accepts the values it does not show.
package cloudformation

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/awslabs/goformation/v7/intrinsics"
)

// Template is one as it is written, with functions in their long form.
type Template struct {
	all        map[string]any
	parameters map[string]any
	conditions map[string]any
	resources  map[string]any
}

var shortForm = regexp.MustCompile(`(?m)(?:^|[\s\[,{])!([A-Za-z:]*)`)

// Parse reads YAML. It does not look at what the template says.
func Parse(yaml []byte) (*Template, error) {
	// A tag that is not known is dropped in silence where it is read.
	for _, m := range shortForm.FindAllSubmatch(yaml, -1) {
		switch name := string(m[1]); name {
		case "Ref", "GetAtt", "Sub", "If", "Equals", "Not":
		default:
			return nil, fmt.Errorf("read the template: !%s is not known here", name)
		}
	}
	long, err := intrinsics.ProcessYAML(yaml, &intrinsics.ProcessorOptions{NoProcess: true})
	if err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	t := &Template{}
	if err := json.Unmarshal(long, &t.all); err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	section := func(name string) map[string]any {
		members, _ := t.all[name].(map[string]any)
		return members
	}
	t.parameters, t.conditions, t.resources = section("Parameters"), section("Conditions"), section("Resources")
	return t, nil
}

// function takes a value for a call of a function, if it is one. "Condition"
// is none here: the template names conditions by Fn::If only.
func function(value any) (name string, argument any, ok bool) {
	call, isMap := value.(map[string]any)
	if !isMap || len(call) != 1 {
		return "", nil, false
	}
	for name, argument = range call {
	}
	return name, argument, name == "Ref" || strings.HasPrefix(name, "Fn::")
}
