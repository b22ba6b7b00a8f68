package statemachine

import (
	"strings"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine/directory"
	"github.com/skerrydb/skerry/statemachine/ranges"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// People can read each row of the directory, and a group's ranges.
func TestDescribeDirectoryRows(t *testing.T) {
	db := kvtest.DB(t, 1)
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{ClusterID: "c", Node: &clusterv1.Node{NodeId: "n"}, Groups: 1, StreamGroups: 1})
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	err = db.Update(func(tx *kv.Tx) error {
		if err := directory.Bootstrap(tx, m); err != nil {
			return err
		}
		w, err := directory.NewWriter(tx)
		if err != nil {
			return err
		}
		op := &clusterv1.Operation{OperationId: 8, Kind: clusterv1.Operation_KIND_SPLIT, Before: m.Ranges[:1], Reason: "too large"}
		if err := w.PutOperation(op); err != nil {
			return err
		}
		if err := ranges.Put(tx, &clusterv1.Range{RangeId: 77, Epoch: 5}); err != nil {
			return err
		}
		return tx.ForEach(func(name []byte, bucket *kv.Bucket) error { return describeAll(described, bucket, name) })
	})
	if err != nil {
		t.Fatal(err)
	}
	for row, want := range map[string]string{
		"cluster cluster": "clusterId", "node n": "nodeId", "group 2": "founders", "range 1": "KEYSPACE_TENANT",
		"range 77": "epoch", "operation 8": "too large",
	} {
		if !strings.Contains(described[row], want) {
			t.Errorf("row %q reads %q, want %q", row, described[row], want)
		}
	}
	if text := described["not known"]; text != "" {
		t.Error(text)
	}
}

func describeAll(described map[string]string, bucket *kv.Bucket, path ...[]byte) error {
	return bucket.ForEach(func(k, v []byte) error {
		if v == nil {
			return describeAll(described, bucket.Bucket(k), append(path[:len(path):len(path)], k)...)
		}
		key, text, known := DescribeRow(path, k, v)
		if !known {
			key, text = "not known", key+text+string(k)
		}
		described[key] = text
		return nil
	})
}
