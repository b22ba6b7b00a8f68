package suite

import (
	"math"
	"time"

	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
)

func (b *bed) start() (map[string]uint64, error) {
	if err := b.cluster.Start(b.ctx); err != nil {
		return nil, err
	}
	return nil, b.connect(b.cluster.Addresses())
}

const loaders = 64

func (b *bed) load() (map[string]uint64, error) {
	o := b.paced(loaders)
	m, err := b.session.Load(b.ctx, b.Size.Blocks, o)
	return nil, b.note(result.Run{Scenario: Load, Callers: loaders}, m, err)
}

func (b *bed) write() (map[string]uint64, error) {
	for _, callers := range b.Size.Writers {
		for repetition := range b.Size.Repetitions {
			blocks := b.session.Added()
			m, err := b.session.Write(b.ctx, b.paced(callers))
			if err := b.note(result.Run{Scenario: Write, Callers: callers, Repetition: repetition, Blocks: blocks}, m, err); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (b *bed) ask() (map[string]uint64, error) {
	for _, kind := range scenario.Kinds(b.g) {
		b.say(kind.Name)
		for repetition := range b.Size.Repetitions {
			m, asked, err := b.session.Ask(b.ctx, kind, b.paced(b.Size.Askers))
			r := result.Run{Scenario: kind.Name, Callers: b.Size.Askers, Repetition: repetition, Blocks: b.session.Added(), Digest: asked.Expected.String()}
			if m != nil {
				r.ItemsPerAnswer = asked.PerAnswer(m)
			}
			if err := b.note(r, m, err); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func (b *bed) compact() (map[string]uint64, error) {
	b.compacted = true
	o := b.paced(b.Size.Workers)
	o.Duration = math.MaxInt64 // it ends when nothing is left
	m, done, err := b.session.Compact(b.ctx, scenario.CompactOptions{Slots: 8, Quiet: b.Quiet}, o)
	if err := b.note(result.Run{Scenario: "poll", Callers: b.Size.Workers, Blocks: b.session.Added()}, m, err); err != nil {
		return nil, err
	}
	return map[string]uint64{"jobs": done.Jobs, "sources": done.Sources, "results": done.Results, "working_ms": uint64(1000 * done.Seconds)}, b.session.CheckBytes(b.ctx)
}

// restart stops all processes, starts them again, and looks whether everything is there.
func (b *bed) restart() (map[string]uint64, error) {
	began := time.Now()
	if err := b.cluster.Stop(); err != nil {
		return nil, err
	}
	stopped := time.Now()
	if _, err := b.start(); err != nil {
		return nil, err
	}
	details := map[string]uint64{"stop_ms": milliseconds(stopped.Sub(began)), "start_ms": milliseconds(time.Since(stopped))}
	return details, b.session.CheckBytes(b.ctx)
}

func milliseconds(d time.Duration) uint64 { return uint64(d.Milliseconds()) }
