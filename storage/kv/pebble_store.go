package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// pebbleStore is an engine's Pebble as the store of its rows.
type pebbleStore struct{ *Engine }

// View takes a snapshot.
func (s pebbleStore) View(n rowstore.Namespace) (rowstore.View, error) {
	snap := s.pebble.NewSnapshot()
	return &pebbleView{rows: snap, snap: snap, of: n}, nil
}

// Begin begins a batch.
func (s pebbleStore) Begin(n rowstore.Namespace) (rowstore.Writer, error) {
	return &pebbleWriter{
		pebbleView: pebbleView{rows: s.pebble, of: n},
		store:      s.pebble,
		batch:      s.pebble.NewBatch(pebble.WithMaxRetainedSizeBytes(retainedBatchBytes)),
	}, nil
}

// Namespaces looks for the first row of each.
func (s pebbleStore) Namespaces() ([]uint64, error) {
	it, err := s.pebble.NewIter(iterOptions([]byte{tagNamespace}, []byte{tagNamespace + 1}))
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for ok := it.First(); ok; {
		if len(it.Key()) < namespaceLen {
			return nil, errors.Join(errBadKey, it.Close())
		}
		id := binary.BigEndian.Uint64(it.Key()[1:namespaceLen])
		ids = append(ids, id)
		_, next := namespaceSpan(id)
		ok = it.SeekGE(next)
	}
	return ids, it.Close()
}

// Drop deletes the range of a namespace.
func (s pebbleStore) Drop(n rowstore.Namespace) error {
	return s.pebble.DeleteRange(n.Lower, n.Upper, pebble.NoSync)
}

// Replace builds tables out of the rows and ingests them.
//
// The tables carry a range deletion over the whole namespace. All that is in a table lies at one
// point of the engine's history, later than every snapshot taken before; so the deletion covers the
// old rows, not the new ones, and open readers see neither. Excising the old rows instead would be
// cheaper, but would take them from under open readers.
func (s pebbleStore) Replace(n rowstore.Namespace, fill func(add func(key, value []byte) error) error, swap func(apply func() error) error) error {
	cover, err := s.holdsRows(n)
	if err != nil {
		return err
	}
	tables := s.newTables(n.ID, cover)
	defer tables.discard()
	if err := fill(tables.add); err != nil {
		return err
	}
	if err := tables.finish(); err != nil {
		return err
	}
	// Written out first, so that the ingest, which holds up all commits while tables in memory
	// overlap it, has nothing to wait for.
	if err := s.pebble.Flush(); err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	if err := swap(func() error { return s.pebble.Ingest(context.Background(), tables.paths) }); err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	return nil
}

// holdsRows reports whether a namespace has any row.
func (s pebbleStore) holdsRows(n rowstore.Namespace) (bool, error) {
	it, err := s.pebble.NewIter(iterOptions(n.Lower, n.Upper))
	if err != nil {
		return false, fmt.Errorf("kv: restore: %w", err)
	}
	found := it.First()
	return found, errors.Join(it.Error(), it.Close())
}

// Sync writes out tables in memory, or syncs the log. A failed flush is retried by Pebble in the background for
// ever; the caller hears of the first failure.
func (s pebbleStore) Sync() error {
	if s.opts.Durability != NoWAL {
		return s.pebble.LogData(nil, pebble.Sync)
	}
	select {
	case <-s.events.flushErr: // of an earlier flush
	default:
	}
	done, err := s.pebble.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case err := <-s.events.flushErr:
		return err
	}
}

// Size estimates the bytes of tables.
func (s pebbleStore) Size(n rowstore.Namespace) (uint64, error) {
	return s.pebble.EstimateDiskUsage(n.Lower, n.Upper)
}

// Close closes Pebble. Without a log it forgets what was not written out.
func (s pebbleStore) Close() error {
	s.fs.hurry()
	return errors.Join(s.pebble.Close(), s.fs.free())
}
