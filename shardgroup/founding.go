package shardgroup

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// FoundingLayout describes a new cluster of several nodes.
type FoundingLayout struct {
	// UUID of the new cluster.
	ClusterID string
	// Each with a UUID and a Raft address that the others can dial. All have a
	// replica of every group.
	Nodes []*clusterv1.Node
	// As in Options; the same defaults.
	Groups, StreamGroups int
	// Unix nanoseconds.
	CreatedAt int64
}

// NewFounding lays out a new cluster: the map that each of its nodes must be
// given, unchanged, in Options.Founding.
func NewFounding(layout FoundingLayout) (*clusterv1.RangeMap, error) {
	if len(layout.Nodes) == 0 {
		return nil, errors.New("found a cluster: no nodes")
	}
	o := Options{Groups: layout.Groups, StreamGroups: layout.StreamGroups}.withDefaults()
	// As the nodes describe themselves they have no state yet.
	var nodes []*clusterv1.Node
	for _, node := range layout.Nodes {
		node = proto.CloneOf(node)
		node.State = node.StateOrUp()
		nodes = append(nodes, node)
	}
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: layout.ClusterID, Node: nodes[0], Peers: nodes[1:],
		Groups: o.Groups, StreamGroups: o.StreamGroups, CreatedAt: layout.CreatedAt,
	})
	if err != nil {
		return nil, err
	}
	return m, checkFounding(m, layout.Nodes[0].GetNodeId())
}

// checkFounding demands what a node needs to take part in founding a cluster.
func checkFounding(m *clusterv1.RangeMap, nodeID string) error {
	if err := clusterv1.CheckDirectory(m); err != nil {
		return err
	}
	if uuid.Validate(m.GetCluster().GetClusterId()) != nil {
		return fmt.Errorf("the founding map's cluster id %q is not a UUID", m.GetCluster().GetClusterId())
	}
	found := false
	for _, node := range m.GetNodes() {
		if uuid.Validate(node.GetNodeId()) != nil || node.GetRaftAddress() == "" {
			return fmt.Errorf("the founding map's node %q needs a UUID and a Raft address", node.GetNodeId())
		}
		found = found || node.GetNodeId() == nodeID
	}
	if !found {
		return fmt.Errorf("the founding map has no node %q: set NodeID to one of its nodes", nodeID)
	}
	// The directory tells a node what it has: it must find that out by itself.
	directory := m.GetGroups()[0]
	if directory.GetGroupId() != clusterv1.DirectoryGroup || len(directory.GetReplicas()) != len(m.GetNodes()) {
		return errors.New("the founding map must give each node a replica of the directory, the first group")
	}
	return nil
}

// founding returns the identity that a new data directory gets.
func (o Options) founding() identity {
	switch {
	case o.Founding != nil:
		return identity{
			Format: identityFormatFounded, ClusterID: o.Founding.GetCluster().GetClusterId(), NodeID: o.NodeID,
			Founders: len(o.Founding.GetNodes()),
		}
	case o.Found:
		return identity{Format: identityFormatAlone, ClusterID: uuid.NewString(), NodeID: uuid.NewString()}
	default:
		return waiting()
	}
}

// checkFounded refuses to found a cluster where there is another one.
func (o Options) checkFounded(id identity) error {
	if o.Founding == nil {
		return nil
	}
	if want := o.founding(); id.ClusterID != want.ClusterID || id.NodeID != want.NodeID {
		return fmt.Errorf("%w %s: it belongs to node %s of cluster %s, asked for is node %s of a new cluster %s: start with an empty directory",
			ErrDataDir, o.DataDir, id.NodeID, id.ClusterID, want.NodeID, want.ClusterID)
	}
	return nil
}

const foundingFile = "founding.pb"

// loadFounding returns the map that the node was founded with, or nil.
func loadFounding(dir string) (*clusterv1.RangeMap, error) { return loadMapFile(dir, foundingFile) }

// found makes a waiting node part of a new cluster. The map is stored before the
// identity: a node that has a cluster knows how it began.
func found(dir string, id identity, m *clusterv1.RangeMap) (identity, error) {
	if err := checkFounding(m, id.NodeID); err != nil {
		return id, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := saveMapFile(dir, foundingFile, m); err != nil {
		return id, err
	}
	return id.join(dir, m.GetCluster().GetClusterId(), len(m.GetNodes()))
}
