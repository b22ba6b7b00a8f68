package kv

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// batcher gathers calls of Batch into groups.
type batcher struct {
	mu   sync.Mutex
	next *batchGroup // takes calls; nil if none waits
}

// batchGroup is the calls that will share a transaction.
type batchGroup struct {
	db    *DB
	calls []batchCall // guarded by the batcher's mutex until the group is started
	start sync.Once
	timer *time.Timer
}

type batchCall struct {
	fn   func(*Tx) error
	done chan error // capacity 1
}

// errRunAlone tells a caller that its function failed in company and gets a transaction to itself.
var errRunAlone = errors.New("kv: run alone")

// Batch is Update for many callers at once: it waits up to MaxBatchDelay for others, at most
// MaxBatchSize, and runs all in one transaction. A function that fails is taken out and run again
// by Update, so that only its own caller gets its error or panic. Functions may therefore run more
// than once and must bear it.
func (db *DB) Batch(fn func(*Tx) error) error {
	if db.MaxBatchSize <= 1 || db.MaxBatchDelay <= 0 {
		return db.Update(fn)
	}
	done := make(chan error, 1)
	db.batches.add(db, batchCall{fn: fn, done: done})
	if err := <-done; err != errRunAlone {
		return err
	}
	return db.Update(fn)
}

func (b *batcher) add(db *DB, call batchCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		g := &batchGroup{db: db}
		g.timer = time.AfterFunc(db.MaxBatchDelay, g.run)
		b.next = g
	}
	g := b.next
	g.calls = append(g.calls, call)
	if len(g.calls) >= db.MaxBatchSize {
		b.next = nil
		go g.run()
	}
}

// run runs the group, when it is full or its time has come, whichever is first.
func (g *batchGroup) run() {
	g.start.Do(func() {
		b := &g.db.batches
		b.mu.Lock()
		g.timer.Stop()
		if b.next == g {
			b.next = nil
		}
		calls := g.calls
		b.mu.Unlock()
		g.db.runBatch(calls)
	})
}

// runBatch runs the calls in one transaction, and again without the first that failed, until all
// have got their answer.
func (db *DB) runBatch(calls []batchCall) {
	for len(calls) > 0 {
		failed := -1
		err := db.Update(func(tx *Tx) error {
			for i, c := range calls {
				if err := callGuarded(c.fn, tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, c := range calls {
				c.done <- err
			}
			return
		}
		calls[failed].done <- errRunAlone
		calls = append(calls[:failed:failed], calls[failed+1:]...)
	}
}

// callGuarded turns a panic into an error: run alone, the function will panic in its own caller's
// goroutine.
func callGuarded(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kv: panic in a batch: %v", p)
		}
	}()
	return fn(tx)
}
