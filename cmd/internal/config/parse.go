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

// help is what a command does, for people.
var help = map[Command]string{
	CommandServe: `Run everything in one process: a node with all groups, and a router. An empty
data folder becomes a new cluster of one node, which others can join later:
skerry node -join with the address of -node.address here.
`,
	CommandNode: `Run a node of a cluster. With -grpc.address it serves the public API, too. It
never founds a cluster: a new node joins the one found by -join, or waits for:
skerry init
`,
	CommandRouter: `Run a router: it serves the public API and keeps nothing. Any number of them may
run; each needs to reach the nodes only.
`,
}

const settingsHelp = `
Settings come from flags, then from the file of -config.file, then from the
defaults below. The file is YAML; the keys are the flags' names, nested or
dotted (log: {level: ...} or log.level: ...). Its values may hold
${NAME} and ${NAME:default}, replaced from the environment; $${ is a literal ${.

`

// Parse reads the command line of a command, and the file it names. The error
// is ErrPrinted, a flags.UsageError for any fault of the settings, or tells why
// the file cannot be read.
func Parse(command Command, args []string, env func(string) (string, bool), stdout io.Writer) (Server, error) {
	// Flags are parsed twice: first to find the file, then over what it says.
	scratch := Default(command)
	first := newServerFlags(&scratch)
	if err := first.parse(args); errors.Is(err, flag.ErrHelp) {
		return Server{}, printed(first.writeHelp(stdout))
	} else if err != nil {
		return Server{}, err
	}
	server := Default(command)
	faults, err := readFile(server.settings(), first.file, env)
	if err != nil {
		return Server{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := newServerFlags(&server).parse(args); err != nil {
		return Server{}, err
	}
	if err := server.Validate(); err != nil {
		faults = append(faults, err)
	}
	if err := joinFaults(faults); err != nil {
		return Server{}, flags.Usage(err)
	}
	if first.print {
		return Server{}, printed(server.settings().writeYAML(stdout))
	}
	return server, nil
}

type serverFlags struct {
	command Command
	set     *flag.FlagSet
	file    string
	print   bool
}

func newServerFlags(server *Server) *serverFlags {
	f := &serverFlags{command: server.Command, set: flags.New(string(server.Command))}
	f.set.StringVar(&f.file, "config.file", "", "`FILE` YAML file with settings")
	f.set.BoolVar(&f.print, "print-config", false, "print the effective settings as YAML and exit")
	server.settings().register(f.set)
	return f
}

func (f *serverFlags) parse(args []string) error {
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

func (f *serverFlags) writeHelp(w io.Writer) error {
	usage := fmt.Sprintf("usage: skerry %s [flags]\n\n%s%s", f.command, help[f.command], settingsHelp)
	if _, err := io.WriteString(w, usage); err != nil {
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
