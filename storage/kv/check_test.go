package kv

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// healthy makes a namespace with buckets in buckets, awkward names, sequences and a move.
func healthy(t *testing.T, db *DB) {
	update(t, db, func(tx *Tx) error {
		a, err := tx.CreateBucket([]byte("a\x00b"))
		must(t, err)
		inner, err := a.CreateBucket([]byte{0})
		must(t, err)
		must(t, inner.Put([]byte("k"), []byte("v")))
		must(t, a.Put([]byte("k\x00\xff"), nil))
		must(t, a.SetSequence(7))
		must(t, created(tx.CreateBucket([]byte("plain"))))
		must(t, tx.Bucket([]byte("plain")).Put([]byte("k"), nil))
		return tx.MoveBucket([]byte("plain"), nil, a)
	})
}

// TestCheckFinds damages one row at a time and expects exactly the fault of that damage.
func TestCheckFinds(t *testing.T) {
	const id = 3
	root := rootPrefix(id)
	bucket := func(names ...string) []byte {
		key := append([]byte(nil), root...)
		for _, name := range names {
			key = appendElement(key, []byte(name), endBucket)
		}
		return key
	}
	key := func(name string, buckets ...string) []byte {
		return appendElement(bucket(buckets...), []byte(name), endKey)
	}
	plain := bucketRow{}.encode()
	lower, _ := namespaceSpan(id)
	for name, damage := range map[string]struct {
		do   func(b *pebble.Batch) error
		want string
	}{
		"meta row gone": {
			func(b *pebble.Batch) error { return b.Delete(metaKey(id), nil) },
			"counts commits is missing"},
		"meta row cut": {
			func(b *pebble.Batch) error { return b.Set(metaKey(id), []byte{layoutVersion}, nil) },
			"malformed meta row"},
		"meta row of a later layout": {
			func(b *pebble.Batch) error { return b.Set(metaKey(id), []byte{layoutVersion + 1}, nil) },
			"newer than"},
		"commit never given": {
			func(b *pebble.Batch) error {
				row := metaRow{txID: firstTxID}.encode()
				return b.Set(metaKey(id), row[:], nil)
			},
			"never given"},
		"bucket row gone": {
			func(b *pebble.Batch) error { return b.Delete(bucket("a\x00b", "plain"), nil) },
			`inside the missing bucket "plain"`},
		"bucket row cut": {
			func(b *pebble.Batch) error { return b.Set(bucket("a\x00b", "plain"), plain[:8], nil) },
			"malformed bucket row of 8"},
		"bucket row with an unknown mark": {
			func(b *pebble.Batch) error {
				return b.Set(bucket("a\x00b", "plain"), []byte{0, 0, 0, 0, 0, 0, 0, 0, 2}, nil)
			},
			"malformed bucket row of 9"},
		"mark lost": {
			func(b *pebble.Batch) error { return b.Set(bucket("a\x00b"), plain[:], nil) },
			"not marked so"},
		"root row cut": {
			func(b *pebble.Batch) error { return b.Set(root, nil, nil) },
			"malformed bucket row of 0"},
		"orphan": {
			func(b *pebble.Batch) error { return b.Set(key("k", "b"), nil, nil) },
			`inside the missing bucket "b"`},
		"key in the root": {
			func(b *pebble.Batch) error { return b.Set(key("k"), nil, nil) },
			"in the root"},
		"both kinds": {
			func(b *pebble.Batch) error { return b.Set(key("plain", "a\x00b"), nil, nil) },
			"both key and bucket"},
		"escape unknown": {
			func(b *pebble.Batch) error { return b.Set(append(bucket("a\x00b"), 'x', 0, 9), nil, nil) },
			"malformed row key"},
		"escape cut": {
			func(b *pebble.Batch) error { return b.Set(append(bucket("a\x00b"), 'x', 0), nil, nil) },
			"malformed row key"},
		"empty name": {
			func(b *pebble.Batch) error { return b.Set(append(bucket("a\x00b"), 0, endKey), nil, nil) },
			"malformed row key"},
		"bytes behind a key": {
			func(b *pebble.Batch) error { return b.Set(append(key("k", "a\x00b"), 'x'), nil, nil) },
			"malformed row key"},
		"name too long": {
			func(b *pebble.Batch) error {
				return b.Set(key(strings.Repeat("x", MaxKeySize+1), "a\x00b"), nil, nil)
			},
			"a name of 32769 bytes"},
		"no area": {
			func(b *pebble.Batch) error { return b.Set(append(lower, areaRoot+1), nil, nil) },
			"outside of all buckets"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			e := testEngine(t, fs, EngineOptions{})
			healthy(t, namespaceDB(t, e, id))
			healthy(t, namespaceDB(t, e, id+1))
			expectFaults(t, namespaceDB(t, e, id))
			b := e.pebble.NewBatch()
			must(t, damage.do(b))
			must(t, b.Commit(pebble.NoSync))
			expectFaults(t, namespaceDB(t, e, id), damage.want)
			expectFaults(t, namespaceDB(t, e, id+1))
		})
	}
}

// expectFaults checks a database and demands one fault with each text.
func expectFaults(t *testing.T, db *DB, want ...string) {
	t.Helper()
	must(t, db.View(func(tx *Tx) error {
		faults, err := Check(context.Background(), tx)
		must(t, err)
		if len(faults) != len(want) {
			t.Errorf("%d faults, want %d: %v", len(faults), len(want), faults)
		}
		for i := range min(len(faults), len(want)) {
			if !strings.Contains(faults[i].Error(), want[i]) {
				t.Errorf("fault %q, want %q", faults[i], want[i])
			}
		}
		listed := 0
		for range tx.Check() {
			listed++
		}
		if listed != len(faults) {
			t.Errorf("%d faults in the channel, %d in the list", listed, len(faults))
		}
		return nil
	}))
}

// TestCheckOffline checks a store that is open for reading only, as a command for operators does.
func TestCheckOffline(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	healthy(t, namespaceDB(t, e, 1))
	must(t, e.pebble.Set(appendElement(rootPrefix(1), []byte("k"), endKey), nil, pebble.NoSync))
	must(t, e.Close())
	e, err = OpenEngine(dir, EngineOptions{ReadOnly: true})
	must(t, err)
	expectFaults(t, namespaceDB(t, e, 1), "in the root")
	must(t, namespaceDB(t, e, 1).View(func(tx *Tx) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Check(ctx, tx); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled check: %v", err)
		}
		return nil
	}))
	must(t, e.Close())
}

func TestCheckBoundsFaults(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	db := namespaceDB(t, e, 1)
	healthy(t, db)
	for i := range 2 * maxFaults {
		must(t, e.pebble.Set(appendElement(rootPrefix(1), []byte{byte(i), 'x'}, endKey), nil, pebble.NoSync))
	}
	tx, err := db.Begin(false)
	must(t, err)
	faults, err := Check(context.Background(), tx)
	must(t, err)
	if len(faults) != maxFaults {
		t.Errorf("%d faults", len(faults))
	}
	must(t, tx.Rollback())
	if _, err := Check(context.Background(), tx); err != ErrTxClosed {
		t.Errorf("check of a closed transaction: %v", err)
	}
}
