package clusterv1

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/proto"
)

// DirectoryGroup is the group id of the directory; data groups follow it.
const DirectoryGroup = 1

// InitialLayout describes a new cluster.
type InitialLayout struct {
	ClusterID string
	// The first node, and the others that found the cluster with it. Each has a
	// replica of every group, so there are at most MaxReplicas of them.
	Node  *Node
	Peers []*Node
	// Number of data groups, from 1 up.
	Groups int
	// Number of groups that share the STREAM keyspace, from 1 to Groups.
	// Every query reads every stream range, so few are better.
	StreamGroups int
	// Unix nanoseconds.
	CreatedAt int64
}

// NewRangeMap lays out a new cluster: the TENANT keyspace is divided equally
// over all groups, the STREAM keyspace equally over the first StreamGroups.
func NewRangeMap(layout InitialLayout) (*RangeMap, error) {
	if layout.Groups < 1 || layout.StreamGroups < 1 || layout.StreamGroups > layout.Groups {
		return nil, fmt.Errorf("cannot lay out %d groups with %d for streams: want 1 <= streams <= groups", layout.Groups, layout.StreamGroups)
	}
	nodes := append([]*Node{layout.Node}, layout.Peers...)
	if len(nodes) > MaxReplicas {
		return nil, fmt.Errorf("cannot found a cluster of %d nodes at once: found it with up to %d and let the others join", len(nodes), MaxReplicas)
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Compare(a.GetNodeId(), b.GetNodeId()) })
	cluster := &Cluster{
		ClusterId: layout.ClusterID, HashFunction: HashFunction_HASH_FUNCTION_XXH64,
		ActiveVersion: FirstFormat, MapVersion: 1, CreatedAt: layout.CreatedAt,
		NextGroupId: DirectoryGroup, NextReplicaId: 1, NextRangeId: 1, NextOperationId: 1,
	}
	m := &RangeMap{Cluster: cluster, Nodes: nodes}
	for range layout.Groups + 1 {
		group := &Group{GroupId: next(&cluster.NextGroupId), State: GroupState_GROUP_STATE_ACTIVE}
		for _, node := range nodes {
			replica := &Replica{ReplicaId: next(&cluster.NextReplicaId), NodeId: node.GetNodeId(), Role: ReplicaRole_REPLICA_ROLE_VOTER}
			group.Replicas = append(group.Replicas, replica)
			group.Founders = append(group.Founders, proto.CloneOf(replica))
		}
		m.Groups = append(m.Groups, group)
	}
	m.Ranges = append(divide(cluster, Keyspace_KEYSPACE_TENANT, layout.Groups), divide(cluster, Keyspace_KEYSPACE_STREAM, layout.StreamGroups)...)
	return m, nil
}

// DefaultStreamGroups is the number of groups that share the streams of a new
// cluster: one, and two from eight groups up.
func DefaultStreamGroups(groups int) int {
	if groups >= 8 {
		return 2
	}
	return 1
}

func divide(cluster *Cluster, keyspace Keyspace, parts int) []*Range {
	var ranges []*Range
	lo := uint64(0)
	for i := range parts {
		hi := uint64(0)
		if i+1 < parts {
			// 2^64 * (i+1) / parts
			hi, _ = bits.Div64(uint64(i+1), 0, uint64(parts))
		}
		ranges = append(ranges, &Range{
			RangeId: next(&cluster.NextRangeId), Keyspace: keyspace, Lo: lo, Hi: hi,
			GroupId: DirectoryGroup + 1 + uint64(i), Epoch: 1,
		})
		lo = hi
	}
	return ranges
}

func next(id *uint64) uint64 {
	value := *id
	*id++
	return value
}
