package main

import (
	"context"
	"flag"
	"maps"
	"slices"
	"time"

	"github.com/skerrydb/skerry/bench/suite"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchSuite is the command's flags.
type benchSuite struct {
	benchLocal
	size   *flags.Choice
	engine string
}

func benchSuiteCommand() command {
	return command{
		name: "bench suite", summary: "run the standard suite, against processes of its own unless -target is given",
		detail: benchHelp + `Loads blocks, asks each kind of question, compacts everything, adds fresh ones at several
concurrencies, restarts the processes, and tells what it takes at each step. A cluster
(-nodes 3) then loses its leaders under load, and a node with its disk. A target
that is given must be empty and is of no use afterwards, since results of compaction
have no objects; only what the suite starts is restarted, killed and measured.
`,
		setup: setUpBenchSuite,
	}
}

func setUpBenchSuite(set *flag.FlagSet) action {
	sizes := slices.Sorted(maps.Keys(suite.Sizes()))
	f := &benchSuite{benchLocal: benchLocal{name: "suite"}}
	f.size = flags.NewChoice(append([]string{"small"}, slices.DeleteFunc(sizes, func(s string) bool { return s == "small" })...)...)
	f.declareLocal(set, 1, "4")
	set.Var(f.size, "size", "`WORD` tiny (2,000 blocks, only to see that it works), small (100,000), 1M, 5M")
	set.StringVar(&f.engine, "engine", "", "`NAMES` measure the state machine alone, over one storage engine after the other, each in a process of its own: pebble, bbolt, or with a sync of their own at each entry pebble-sync, bbolt-sync")
	set.DurationVar(&f.quiet, "quiet", 5*time.Second, "`DURATION` how long no worker must have had a job for compaction to be at its end")
	set.IntVar(&f.repeat, "repeat", 0, "`N` repetitions of each measurement, and leaders that are killed; 0 for those of the size")
	set.DurationVar(&f.duration, "duration", 0, "`DURATION` of each measurement; 0 for that of the size")
	return f.action(set, func(ctx context.Context, std streams) error {
		if f.engine != "" {
			return f.runEngines(ctx, std)
		}
		parts, err := f.parts()
		if err != nil {
			return err
		}
		return f.runParts(ctx, std, parts)
	})
}

// parts are the target, or what is started, once for each number of groups.
func (f *benchSuite) parts() ([]benchPart, error) {
	size, err := f.chosenSize()
	if err != nil {
		return nil, err
	}
	counts, err := f.groupCounts()
	if err != nil {
		return nil, err
	}
	settings, err := f.settings(size.Blocks)
	if err != nil {
		return nil, err
	}
	o := suite.Options{Size: size, Target: "serve", Steps: suite.Standard(len(f.targets) == 0, f.nodes)}
	if len(f.targets) > 1 {
		return nil, flags.Usagef("the suite measures one target: run it for %s and %s apart, and compare", f.targets[0].name, f.targets[1].name)
	}
	if len(f.targets) == 1 {
		o.Target, o.Addresses = f.targets[0].name, f.targets[0].addresses
		return []benchPart{{settings, o}}, nil
	}
	var parts []benchPart
	for _, groups := range counts {
		part := benchPart{settings, o}
		if f.nodes > 1 || len(counts) > 1 {
			part.options.Target = f.localName(groups)
		}
		if part.options.Local, err = f.local(groups); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// chosenSize is -size as other flags change it.
func (f *benchSuite) chosenSize() (suite.Size, error) {
	size := f.sized(suite.Sizes()[f.size.Value])
	if f.workload.Days == 0 {
		f.workload.Days = size.Days
	}
	return size, f.checkLocal()
}
