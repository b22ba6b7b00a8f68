package main

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerrydb/skerry/bench/suite"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchScale is the command's flags.
type benchScale struct {
	benchLocal
	blocks  string
	dense   bool
	callers int
}

func benchScaleCommand() command {
	return command{
		name: "bench scale", summary: "measure the same at growing sizes, and with more groups",
		detail: benchHelp + `With each number of -blocks, and each of -groups, processes are started and loaded, asked each
kind of question, and written to; then the ratios to the first are shown. Larger sizes
have more days, so that questions find as much in all of them: what grows is only what they need
not find. With -dense all sizes have the same days, and answers grow.
`,
		setup: func(set *flag.FlagSet) action {
			f := &benchScale{benchLocal: benchLocal{name: "scale"}}
			f.declareLocal(set, 1, "4")
			set.StringVar(&f.blocks, "blocks", "10000,100000,1000000", "`N[,N...]` blocks")
			set.BoolVar(&f.dense, "dense", false, "the same days for all sizes")
			set.IntVar(&f.callers, "callers", 64, "`N` callers that write at once; an eighth of them ask")
			set.IntVar(&f.repeat, "repeat", 6, "`N` repetitions of each measurement")
			set.DurationVar(&f.duration, "duration", 5*time.Second, "`DURATION` of each measurement")
			return f.measure(set, f.parts)
		},
	}
}

func (f *benchScale) sizes() ([]uint64, error) {
	var sizes []uint64
	for text := range strings.SplitSeq(f.blocks, ",") {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 || slices.Contains(sizes, n) {
			return nil, flags.Usagef("-blocks is %q: want different numbers above 0", f.blocks)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func (f *benchScale) parts() ([]benchPart, error) {
	if len(f.targets) > 0 {
		return nil, flags.Usagef("each size needs an empty server: leave out -target")
	}
	if f.repeat < 1 || f.duration <= 0 || f.callers < 1 {
		return nil, flags.Usagef("-repeat is %d, -duration %s, -callers %d: want more than 0", f.repeat, f.duration, f.callers)
	}
	sizes, err := f.sizes()
	if err != nil {
		return nil, err
	}
	counts, err := f.groupCounts()
	if err != nil {
		return nil, err
	}
	days := f.workload.Days
	if days == 0 {
		days = 1
	}
	var parts []benchPart
	for _, blocks := range sizes {
		f.workload.Days = days
		if !f.dense {
			f.workload.Days = days * float64(blocks) / float64(sizes[0])
		}
		settings, err := f.settings(blocks)
		if err != nil {
			return nil, err
		}
		for _, groups := range counts {
			o := suite.Options{
				Target: fmt.Sprintf("%s blocks, %s", thousands(blocks), f.localName(groups)), Steps: []string{suite.Load, suite.Ask, suite.Write},
				Size: f.sized(suite.Size{Blocks: blocks, Writers: []int{f.callers}, Askers: max(1, f.callers/8)}),
			}
			if o.Local, err = f.local(groups); err != nil {
				return nil, err
			}
			// Nothing is to go while it is measured, however many days there are.
			o.Local.Args = append(o.Local.Args, "-metastore.index.cleanup-interval", "0")
			parts = append(parts, benchPart{settings, o})
		}
	}
	return parts, f.checkLocal()
}
