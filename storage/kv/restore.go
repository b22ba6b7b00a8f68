package kv

import (
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

// restore replaces the rows by those of the stream. The namespace's writer lock is held.
func (e *Engine) restore(ns *namespace, r io.Reader) error {
	stream, err := newStreamReader(r)
	if err != nil {
		return err
	}
	txID := max(ns.txID+1, stream.txID)
	fill := func(add func(key, value []byte) error) error { return stream.fill(ns.id, txID, add) }
	if err := e.store.Replace(ns.span, fill, ns.replaced); err != nil {
		return err
	}
	ns.txID = txID
	return nil
}

// fill adds the rows of a whole namespace, in order.
func (stream *streamReader) fill(namespace, txID uint64, add func(key, value []byte) error) error {
	meta := metaRow{txID: txID}.encode()
	if err := add(metaKey(namespace), meta[:]); err != nil {
		return err
	}
	prefix := rootPrefix(namespace)
	if stream.rootSequence != 0 {
		row := bucketRow{sequence: stream.rootSequence, nests: true}.encode()
		if err := add(prefix, row[:]); err != nil {
			return err
		}
	}
	depths := []int{len(prefix)}
	for {
		err := stream.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch stream.kind {
		case recordKey:
			err = add(appendElement(prefix, stream.key, endKey), stream.value)
		case recordBucket:
			if len(prefix) > maxHolderBytes {
				return corrupt("buckets nest too deep: a path of %d bytes", len(prefix))
			}
			row := stream.row.encode()
			prefix = appendElement(prefix, stream.key, endBucket)
			depths = append(depths, len(prefix))
			err = add(prefix, row[:])
		case recordUp:
			depths = depths[:len(depths)-1]
			prefix = prefix[:depths[len(depths)-1]]
		}
		if err != nil {
			return err
		}
	}
}
