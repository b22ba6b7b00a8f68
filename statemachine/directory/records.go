package directory

import (
	"encoding/binary"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Writer reads and changes single records in one transaction. What it returns
// belongs to the caller.
type Writer struct{ root, nodes, groups, ranges, operations *kv.Bucket }

// NewWriter returns a writer for a writable transaction; nil before Bootstrap.
func NewWriter(tx *kv.Tx) (*Writer, error) {
	root := tx.Bucket(bucketName)
	if root == nil {
		return nil, nil
	}
	// Clusters of the first releases have no operations.
	w := &Writer{root: root, operations: root.Bucket(operationsName)}
	for _, table := range []struct {
		name   []byte
		bucket **kv.Bucket
	}{{nodesName, &w.nodes}, {groupsName, &w.groups}, {rangesName, &w.ranges}} {
		var err error
		if *table.bucket, err = root.CreateBucketIfNotExists(table.name); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Cluster returns the root record.
func (w *Writer) Cluster() (*clusterv1.Cluster, error) {
	cluster := &clusterv1.Cluster{}
	return cluster, get(clusterKey, w.root.Get(clusterKey), cluster)
}

// PutCluster stores the root record.
func (w *Writer) PutCluster(cluster *clusterv1.Cluster) error {
	return put(w.root, clusterKey, cluster)
}

// Node returns a node, nil if there is none of the id.
func (w *Writer) Node(id string) (*clusterv1.Node, error) {
	if id == "" || len(id) > kv.MaxKeySize {
		return nil, nil
	}
	return find[clusterv1.Node](w.nodes, []byte(id))
}

// PutNode stores a node.
func (w *Writer) PutNode(node *clusterv1.Node) error {
	return put(w.nodes, []byte(node.GetNodeId()), node)
}

// Nodes lists all nodes, by id.
func (w *Writer) Nodes() ([]*clusterv1.Node, error) { return all[clusterv1.Node](w.nodes) }

// Group returns a group, nil if there is none of the id.
func (w *Writer) Group(id uint64) (*clusterv1.Group, error) {
	return find[clusterv1.Group](w.groups, idKey(id))
}

// PutGroup stores a group.
func (w *Writer) PutGroup(group *clusterv1.Group) error {
	return put(w.groups, idKey(group.GetGroupId()), group)
}

// Groups lists all groups, by id.
func (w *Writer) Groups() ([]*clusterv1.Group, error) { return all[clusterv1.Group](w.groups) }

// Range returns a range, nil if there is none of the id.
func (w *Writer) Range(id uint64) (*clusterv1.Range, error) {
	return find[clusterv1.Range](w.ranges, idKey(id))
}

// PutRange stores a range.
func (w *Writer) PutRange(row *clusterv1.Range) error {
	return put(w.ranges, idKey(row.GetRangeId()), row)
}

// DeleteRange removes a range.
func (w *Writer) DeleteRange(id uint64) error { return w.ranges.Delete(idKey(id)) }

// CountRanges returns how many ranges there are.
func (w *Writer) CountRanges() (n int, err error) {
	err = w.ranges.ForEach(func([]byte, []byte) error { n++; return nil })
	return n, err
}

// Operation returns an operation, nil if there is none of the id (any more).
func (w *Writer) Operation(id uint64) (*clusterv1.Operation, error) {
	if w.operations == nil {
		return nil, nil
	}
	return find[clusterv1.Operation](w.operations, idKey(id))
}

// PutOperation stores an operation.
func (w *Writer) PutOperation(op *clusterv1.Operation) (err error) {
	if w.operations, err = w.root.CreateBucketIfNotExists(operationsName); err != nil {
		return err
	}
	return put(w.operations, idKey(op.GetOperationId()), op)
}

// DeleteOperation forgets an operation.
func (w *Writer) DeleteOperation(id uint64) error { return w.operations.Delete(idKey(id)) }

// Operations lists the operations that run, and the last ones that ended; the
// oldest first.
func (w *Writer) Operations() ([]*clusterv1.Operation, error) {
	return operations(w.root)
}

// LoadOperations is Writer.Operations for a transaction that only reads.
func LoadOperations(tx *kv.Tx) ([]*clusterv1.Operation, error) {
	root := tx.Bucket(bucketName)
	if root == nil {
		return nil, nil
	}
	return operations(root)
}

func operations(root *kv.Bucket) ([]*clusterv1.Operation, error) {
	bucket := root.Bucket(operationsName)
	if bucket == nil {
		return nil, nil
	}
	return all[clusterv1.Operation](bucket)
}

// message is a pointer to a record of type T.
type message[T any] interface {
	*T
	record
}

func find[T any, M message[T]](bucket *kv.Bucket, key []byte) (M, error) {
	stored := bucket.Get(key)
	if stored == nil {
		return nil, nil
	}
	m := M(new(T))
	return m, get(key, stored, m)
}

func all[T any, M message[T]](bucket *kv.Bucket) ([]M, error) {
	var records []M
	err := bucket.ForEach(func(k, v []byte) error {
		m := M(new(T))
		records = append(records, m)
		return get(k, v, m)
	})
	return records, err
}

func put(bucket *kv.Bucket, key []byte, r record) error {
	encoded, err := r.MarshalVT()
	if err != nil {
		return err
	}
	return bucket.Put(key, encoded)
}

func get(key, stored []byte, r record) error {
	if stored == nil {
		return fmt.Errorf("directory: record %q is missing", key)
	}
	if err := r.UnmarshalVT(stored); err != nil {
		return fmt.Errorf("directory: malformed record %q: %w", key, err)
	}
	return nil
}

func idKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }
