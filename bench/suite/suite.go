// Package suite is the standard measurement of a metastore, in one go: load, each
// kind of question, compaction of everything, writes at several concurrencies, restarts,
// failovers, a new replica, and what each step takes of memory and disk.
package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/local"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
)

// Size is how much the suite does.
type Size struct {
	Blocks uint64
	// Over which they are spread; 0 for those of the shape. Jobs hold blocks of 3 hours
	// at most, so few blocks of many days make many jobs.
	Days float64
	// Of each measurement of writes and questions, and of each round of a failover.
	Duration    time.Duration
	Repetitions int
	// Of writes, in turn.
	Writers []int
	Askers  int
	Workers int
	// Kills of a leader, and kills and starts of a single server.
	Rounds int
}

// Sizes are those with a name.
func Sizes() map[string]Size {
	writers := []int{1, 16, 64, 256}
	return map[string]Size{
		"tiny":  {2_000, 0.1, 200 * time.Millisecond, 1, []int{1, 16}, 2, 2, 1},
		"small": {100_000, 0, 5 * time.Second, 6, writers, 8, 4, 3},
		"1M":    {1_000_000, 0, 10 * time.Second, 6, writers, 8, 4, 3},
		"5M":    {5_000_000, 0, 10 * time.Second, 6, writers, 8, 4, 3},
	}
}

// Names of steps.
const (
	Load     = "load"
	Ask      = "ask"
	Write    = "write"
	Compact  = "compact"
	Restart  = "restart"  // all stop cleanly, and start
	Crash    = "crash"    // a single server is killed and started, again and again
	Failover = "failover" // the node that leads most is killed while others write
	Replica  = "replica"  // a node is lost, and a new one takes its place
)

// Standard are the steps of the suite in order: of any target, of a server that it starts, or of a cluster.
//
// Fresh writes, of which a fast target gets more, come last of what is measured: all are asked about the
// same blocks, and have the same ones to compact.
func Standard(own bool, nodes int) []string {
	steps := []string{Load, Ask, Compact, Write}
	if own {
		steps = append(steps, Restart)
	}
	if own && nodes > 1 {
		steps = append(steps, Failover, Replica)
	}
	return steps
}

// Options are a suite's.
type Options struct {
	Size Size
	// What to do, in order: names of steps.
	Steps []string
	// Of a call.
	Timeout time.Duration
	// How long nobody must have had a job before compaction counts as done.
	Quiet time.Duration
	// The target's name in results.
	Target string
	// Blocks that it has already.
	Added uint64
	// Dial connects to an address.
	Dial func(address string) (*grpc.ClientConn, error)
	// Addresses of a target that runs; without them Local is started.
	Addresses []string
	// Its Dir is a new folder in WorkDir, which is removed in the end.
	Local   local.Options
	WorkDir string
	// Told what begins and how far it is; may be nil.
	Step     func(name string)
	Progress func(pace.Progress)
}

// Run does the steps. What was measured until an error is returned with it.
func Run(ctx context.Context, g *generate.Generator, o Options) (runs []result.Run, steps []result.Step, target result.Target, err error) {
	b := &bed{Options: o, ctx: ctx, g: g}
	target = result.Target{Name: o.Target, Addresses: o.Addresses}
	if len(o.Addresses) == 0 {
		if o.Local.Dir, err = os.MkdirTemp(o.WorkDir, "skerry-bench-"); err != nil {
			return nil, nil, target, err
		}
		defer os.RemoveAll(o.Local.Dir)
		if b.cluster, err = local.New(o.Local); err != nil {
			return nil, nil, target, err
		}
		target.Command = b.cluster.Commands()
	}
	err = b.all()
	b.hangUp()
	if b.cluster != nil {
		if err == nil {
			err = b.cluster.Stop()
		}
		err = errors.Join(err, b.cluster.Close())
	}
	if b.session != nil {
		target.Added, target.Compacted = b.session.Added(), b.compacted
	}
	return b.runs, b.steps, target, err
}

func (b *bed) all() error {
	known := map[string]func() (map[string]uint64, error){
		Load: b.load, Ask: b.ask, Write: b.write, Compact: b.compact, Restart: b.restart, Replica: b.replica,
	}
	if b.cluster == nil {
		if err := b.connect(b.Addresses); err != nil {
			return err
		}
	} else if err := b.step("start", b.start); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for _, name := range b.Steps {
		var err error
		switch {
		case name == Load && b.session.Added() >= b.Size.Blocks: // it is there
		case b.cluster == nil && slices.Contains([]string{Restart, Crash, Failover, Replica}, name):
			err = errors.New("only what was started here is stopped")
		case name == Crash:
			err = b.crashes()
		case name == Failover:
			err = b.failovers()
		case known[name] == nil:
			err = errors.New("unknown step")
		default:
			err = b.step(name, known[name])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
