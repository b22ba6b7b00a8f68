package config

import (
	"errors"
	"flag"
	"fmt"
	"strings"
)

// setting is one row of a command's table.
type setting struct {
	// Name of the flag; its dotted parts are the YAML keys.
	name string
	// Placeholder of the value in help; tells the unit.
	unit string
	// Documentation, one sentence without its full stop.
	doc   string
	value value
	// Refuses the value; nil accepts all.
	check func() error
}

// value is a flag.Value that knows how YAML should see it.
type value interface {
	flag.Value
	yamlTag() string
}

type settings []setting

func (all settings) find(name string) *setting {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

func (all settings) register(set *flag.FlagSet) {
	for _, s := range all {
		set.Var(s.value, s.name, fmt.Sprintf("`%s` %s", s.unit, s.doc))
	}
}

func (all settings) validate() []error {
	var faults []error
	for _, s := range all {
		if s.check == nil {
			continue
		}
		if err := s.check(); err != nil {
			faults = append(faults, fmt.Errorf("%s is %q: %w", s.name, s.value, err))
		}
	}
	return faults
}

// joinFaults makes one line of any number of faults.
func joinFaults(faults []error) error {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	lines := make([]string, len(faults))
	for i, fault := range faults {
		lines[i] = fault.Error()
	}
	return &faultList{strings.Join(lines, "; "), errors.Join(faults...)}
}

// faultList reads as one line and unwraps to all faults.
type faultList struct {
	line string
	all  error
}

func (f *faultList) Error() string { return f.line }

func (f *faultList) Unwrap() error { return f.all }
