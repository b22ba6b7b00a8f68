package kv

import "fmt"

// CheckOption exists for programs written for bbolt.
type CheckOption func()

// maxCheckErrors bounds what one Check reports.
const maxCheckErrors = 100

// Check reads every row the transaction sees and returns what is wrong with them, at most a
// hundred faults, in a closed channel. It may be called from several goroutines at once on a
// reading transaction.
func (tx *Tx) Check(...CheckOption) <-chan error {
	faults := make(chan error, maxCheckErrors+1)
	defer close(faults)
	if tx.db == nil {
		faults <- ErrTxClosed
		return faults
	}
	report := func(err error) (more bool) {
		if err != nil {
			faults <- err
		}
		return len(faults) < maxCheckErrors
	}
	if _, err := readMeta(tx.reader, tx.db.ns.id); !report(err) {
		return faults
	}
	it, err := tx.reader.NewIter(iterOptions(tx.root.lower, tx.root.upper))
	if err != nil {
		report(fmt.Errorf("kv: check: %w", err))
		return faults
	}
	walk := newWalker(tx.root.prefix)
	for ok := it.First(); ok; ok = it.Next() {
		if v, err := it.ValueAndErr(); !report(checkRow(walk, it.Key(), v, err)) {
			break
		}
	}
	report(it.Error())
	_ = it.Close() // the same error again
	return faults
}

// checkRow returns what is wrong with the next row.
func checkRow(walk *walker, key, value []byte, err error) error {
	if err == nil {
		_, err = walk.step(key)
	}
	if err == nil && walk.kind == kindBucket {
		_, err = decodeBucketRow(value)
	}
	if err != nil {
		return fmt.Errorf("kv: check: row %q: %w", key, err)
	}
	return nil
}
