package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// ErrPrinted tells that the command line asked only for output (-help or
// -print-config), which was written: there is nothing to run and nothing failed.
var ErrPrinted = errors.New("printed what was asked for")

// No real file comes near this size.
const fileBytesMax = 1 << 20

const serveHelp = `usage: skerry serve [flags]

Run everything in one process: the directory, the groups and the router.

Settings come from flags, then from the file of -config.file, then from the
defaults below. The file is YAML; the keys are the flags' names, nested or
dotted (grpc: {address: ...} or grpc.address: ...). Its values may hold
${NAME} and ${NAME:default}, replaced from the environment; $${ is a literal ${.

`

// ParseServe reads the command line of serve, and the file it names. The error
// is ErrPrinted, a flags.UsageError for any fault of the settings, or tells why
// the file cannot be read.
func ParseServe(args []string, env func(string) (string, bool), stdout io.Writer) (Serve, error) {
	// Flags are parsed twice: first to find the file, then over what it says.
	scratch := DefaultServe()
	first := newServeFlags(&scratch)
	if err := first.parse(args); errors.Is(err, flag.ErrHelp) {
		return Serve{}, printed(first.writeHelp(stdout))
	} else if err != nil {
		return Serve{}, err
	}
	serve := DefaultServe()
	faults, err := readFile(serve.settings(), first.file, env)
	if err != nil {
		return Serve{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := newServeFlags(&serve).parse(args); err != nil {
		return Serve{}, err
	}
	if err := serve.Validate(); err != nil {
		faults = append(faults, err)
	}
	if err := joinFaults(faults); err != nil {
		return Serve{}, flags.Usage(err)
	}
	if first.print {
		return Serve{}, printed(serve.settings().writeYAML(stdout))
	}
	return serve, nil
}

type serveFlags struct {
	set   *flag.FlagSet
	file  string
	print bool
}

func newServeFlags(serve *Serve) *serveFlags {
	f := &serveFlags{set: flags.New("serve")}
	f.set.StringVar(&f.file, "config.file", "", "`FILE` YAML file with settings")
	f.set.BoolVar(&f.print, "print-config", false, "print the effective settings as YAML and exit")
	serve.settings().register(f.set)
	return f
}

func (f *serveFlags) parse(args []string) error {
	rest, err := flags.Parse(f.set, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return flags.Usagef("unexpected argument %q", rest[0])
	}
	// An unset variable in a script must not turn into a start with defaults.
	f.set.Visit(func(given *flag.Flag) {
		if given.Name == "config.file" && f.file == "" {
			err = flags.Usagef("-config.file is empty: name a file, or leave the flag out")
		}
	})
	return err
}

func (f *serveFlags) writeHelp(w io.Writer) error {
	if _, err := io.WriteString(w, serveHelp); err != nil {
		return err
	}
	return flags.WriteHelp(w, f.set)
}

func printed(err error) error {
	if err != nil {
		return err
	}
	return ErrPrinted
}

// readFile applies a file to the settings. Faults are about what it says, the
// error is about reading it.
func readFile(all settings, name string, env func(string) (string, bool)) (faults []error, err error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	source, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(source) > fileBytesMax {
		return nil, fmt.Errorf("%s is larger than %s", name, formatBytes(fileBytesMax))
	}
	for _, fault := range all.readYAML(source, env) {
		faults = append(faults, fmt.Errorf("%s: %w", name, fault))
	}
	return faults, nil
}
