// Package suite is the standard measurement of a metastore, in one go: load, each
// kind of question, writes at several concurrencies, compaction of everything, a
// restart, and what each step takes of memory and disk.
package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
	"github.com/skerrydb/skerry/bench/usage"
)

// Size is how much the suite does.
type Size struct {
	Blocks uint64
	// Over which they are spread; 0 for those of the shape. Jobs hold blocks of 3 hours
	// at most, so few blocks of many days make many jobs.
	Days float64
	// Of each measurement of writes and questions.
	Duration    time.Duration
	Repetitions int
	// Of writes, in turn.
	Writers []int
	Askers  int
	Workers int
}

// Sizes are those with a name.
func Sizes() map[string]Size {
	writers := []int{1, 16, 64, 256}
	return map[string]Size{
		"tiny":  {2_000, 0.1, 200 * time.Millisecond, 1, []int{1, 16}, 2, 2},
		"small": {100_000, 0, 5 * time.Second, 6, writers, 8, 4},
		"1M":    {1_000_000, 0, 10 * time.Second, 6, writers, 8, 4},
		"5M":    {5_000_000, 0, 10 * time.Second, 6, writers, 8, 4},
	}
}

// Options are a suite's.
type Options struct {
	Size Size
	// Of a call.
	Timeout time.Duration
	// How long nobody must have had a job before compaction counts as done.
	Quiet time.Duration
	// The target's name in results.
	Target string
	// Dial connects to an address.
	Dial func(address string) (*grpc.ClientConn, error)
	// Addresses of a target that runs; without them the executable is started as a server.
	Addresses  []string
	Executable string
	ServeArgs  []string
	// Where the server's data go; a new folder in it is made, and removed in the end.
	WorkDir string
	// Told what begins and how far it is; may be nil.
	Step     func(name string)
	Progress func(pace.Progress)
}

// Run does the suite. What was measured until an error is returned with it.
func Run(ctx context.Context, g *generate.Generator, o Options) (runs []result.Run, steps []result.Step, target result.Target, err error) {
	s := &suite{Options: o, ctx: ctx, g: g}
	target = result.Target{Name: o.Target, Addresses: o.Addresses}
	if len(o.Addresses) == 0 {
		dir, err := os.MkdirTemp(o.WorkDir, "skerry-bench-")
		if err != nil {
			return nil, nil, target, err
		}
		defer os.RemoveAll(dir)
		if s.server, err = newServer(o.Executable, dir, o.ServeArgs); err != nil {
			return nil, nil, target, err
		}
		target.Command = append([]string{"skerry"}, s.server.commandLine()...)
	}
	err = s.all()
	s.hangUp()
	if s.server != nil {
		err = errors.Join(err, s.server.stop())
	}
	if s.session != nil {
		target.Added, target.Compacted = s.session.Added(), s.compacted
	}
	return s.runs, s.steps, target, err
}

type suite struct {
	Options
	ctx     context.Context
	g       *generate.Generator
	server  *server
	conns   []*grpc.ClientConn
	session *scenario.Session

	runs      []result.Run
	steps     []result.Step
	compacted bool
}

