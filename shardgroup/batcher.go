package shardgroup

import (
	"context"
	"fmt"
	"sync"
	"time"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// Bounds of a group's proposals.
const (
	// Commands waiting; more are refused as overload.
	maxWaitingCommands = 8192
	// Bytes of commands waiting.
	maxWaitingBytes = 64 << 20
	// Commands and bytes of one Raft entry. A single larger command travels alone.
	maxEntryCommands = 1024
	maxEntryBytes    = 1 << 20
	// Entries in flight. The cost of an entry, not of a byte, limits a group, and
	// one in flight fills the entries best: with 16 callers it carries 7 blocks
	// an entry and half again as many blocks a second as two, which carry 4.
	maxEntriesInFlight = 1
)

// sendEntry proposes one entry and waits until it is applied.
type sendEntry func(entry *raftlogv1.Entry) (*raftlogv1.Results, error)

// batcher coalesces the commands that wait while an entry is in flight into
// one entry. It adds no delay: what arrives when nothing is in flight is sent
// at once.
type batcher struct {
	send    sendEntry
	now     func() time.Time
	metrics *groupMetrics
	tracing tracing

	mu       sync.Mutex
	waiting  []*proposal
	bytes    int
	inFlight int
	closed   bool
	idle     sync.Cond // signalled when inFlight falls to 0
}

type proposal struct {
	ctx     context.Context
	command *raftlogv1.Command
	size    int
	// Told the result, whether the caller still waits or not; may be nil. It must
	// not wait: it holds up the group's proposals.
	applied func(*raftlogv1.Result)
	done    chan outcome // capacity 1
}

type outcome struct {
	result *raftlogv1.Result
	err    error
}

func newBatcher(send sendEntry, now func() time.Time, metrics *groupMetrics, tracing tracing) *batcher {
	b := &batcher{send: send, now: now, metrics: metrics, tracing: tracing}
	b.idle.L = &b.mu
	return b
}

// propose waits for the command's result, or until the context ends: then the
// command may still take effect.
func (b *batcher) propose(ctx context.Context, command *raftlogv1.Command, applied func(*raftlogv1.Result)) (*raftlogv1.Result, error) {
	p := &proposal{ctx: ctx, command: command, size: command.SizeVT(), applied: applied, done: make(chan outcome, 1)}
	if err := b.enqueue(p); err != nil {
		return nil, err
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *batcher) enqueue(p *proposal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosing
	}
	if len(b.waiting) >= maxWaitingCommands || b.bytes+p.size > maxWaitingBytes {
		b.metrics.overloads.Inc()
		return fmt.Errorf("%w: %d commands with %d bytes wait", ErrOverloaded, len(b.waiting), b.bytes)
	}
	b.waiting = append(b.waiting, p)
	b.bytes += p.size
	b.metrics.queued.Inc()
	if b.inFlight < maxEntriesInFlight {
		b.inFlight++
		go b.drain()
	}
	return nil
}

// drain sends entries until nothing waits. At most maxEntriesInFlight run.
func (b *batcher) drain() {
	for {
		batch := b.take()
		if batch == nil {
			return
		}
		b.sendBatch(batch)
	}
}

// take removes the next entry's proposals from the queue, leaving out those
// whose callers have gone: nobody waits for their effect. With nothing left it
// ends the caller's turn and returns nil.
func (b *batcher) take() []*proposal {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []*proposal
	bytes, taken := 0, 0
	for _, p := range b.waiting {
		if len(batch) > 0 && (len(batch) == maxEntryCommands || bytes+p.size > maxEntryBytes) {
			break
		}
		taken++
		b.bytes -= p.size
		if p.ctx.Err() != nil {
			continue
		}
		batch = append(batch, p)
		bytes += p.size
	}
	b.metrics.queued.Sub(float64(taken))
	if b.waiting = b.waiting[taken:]; len(b.waiting) == 0 {
		b.waiting = nil // lets go of the array
	}
	if batch == nil {
		if b.inFlight--; b.inFlight == 0 {
			b.idle.Broadcast()
		}
	}
	return batch
}

func (b *batcher) sendBatch(batch []*proposal) {
	entry := &raftlogv1.Entry{
		ProposedAt: uint64(b.now().UnixNano()),
		Commands:   make([]*raftlogv1.Command, len(batch)),
	}
	for i, p := range batch {
		entry.Commands[i] = p.command
		b.tracing.event(p.ctx, "entry sent", len(batch))
	}
	b.metrics.batch(batch)
	results, err := b.send(entry)
	if err == nil && len(results.GetResults()) != len(batch) {
		err = fmt.Errorf("%w: %d results for %d commands", ErrAmbiguous, len(results.GetResults()), len(batch))
	}
	for i, p := range batch {
		if err != nil {
			p.done <- outcome{err: err}
			continue
		}
		b.tracing.event(p.ctx, "entry applied", len(batch))
		if p.applied != nil {
			p.applied(results.Results[i])
		}
		p.done <- outcome{result: results.Results[i]}
	}
}

var errClosing = fmt.Errorf("%w: it is shutting down", ErrNotReady)

// close refuses new commands and those that wait, and waits until none is in flight: a
// queue may be long, and the disk be full.
func (b *batcher) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, p := range b.waiting {
		p.done <- outcome{err: errClosing}
	}
	b.metrics.queued.Sub(float64(len(b.waiting)))
	b.waiting, b.bytes = nil, 0
	for b.inFlight > 0 {
		b.idle.Wait()
	}
}
