package shardgroup

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// startGroups starts the directory group, reads the map from it (storing a new
// one if the cluster is new), and starts the data groups that the map places
// on this node. Each step is repeatable: a crash anywhere is followed by the
// same steps.
func (n *Node) startGroups(ctx context.Context) error {
	layout, known, err := n.layout()
	if err != nil {
		return err
	}
	n.learnAddresses(layout)
	directory, err := n.startGroup(layout.GetGroups()[0])
	if err != nil {
		return err
	}
	m, err := n.loadMap(ctx, directory, layout)
	if err != nil {
		return err
	}
	if !known {
		// The next start finds the other nodes in the copy on disk.
		if err := n.engine.Sync(); err != nil {
			return err
		}
	}
	n.learnAddresses(m.Proto())
	var started []*Group
	for _, record := range m.Proto().GetGroups() {
		if own, _ := n.membership(record); own == 0 || record.GetGroupId() == clusterv1.DirectoryGroup {
			continue
		}
		g, err := n.startGroup(record)
		if err != nil {
			return err
		}
		started = append(started, g)
	}
	// All elections run at once; waiting comes after starting.
	for _, g := range started {
		if err := untilReady(ctx, func(ctx context.Context) error { return n.initGroup(ctx, g, m) }); err != nil {
			return fmt.Errorf("group %d: %w", g.id, err)
		}
	}
	return nil
}

// layout is the map to begin with: the node's own copy of the directory,
// however old, which is known; else that of a new cluster. It tells where the
// directory's replicas are: nothing can be asked before.
func (n *Node) layout() (m *clusterv1.RangeMap, known bool, err error) {
	db, err := n.engine.DB(clusterv1.DirectoryGroup)
	if err != nil {
		return nil, false, err
	}
	answer, err := statemachine.NewDirectory(db, n.cache).Lookup(statemachine.ReadMap{})
	if err != nil {
		return nil, false, fmt.Errorf("directory: %w", err)
	}
	if m = answer.(*clusterv1.RangeMap); m != nil {
		return m, true, n.checkCluster(m)
	}
	switch {
	case n.options.Founding != nil:
		return n.options.Founding, false, nil
	case n.identity.Founders > 0:
		return nil, false, fmt.Errorf("%w %s: founding its cluster of %d nodes was not completed: repeat it as it was begun, or start with an empty directory",
			ErrDataDir, n.options.DataDir, n.identity.Founders)
	}
	m, err = clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: n.identity.ClusterID,
		Node: &clusterv1.Node{
			NodeId: n.identity.NodeID, RaftAddress: n.options.RaftAddress, ApiAddress: n.options.APIAddress,
			State: clusterv1.NodeState_NODE_STATE_UP,
		},
		Groups: n.options.Groups, StreamGroups: n.options.StreamGroups, CreatedAt: time.Now().UnixNano(),
	})
	return m, false, err
}

// learnAddresses takes the other nodes' addresses from a map. Its own address
// is the node's setting.
func (n *Node) learnAddresses(m *clusterv1.RangeMap) {
	for _, node := range m.GetNodes() {
		n.registry.setAddress(node.GetNodeId(), node.GetRaftAddress())
	}
	n.registry.setAddress(n.identity.NodeID, n.options.RaftAddress)
}

// checkCluster demands that a stored map is of the cluster that the identity
// names.
func (n *Node) checkCluster(stored *clusterv1.RangeMap) error {
	if stored.GetCluster().GetClusterId() == n.identity.ClusterID {
		return nil
	}
	return fmt.Errorf("%w %s: %s names cluster %s, but its contents belong to cluster %s: restore the file that belongs to the contents",
		ErrDataDir, n.options.DataDir, identityFile, n.identity.ClusterID, stored.GetCluster().GetClusterId())
}

func (n *Node) loadMap(ctx context.Context, directory *Group, layout *clusterv1.RangeMap) (*clusterv1.Map, error) {
	var stored *clusterv1.RangeMap
	err := untilReady(ctx, func(ctx context.Context) error {
		answer, err := directory.Read(ctx, statemachine.ReadMap{})
		if err != nil {
			return err
		}
		if stored = answer.(*clusterv1.RangeMap); stored != nil {
			return nil
		}
		if err := bootstrapDirectory(ctx, directory, layout); err != nil {
			return err
		}
		stored = layout
		n.log.Info("created a new cluster", zap.String("cluster", n.identity.ClusterID), zap.Int("groups", len(layout.GetGroups())-1))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if err := n.checkCluster(stored); err != nil {
		return nil, err
	}
	m, err := clusterv1.NewMap(stored)
	if err == nil {
		n.compareSettings(m)
	}
	return m, err
}

// compareSettings says which settings of an existing cluster are not what this
// start asks for: they are kept as they were.
func (n *Node) compareSettings(m *clusterv1.Map) {
	if groups := len(m.Proto().GetGroups()) - 1; groups != n.options.Groups {
		n.log.Info("the number of groups is that of the cluster's first start", zap.Int("groups", groups), zap.Int("asked_for", n.options.Groups))
	}
	record := m.Node(n.identity.NodeID)
	if record != nil && (record.GetRaftAddress() != n.options.RaftAddress || record.GetApiAddress() != n.options.APIAddress) {
		n.log.Info("the directory still names the addresses of the cluster's first start",
			zap.String("raft", record.GetRaftAddress()), zap.String("api", record.GetApiAddress()))
	}
}

func bootstrapDirectory(ctx context.Context, directory *Group, layout *clusterv1.RangeMap) error {
	payload, err := (&raftlogv1.BootstrapDirectory{Map: layout}).MarshalVT()
	if err != nil {
		return err
	}
	return directory.apply(ctx, raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, payload)
}

// initGroup gives a new group its identity and ranges; an existing group must
// have the identity that the directory says.
func (n *Node) initGroup(ctx context.Context, g *Group, m *clusterv1.Map) error {
	answer, err := g.Read(ctx, statemachine.ReadStatus{})
	if err != nil {
		return err
	}
	status := answer.(statemachine.Status)
	if status.GroupID == g.id && status.ClusterID == n.identity.ClusterID {
		return nil
	}
	if status.GroupID != 0 {
		return fmt.Errorf("%w %s: the store holds group %d of cluster %s where group %d of cluster %s is expected: restore the directory from one backup",
			ErrDataDir, n.options.DataDir, status.GroupID, status.ClusterID, g.id, n.identity.ClusterID)
	}
	init := &raftlogv1.InitGroup{ClusterId: n.identity.ClusterID, GroupId: g.id}
	for _, r := range m.Proto().GetRanges() {
		if r.GetGroupId() == g.id {
			init.Ranges = append(init.Ranges, r)
		}
	}
	payload, err := init.MarshalVT()
	if err != nil {
		return err
	}
	return g.apply(ctx, raftlogv1.Kind_KIND_INIT_GROUP, payload)
}

// apply proposes a command that concerns the group itself.
func (g *Group) apply(ctx context.Context, kind raftlogv1.Kind, payload []byte) error {
	result, err := g.Propose(ctx, &raftlogv1.Command{Kind: kind, RequestId: newRequestID(), Payload: payload})
	if err != nil {
		return err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		return nil
	default:
		return fmt.Errorf("%w: %s: %s", ErrRefused, kind, result.GetMessage())
	}
}
