package shardgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/lni/dragonboat/v4"
	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// DeploymentID is what Raft's connections of a cluster name themselves by, so
// that clusters do not talk to each other by accident.
func DeploymentID(clusterID string) uint64 { return max(xxhash.Sum64String(clusterID), 1) }

// loadBeginnings finds out how the node's cluster began, if this node founded
// it, and completes what a crash interrupted.
func (n *Node) loadBeginnings() error {
	stored, err := loadFounding(n.options.DataDir)
	if err != nil {
		return err
	}
	n.founding = stored
	switch {
	case stored != nil && n.identity.ClusterID == "":
		// It was accepted, and the caller may have been told so.
		n.identity, err = n.identity.join(n.options.DataDir, stored.GetCluster().GetClusterId(), len(stored.GetNodes()))
		return err
	case stored != nil:
		return n.checkCluster(stored)
	case n.identity.ClusterID == "" || n.options.Founding == nil && n.identity.Format != identityFormatAlone:
		return nil
	}
	known, err := n.localMap()
	if err != nil || known != nil {
		return err
	}
	m := n.options.Founding
	if m == nil {
		if m, err = n.aloneMap(); err != nil {
			return err
		}
	}
	n.founding = m
	return saveMapFile(n.options.DataDir, foundingFile, m)
}

// aloneMap lays out a cluster of this node.
func (n *Node) aloneMap() (*clusterv1.RangeMap, error) {
	return clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: n.identity.ClusterID,
		Node: &clusterv1.Node{
			NodeId: n.identity.NodeID, RaftAddress: n.options.RaftAddress, ApiAddress: n.options.APIAddress, Zone: n.options.Zone,
			State: clusterv1.NodeState_NODE_STATE_UP,
		},
		Groups: n.options.Groups, StreamGroups: n.options.StreamGroups, CreatedAt: time.Now().UnixNano(),
	})
}

// remember loads what the node knew of its cluster.
func (n *Node) remember() error {
	m, err := n.localMap()
	if err != nil {
		return err
	}
	if m == nil {
		m = n.founding
	}
	if m == nil && n.identity.Founders > 0 {
		return fmt.Errorf("%w %s: founding its cluster of %d nodes was not completed: repeat it as it was begun, or start with an empty directory",
			ErrDataDir, n.options.DataDir, n.identity.Founders)
	}
	if m != nil {
		if err := n.maps.offer(m); err != nil {
			return err
		}
		n.book.learn(m.GetNodes()...)
		n.compareSettings(m)
	}
	return nil
}

// begin starts Raft and the replicas that the node knows of, once, when the node
// has a cluster.
func (n *Node) begin() error {
	if err := n.checkLog(); err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := followHostname(n.raftDir(), hostname, n.deploymentID()); err != nil {
		return err
	}
	host, err := n.openHost()
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.host = host
	n.mu.Unlock()
	if _, _, err := n.finishRemovals(); err != nil {
		return err
	}
	if m := n.maps.known(); m != nil {
		if err := n.startKnown(m); err != nil {
			return err
		}
	}
	n.background.Go(func() { n.followMap(n.life) })
	n.background.Go(func() { n.reconcile(n.life) })
	n.background.Go(func() { n.sendHeartbeats(n.life) })
	return nil
}

// openHost starts dragonboat. Over a log that cannot be read or written it may
// panic, or swallow a panic and return nothing; the node cannot start, but its end
// is to be one that an operator understands.
func (n *Node) openHost() (host *dragonboat.NodeHost, err error) {
	broken := fmt.Sprintf("start Raft on %s: the log in %s cannot be opened, see the lines before: check the disk and start the node again", n.options.RaftAddress, n.raftDir())
	defer func() {
		if r := recover(); r != nil {
			host, err = nil, fmt.Errorf("%s (%v)", broken, r)
		}
	}()
	host, err = dragonboat.NewNodeHost(n.hostConfig())
	if err != nil {
		return nil, fmt.Errorf("start Raft on %s: %w", n.options.RaftAddress, err)
	}
	if host == nil {
		return nil, errors.New(broken)
	}
	return host, nil
}

// localMap returns the youngest map that the data directory holds, or nil: the
// node's copy, or what its replica of the directory has applied.
func (n *Node) localMap() (*clusterv1.RangeMap, error) {
	m, err := loadMapFile(n.options.DataDir, mapFile)
	if err != nil {
		return nil, err
	}
	db, err := n.engine.DB(clusterv1.DirectoryGroup)
	if err != nil {
		return nil, err
	}
	answer, err := statemachine.NewDirectory(db, n.cache).Lookup(statemachine.ReadMap{})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if own := answer.(*clusterv1.RangeMap); own.GetCluster().GetMapVersion() > m.GetCluster().GetMapVersion() {
		m = own
	}
	if m == nil {
		return nil, nil
	}
	return m, n.checkCluster(m)
}

// checkCluster demands that a stored map is of the cluster that the identity
// names.
func (n *Node) checkCluster(stored *clusterv1.RangeMap) error {
	if id := n.ClusterID(); stored.GetCluster().GetClusterId() != id {
		return fmt.Errorf("%w %s: %s names cluster %s, but its contents belong to cluster %s: restore the file that belongs to the contents",
			ErrDataDir, n.options.DataDir, identityFile, id, stored.GetCluster().GetClusterId())
	}
	return nil
}

// startKnown starts the replicas that a map gives to this node. What is wrong
// with one that was started before is wrong with the directory.
func (n *Node) startKnown(m *clusterv1.Map) error {
	for _, record := range m.Proto().GetGroups() {
		if record.ReplicaOn(n.identity.NodeID) == nil {
			continue
		}
		n.placing.Lock()
		var err error
		if !n.suspended.Load() {
			err = n.startGroup(record)
		}
		n.placing.Unlock()
		switch {
		case errors.Is(err, errReplaced):
			n.log.Info("the replica on disk is not the one that the map names; it is removed first", zap.Uint64("group", record.GetGroupId()))
		case errors.Is(err, errRemoved):
			n.log.Info("the map is old: it names a replica that has left", zap.Uint64("group", record.GetGroupId()))
		case errors.Is(err, ErrNotReady):
			n.log.Warn("a replica is not started in time, will try again", zap.Uint64("group", record.GetGroupId()), zap.Error(err))
		case err != nil:
			return err
		}
	}
	return nil
}

// checkLog demands that there is a Raft log if replicas are recorded: they are
// recorded once there is one. Without it a replica whose store has not been synced
// yet would look like one that never began.
func (n *Node) checkLog() error {
	recorded, err := n.recordedReplicas()
	if err != nil || len(recorded) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(n.raftDir(), raftStatusFile)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w %s: the store has %d replicas, but the Raft log is gone: restore the whole directory from one backup, or start with an empty one",
			ErrDataDir, n.options.DataDir, len(recorded))
	} else {
		return err
	}
}

// compareSettings says which settings of an existing cluster are not what this
// start asks for: they are kept as they were.
func (n *Node) compareSettings(m *clusterv1.RangeMap) {
	if groups := len(m.GetGroups()) - 1; n.options.Found && groups != n.options.Groups {
		n.log.Info("the number of groups is that of the cluster", zap.Int("groups", groups), zap.Int("asked_for", n.options.Groups))
	}
}
