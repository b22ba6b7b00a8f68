package pyroscopedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

var (
	partitionName  = []byte("partition")
	queueName      = []byte("compaction_block_queue")
	plansName      = []byte("compaction_job_plan")
	tombstonesName = []byte("tombstones")
	raftName       = []byte("raft")
	appliedKey     = []byte("term.applied_index")
)

var (
	// ErrInUse means that a process has the database open for writing.
	ErrInUse = errors.New("another process has the database open: stop Pyroscope's metastore, or take one of its snapshots")
	// ErrNotPyroscope means that the file is no database of a metastore.
	ErrNotPyroscope = errors.New("not a database of a Pyroscope v2 metastore")
	// ErrCorrupt means that the file itself is damaged, and not just a row: nothing
	// of it can be trusted.
	ErrCorrupt = errors.New("the database file is damaged: take a newer copy, or another replica's")
)

// DamageError tells of a row that cannot be used. Others can.
type DamageError struct {
	// Names of the buckets and the key, readable, separated by slashes.
	Path string
	Err  error
}

func (e *DamageError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the row.
func (e *DamageError) Unwrap() error { return e.Err }

// DB is an open database. It is safe for concurrent use.
type DB struct {
	bolt *bbolt.DB
	// Where it came from, for people.
	source string
}

// lockTimeout is how long a database may be in use.
const lockTimeout = time.Second

// Open opens a BoltDB file for reading.
func Open(path string) (*DB, error) { return openAs(path, path) }

func openAs(path, source string) (_ *DB, err error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: want a BoltDB file; a directory with a snapshot is read with -snapshot", path)
	}
	d := &DB{source: source}
	err = guarded(func() error {
		d.bolt, err = bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
		return err
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w", source, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("%s is not a BoltDB file, or damaged: %w", source, err)
	}
	if err := d.view(checkKind); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", source, err), d.Close())
	}
	return d, nil
}

func checkKind(tx *bbolt.Tx) error {
	if tx.Bucket(partitionName) != nil {
		return nil
	}
	var names []string
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if len(names) < 10 {
			names = append(names, readable(name))
		}
		return nil
	})
	return errors.Join(fmt.Errorf("%w: it has no bucket %q, but %q", ErrNotPyroscope, partitionName, names), err)
}

// Close closes the database.
func (d *DB) Close() error { return d.bolt.Close() }

// String tells where the database came from.
func (d *DB) String() string { return d.source }

// Applied returns the term and index of the last Raft entry that the database
// holds; zero if it does not say.
func (d *DB) Applied() (term, index uint64, err error) {
	err = d.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(raftName)
		if bucket == nil {
			return nil
		}
		stored := bucket.Get(appliedKey)
		if stored == nil {
			return nil
		}
		if len(stored) != 16 {
			return &DamageError{path(raftName, appliedKey), fmt.Errorf("%d bytes, want 16", len(stored))}
		}
		term, index = binary.BigEndian.Uint64(stored), binary.BigEndian.Uint64(stored[8:])
		return nil
	})
	return term, index, err
}

// view reads in one transaction.
func (d *DB) view(fn func(*bbolt.Tx) error) error {
	return guarded(func() error { return d.bolt.View(fn) })
}

// callerPanic carries a panic of who is called back past guarded.
type callerPanic struct{ value any }

// shielded calls back: what panics there is not the file's fault.
func shielded[T any](yield func(T, error) bool) func(T, error) bool {
	return func(value T, err error) bool {
		defer func() {
			if r := recover(); r != nil {
				panic(callerPanic{r})
			}
		}()
		return yield(value, err)
	}
}

// guarded turns what the BoltDB library does with a damaged file into an error: it
// panics, or follows an offset out of the file.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case callerPanic:
			panic(r.value)
		default:
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	return fn()
}

// path writes names of buckets and keys for people.
func path(names ...[]byte) string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = readable(name)
	}
	return strings.Join(words, "/")
}

// readable is a name as it is if that is plain text, and else in hexadecimal.
func readable(name []byte) string {
	const most = 200
	for _, b := range name {
		if b < ' ' || b >= 0x7f {
			if len(name) > most {
				return fmt.Sprintf("%x…", name[:most])
			}
			return fmt.Sprintf("%x", name)
		}
	}
	if len(name) > most {
		return string(name[:most]) + "…"
	}
	return string(name)
}
