package enginebench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
	"github.com/skerrydb/skerry/bench/usage"
)

// Options are a run's.
type Options struct {
	Engine Engine
	Blocks uint64
	// Of each measurement of questions, and of entries of one size.
	Duration    time.Duration
	Repetitions int
	Askers      int
	// Where its data go; a new folder in it is made, and removed in the end.
	WorkDir string
	// Told what begins and how far it is; may be nil.
	Step     func(name string)
	Progress func(pace.Progress)
}

// Batches are the numbers of blocks in an entry that are measured; blocks are loaded by the last of them.
var Batches = []uint64{1, 16, 64}

// Of a question: it is answered in this process, so this is but a guard.
const timeout = 5 * time.Minute

// Run measures one engine. What was measured until an error is returned with it.
func Run(ctx context.Context, g *generate.Generator, o Options) (runs []result.Run, steps []result.Step, target result.Target, err error) {
	r := &run{Options: o, ctx: ctx, g: g}
	target.Name = string(o.Engine)
	if r.dir, err = os.MkdirTemp(o.WorkDir, "skerry-bench-"); err != nil {
		return nil, nil, target, err
	}
	defer os.RemoveAll(r.dir)
	err = r.all()
	if r.machine != nil {
		err = errors.Join(err, r.machine.close())
	}
	target.Added = r.added
	return r.runs, r.steps, target, err
}

type run struct {
	Options
	ctx     context.Context
	g       *generate.Generator
	dir     string
	machine *machine
	added   uint64

	runs  []result.Run
	steps []result.Step
}

func (r *run) all() error {
	for _, step := range []struct {
		name string
		do   func() (map[string]uint64, error)
	}{
		{"open", r.open}, {"load", r.load}, {"ask", r.ask}, {"apply", r.apply}, {"restart", r.restart}, {"snapshot", r.save}, {"restore", r.restore},
	} {
		if err := r.step(step.name, step.do); err != nil {
			return fmt.Errorf("%s, %s: %w", r.Engine, step.name, err)
		}
	}
	return nil
}

func (r *run) say(what string) {
	if r.Step != nil {
		r.Step(string(r.Engine) + ": " + what)
	}
}

// step does something and notes what this process takes afterwards.
func (r *run) step(name string, do func() (map[string]uint64, error)) error {
	r.say(name)
	pid := os.Getpid()
	usage.ResetPeak(pid)
	cpu, began := usage.CPUSeconds(pid), time.Now()
	details, err := do()
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	after, err := usage.Measure(pid, filepath.Join(r.dir, "data"))
	if err != nil {
		return err
	}
	if details == nil {
		details = map[string]uint64{}
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	details["anonymous_bytes"], details["go_heap_bytes"] = uint64(after.Anonymous), heap.HeapInuse
	r.steps = append(r.steps, result.Step{
		Name: name, Target: string(r.Engine), Blocks: r.added, Seconds: seconds, Details: details,
		MemoryBytes: after.Memory, PeakMemoryBytes: after.Peak, DiskBytes: after.Disk, CPUSeconds: after.CPU - cpu,
	})
	return nil
}

func (r *run) open() (map[string]uint64, error) {
	var err error
	if r.machine, err = open(r.Engine, filepath.Join(r.dir, "data")); err != nil {
		return nil, err
	}
	return nil, r.machine.begin()
}

func (r *run) load() (map[string]uint64, error) {
	last := Batches[len(Batches)-1]
	if err := r.fill("load", last, 0, pace.Options{Calls: (r.Blocks + last - 1) / last}, r.Blocks); err != nil {
		return nil, err
	}
	began := time.Now()
	err := r.machine.machine.Sync()
	return map[string]uint64{"sync_ms": uint64(time.Since(began).Milliseconds())}, err
}

func (r *run) apply() (map[string]uint64, error) {
	for _, each := range Batches {
		for repetition := range r.Repetitions {
			if err := r.fill(fmt.Sprintf("apply, entries of %d", each), each, repetition, pace.Options{Duration: r.Duration}, math.MaxUint64); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// fill applies entries. A run's rate is in blocks, and of the time that entries took; latencies are those of entries.
func (r *run) fill(name string, each uint64, repetition int, o pace.Options, limit uint64) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	blocks := r.added
	f := newFeed(r.ctx, r.g, r.added, limit, each)
	defer f.end()
	o.Callers, o.Progress, o.ProgressEach = 1, r.Progress, time.Second
	next := <-f.entries
	m, err := pace.Run(r.ctx, o, func(context.Context, int, uint64) (func() error, error) {
		err := next.err
		if err == nil {
			err = r.machine.apply(next.encoded)
		}
		if err == nil {
			r.added += next.blocks
		}
		return func() error { next = <-f.entries; return nil }, err
	})
	if err != nil {
		return err
	}
	made, err := result.NewRun(result.Run{
		Scenario: name, Target: string(r.Engine), Callers: 1, Repetition: repetition, Blocks: blocks, ItemsPerAnswer: float64(r.added-blocks) / float64(max(1, m.Answered())),
	}, m)
	made.Throughput = float64(r.added-blocks) / max(1e-6, made.Latency.Mean*float64(made.Latency.Count)/1e6)
	r.runs = append(r.runs, made)
	if made.Failed > 0 {
		err = errors.Join(err, errors.New(made.ErrorExamples[0]))
	}
	return errors.Join(err, r.ctx.Err())
}

// session is one of whoever asks a machine.
func (r *run) session(m *machine, blocks uint64) (*scenario.Session, error) {
	return scenario.New(r.g, []grpc.ClientConnInterface{m}, timeout, blocks)
}

func (r *run) ask() (map[string]uint64, error) {
	session, err := r.session(r.machine, r.added)
	if err != nil {
		return nil, err
	}
	for _, kind := range scenario.Kinds(r.g) {
		r.say(kind.Name)
		for repetition := range r.Repetitions {
			m, asked, err := session.Ask(r.ctx, kind, pace.Options{Callers: r.Askers, Duration: r.Duration, Progress: r.Progress, ProgressEach: time.Second})
			if m == nil {
				return nil, err
			}
			made, failed := result.NewRun(result.Run{
				Scenario: kind.Name, Target: string(r.Engine), Callers: r.Askers, Repetition: repetition, Blocks: r.added,
				Digest: asked.Expected.String(), ItemsPerAnswer: asked.PerAnswer(m),
			}, m)
			r.runs = append(r.runs, made)
			if err := errors.Join(err, failed); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}
