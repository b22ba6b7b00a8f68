package pyroscopedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// anonymous is the directory of blocks without a tenant. A tenant of that name
// has its blocks there, too.
const anonymous = "-"

var (
	indexKey   = []byte(".index")
	stringsKey = []byte(".strings")
)

// ErrPlace means that a bucket has a name that says nothing: what is in it is not
// read.
var ErrPlace = errors.New("the bucket's name is malformed")

// Place is where a shard's blocks are filed.
type Place struct {
	// Of the partition, by creation time of the blocks.
	Start    time.Time
	Duration time.Duration
	// The tenant, or "-".
	Directory string
	Shard     uint32
}

// String is for people.
func (p Place) String() string {
	return fmt.Sprintf("partition %s+%s, tenant %.64q, shard %d", p.Start.UTC().Format("2006-01-02T15:04Z"), p.Duration, p.Directory, p.Shard)
}

// Shard is the blocks of one tenant and shard in one partition. It is valid until
// the next one is asked for.
type Shard struct {
	Place
	bucket *bbolt.Bucket
	names  [][]byte
}

// Shards yields all shards, in the order of partition, directory and shard. A
// *DamageError comes without a shard, and others follow it.
func (d *DB) Shards() iter.Seq2[*Shard, error] {
	return func(yield func(*Shard, error) bool) {
		yield = shielded(yield)
		err := d.view(func(tx *bbolt.Tx) error {
			walk{yield: yield}.root(tx.Bucket(partitionName))
			return nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// walk goes through the levels of buckets above shards.
type walk struct {
	yield func(*Shard, error) bool
	names [][]byte
	place Place
}

// in goes one level down.
func (w walk) in(name []byte) walk {
	w.names = append(w.names[:len(w.names):len(w.names)], name)
	return w
}

// damaged tells of a bucket or row.
func (w walk) damaged(err error) bool {
	return w.yield(nil, &DamageError{path(w.names...), err})
}

func (w walk) root(bucket *bbolt.Bucket) bool {
	return w.in(partitionName).each(bucket, func(w walk, name []byte, bucket *bbolt.Bucket) bool {
		start, duration, err := decodePartition(name)
		if err != nil {
			return w.damaged(err)
		}
		w.place.Start, w.place.Duration = start, duration
		return w.each(bucket, walk.directory)
	})
}

func (w walk) directory(name []byte, bucket *bbolt.Bucket) bool {
	if !utf8.Valid(name) || len(name) > metastorev1.MaxTenantBytes {
		return w.damaged(fmt.Errorf("%w: a tenant of %d bytes", ErrPlace, len(name)))
	}
	w.place.Directory = string(name)
	return w.each(bucket, walk.shard)
}

func (w walk) shard(name []byte, bucket *bbolt.Bucket) bool {
	if len(name) != 4 {
		return w.damaged(fmt.Errorf("%w: a shard of %d bytes, want 4", ErrPlace, len(name)))
	}
	w.place.Shard = binary.BigEndian.Uint32(name)
	return w.yield(&Shard{w.place, bucket, w.names}, nil)
}

// each calls down for the buckets in a bucket; it returns false once down does.
func (w walk) each(bucket *bbolt.Bucket, down func(walk, []byte, *bbolt.Bucket) bool) bool {
	cursor := bucket.Cursor()
	for name, value := cursor.First(); name != nil; name, value = cursor.Next() {
		inner := w.in(name)
		if value != nil {
			if !inner.damaged(errors.New("a value where a bucket is expected")) {
				return false
			}
			continue
		}
		if !down(inner, name, bucket.Bucket(name)) {
			return false
		}
	}
	return true
}

func decodePartition(name []byte) (time.Time, time.Duration, error) {
	if len(name) != 12 {
		return time.Time{}, 0, fmt.Errorf("%w: a partition of %d bytes, want 12", ErrPlace, len(name))
	}
	start, seconds := binary.BigEndian.Uint64(name), binary.BigEndian.Uint32(name[8:])
	if start > math.MaxInt64 || seconds == 0 {
		return time.Time{}, 0, fmt.Errorf("%w: a partition from %d of %d s", ErrPlace, start, seconds)
	}
	return time.Unix(0, int64(start)), time.Duration(seconds) * time.Second, nil
}

// Blocks yields the shard's blocks by id, each with a string table of its own. A
// *DamageError comes without a block, and others follow it.
func (s *Shard) Blocks() iter.Seq2[*metastorev1.BlockMeta, error] {
	return func(yield func(*metastorev1.BlockMeta, error) bool) {
		yield = shielded(yield)
		err := guarded(func() error {
			s.rows(yield)
			return nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

func (s *Shard) rows(yield func(*metastorev1.BlockMeta, error) bool) {
	damaged := func(key []byte, err error) bool {
		return yield(nil, &DamageError{path(append(s.names[:len(s.names):len(s.names)], key)...), err})
	}
	table := s.strings()
	if table.fault != nil && !damaged(stringsKey, table.fault) {
		return
	}
	resolver := newResolver(table)
	cursor := s.bucket.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		if string(key) == string(stringsKey) {
			continue
		}
		block, err := s.row(resolver, key, value)
		if err != nil {
			if !damaged(key, err) {
				return
			}
		} else if block != nil && !yield(block, nil) {
			return
		}
	}
}

// row returns the block of a row, nil if it is a row of another kind.
func (s *Shard) row(resolver *resolver, key, value []byte) (*metastorev1.BlockMeta, error) {
	if string(key) == string(indexKey) {
		// It only bounds the data, and Skerry knows that by the blocks. Older files have 16
		// bytes, or no row.
		if n := len(value); n != 16 && n != 24 {
			return nil, fmt.Errorf("%w: %d bytes, want 24", errRow, n)
		}
		return nil, nil
	}
	if value == nil {
		return nil, errors.New("a bucket where a block is expected")
	}
	return resolver.block(key, value, s.Place)
}

func (s *Shard) strings() *stringTable {
	table := newStringTable()
	bucket := s.bucket.Bucket(stringsKey)
	if bucket == nil {
		return table
	}
	cursor := bucket.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		table.add(key, value)
	}
	return table
}
