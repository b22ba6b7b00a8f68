// Package deletions is the table of tenants whose data was deleted, and until
// when. It hides what cannot be removed at once, and keeps out what comes late.
//
//	"deletions"  keyspace (1) | tenant → raftlog.v1.Deletion
package deletions

import (
	"errors"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	rowsName = []byte("deletions")

	errRow = errors.New("deletions: malformed row")
)

func key(keyspace clusterv1.Keyspace, tenant string) []byte {
	return append([]byte{byte(keyspace)}, tenant...)
}

// Put remembers a deletion, unless one up to the same moment, or a later one, is
// remembered: then nothing changes, so repeating a deletion does not reach what
// came since.
func Put(tx *kv.Tx, keyspace clusterv1.Keyspace, tenant string, deletion *raftlogv1.Deletion) error {
	rows, err := tx.CreateBucketIfNotExists(rowsName)
	if err != nil {
		return err
	}
	before, err := Get(tx, keyspace, tenant)
	if err != nil || before != nil && before.GetUntil() >= deletion.GetUntil() {
		return err
	}
	encoded, err := deletion.MarshalVT()
	if err != nil {
		return err
	}
	return rows.Put(key(keyspace, tenant), encoded)
}

// Get returns what is remembered of a tenant in a keyspace, nil for nothing.
func Get(tx *kv.Tx, keyspace clusterv1.Keyspace, tenant string) (*raftlogv1.Deletion, error) {
	rows := tx.Bucket(rowsName)
	if rows == nil {
		return nil, nil
	}
	stored := rows.Get(key(keyspace, tenant))
	if stored == nil {
		return nil, nil
	}
	deletion := &raftlogv1.Deletion{}
	if err := deletion.UnmarshalVT(stored); err != nil {
		return nil, fmt.Errorf("%w: tenant %q: %w", errRow, tenant, err)
	}
	return deletion, nil
}

// Known is the whole table in memory; deletions are rare.
type Known map[clusterv1.Keyspace]map[string]uint64

// Load reads the table.
func Load(tx *kv.Tx) (Known, error) {
	rows := tx.Bucket(rowsName)
	if rows == nil {
		return nil, nil
	}
	known := Known{}
	cursor := rows.Cursor()
	for k, stored := cursor.First(); k != nil; k, stored = cursor.Next() {
		deletion := &raftlogv1.Deletion{}
		if err := deletion.UnmarshalVT(stored); err != nil {
			return nil, fmt.Errorf("%w: tenant %q: %w", errRow, k[1:], err)
		}
		keyspace := clusterv1.Keyspace(k[0])
		if known[keyspace] == nil {
			known[keyspace] = map[string]uint64{}
		}
		known[keyspace][string(k[1:])] = deletion.GetUntil()
	}
	return known, nil
}

// Until returns up to when a tenant was deleted in a keyspace, Unix milliseconds; false
// if it was not.
func (k Known) Until(keyspace clusterv1.Keyspace, tenant string) (uint64, bool) {
	until, deleted := k[keyspace][tenant]
	return until, deleted
}

// Hidden returns what the function Hidden does, of all tenants.
func (k Known) Hidden() map[string]uint64 { return k[clusterv1.Keyspace_KEYSPACE_STREAM] }

// Hidden returns the moments up to which segments' datasets are hidden, by
// tenant, Unix milliseconds; of all tenants, or of those asked for.
func Hidden(tx *kv.Tx, tenants ...string) (map[string]uint64, error) {
	rows := tx.Bucket(rowsName)
	if rows == nil {
		return nil, nil
	}
	hidden := map[string]uint64{}
	const keyspace = clusterv1.Keyspace_KEYSPACE_STREAM
	for _, tenant := range tenants {
		deletion, err := Get(tx, keyspace, tenant)
		if err != nil {
			return nil, err
		}
		if deletion != nil {
			hidden[tenant] = deletion.GetUntil()
		}
	}
	if len(tenants) > 0 {
		return hidden, nil
	}
	cursor := rows.Cursor()
	for k, stored := cursor.Seek([]byte{byte(keyspace)}); len(k) > 0 && k[0] == byte(keyspace); k, stored = cursor.Next() {
		deletion := &raftlogv1.Deletion{}
		if err := deletion.UnmarshalVT(stored); err != nil {
			return nil, fmt.Errorf("%w: tenant %q: %w", errRow, k[1:], err)
		}
		hidden[string(k[1:])] = deletion.GetUntil()
	}
	return hidden, nil
}
