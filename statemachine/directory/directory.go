// Package directory is the table of the cluster's own records: the cluster,
// its nodes, its groups, the ranges that place tenants and streams, and the
// operations that change ranges.
//
// Layout: root bucket "directory" with the key "cluster" and the buckets
// "nodes" (by node id), "groups", "ranges" and "operations" (by id, 8 bytes, big
// endian); values are the messages of cluster.v1.
package directory

import (
	"errors"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	bucketName     = []byte("directory")
	clusterKey     = []byte("cluster")
	nodesName      = []byte("nodes")
	groupsName     = []byte("groups")
	rangesName     = []byte("ranges")
	operationsName = []byte("operations")
)

// ErrExists means that the cluster has a map already.
var ErrExists = errors.New("directory: the cluster exists already")

type record interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// Bootstrap stores the first map of a new cluster.
func Bootstrap(tx *kv.Tx, m *clusterv1.RangeMap) error {
	_, err := tx.CreateBucket(bucketName)
	if errors.Is(err, kv.ErrBucketExists) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	w, err := NewWriter(tx)
	if err != nil {
		return err
	}
	if err := w.PutCluster(m.GetCluster()); err != nil {
		return err
	}
	for _, node := range m.GetNodes() {
		if err := w.PutNode(node); err != nil {
			return err
		}
	}
	for _, group := range m.GetGroups() {
		if err := w.PutGroup(group); err != nil {
			return err
		}
	}
	for _, row := range m.GetRanges() {
		if err := w.PutRange(row); err != nil {
			return err
		}
	}
	return nil
}

// Cluster returns the root record, nil before Bootstrap.
func Cluster(tx *kv.Tx) (*clusterv1.Cluster, error) {
	root := tx.Bucket(bucketName)
	if root == nil {
		return nil, nil
	}
	cluster := &clusterv1.Cluster{}
	return cluster, get(clusterKey, root.Get(clusterKey), cluster)
}

// Load reads the whole map; nil before Bootstrap.
func Load(tx *kv.Tx) (*clusterv1.RangeMap, error) {
	cluster, err := Cluster(tx)
	if cluster == nil || err != nil {
		return nil, err
	}
	root := tx.Bucket(bucketName)
	for _, name := range [][]byte{nodesName, groupsName, rangesName} {
		if root.Bucket(name) == nil {
			return nil, fmt.Errorf("directory: bucket %q is missing", name)
		}
	}
	m := &clusterv1.RangeMap{Cluster: cluster}
	if m.Nodes, err = all[clusterv1.Node](root.Bucket(nodesName)); err != nil {
		return nil, err
	}
	if m.Groups, err = all[clusterv1.Group](root.Bucket(groupsName)); err != nil {
		return nil, err
	}
	if m.Ranges, err = all[clusterv1.Range](root.Bucket(rangesName)); err != nil {
		return nil, err
	}
	clusterv1.SortRanges(m.Ranges)
	return m, nil
}
