// Package outbox is the table of transfers: blocks of tenants that jobs of a
// stream made, and that wait to be taken over by the tenants' groups. The blocks
// themselves are in the index, with the stream (index.OutboxKey), so queries see
// them from the moment the job completed.
//
//	"outbox"
//	  'x' point (8) shard (4)                          last number given in the stream
//	  't' point (8) shard (4) tenant                   last number given to the tenant
//	  'e' point (8) shard (4) tenant, ordered, x (8)   raftlog.v1.Transfer
//
// The transfers of a stream and tenant form a chain: each names the one before,
// so that they can be accepted in order and once.
package outbox

import (
	"encoding/binary"
	"errors"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/ordered"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	rowsName = []byte("outbox")

	errRow = errors.New("outbox: malformed row")
)

func streamKey(tag byte, shard uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{tag}, clusterv1.StreamPoint(shard))
	return binary.BigEndian.AppendUint32(b, shard)
}

func tenantKey(shard uint32, tenant string) []byte { return append(streamKey('t', shard), tenant...) }

func entryKey(shard uint32, tenant string, x uint64) []byte {
	return binary.BigEndian.AppendUint64(ordered.Append(streamKey('e', shard), tenant), x)
}

// Writer changes the outbox in one transaction.
type Writer struct{ rows *kv.Bucket }

// NewWriter returns a writer for a writable transaction.
func NewWriter(tx *kv.Tx) (*Writer, error) {
	rows, err := tx.CreateBucketIfNotExists(rowsName)
	return &Writer{rows}, err
}

// Next returns the number of a stream's next transfers: one for all tenants of a
// job.
func (w *Writer) Next(shard uint32) (uint64, error) {
	key := streamKey('x', shard)
	last, err := number(w.rows.Get(key))
	if err != nil {
		return 0, err
	}
	return last + 1, w.rows.Put(key, binary.BigEndian.AppendUint64(nil, last+1))
}

// Issue adds a transfer to a tenant, behind the last one.
func (w *Writer) Issue(shard uint32, tenant string, x uint64, blocks []string) error {
	issued := tenantKey(shard, tenant)
	previous, err := number(w.rows.Get(issued))
	if err != nil {
		return err
	}
	encoded, err := (&raftlogv1.Transfer{Previous: previous, Blocks: blocks}).MarshalVT()
	if err != nil {
		return err
	}
	if err := w.rows.Put(entryKey(shard, tenant, x), encoded); err != nil {
		return err
	}
	return w.rows.Put(issued, binary.BigEndian.AppendUint64(nil, x))
}

// Empty takes the blocks out of a tenant's transfers, which stay: the chain must
// not break.
func (w *Writer) Empty(shard uint32, tenant string) error {
	first := ordered.Append(streamKey('e', shard), tenant)
	cursor := w.rows.Cursor()
	for k, stored := cursor.Seek(first); len(k) == len(first)+8 && string(k[:len(first)]) == string(first); k, stored = cursor.Next() {
		transfer := &raftlogv1.Transfer{}
		if err := transfer.UnmarshalVT(stored); err != nil {
			return errRow
		}
		transfer.Blocks = nil
		encoded, err := transfer.MarshalVT()
		if err != nil {
			return err
		}
		if err := w.rows.Put(k, encoded); err != nil {
			return err
		}
	}
	return nil
}

func number(stored []byte) (uint64, error) {
	switch len(stored) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(stored), nil
	}
	return 0, errRow
}
