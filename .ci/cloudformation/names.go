package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// pseudo are the parameters that every template has.
func pseudo() []string {
	return []string{"AWS::AccountId", "AWS::NoValue", "AWS::Partition", "AWS::Region"}
}

// attributes are what Fn::GetAtt takes of a resource of this type.
// Source: "Return values" in each type's page of the CloudFormation reference.
func attributes(kind string) []string {
	return map[string][]string{
		"AWS::IAM::Role":  {"Arn", "RoleId"},
		"AWS::KMS::Key":   {"Arn", "KeyId"},
		"AWS::S3::Bucket": {"Arn", "DomainName", "DualStackDomainName", "RegionalDomainName", "WebsiteURL"},
		"AWS::SQS::Queue": {"Arn", "QueueName", "QueueUrl"},
	}[kind]
}

var variable = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// names collects what a template refers to.
type names struct {
	t        *Template
	used     map[string]bool            // parameters and conditions
	needs    map[string]map[string]bool // resources, by the resource that refers to them
	problems []error
}

// Names says which names a template uses that are not there, which parameters
// and conditions nothing uses, and which resources wait for each other.
func (t *Template) Names() error {
	n := &names{t: t, used: map[string]bool{}, needs: map[string]map[string]bool{}}
	for name, condition := range t.conditions {
		n.walk("condition "+name, condition)
	}
	for name, r := range t.resources {
		n.needs[name] = map[string]bool{}
		resource, _ := r.(map[string]any)
		n.condition("resource "+name, resource["Condition"])
		switch on := resource["DependsOn"].(type) {
		case nil:
		case string:
			n.resource(name, on)
		default:
			n.wrong("resource %s: DependsOn is not one name", name)
		}
		n.walk(name, resource["Properties"])
	}
	outputs, _ := t.all["Outputs"].(map[string]any)
	for name, o := range outputs {
		output, _ := o.(map[string]any)
		n.condition("output "+name, output["Condition"])
		n.walk("output "+name, output["Value"])
	}
	for _, section := range []map[string]any{t.parameters, t.conditions} {
		for name := range section {
			if !n.used[name] {
				n.wrong("nothing uses %s", name)
			}
		}
	}
	n.circles()
	slices.SortFunc(n.problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(n.problems...)
}

func (n *names) wrong(format string, args ...any) {
	n.problems = append(n.problems, fmt.Errorf(format, args...))
}

func (n *names) condition(where string, name any) {
	if name == nil {
		return
	}
	text, _ := name.(string)
	if _, ok := n.t.conditions[text]; !ok {
		n.wrong("%s: there is no condition %v", where, name)
	}
	n.used[text] = true
}

// resource notes that one resource, or something else that where names, needs another.
func (n *names) resource(where, name string) {
	if _, ok := n.t.resources[name]; !ok {
		n.wrong("%s: there is no resource %s", where, name)
	} else if n.needs[where] != nil {
		n.needs[where][name] = true
	}
}

func (n *names) ref(where, name string) {
	if _, ok := n.t.parameters[name]; ok {
		n.used[name] = true
	} else if !slices.Contains(pseudo(), name) {
		n.resource(where, name)
	}
}

func (n *names) attribute(where, name, attribute string) {
	n.resource(where, name)
	resource, _ := n.t.resources[name].(map[string]any)
	kind, _ := resource["Type"].(string)
	if resource != nil && !slices.Contains(attributes(kind), attribute) {
		n.wrong("%s: %s, of type %s, has no attribute %s", where, name, kind, attribute)
	}
}

// walk looks at a value and at all in it, whichever way its conditions go.
func (n *names) walk(where string, value any) {
	if name, argument, ok := function(value); ok {
		n.call(where, name, argument)
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			n.walk(where, member)
		}
	case []any:
		for _, element := range value {
			n.walk(where, element)
		}
	}
}

func (n *names) call(where, name string, argument any) {
	text, _ := argument.(string)
	list, _ := argument.([]any)
	resource, attribute, dotted := strings.Cut(text, ".")
	switch {
	case name == "Ref" && text != "":
		n.ref(where, text)
	case name == "Fn::GetAtt" && dotted:
		n.attribute(where, resource, attribute)
	case name == "Fn::Sub" && text != "":
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if resource, attribute, dotted := strings.Cut(m[1], "."); dotted {
				n.attribute(where, resource, attribute)
			} else {
				n.ref(where, m[1])
			}
		}
	case name == "Fn::If" && len(list) == 3:
		n.condition(where, list[0])
		n.walk(where, list[1:])
	case name == "Fn::Equals" && len(list) == 2, name == "Fn::Not" && len(list) == 1:
		n.walk(where, list)
	default:
		n.wrong("%s: %s of %v is not known here", where, name, argument)
	}
}

// circles finds resources of which none can be made first.
func (n *names) circles() {
	left := maps.Clone(n.needs)
	for {
		before := len(left)
		for name, needed := range left {
			ready := true
			for other := range needed {
				if _, waits := left[other]; waits {
					ready = false
				}
			}
			if ready {
				delete(left, name)
			}
		}
		if len(left) == 0 {
			return
		}
		if len(left) == before {
			n.wrong("none of these can be made before the others: %v", slices.Sorted(maps.Keys(left)))
			return
		}
	}
}