func (s *suite) all() error {
	for _, step := range []struct {
		name string
		do   func() (map[string]uint64, error)
	}{
		// Questions come before fresh writes, of which a fast target gets more: all are
		// asked about the same blocks.
		{"start", s.start}, {"load", s.load}, {"ask", s.ask}, {"write", s.write}, {"compact", s.compact}, {"restart", s.restart},
	} {
		if err := s.step(step.name, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// step does something and notes what the target takes afterwards.
func (s *suite) step(name string, do func() (map[string]uint64, error)) error {
	if s.server == nil && (name == "start" || name == "restart") {
		if name == "start" {
			return s.connect(s.Addresses)
		}
		return nil // it is not ours
	}
	if s.Step != nil {
		s.Step(name)
	}
	var before usage.Usage
	if s.server != nil && s.server.command != nil {
		usage.ResetPeak(s.server.command.Process.Pid)
		before.CPU = usage.CPUSeconds(s.server.command.Process.Pid)
	}
	began := time.Now()
	details, err := do()
	step := result.Step{Name: name, Target: s.Target, Seconds: time.Since(began).Seconds(), Details: details}
	if s.session != nil {
		step.Blocks = s.session.Added()
	}
	if err == nil && s.server != nil {
		pid := s.server.command.Process.Pid
		after, failed := usage.Measure(pid, s.server.dir)
		if failed != nil {
			return failed
		}
		if name == "restart" {
			before.CPU = 0 // another process
		}
		step.MemoryBytes, step.PeakMemoryBytes, step.DiskBytes, step.CPUSeconds = after.Memory, after.Peak, after.Disk, after.CPU-before.CPU
	}
	s.steps = append(s.steps, step)
	return err
}

func (s *suite) start() (map[string]uint64, error) {
	if err := s.server.start(s.ctx); err != nil {
		return nil, err
	}
	return nil, s.connect([]string{s.server.address})
}

// connect begins a session, with what is there.
func (s *suite) connect(addresses []string) error {
	added := uint64(0)
	if s.session != nil {
		added = s.session.Added()
	}
	s.hangUp()
	var all []grpc.ClientConnInterface
	for _, address := range addresses {
		conn, err := s.Dial(address)
		if err != nil {
			return err
		}
		s.conns = append(s.conns, conn)
		all = append(all, conn)
	}
	var err error
	s.session, err = scenario.New(s.g, all, s.Timeout, added)
	return err
}

func (s *suite) hangUp() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

func (s *suite) paced(callers int) pace.Options {
	return pace.Options{Callers: callers, Duration: s.Size.Duration, Progress: s.Progress, ProgressEach: time.Second}
}

func (s *suite) note(r result.Run, m *pace.Measurement, err error) error {
	if m == nil {
		return err
	}
	r.Target = s.Target
	made, failed := result.NewRun(r, m)
	s.runs = append(s.runs, made)
	return errors.Join(err, failed)
}

const loaders = 64

func (s *suite) load() (map[string]uint64, error) {
	o := s.paced(loaders)
	m, err := s.session.Load(s.ctx, s.Size.Blocks, o)
	return nil, s.note(result.Run{Scenario: "load", Callers: loaders}, m, err)
}

func (s *suite) write() (map[string]uint64, error) {
	for _, callers := range s.Size.Writers {
		for repetition := range s.Size.Repetitions {
			blocks := s.session.Added()
			m, err := s.session.Write(s.ctx, s.paced(callers))
			if err := s.note(result.Run{Scenario: "write", Callers: callers, Repetition: repetition, Blocks: blocks}, m, err); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (s *suite) ask() (map[string]uint64, error) {
	for _, kind := range scenario.Kinds(s.g) {
		if s.Step != nil {
			s.Step(kind.Name)
		}
		for repetition := range s.Size.Repetitions {
			m, asked, err := s.session.Ask(s.ctx, kind, s.paced(s.Size.Askers))
			r := result.Run{Scenario: kind.Name, Callers: s.Size.Askers, Repetition: repetition, Blocks: s.session.Added(), Digest: asked.Expected.String()}
			if m != nil {
				r.ItemsPerAnswer = asked.PerAnswer(m)
			}
			if err := s.note(r, m, err); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (s *suite) compact() (map[string]uint64, error) {
	s.compacted = true
	o := s.paced(s.Size.Workers)
	o.Duration = math.MaxInt64 // it ends when nothing is left
	m, done, err := s.session.Compact(s.ctx, scenario.CompactOptions{Slots: 8, Quiet: s.Quiet}, o)
	if err := s.note(result.Run{Scenario: "poll", Callers: s.Size.Workers, Blocks: s.session.Added()}, m, err); err != nil {
		return nil, err
	}
	return map[string]uint64{"jobs": done.Jobs, "sources": done.Sources, "results": done.Results, "working_ms": uint64(1000 * done.Seconds)}, s.session.CheckBytes(s.ctx)
}

// restart stops the server, starts it again, and looks whether everything is there.
func (s *suite) restart() (map[string]uint64, error) {
	began := time.Now()
	if err := s.server.stop(); err != nil {
		return nil, err
	}
	stopped := time.Now()
	if _, err := s.start(); err != nil {
		return nil, err
	}
	details := map[string]uint64{"stop_ms": uint64(stopped.Sub(began).Milliseconds()), "start_ms": uint64(time.Since(stopped).Milliseconds())}
	return details, s.session.CheckBytes(s.ctx)
}
