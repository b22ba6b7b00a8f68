// Package flags parses command lines with the standard flag package, and adds
// what that lacks: flags may stand between positional arguments, wrong usage is
// an error of its own kind, and help is laid out for reading.
//
// It never prints unless asked to and never ends the process.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// UsageError tells that a command was called in a wrong way: the remedy is
// another command line, not another try.
type UsageError struct{ err error }

// Usagef makes a UsageError; %w wraps.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// Usage turns an error, which may be nil, into a UsageError.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{err}
}

func (e *UsageError) Error() string { return e.err.Error() }

func (e *UsageError) Unwrap() error { return e.err }

// New makes an empty set that returns its errors instead of printing them.
func New(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return set
}

// Parse sets the flags that args name, wherever they stand, and returns the
// positional arguments. One dash is as good as two; a value may begin with a
// dash; -- ends the flags; - alone is positional. The error is flag.ErrHelp, as
// is, or a UsageError.
func Parse(set *flag.FlagSet, args []string) ([]string, error) {
	var positional []string
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return append(positional, args[1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			positional = append(positional, arg)
			args = args[1:]
			continue
		}
		// The set is shown one flag at a time: it stops silently at --, so after
		// a longer run nobody could tell a -- from a value that looks like one.
		n := min(width(set, arg), len(args))
		if err := set.Parse(args[:n]); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, Usage(err)
		}
		args = args[n:]
	}
	return positional, nil
}

// width is the number of arguments a flag takes, with itself.
func width(set *flag.FlagSet, arg string) int {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	if strings.Contains(name, "=") {
		return 1
	}
	known := set.Lookup(name)
	if known == nil {
		return 1
	}
	if boolean, ok := known.Value.(interface{ IsBoolFlag() bool }); ok && boolean.IsBoolFlag() {
		return 1
	}
	return 2
}
