// Package directory is the table of the cluster's own records: the cluster,
// its nodes, its groups and the ranges that place tenants and streams.
//
// Layout: root bucket "directory" with the key "cluster" and the buckets
// "nodes" (by node id), "groups" and "ranges" (by id, 8 bytes, big endian);
// values are the messages of cluster.v1.
package directory

import (
	"encoding/binary"
	"errors"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	bucketName = []byte("directory")
	clusterKey = []byte("cluster")
	nodesName  = []byte("nodes")
	groupsName = []byte("groups")
	rangesName = []byte("ranges")
)

// ErrExists means that the cluster has a map already.
var ErrExists = errors.New("directory: the cluster exists already")

type record interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// Bootstrap stores the first map of a new cluster.
func Bootstrap(tx *kv.Tx, m *clusterv1.RangeMap) error {
	root, err := tx.CreateBucket(bucketName)
	if errors.Is(err, kv.ErrBucketExists) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	if err := put(root, clusterKey, m.GetCluster()); err != nil {
		return err
	}
	nodes, err := root.CreateBucket(nodesName)
	if err != nil {
		return err
	}
	for _, node := range m.GetNodes() {
		if err := put(nodes, []byte(node.GetNodeId()), node); err != nil {
			return err
		}
	}
	groups, err := root.CreateBucket(groupsName)
	if err != nil {
		return err
	}
	for _, group := range m.GetGroups() {
		if err := put(groups, idKey(group.GetGroupId()), group); err != nil {
			return err
		}
	}
	rows, err := root.CreateBucket(rangesName)
	if err != nil {
		return err
	}
	for _, row := range m.GetRanges() {
		if err := put(rows, idKey(row.GetRangeId()), row); err != nil {
			return err
		}
	}
	return nil
}

// ClusterID returns the id of the cluster that the directory describes, or ""
// before Bootstrap.
func ClusterID(tx *kv.Tx) (string, error) {
	root := tx.Bucket(bucketName)
	if root == nil {
		return "", nil
	}
	cluster := &clusterv1.Cluster{}
	if err := get(clusterKey, root.Get(clusterKey), cluster); err != nil {
		return "", err
	}
	return cluster.GetClusterId(), nil
}

// Load reads the whole map; nil before Bootstrap.
func Load(tx *kv.Tx) (*clusterv1.RangeMap, error) {
	root := tx.Bucket(bucketName)
	if root == nil {
		return nil, nil
	}
	m := &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{}}
	if err := get(clusterKey, root.Get(clusterKey), m.Cluster); err != nil {
		return nil, err
	}
	err := each(root, nodesName, func(k, v []byte) error {
		node := &clusterv1.Node{}
		m.Nodes = append(m.Nodes, node)
		return get(k, v, node)
	})
	if err != nil {
		return nil, err
	}
	err = each(root, groupsName, func(k, v []byte) error {
		group := &clusterv1.Group{}
		m.Groups = append(m.Groups, group)
		return get(k, v, group)
	})
	if err != nil {
		return nil, err
	}
	err = each(root, rangesName, func(k, v []byte) error {
		row := &clusterv1.Range{}
		m.Ranges = append(m.Ranges, row)
		return get(k, v, row)
	})
	return m, err
}

func each(root *kv.Bucket, name []byte, fn func(k, v []byte) error) error {
	bucket := root.Bucket(name)
	if bucket == nil {
		return fmt.Errorf("directory: bucket %q is missing", name)
	}
	return bucket.ForEach(fn)
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
