// Package ranges is the table of the ranges that a group owns. It is the
// authority on ownership: the directory decides, routers guess, and every
// command and every read is checked here, against the same state as the data
// it touches.
//
// Layout: root bucket "ranges", key range id (8 bytes, big endian), value
// cluster.v1.Range, without operation_id.
package ranges

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	bucketName = []byte("ranges")

	errMissing = errors.New("ranges: the table is missing")
)

// Table is the group's ranges as of one transaction.
type Table struct {
	// In a map's order. They do not overlap.
	rows []*clusterv1.Range
	// Where in rows the STREAM keyspace begins.
	streams int
}

// Load reads the table.
func Load(tx *kv.Tx) (Table, error) {
	bucket := tx.Bucket(bucketName)
	if bucket == nil {
		return Table{}, nil
	}
	var rows []*clusterv1.Range
	err := bucket.ForEach(func(k, v []byte) error {
		row := &clusterv1.Range{}
		if err := row.UnmarshalVT(v); err != nil {
			return fmt.Errorf("ranges: malformed row %x: %w", k, err)
		}
		rows = append(rows, row)
		return nil
	})
	return newTable(rows), err
}

func newTable(rows []*clusterv1.Range) Table {
	clusterv1.SortRanges(rows)
	streams := sort.Search(len(rows), func(i int) bool { return rows[i].GetKeyspace() >= clusterv1.Keyspace_KEYSPACE_STREAM })
	return Table{rows, streams}
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
	return bucket.Put(key(row.GetRangeId()), encoded)
}

// Delete removes a range.
func Delete(tx *kv.Tx, id uint64) error {
	bucket := tx.Bucket(bucketName)
	if bucket == nil {
		return errMissing
	}
	return bucket.Delete(key(id))
}

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// Rows returns the ranges in a map's order: by keyspace, then by their points.
// The caller must not change them.
func (t Table) Rows() []*clusterv1.Range { return t.rows }

// Row returns the range of an id, nil if the group does not own it.
func (t Table) Row(id uint64) *clusterv1.Range {
	i := slices.IndexFunc(t.rows, func(row *clusterv1.Range) bool { return row.GetRangeId() == id })
	if i < 0 {
		return nil
	}
	return t.rows[i]
}

// Overlapping returns the ranges that share a point with the span, in order of
// their points. The caller must not change them.
func (t Table) Overlapping(span *clusterv1.RangeRef) []*clusterv1.Range {
	rows := t.rows[:t.streams]
	if span.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
		rows = t.rows[t.streams:]
	}
	// The last one that begins at the span or before it, and those after it.
	from := sort.Search(len(rows), func(i int) bool { return rows[i].GetLo() > span.GetLo() })
	if from > 0 && rows[from-1].Overlaps(span) {
		from--
	}
	to := from
	for to < len(rows) && rows[to].Overlaps(span) {
		to++
	}
	return slices.Clip(rows[from:to])
}

// Check tells whether the group owns the whole span at the epoch that the
// request believes. If not it returns why, with the group's own descriptors: a
// span over several ranges is not owned as such, whoever owns them, because the
// request believed in one range.
func (t Table) Check(ref *clusterv1.RangeRef) *clusterv1.RouteError {
	overlapping := t.Overlapping(ref)
	if len(overlapping) != 1 || !overlapping[0].Covers(ref) {
		return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_OWNER, Current: overlapping}
	}
	switch row := overlapping[0]; {
	case row.GetEpoch() == ref.GetEpoch():
		return nil
	case row.GetEpoch() < ref.GetEpoch():
		return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_EPOCH_AHEAD}
	default:
		return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_STALE_EPOCH, Current: overlapping}
	}
}
