package shardgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// heldLog answers entries when it is told to, echoing each command's payload.
type heldLog struct {
	mu      sync.Mutex
	entries []*raftlogv1.Entry
	release chan error
}

func (l *heldLog) send(entry *raftlogv1.Entry) (*raftlogv1.Results, error) {
	l.mu.Lock()
	l.entries = append(l.entries, entry)
	l.mu.Unlock()
	if err := <-l.release; err != nil {
		return nil, err
	}
	results := &raftlogv1.Results{}
	for _, command := range entry.GetCommands() {
		results.Results = append(results.Results, &raftlogv1.Result{Message: string(command.GetPayload())})
	}
	return results, nil
}

func (l *heldLog) sizes() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sizes []int
	for _, entry := range l.entries {
		sizes = append(sizes, len(entry.GetCommands()))
	}
	return sizes
}

func newTestBatcher() (*batcher, *heldLog) {
	log := &heldLog{release: make(chan error)}
	return newBatcher(log.send, time.Now, newMetrics(prometheus.NewRegistry()).group(1), tracing{}), log
}

func payload(size int, i int) *raftlogv1.Command {
	return &raftlogv1.Command{Payload: append(bytes.Repeat([]byte{'x'}, size), fmt.Sprint(i)...)}
}

func TestBatcherCoalescesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		var calls sync.WaitGroup
		propose := func(i int) {
			calls.Go(func() {
				result, err := b.propose(t.Context(), payload(0, i), nil)
				if err != nil || result.GetMessage() != fmt.Sprint(i) {
					t.Errorf("command %d: %v, %v", i, result, err)
				}
			})
		}
		for i := range maxEntriesInFlight { // nothing is in flight: each is sent at once
			propose(i)
			synctest.Wait()
		}
		for i := range 100 {
			propose(100 + i)
		}
		synctest.Wait()
		if got := log.sizes(); len(got) != maxEntriesInFlight {
			t.Errorf("%v entries are in flight, at most %d may be", got, maxEntriesInFlight)
		}
		log.release <- nil
		synctest.Wait()
		if got := log.sizes(); len(got) != maxEntriesInFlight+1 || got[maxEntriesInFlight] != 100 {
			t.Errorf("entries of %v commands, want the 100 that waited in one", got)
		}
		close(log.release)
		calls.Wait()
		b.close()
	})
}

func TestBatcherBoundsEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		var calls sync.WaitGroup
		propose := func(size int) {
			calls.Go(func() {
				if _, err := b.propose(t.Context(), payload(size, 0), nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range maxEntriesInFlight {
			propose(0)
		}
		for range 3 {
			propose(maxEntryBytes / 2)
		}
		propose(2 * maxEntryBytes) // travels alone
		propose(1)
		for range maxEntryCommands + 1 {
			propose(1)
		}
		close(log.release)
		calls.Wait()
		for i, entry := range log.entries {
			if commands, bytes := len(entry.GetCommands()), entry.SizeVT(); commands > maxEntryCommands || commands > 1 && bytes > maxEntryBytes+8*maxEntryCommands {
				t.Errorf("entry %d has %d commands and %d bytes", i, commands, bytes)
			}
		}
		b.close()
	})
}

func TestBatcherRefusesOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		var calls sync.WaitGroup
		for range maxEntriesInFlight + maxWaitingCommands {
			calls.Go(func() {
				if _, err := b.propose(t.Context(), payload(0, 0), nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if _, err := b.propose(t.Context(), payload(0, 0), nil); !errors.Is(err, ErrOverloaded) {
			t.Errorf("one command too many: %v", err)
		}
		close(log.release)
		calls.Wait()
		if _, err := b.propose(t.Context(), payload(maxWaitingBytes, 0), nil); !errors.Is(err, ErrOverloaded) {
			t.Errorf("too many bytes: %v", err)
		}
		if _, err := b.propose(t.Context(), payload(0, 0), nil); err != nil {
			t.Errorf("after the load: %v", err)
		}
		b.close()
	})
}

// A command whose caller left before it was sent is never sent; one whose
// caller leaves later may take effect.
func TestBatcherDropsTheAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		var calls sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range maxEntriesInFlight + 1 {
			calls.Go(func() {
				if _, err := b.propose(ctx, payload(0, i), nil); !errors.Is(err, context.Canceled) {
					t.Errorf("command %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		cancel()
		calls.Wait()
		close(log.release)
		b.close()
		if got := log.sizes(); len(got) != maxEntriesInFlight {
			t.Errorf("entries of %v commands were sent", got)
		}
	})
}

// The failure of an entry is that of all its commands, and of no others.
func TestBatcherSharesFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		const together = 3
		failures := make(chan error, maxEntriesInFlight+together)
		for range cap(failures) {
			go func() {
				_, err := b.propose(t.Context(), payload(0, 0), nil)
				failures <- err
			}()
			synctest.Wait()
		}
		for range maxEntriesInFlight {
			log.release <- nil
			synctest.Wait()
			if err := <-failures; err != nil {
				t.Errorf("got %v", err)
			}
		}
		log.release <- ErrAmbiguous
		for range together {
			if err := <-failures; !errors.Is(err, ErrAmbiguous) {
				t.Errorf("got %v", err)
			}
		}
		b.close()
		if _, err := b.propose(t.Context(), payload(0, 0), nil); !errors.Is(err, ErrNotReady) {
			t.Errorf("after close: %v", err)
		}
	})
}

// close waits for what is in flight, and for nothing else.
func TestBatcherClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		go b.propose(t.Context(), payload(0, 0), nil) //nolint:errcheck // its result is not the point
		synctest.Wait()
		waiting := make(chan error, 1)
		go func() {
			_, err := b.propose(t.Context(), payload(1, 0), nil)
			waiting <- err
		}()
		synctest.Wait()
		closed := make(chan struct{})
		go func() {
			b.close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case err := <-waiting:
			if !errors.Is(err, ErrNotReady) {
				t.Errorf("a command that waits: %v", err)
			}
		default:
			t.Error("a command waits for ever")
		}
		select {
		case <-closed:
			t.Error("closed while an entry was in flight")
		default:
		}
		log.release <- nil
		<-closed
		b.close()
	})
}
