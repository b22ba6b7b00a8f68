package main

import (
	"flag"
	"time"

	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/suite"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchLives is a command that kills what it starts.
type benchLives struct {
	benchLocal
	blocks  uint64
	dataDir string
	data    string
	step    string
}

func benchRestartCommand() command {
	f := &benchLives{benchLocal: benchLocal{name: "restart"}, step: suite.Crash}
	return command{
		name: "bench restart", summary: "kill a server of its own again and again: how long until it answers",
		detail: benchHelp + `A server is started and loaded, or has its data in -data-dir. In each round blocks are
added, the process is killed as by kill -9, and started: it tells the time from there until
the server says that it is ready, and until the first right answer. At the end all blocks
that were ever acknowledged must be there.
`,
		setup: func(set *flag.FlagSet) action {
			f.declareLocal(set, 1, "4")
			set.StringVar(&f.dataDir, "data-dir", "", "`DIR` data of a server that does not run, with the blocks of the workload; it is used, not copied, and has more blocks then")
			set.StringVar(&f.data, "data", "", "`FILE` with -data-dir: a result of an earlier command at that server: its workload, and what is there")
			return f.setUp(set, 5, 2*time.Second)
		},
	}
}

func benchFailoverCommand() command {
	f := &benchLives{benchLocal: benchLocal{name: "failover"}, step: suite.Failover}
	return command{
		name: "bench failover", summary: "kill the leader in a cluster of its own, under load: how long nobody can add",
		detail: benchHelp + `In each round callers add blocks, each again and again until it is acknowledged, and
the node that leads most groups is killed as by kill -9. The gap is the longest time without any
acknowledgement, the shard gap that of the worst data shard. At the end of each round all blocks that
were ever acknowledged must be there.
`,
		setup: func(set *flag.FlagSet) action {
			f.declareLocal(set, 3, "1")
			return f.setUp(set, 5, 10*time.Second)
		},
	}
}

func (f *benchLives) setUp(set *flag.FlagSet, rounds int, each time.Duration) action {
	set.Uint64Var(&f.blocks, "blocks", 10_000, "`N` blocks that are loaded first")
	set.IntVar(&f.repeat, "rounds", rounds, "`N` kills")
	set.DurationVar(&f.duration, "duration", each, "`DURATION` how long callers add in each round")
	return f.measure(set, f.parts)
}

func (f *benchLives) parts() ([]benchPart, error) {
	if len(f.targets) > 0 {
		return nil, flags.Usagef("only what was started here is killed: leave out -target")
	}
	if f.repeat < 1 || f.duration <= 0 || f.blocks == 0 {
		return nil, flags.Usagef("-rounds is %d, -duration %s, -blocks %d: want more than 0", f.repeat, f.duration, f.blocks)
	}
	if f.step == suite.Failover && f.nodes < 3 {
		return nil, flags.Usagef("-nodes is %d: nobody takes over", f.nodes)
	}
	if f.dataDir != "" && f.nodes > 1 || f.data != "" && f.dataDir == "" {
		return nil, flags.Usagef("-data-dir is that of a single server, and -data is for it")
	}
	counts, err := f.groupCounts()
	if err != nil {
		return nil, err
	}
	settings, err := f.settings(f.blocks)
	if err != nil {
		return nil, err
	}
	o := suite.Options{Target: "serve", Steps: []string{suite.Load, f.step}}
	if f.dataDir != "" {
		o.Added = f.blocks
	}
	if f.data != "" {
		earlier, err := result.Read(f.data)
		if err != nil {
			return nil, err
		}
		if len(earlier.Targets) != 1 || earlier.Targets[0].Compacted {
			return nil, flags.Usagef("-data %s: want the result of one target that was not compacted", f.data)
		}
		settings, o.Added = earlier.Workload, earlier.Targets[0].Added
	}
	o.Size = f.sized(suite.Size{Blocks: settings.Blocks})
	var parts []benchPart
	for _, groups := range counts {
		part := benchPart{settings, o}
		if f.dataDir == "" { // which says itself how many there are
			part.options.Target = f.localName(groups)
		}
		if part.options.Local, err = f.local(groups); err != nil {
			return nil, err
		}
		part.options.Local.DataDir = f.dataDir
		parts = append(parts, part)
	}
	return parts, f.checkLocal()
}
