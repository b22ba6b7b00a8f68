package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/local"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/suite"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchLocal is a command that measures what it starts on this machine, if not a target that runs: its flags.
type benchLocal struct {
	benchFlags
	name     string
	nodes    int
	groups   string
	streams  int
	rtt      time.Duration
	workDir  string
	quiet    time.Duration
	repeat   int
	duration time.Duration
}

func (f *benchLocal) declareLocal(set *flag.FlagSet, nodes int, groups string) {
	f.declare(set)
	set.IntVar(&f.nodes, "nodes", nodes, "`N` processes to start on this machine: 1 is a server, 3 or 5 a cluster of nodes")
	set.StringVar(&f.groups, "groups", groups, "`N[,N...]` data groups; with several numbers all is measured with each, as a target of its own")
	set.IntVar(&f.streams, "streams.groups", 0, "`N` of them share the streams, which segments are added to; 0 for what skerry chooses, -1 for all")
	set.DurationVar(&f.rtt, "rtt", 0, "`DURATION` -raft.rtt of the processes; 0 for their default")
	set.StringVar(&f.workDir, "work-dir", "", "`DIR` where the processes' data go; default the system's for temporary files")
}

// action notes the flags that were given, and runs.
func (f *benchLocal) action(set *flag.FlagSet, run func(context.Context, streams) error) action {
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		set.Visit(func(given *flag.Flag) { f.args = append(f.args, "-"+given.Name+"="+given.Value.String()) })
		return run(ctx, std)
	}
}

// measure is action for the parts that the flags make.
func (f *benchLocal) measure(set *flag.FlagSet, parts func() ([]benchPart, error)) action {
	return f.action(set, func(ctx context.Context, std streams) error {
		made, err := parts()
		if err != nil {
			return err
		}
		return f.runParts(ctx, std, made)
	})
}

// groupCounts are those of -groups.
func (f *benchLocal) groupCounts() ([]int, error) {
	var counts []int
	for text := range strings.SplitSeq(f.groups, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1024 || slices.Contains(counts, n) {
			return nil, flags.Usagef("-groups is %q: want different numbers from 1 to 1024", f.groups)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

func (f *benchLocal) checkLocal() error {
	if !slices.Contains([]int{1, 3, 5}, f.nodes) {
		return flags.Usagef("-nodes is %d: want 1, 3 or 5", f.nodes)
	}
	counts, err := f.groupCounts()
	if err != nil {
		return err
	}
	if f.streams < -1 || f.streams > slices.Min(counts) {
		return flags.Usagef("-streams.groups is %d: want no more than -groups, 0 or -1", f.streams)
	}
	if f.rtt < 0 || f.rtt%time.Millisecond != 0 {
		return flags.Usagef("-rtt is %s: want whole milliseconds", f.rtt)
	}
	if f.repeat < 0 || f.repeat > 1000 || f.duration < 0 || f.quiet < 0 {
		return flags.Usagef("-repeat is %d, -duration %s, -quiet %s: want no less than 0, and no more than 1000 repetitions", f.repeat, f.duration, f.quiet)
	}
	return f.check()
}

// sized has the flags change a size.
func (f *benchLocal) sized(size suite.Size) suite.Size {
	if f.repeat > 0 {
		size.Repetitions, size.Rounds = f.repeat, f.repeat
	}
	if f.duration > 0 {
		size.Duration = f.duration
	}
	return size
}

// local says what is started.
func (f *benchLocal) local(groups int) (local.Options, error) {
	binary, err := os.Executable()
	o := local.Options{Executable: binary, Nodes: f.nodes, Groups: groups, StreamGroups: f.streams}
	if f.streams < 0 {
		o.StreamGroups = groups
	}
	if f.rtt > 0 {
		o.Args = append(o.Args, "-raft.rtt", f.rtt.String())
	}
	return o, err
}

// localName is the name of a target that is started, if more than one is.
func (f *benchLocal) localName(groups int) string {
	name := "serve"
	if f.nodes > 1 {
		name = plural(uint64(f.nodes), "node")
	}
	return fmt.Sprintf("%s, %s", name, plural(uint64(groups), "group"))
}

// part is one target of a command.
type benchPart struct {
	settings generate.Settings
	options  suite.Options
}

// runParts measures targets one after the other, into one result.
func (f *benchLocal) runParts(ctx context.Context, std streams, parts []benchPart) error {
	file := f.file(f.name, parts[0].settings)
	show := newBenchProgress(std, &f.benchFlags)
	var err error
	for _, part := range parts {
		var g *generate.Generator
		if g, err = generate.New(part.settings); err != nil {
			return flags.Usage(err)
		}
		prefix := ""
		if len(parts) > 1 {
			prefix = part.options.Target + ": "
		}
		said, stop := show.steps(prefix)
		part.options.Step, part.options.Progress = said.step, said.progress
		part.options.Dial, part.options.Timeout, part.options.WorkDir, part.options.Quiet = f.dial, f.timeout, f.workDir, f.quiet
		runs, steps, target, failed := suite.Run(ctx, g, part.options)
		stop()
		show.clear()
		file.Runs, file.Steps, file.Targets = append(file.Runs, runs...), append(file.Steps, steps...), append(file.Targets, target)
		if err = failed; err != nil {
			if len(parts) > 1 {
				err = fmt.Errorf("%s: %w", part.options.Target, err)
			}
			break
		}
	}
	if err := f.finish(ctx, std, file, err); err != nil || f.format.Value == formatJSON || len(parts) < 2 {
		return err
	}
	fmt.Fprintln(std.out)
	sides := result.Sides([]string{f.name}, []*result.File{file})
	for i := range sides {
		sides[i].Name = sides[i].Target
	}
	rows, err := result.Compare(sides)
	if err != nil {
		return err
	}
	return writeComparison(std.out, sides, rows)
}
