package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
)

const (
	// Who writes while processes die.
	insisters = 16
	// How long a server may take to its first answer.
	answerLimit = 2 * time.Minute
)

// crashes kills everything and starts it again, in rounds: how long it takes from the start to the first right answer.
// Before each, blocks are added, so that there is something to replay.
func (b *bed) crashes() error {
	kind := scenario.Kinds(b.g)[0]
	kind.Queries = kind.Queries[:1]
	for round := range b.Size.Rounds {
		err := b.step(fmt.Sprintf("%s %d", Crash, round+1), func() (map[string]uint64, error) { return b.crash(kind, round) })
		if err != nil {
			return err
		}
	}
	return b.session.CheckBytes(b.ctx)
}

func (b *bed) crash(kind scenario.Kind, round int) (map[string]uint64, error) {
	blocks := b.session.Added()
	m, err := b.session.Write(b.ctx, b.paced(insisters))
	if err := b.note(result.Run{Scenario: Write, Callers: insisters, Repetition: round, Blocks: blocks}, m, err); err != nil {
		return nil, err
	}
	// What the answer must be is calculated before the clock runs.
	if err := b.answered(kind); err != nil {
		return nil, err
	}
	if err := b.cluster.Kill(); err != nil {
		return nil, err
	}
	var ready time.Duration
	began := time.Now()
	m, err = pace.Run(b.ctx, pace.Options{Callers: 1, Calls: 1}, func(context.Context, int, uint64) (func() error, error) {
		if _, err := b.start(); err != nil {
			return nil, err
		}
		ready = time.Since(began)
		return nil, b.answered(kind)
	})
	took := time.Since(began)
	if err := b.note(result.Run{Scenario: "kill to first answer", Callers: 1, Repetition: round, Blocks: b.session.Added()}, m, err); err != nil {
		return nil, err
	}
	return map[string]uint64{"ready_ms": milliseconds(ready), "first_answer_ms": milliseconds(took)}, nil
}

// answered asks one question until there is an answer, which must be right.
func (b *bed) answered(kind scenario.Kind) error {
	for began := time.Now(); ; {
		m, _, err := b.session.Ask(b.ctx, kind, pace.Options{Callers: 1, Calls: 1})
		if err != nil {
			return err
		}
		s, err := m.Summary()
		switch {
		case err != nil:
			return err
		case s.Wrong > 0:
			return errors.New(s.WrongExamples[0])
		case s.Answered > 0:
			return nil
		case time.Since(began) > answerLimit:
			return fmt.Errorf("no answer within %s: %s", answerLimit, s.ErrorExamples[0])
		}
	}
}

// failovers kills the node that leads most while others write, in rounds. Nothing that was acknowledged may be lost.
func (b *bed) failovers() error {
	for round := range b.Size.Rounds {
		err := b.step(fmt.Sprintf("%s %d", Failover, round+1), func() (map[string]uint64, error) { return b.failover(round) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) failover(round int) (map[string]uint64, error) {
	// It goes on for as long after the death as before; calls that wait then are waited for.
	leader, err := b.cluster.Leader(b.ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	killed := make(chan error, 1)
	go func() {
		select {
		case <-time.After(b.Size.Duration / 2):
			killed <- b.cluster.KillNode(leader)
		case <-ctx.Done():
			killed <- ctx.Err()
		}
	}()
	blocks := b.session.Added()
	m, gaps, err := b.session.Insist(b.ctx, b.paced(insisters))
	if err = b.note(result.Run{Scenario: "failover write", Callers: insisters, Repetition: round, Blocks: blocks}, m, err); err != nil {
		cancel()
		return nil, errors.Join(err, <-killed)
	}
	if err := <-killed; err != nil {
		return nil, err
	}
	back := time.Now()
	if _, err := b.start(); err != nil {
		return nil, err
	}
	details := map[string]uint64{"gap_ms": milliseconds(gaps.All), "shard_gap_ms": milliseconds(gaps.Shard), "back_ms": milliseconds(time.Since(back))}
	return details, errors.Join(b.session.Settle(b.ctx), b.session.CheckBytes(b.ctx))
}

// replica loses a node with its disk, and has a new one take its place. The step's seconds are until it has caught up.
func (b *bed) replica() (map[string]uint64, error) {
	began := time.Now()
	if err := b.cluster.Replace(b.ctx); err != nil {
		return nil, err
	}
	details := map[string]uint64{"caught_up_ms": milliseconds(time.Since(began))}
	if err := b.connect(b.cluster.Addresses()); err != nil {
		return nil, err
	}
	return details, b.session.CheckBytes(b.ctx)
}
