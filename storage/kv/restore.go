package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Restore replaces the contents of the database by those of a stream that WriteTo wrote, all or
// nothing, durably when it returns. The stream must end where r ends. A stream that is cut short or
// damaged gives an error wrapping ErrCorruptStream, and nothing changes.
//
// Restore waits for the writing transaction and keeps the next one waiting. Reading transactions go
// on and keep what they see; so do the other namespaces of the engine. The transaction ID becomes
// the stream's, or one more than the last commit's here if that is greater.
func (db *DB) Restore(r io.Reader) error {
	if db.IsReadOnly() {
		return ErrDatabaseReadOnly
	}
	if !db.gate.enter() {
		return ErrDatabaseNotOpen
	}
	defer db.gate.leave()
	db.ns.writer.Lock()
	defer db.ns.writer.Unlock()
	return db.engine.restore(db.ns, r)
}

// restore builds tables out of the stream and ingests them. The namespace's writer lock is held.
//
// The tables carry a range deletion over the whole namespace. All that is in a table lies at one
// point of the engine's history, later than every snapshot taken before; so the deletion covers the
// old rows, not the new ones, and open readers see neither. Excising the old rows instead would be
// cheaper, but would take them from under open readers.
func (e *Engine) restore(ns *namespace, r io.Reader) error {
	stream, err := newStreamReader(r)
	if err != nil {
		return err
	}
	cover, err := e.holdsRows(ns.id)
	if err != nil {
		return err
	}
	txID := max(ns.txID+1, stream.txID)
	tables := e.newTables(ns.id, cover)
	defer tables.discard()
	if err := tables.fill(stream, txID); err != nil {
		return err
	}
	// Written out first, so that the ingest, which holds up all commits while tables in memory
	// overlap it, has nothing to wait for.
	if err := e.pebble.Flush(); err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	err = ns.buckets.change(func() error { return e.pebble.Ingest(context.Background(), tables.paths) })
	if err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	ns.txID = txID
	return nil
}

// holdsRows reports whether a namespace has any row.
func (e *Engine) holdsRows(id uint64) (bool, error) {
	it, err := e.pebble.NewIter(iterOptions(namespaceSpan(id)))
	if err != nil {
		return false, fmt.Errorf("kv: restore: %w", err)
	}
	found := it.First()
	return found, errors.Join(it.Error(), it.Close())
}

// fill writes the rows of a whole namespace.
func (t *tables) fill(stream *streamReader, txID uint64) error {
	meta := metaRow{txID: txID}.encode()
	if err := t.add(metaKey(t.namespace), meta[:]); err != nil {
		return err
	}
	prefix := rootPrefix(t.namespace)
	if stream.rootSequence != 0 {
		row := bucketRow{sequence: stream.rootSequence, nests: true}.encode()
		if err := t.add(prefix, row[:]); err != nil {
			return err
		}
	}
	depths := []int{len(prefix)}
	for {
		err := stream.next()
		if err == io.EOF {
			return t.finish()
		}
		if err != nil {
			return err
		}
		switch stream.kind {
		case recordKey:
			err = t.add(appendElement(prefix, stream.key, endKey), stream.value)
		case recordBucket:
			if len(prefix) > maxHolderBytes {
				return corrupt("buckets nest too deep: a path of %d bytes", len(prefix))
			}
			row := stream.row.encode()
			prefix = appendElement(prefix, stream.key, endBucket)
			depths = append(depths, len(prefix))
			err = t.add(prefix, row[:])
		case recordUp:
			depths = depths[:len(depths)-1]
			prefix = prefix[:depths[len(depths)-1]]
		}
		if err != nil {
			return err
		}
	}
}
