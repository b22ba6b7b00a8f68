// Package tombstones is the table of objects to delete. While the tombstone of a
// compacted block is held, the block is not added again.
//
//	"tombstones"       name → raftlog.v1.Tombstone
//	"tombstone-order"  since (8) | name: those that no job carries
//	"tombstone-totals" "held" → how many (8), "waiting" → those that no job carries (8)
//	"compacted"        keyspace (1) | point (8) | shard (4) | length, tenant | ULID (16) → name
//	"buried"           keyspace (1) | point (8) | shard (4) | length, tenant | partition (8) → name
package tombstones

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	rowsName      = []byte("tombstones")
	orderName     = []byte("tombstone-order")
	compactedName = []byte("compacted")
	buriedName    = []byte("buried")
	totalsName    = []byte("tombstone-totals")

	errRow = errors.New("tombstones: malformed row")
)

func orderKey(t *raftlogv1.Tombstone) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(t.GetSince())^(1<<63)), t.GetName()...)
}

func ownerKey(tenant string, shard uint32) []byte {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	b := append(make([]byte, 0, 48+len(tenant)), byte(keyspace))
	b = binary.BigEndian.AppendUint64(b, point)
	b = binary.BigEndian.AppendUint32(b, shard)
	b = binary.AppendUvarint(b, uint64(len(tenant)))
	return append(b, tenant...)
}

func compactedKey(tenant string, shard uint32, id ulid.ULID) []byte {
	return append(ownerKey(tenant, shard), id[:]...)
}

// buriedKey has room for one name. Only retention buries partitions, and its names are
// by partition, tenant and shard (planner/retention): one that is made again takes the
// place of the first.
func buriedKey(tenant string, shard uint32, partition uint64) []byte {
	return binary.BigEndian.AppendUint64(ownerKey(tenant, shard), partition)
}

// Writer changes the tombstones in one transaction.
type Writer struct {
	tx     *kv.Tx
	known  *Known
	tables [4]*kv.Bucket // opened when needed
}

// The tables that always are there, in the order they are made.
const (
	rowsTable = iota
	orderTable
	compactedTable
	totalsTable
)

var tableNames = [4][]byte{rowsName, orderName, compactedName, totalsName}

// NewWriter returns a writer for a writable transaction. If that does not commit, known
// must not be used again. nil stands for no knowledge.
func NewWriter(tx *kv.Tx, known *Known) (*Writer, error) {
	if known == nil {
		known = NewKnown()
	}
	w := &Writer{tx: tx, known: known}
	known.owners.Age()
	if known.made {
		return w, nil
	}
	for i, name := range tableNames {
		var err error
		if w.tables[i], err = tx.CreateBucketIfNotExists(name); err != nil {
			return nil, err
		}
	}
	known.made = true
	return w, nil
}

func (w *Writer) table(i int) *kv.Bucket {
	if w.tables[i] == nil {
		w.tables[i] = w.tx.Bucket(tableNames[i])
	}
	return w.tables[i]
}

func (w *Writer) rows() *kv.Bucket      { return w.table(rowsTable) }
func (w *Writer) order() *kv.Bucket     { return w.table(orderTable) }
func (w *Writer) compacted() *kv.Bucket { return w.table(compactedTable) }
func (w *Writer) totals() *kv.Bucket    { return w.table(totalsTable) }

// Compacted tells whether a block is one of those that a tombstone remembers.
func (w *Writer) Compacted(tenant string, shard uint32, id ulid.ULID) bool {
	if w.younger(tenant, shard, id) {
		return false
	}
	return w.compacted().Get(compactedKey(tenant, shard, id)) != nil
}

// Buried tells whether a tombstone takes all objects of a partition of a tenant
// and shard.
func (w *Writer) Buried(tenant string, shard uint32, partition uint64) bool {
	rows := w.tx.Bucket(buriedName)
	if rows == nil {
		return false
	}
	of := ownerKey(tenant, shard)
	k, _ := rows.Cursor().Seek(buriedKey(tenant, shard, partition)) // a later one takes what is before it, too
	return len(k) == len(of)+8 && string(k[:len(of)]) == string(of)
}

// Get returns a tombstone, nil if none of the name is held.
func (w *Writer) Get(name string) (*raftlogv1.Tombstone, error) { return get(w.rows(), name) }

func get(rows *kv.Bucket, name string) (*raftlogv1.Tombstone, error) {
	if name == "" || len(name) > kv.MaxKeySize {
		return nil, nil
	}
	stored := rows.Get([]byte(name))
	if stored == nil {
		return nil, nil
	}
	t := &raftlogv1.Tombstone{}
	if err := t.UnmarshalVT(stored); err != nil {
		return nil, fmt.Errorf("%w %q: %w", errRow, name, err)
	}
	return t, nil
}

