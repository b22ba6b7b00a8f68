package suite

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/local"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
)

// bed is a target that is measured, and what was measured of it.
type bed struct {
	Options
	ctx     context.Context
	g       *generate.Generator
	cluster *local.Cluster // nil if it is not ours
	conns   []*grpc.ClientConn
	session *scenario.Session

	runs      []result.Run
	steps     []result.Step
	compacted bool
}

// connect has the session go on at addresses, or begins it.
func (b *bed) connect(addresses []string) error {
	b.hangUp()
	var all []grpc.ClientConnInterface
	for _, address := range addresses {
		conn, err := b.Dial(address)
		if err != nil {
			return err
		}
		b.conns = append(b.conns, conn)
		all = append(all, conn)
	}
	if b.session != nil {
		b.session.Use(all)
		return nil
	}
	var err error
	b.session, err = scenario.New(b.g, all, b.Timeout, b.Added)
	return err
}

func (b *bed) hangUp() {
	for _, conn := range b.conns {
		_ = conn.Close()
	}
	b.conns = nil
}

func (b *bed) say(what string) {
	if b.Step != nil {
		b.Step(what)
	}
}

// step does something and notes what the target takes afterwards.
func (b *bed) step(name string, do func() (map[string]uint64, error)) error {
	b.say(name)
	var cpu map[int]float64
	if b.cluster != nil {
		b.cluster.ResetPeak()
		cpu = b.cluster.CPU()
	}
	before := uint64(0)
	if b.session != nil {
		before = b.session.Added()
	}
	began := time.Now()
	details, err := do()
	step := result.Step{Name: name, Target: b.Target, Seconds: time.Since(began).Seconds(), Details: details}
	if b.session != nil {
		step.Blocks = b.session.Added()
	}
	if err == nil && b.cluster != nil {
		after, failed := b.cluster.Usage()
		if failed != nil {
			return failed
		}
		step.MemoryBytes, step.PeakMemoryBytes, step.DiskBytes, step.CPUSeconds = after.Memory, after.Peak, after.Disk, after.CPU
		// What a process took before; others began in the step.
		for pid := range b.cluster.CPU() {
			step.CPUSeconds -= cpu[pid]
		}
		if added := step.Blocks - before; added > 0 && (name == Load || name == Write) {
			step.Details = map[string]uint64{"cpu_us_per_add": uint64(1e6 * step.CPUSeconds / float64(added))}
		}
	}
	b.steps = append(b.steps, step)
	return err
}

func (b *bed) paced(callers int) pace.Options {
	return pace.Options{Callers: callers, Duration: b.Size.Duration, Progress: b.Progress, ProgressEach: time.Second}
}

func (b *bed) note(r result.Run, m *pace.Measurement, err error) error {
	if m == nil {
		return err
	}
	r.Target = b.Target
	made, failed := result.NewRun(r, m)
	b.runs = append(b.runs, made)
	return errors.Join(err, failed)
}
