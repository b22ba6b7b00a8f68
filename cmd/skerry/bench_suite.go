package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/suite"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchSuite is the command's flags.
type benchSuite struct {
	benchFlags
	size     *flags.Choice
	engine   string
	nodes    int
	groups   uint
	workDir  string
	quiet    time.Duration
	repeat   int
	duration time.Duration
}

func benchSuiteCommand() command {
	return command{
		name: "bench suite", summary: "run the standard suite, against a server of its own unless -target is given",
		detail: benchHelp + `Loads blocks, asks each kind of question, adds fresh ones at several concurrencies,
compacts everything, restarts the server, and tells what it takes at each step. A target
that is given must be empty and is of no use afterwards, since results of compaction
have no objects; only a server of its own is restarted and measured.
`,
		setup: setUpBenchSuite,
	}
}

func setUpBenchSuite(set *flag.FlagSet) action {
	sizes := slices.Sorted(maps.Keys(suite.Sizes()))
	f := &benchSuite{size: flags.NewChoice(append([]string{"small"}, slices.DeleteFunc(sizes, func(s string) bool { return s == "small" })...)...)}
	f.declare(set)
	set.Var(f.size, "size", "`WORD` tiny (2,000 blocks, only to see that it works), small (100,000), 1M, 5M")
	set.StringVar(&f.engine, "engine", "", "`NAMES` measure the state machine alone, in this process, over one storage engine after the other: pebble, bbolt, or with a sync of their own at each entry pebble-sync, bbolt-sync")
	set.UintVar(&f.groups, "groups", 4, "`N` data groups of its own server")
	set.StringVar(&f.workDir, "work-dir", "", "`DIR` where its own server's data go; default the system's for temporary files")
	set.DurationVar(&f.quiet, "quiet", 5*time.Second, "`DURATION` how long no worker must have had a job for compaction to be at its end")
	set.IntVar(&f.repeat, "repeat", 0, "`N` repetitions of each measurement; 0 for those of the size")
	set.DurationVar(&f.duration, "duration", 0, "`DURATION` of each measurement; 0 for that of the size")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		set.Visit(func(given *flag.Flag) { f.args = append(f.args, "-"+given.Name+"="+given.Value.String()) })
		if f.engine != "" {
			return f.runEngines(ctx, std)
		}
		return f.run(ctx, std)
	}
}

func (f *benchSuite) run(ctx context.Context, std streams) error {
	o, settings, err := f.options()
	if err != nil {
		return err
	}
	g, err := generate.New(settings)
	if err != nil {
		return flags.Usage(err)
	}
	file := f.file("suite", settings)
	show := newBenchProgress(std, &f.benchFlags)
	said := show.steps()
	o.Step, o.Progress = said.step, said.progress
	runs, steps, target, err := suite.Run(ctx, g, o)
	show.clear()
	file.Runs, file.Steps, file.Targets = runs, steps, append(file.Targets, target)
	return f.finish(ctx, std, file, err)
}

func (f *benchSuite) options() (suite.Options, generate.Settings, error) {
	o := suite.Options{
		Size: suite.Sizes()[f.size.Value], Timeout: f.timeout, Quiet: f.quiet, Target: "serve", Dial: f.dial, WorkDir: f.workDir,
		ServeArgs: []string{"-groups", fmt.Sprint(f.groups)},
	}
	if f.repeat < 0 || f.repeat > 1000 || f.duration < 0 || f.quiet < 0 {
		return o, generate.Settings{}, flags.Usagef("-repeat is %d, -duration %s, -quiet %s: want no less than 0, and no more than 1000 repetitions", f.repeat, f.duration, f.quiet)
	}
	if f.repeat > 0 {
		o.Size.Repetitions = f.repeat
	}
	if f.duration > 0 {
		o.Size.Duration = f.duration
	}
	if f.workload.Days == 0 {
		f.workload.Days = o.Size.Days
	}
	settings, err := f.settings(o.Size.Blocks)
	if err = errors.Join(err, f.check()); err != nil {
		return o, settings, err
	}
	if len(f.targets) == 0 {
		o.Executable, err = os.Executable()
		return o, settings, err
	}
	if len(f.targets) > 1 {
		return o, settings, flags.Usagef("the suite measures one target: run it for %s and %s apart, and compare", f.targets[0].name, f.targets[1].name)
	}
	o.Target, o.Addresses = f.targets[0].name, f.targets[0].addresses
	return o, settings, nil
}
