package shardgroup

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lni/dragonboat/v4"
)

// heldRounds ends each round when it is told to, with a request of its own.
type heldRounds struct {
	begun   atomic.Int32
	reads   []int
	release chan error
}

func (h *heldRounds) ask(reads int) (*dragonboat.RequestState, error) {
	h.begun.Add(1)
	h.reads = append(h.reads, reads)
	if err := <-h.release; err != nil {
		return nil, err
	}
	return &dragonboat.RequestState{}, nil
}

func TestBarrierSharesRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldRounds{release: make(chan error)}
		b := &barrier{ask: h.ask}
		var finished atomic.Int32
		read := func() {
			if _, err := b.wait(t.Context()); err != nil {
				t.Error(err)
			}
			finished.Add(1)
		}
		go read()
		synctest.Wait()
		for range 100 {
			go read()
		}
		synctest.Wait()
		// The reads that came after the first round began must not end with it.
		h.release <- nil
		synctest.Wait()
		if got := finished.Load(); got != 1 {
			t.Fatalf("%d reads ended with the first round, want the one that came before it", got)
		}
		h.release <- nil
		synctest.Wait()
		if got := finished.Load(); got != 101 || h.begun.Load() != 2 || h.reads[0] != 1 || h.reads[1] != 100 {
			t.Errorf("%d reads ended after %d rounds of %v reads", got, h.begun.Load(), h.reads)
		}
		go read() // an idle barrier begins again
		synctest.Wait()
		h.release <- nil
		b.close()
		b.settle()
		if _, err := b.wait(t.Context()); !errors.Is(err, ErrNotReady) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestBarrierReadersLeaveAndFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldRounds{release: make(chan error)}
		b := &barrier{ask: h.ask}
		failed := make(chan error, 2)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, err := b.wait(ctx); failed <- err }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("a reader that leaves: %v", err)
		}
		go func() { _, err := b.wait(t.Context()); failed <- err }()
		synctest.Wait()
		h.release <- ErrNotReady // nobody waits for this round any more
		h.release <- ErrNotReady
		if err := <-failed; !errors.Is(err, ErrNotReady) {
			t.Errorf("a round that fails: %v", err)
		}
		b.settle()
	})
}
