// Package ranges is the table of the ranges that a group owns. It is the
// authority on ownership: the directory decides, routers guess, and every
// command and every read is checked here, against the same state as the data
// it touches.
//
// Layout: root bucket "ranges", key range id (8 bytes, big endian), value
// cluster.v1.Range.
package ranges

import (
	"encoding/binary"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var bucketName = []byte("ranges")

// Table is the group's ranges as of one transaction.
type Table struct{ rows []*clusterv1.Range }

// Load reads the table.
func Load(tx *kv.Tx) (Table, error) {
	bucket := tx.Bucket(bucketName)
	if bucket == nil {
		return Table{}, nil
	}
	var table Table
	err := bucket.ForEach(func(k, v []byte) error {
		row := &clusterv1.Range{}
		if err := row.UnmarshalVT(v); err != nil {
			return fmt.Errorf("ranges: malformed row %x: %w", k, err)
		}
		table.rows = append(table.rows, row)
		return nil
	})
	return table, err
}

// Put stores a range.
func Put(tx *kv.Tx, row *clusterv1.Range) error {
	bucket, err := tx.CreateBucketIfNotExists(bucketName)
	if err != nil {
		return err
	}
	encoded, err := row.MarshalVT()
	if err != nil {
		return err
	}
	return bucket.Put(binary.BigEndian.AppendUint64(nil, row.GetRangeId()), encoded)
}

// Rows returns the ranges in order of id. The caller must not change them.
func (t Table) Rows() []*clusterv1.Range { return t.rows }

// Check tells whether the group owns the whole span at the epoch that the
// request believes. If not it returns why, with the group's own descriptors.
func (t Table) Check(ref *clusterv1.RangeRef) *clusterv1.RouteError {
	var overlapping []*clusterv1.Range
	for _, row := range t.rows {
		if row.Covers(ref) {
			switch {
			case row.GetEpoch() == ref.GetEpoch():
				return nil
			case row.GetEpoch() < ref.GetEpoch():
				return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_EPOCH_AHEAD}
			default:
				return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_STALE_EPOCH, Current: []*clusterv1.Range{row}}
			}
		}
		if row.Overlaps(ref) {
			overlapping = append(overlapping, row)
		}
	}
	return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_OWNER, Current: overlapping}
}
