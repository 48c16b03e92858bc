package cloudformation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/awslabs/goformation/v7/cloudformation"
)

// Made is what a template comes to with some parameters. References to
// resources are their names in brackets, "[Queue]" and "[Queue.Arn]".
type Made struct {
	*cloudformation.Template
	Outputs map[string]any
}

// stack is a template with the values of its parameters.
type stack struct {
	*Template
	values     map[string]any
	conditions map[string]bool
}

// Make makes a stack in account 123456789012, in eu-west-1 of the commercial
// partition. It fails for parameters that the template refuses, for a name of
// what is not made with them, and for a resource with a property that its type
// does not have.
func (t *Template) Make(parameters map[string]string) (*Made, error) {
	s := &stack{Template: t, values: map[string]any{
		"AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::NoValue": nil,
	}, conditions: map[string]bool{}}
	for name := range parameters {
		if t.parameters[name] == nil {
			return nil, fmt.Errorf("there is no parameter %s", name)
		}
	}
	for name := range t.parameters {
		given, ok := parameters[name]
		value, err := t.parameter(name, given, ok)
		if err != nil {
			return nil, err
		}
		s.values[name] = value
	}
	for name, expression := range t.conditions {
		value, err := s.value(expression)
		holds, ok := value.(bool)
		if err == nil && !ok {
			err = fmt.Errorf("%v is not true or false", value)
		}
		if err != nil {
			return nil, fmt.Errorf("condition %s: %w", name, err)
		}
		s.conditions[name] = holds
	}
	types := cloudformation.AllResources()
	whole := map[string]any{}
	for section, content := range t.all {
		whole[section] = content
	}
	for _, section := range []string{"Resources", "Outputs"} {
		made := map[string]any{}
		members, _ := t.all[section].(map[string]any)
		for name, member := range members {
			if !s.made(member) {
				continue
			}
			value, err := s.value(member)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if members, _ := value.(map[string]any); section == "Resources" && types[fmt.Sprint(members["Type"])] == nil {
				return nil, fmt.Errorf("%s: there is no type %v", name, members["Type"])
			}
			made[name] = value
		}
		whole[section] = made
	}
	delete(whole, "Conditions")
	text, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	m := &Made{Template: &cloudformation.Template{}, Outputs: map[string]any{}}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(m.Template); err != nil {
		return nil, fmt.Errorf("read what is made: %w", err)
	}
	for name, output := range m.Template.Outputs {
		m.Outputs[name] = output.Value
	}
	return m, nil
}

// made says whether a resource or an output is there.
func (s *stack) made(member any) bool {
	members, _ := member.(map[string]any)
	condition, ok := members["Condition"].(string)
	return !ok || s.conditions[condition]
}

// parameter is the value of one, which is held to what the template allows.
func (t *Template) parameter(name, given string, ok bool) (any, error) {
	declared, _ := t.parameters[name].(map[string]any)
	if !ok {
		value, ok := declared["Default"]
		if !ok {
			return nil, fmt.Errorf("parameter %s is wanted", name)
		}
		given = fmt.Sprint(value)
	}
	if pattern, ok := declared["AllowedPattern"].(string); ok {
		// The whole value must match, as in CloudFormation.
		form, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		if !form.MatchString(given) {
			return nil, fmt.Errorf("parameter %s: %q does not match %s", name, given, pattern)
		}
	}
	if values, ok := declared["AllowedValues"].([]any); ok && !slices.Contains(values, any(given)) {
		return nil, fmt.Errorf("parameter %s: %q is not one of %q", name, given, values)
	}
	if longest, ok := declared["MaxLength"].(float64); ok && utf8.RuneCountInString(given) > int(longest) {
		return nil, fmt.Errorf("parameter %s is longer than %v", name, longest)
	}
	switch declared["Type"] {
	case "String":
		return given, nil
	case "Number":
		number, err := strconv.ParseFloat(given, 64)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		if least, ok := declared["MinValue"].(float64); ok && number < least {
			return nil, fmt.Errorf("parameter %s: %v is less than %v", name, number, least)
		}
		if most, ok := declared["MaxValue"].(float64); ok && number > most {
			return nil, fmt.Errorf("parameter %s: %v is more than %v", name, number, most)
		}
		return number, nil
	}
	return nil, fmt.Errorf("parameter %s: type %v is not known here", name, declared["Type"])
}

// ref is what a name stands for, whole or with an attribute.
func (s *stack) ref(name string) (any, error) {
	if value, ok := s.values[name]; ok {
		return value, nil
	}
	resource, _, _ := strings.Cut(name, ".")
	if _, ok := s.resources[resource]; !ok || !s.made(s.resources[resource]) {
		return nil, fmt.Errorf("%s is not made with these parameters", resource)
	}
	return "[" + name + "]", nil
}

// value does what a value's functions say. What is AWS::NoValue is left out of
// the map or the list that it is in.
func (s *stack) value(value any) (any, error) {
	if name, argument, ok := function(value); ok {
		return s.call(name, argument)
	}
	switch value := value.(type) {
	case map[string]any:
		made := map[string]any{}
		for name, member := range value {
			v, err := s.value(member)
			if err != nil {
				return nil, err
			}
			if v != nil {
				made[name] = v
			}
		}
		return made, nil
	case []any:
		made := []any{}
		for _, element := range value {
			v, err := s.value(element)
			if err != nil {
				return nil, err
			}
			if v != nil {
				made = append(made, v)
			}
		}
		return made, nil
	}
	return value, nil
}

func (s *stack) call(name string, argument any) (any, error) {
	text, _ := argument.(string)
	list, _ := argument.([]any)
	switch {
	case name == "Ref" || name == "Fn::GetAtt":
		return s.ref(text)
	case name == "Fn::Sub":
		var failed error
		made := variable.ReplaceAllStringFunc(text, func(in string) string {
			v, err := s.ref(in[2 : len(in)-1])
			if err != nil {
				failed = err
			}
			return fmt.Sprint(v)
		})
		return made, failed
	case name == "Fn::If" && len(list) == 3:
		condition, _ := list[0].(string)
		if s.conditions[condition] {
			return s.value(list[1])
		}
		return s.value(list[2])
	case name == "Fn::Equals" && len(list) == 2:
		a, err := s.value(list[0])
		if err != nil {
			return nil, err
		}
		b, err := s.value(list[1])
		return a == b, err
	case name == "Fn::Not" && len(list) == 1:
		v, err := s.value(list[0])
		holds, ok := v.(bool)
		if err == nil && !ok {
			err = fmt.Errorf("Fn::Not of %v", v)
		}
		return !holds, err
	}
	return nil, fmt.Errorf("%s of %v is not known here", name, argument)
}
