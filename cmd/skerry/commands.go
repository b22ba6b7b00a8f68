package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// action does a command's work. args are what flags left over.
type action func(ctx context.Context, std streams, args []string) error

// command is a row of the table. It has either setup or run.
type command struct {
	// One or two words.
	name string
	// Positional arguments, for help.
	args    string
	summary string
	// More help, which ends in a new line; may be empty.
	detail string
	// setup declares flags and returns what to do once they are parsed.
	setup func(set *flag.FlagSet) action
	// run is for a command that reads its whole command line itself.
	run action
}

// commands is the table, in the order of help.
func commands() []command {
	return slices.Concat(serverCommands(), []command{
		initCommand(),
		blockAddCommand(),
		blockGetCommand(),
		queryCommand(),
		labelsCommand(),
		tenantsCommand(),
		tenantsDeleteCommand(),
		statusCommand(),
		importCommand(),
	}, clusterCommands(), compactionCommands(), dlqCommands(), objectCommands(), []command{
		transfersCommand(),
		tombstonesCommand(),
		retentionCommand(),
		placementCommand(),
		versionCommand(),
	}, benchCommands(), inspectCommands())
}

// dispatch finds the command that args begin with and runs it.
func dispatch(ctx context.Context, std streams, table []command, args []string) error {
	if len(args) == 0 {
		return flags.Usagef("no command given; see: skerry help")
	}
	if isHelp(args[0]) {
		return help(std.out, table, args[1:])
	}
	if args[0] == "-version" || args[0] == "--version" {
		args = append([]string{"version"}, args[1:]...)
	}
	command, rest := find(table, args)
	if command == nil {
		if under := withPrefix(table, args[0]); len(under) > 0 {
			if len(args) > 1 && isHelp(args[1]) {
				return overview(std.out, under)
			}
			return flags.Usagef("%s needs one of: %s; see: skerry help %s", args[0], names(under), args[0])
		}
		return flags.Usagef("unknown command %q; see: skerry help", args[0])
	}
	err := command.execute(ctx, std, rest)
	var usage *flags.UsageError
	if errors.As(err, &usage) {
		return flags.Usagef("%s: %w; see: skerry %s -help", command.name, err, command.name)
	}
	return err
}

func (c *command) execute(ctx context.Context, std streams, args []string) error {
	if c.run != nil {
		return c.run(ctx, std, args)
	}
	set := flags.New(c.name)
	act := c.setup(set)
	if err := fromEnvironment(set, std.env); err != nil {
		return err
	}
	positional, err := flags.Parse(set, args)
	if errors.Is(err, flag.ErrHelp) {
		return c.writeHelp(std.out, set)
	}
	if err != nil {
		return err
	}
	return act(ctx, std, positional)
}

// find takes two words before one.
func find(table []command, args []string) (*command, []string) {
	for words := min(2, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		for i := range table {
			if table[i].name == name {
				return &table[i], args[words:]
			}
		}
	}
	return nil, args
}

func withPrefix(table []command, word string) []command {
	var under []command
	for _, c := range table {
		if strings.HasPrefix(c.name, word+" ") {
			under = append(under, c)
		}
	}
	return under
}

func names(table []command) string {
	var all []string
	for _, c := range table {
		all = append(all, c.name)
	}
	return strings.Join(all, ", ")
}

func isHelp(word string) bool {
	switch word {
	case "help", "-help", "--help", "-h":
		return true
	}
	return false
}

// help writes the overview, or the help of the command that args name.
func help(w io.Writer, table []command, args []string) error {
	if len(args) == 0 {
		return overview(w, table)
	}
	if command, _ := find(table, args); command != nil {
		return command.execute(context.Background(), streams{out: w}, []string{"-help"})
	}
	if under := withPrefix(table, args[0]); len(under) > 0 {
		return overview(w, under)
	}
	return flags.Usagef("unknown command %q; see: skerry help", args[0])
}

func overview(w io.Writer, table []command) error {
	var text strings.Builder
	text.WriteString("usage: skerry COMMAND [arguments]\n\n")
	width := 0
	for _, c := range table {
		width = max(width, len(c.name))
	}
	for _, c := range table {
		fmt.Fprintf(&text, "  %-*s  %s\n", width, c.name, c.summary)
	}
	text.WriteString("\nskerry COMMAND -help tells more. Flags take one dash or two, and may stand anywhere.\n")
	_, err := io.WriteString(w, text.String())
	return err
}

func (c *command) writeHelp(w io.Writer, set *flag.FlagSet) error {
	usage := strings.Join(strings.Fields("usage: skerry "+c.name+" "+c.args+" [flags]"), " ")
	text := usage + "\n\n" + strings.ToUpper(c.summary[:1]) + c.summary[1:] + ".\n"
	if c.detail != "" {
		text += "\n" + c.detail
	}
	if _, err := io.WriteString(w, text+"\n"); err != nil {
		return err
	}
	return flags.WriteHelp(w, set)
}