// Add holds a tombstone that no job carries. One of the name that is held goes:
// should a job carry it, carrying it out does not drop the new one.
func (w *Writer) Add(t *raftlogv1.Tombstone) error {
	held, err := w.Get(t.GetName())
	if err != nil {
		return err
	}
	if held != nil {
		if err := w.Delete(held); err != nil {
			return err
		}
	}
	for _, text := range t.GetBlocks() {
		id, err := ulid.ParseStrict(text)
		if err != nil {
			return err
		}
		if err := w.compacted().Put(compactedKey(t.GetTenant(), t.GetShard(), id), []byte(t.GetName())); err != nil {
			return err
		}
		w.known.remember(t.GetTenant(), t.GetShard(), id)
	}
	if len(t.GetBlocks()) == 0 {
		rows, err := w.tx.CreateBucketIfNotExists(buriedName)
		if err != nil {
			return err
		}
		if err := rows.Put(buriedKey(t.GetTenant(), t.GetShard(), t.GetPartition()), []byte(t.GetName())); err != nil {
			return err
		}
	}
	if err := w.count(1, 1); err != nil {
		return err
	}
	return w.put(t)
}

func (w *Writer) put(t *raftlogv1.Tombstone) error {
	encoded, err := t.MarshalVT()
	if err != nil {
		return err
	}
	if err := w.rows().Put([]byte(t.GetName()), encoded); err != nil {
		return err
	}
	if t.GetJob() != "" {
		return nil
	}
	return w.order().Put(orderKey(t), nil)
}

// Carry puts a tombstone that no job carries on a job.
func (w *Writer) Carry(t *raftlogv1.Tombstone, job string) error {
	if err := w.order().Delete(orderKey(t)); err != nil {
		return err
	}
	if err := w.count(0, -1); err != nil {
		return err
	}
	t.Job = job
	return w.put(t)
}

// Release takes a tombstone off its job: it waits from a log time on.
func (w *Writer) Release(t *raftlogv1.Tombstone, since int64) error {
	if err := w.count(0, 1); err != nil {
		return err
	}
	t.Job, t.Since = "", since
	return w.put(t)
}

// Delete forgets a tombstone.
func (w *Writer) Delete(t *raftlogv1.Tombstone) error {
	for _, text := range t.GetBlocks() {
		id, err := ulid.ParseStrict(text)
		if err != nil {
			return err
		}
		key := compactedKey(t.GetTenant(), t.GetShard(), id)
		if string(w.compacted().Get(key)) != t.GetName() {
			continue // another one remembers it since
		}
		if err := w.compacted().Delete(key); err != nil {
			return err
		}
	}
	if len(t.GetBlocks()) == 0 {
		if err := w.unbury(t); err != nil {
			return err
		}
	}
	waiting := 0
	if t.GetJob() == "" {
		waiting = -1
		if err := w.order().Delete(orderKey(t)); err != nil {
			return err
		}
	}
	if err := w.count(-1, waiting); err != nil {
		return err
	}
	return w.rows().Delete([]byte(t.GetName()))
}

func (w *Writer) unbury(t *raftlogv1.Tombstone) error {
	rows, key := w.tx.Bucket(buriedName), buriedKey(t.GetTenant(), t.GetShard(), t.GetPartition())
	if rows == nil || string(rows.Get(key)) != t.GetName() {
		return nil
	}
	return rows.Delete(key)
}

// View reads the tombstones in one transaction.
type View struct{ rows, order, totals *kv.Bucket }

// NewView returns a view; the transaction must outlive it.
func NewView(tx *kv.Tx) View {
	return View{tx.Bucket(rowsName), tx.Bucket(orderName), tx.Bucket(totalsName)}
}

// Get returns a tombstone, nil if none of the name is held.
func (v View) Get(name string) (*raftlogv1.Tombstone, error) {
	if v.rows == nil {
		return nil, nil
	}
	return get(v.rows, name)
}

// Waiting lists the tombstones that no job carries, by the time they wait since,
// then by name.
func (v View) Waiting() iter.Seq2[*raftlogv1.Tombstone, error] {
	return func(yield func(*raftlogv1.Tombstone, error) bool) {
		if v.order == nil {
			return
		}
		cursor := v.order.HeadCursor(nil)
		defer cursor.Release()
		for k, _ := cursor.First(); k != nil; k, _ = cursor.Next() {
			if len(k) <= 8 {
				yield(nil, errRow)
				return
			}
			t, err := v.Get(string(k[8:]))
			if err == nil && t == nil {
				err = fmt.Errorf("%w: %q is in the order only", errRow, k[8:])
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// All calls fn for every tombstone, by name, until it returns false.
func (v View) All(fn func(*raftlogv1.Tombstone) bool) error {
	if v.rows == nil {
		return nil
	}
	cursor := v.rows.Cursor()
	for k, stored := cursor.First(); k != nil; k, stored = cursor.Next() {
		t := &raftlogv1.Tombstone{}
		if err := t.UnmarshalVT(stored); err != nil {
			return fmt.Errorf("%w %q: %w", errRow, k, err)
		}
		if !fn(t) {
			return nil
		}
	}
	return nil
}
