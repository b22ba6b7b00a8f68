package shardgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// A replica's data is removed in steps, each of which may be repeated:
//
//	confirmed ─► marked ─► stopped ─► log removed ─► store emptied ─► forgotten
//
// Once marked it is never started again: a crash is followed by the rest.
//
//	store, namespace 0, bucket "removing": group id → replica id.
//
// What is forgotten leaves its id in the bucket "removed", see admission.go.
var removingBucket = []byte("removing")

const (
	// All questions of one pass, and each of them.
	confirmTimeout  = 3 * time.Second
	askTimeout      = time.Second
	confirmParallel = 8
	removeTimeout   = 30 * time.Second
)

// removeSurplus removes replicas that the map does not give to this node any more,
// as far as it is certain that they left their groups. It returns how many.
func (n *Node) removeSurplus(ctx context.Context, surplus map[uint64]uint64) (removed int) {
	if len(surplus) == 0 {
		return 0
	}
	for groupID, replicaID := range n.confirmRemovals(ctx, surplus) {
		if err := n.removeReplica(groupID, replicaID); err != nil {
			n.log.Warn("a replica that left its group cannot be removed, will try again",
				zap.Uint64("group", groupID), zap.Uint64("replica", replicaID), zap.Error(err))
			continue
		}
		removed++
	}
	return removed
}

// removeReplica removes a replica that left its group for certain.
func (n *Node) removeReplica(groupID, replicaID uint64) error {
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return err
	}
	err = local.Update(func(tx *kv.Tx) error { return putID(tx, removingBucket, groupID, replicaID) })
	if err = errors.Join(err, n.engine.Sync()); err != nil {
		return err
	}
	if err := n.at("marked"); err != nil {
		return err
	}
	return n.finishRemoval(groupID, replicaID)
}

// confirmRemovals returns the replicas that have left their groups for good: the
// directory says so now, and so do the groups themselves, all asked at the same time.
func (n *Node) confirmRemovals(ctx context.Context, surplus map[uint64]uint64) map[uint64]uint64 {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	confirmed := map[uint64]uint64{}
	m, err := n.directoryMap(ctx, n.maps.version())
	if err != nil {
		n.log.Debug("the directory cannot confirm that replicas left their groups", zap.Int("replicas", len(surplus)), zap.Error(err))
		return nil
	}
	var asking sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, confirmParallel)
	for groupID, replicaID := range surplus {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := n.confirmRemoval(ctx, m.Group(groupID), replicaID); err != nil {
				n.log.Debug("a replica that the map does not give to this node cannot be removed yet",
					zap.Uint64("group", groupID), zap.Uint64("replica", replicaID), zap.Error(err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			confirmed[groupID] = replicaID
		})
	}
	asking.Wait()
	return confirmed
}

// confirmRemoval returns nil if a replica has left its group, as the directory
// records it now, for good.
func (n *Node) confirmRemoval(ctx context.Context, record *clusterv1.Group, replicaID uint64) error {
	if record.Replica(replicaID) != nil {
		return errors.New("the directory still has it")
	}
	var faults []error
	for _, other := range record.GetReplicas() {
		if other.GetNodeId() == n.ID() {
			continue
		}
		membership, err := n.askMembership(ctx, other.GetNodeId(), record.GetGroupId())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if membership.GetVoters()[other.GetReplicaId()] != other.GetNodeId() {
			// What it knows may be as old as its own leave.
			faults = append(faults, fmt.Errorf("node %s does not count itself among the voters", other.GetNodeId()))
			continue
		}
		if _, voter := membership.GetVoters()[replicaID]; voter || membership.GetLearners()[replicaID] != "" {
			return errors.New("the group still counts it among its members")
		}
		return nil
	}
	return fmt.Errorf("no member of the group could be asked: %w", errors.Join(faults...))
}

// directoryMap reads the map as of now, which is at least of a version. A replica
// of the directory that the map does not give to this node is not asked: it may
// have left, and wait for an answer in vain.
func (n *Node) directoryMap(ctx context.Context, version uint64) (*clusterv1.Map, error) {
	if n.maps.known().Group(clusterv1.DirectoryGroup).ReplicaOn(n.ID()) != nil {
		attempt, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		answer, err := service{node: n}.RangeMap(attempt, &nodev1.RangeMapRequest{MinVersion: version, Forwarded: true})
		if err == nil {
			return n.checkedMap(answer)
		}
	}
	answer, err := forward(ctx, n, func(ctx context.Context, client nodev1.NodeServiceClient) (*nodev1.RangeMapResponse, error) {
		return client.RangeMap(ctx, &nodev1.RangeMapRequest{MinVersion: version, Forwarded: true})
	})
	if err != nil {
		return nil, err
	}
	return n.checkedMap(answer)
}

// checkedMap demands that a map is of the node's cluster: an address may be somebody
// else's by now.
func (n *Node) checkedMap(answer *nodev1.RangeMapResponse) (*clusterv1.Map, error) {
	if id := answer.GetMap().GetCluster().GetClusterId(); id != n.ClusterID() {
		return nil, fmt.Errorf("%w: the map is of cluster %q", ErrOtherCluster, id)
	}
	return clusterv1.NewMap(answer.GetMap())
}

func (n *Node) askMembership(ctx context.Context, nodeID string, groupID uint64) (*nodev1.Membership, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := n.peer(nodeID)
	if err != nil {
		return nil, err
	}
	answer, err := client.GroupMembership(ctx, &nodev1.GroupMembershipRequest{GroupId: groupID})
	return answer.GetMembership(), err
}

// peer returns the client of another node.
func (n *Node) peer(nodeID string) (nodev1.NodeServiceClient, error) {
	address := n.book.api(nodeID)
	if address == "" {
		return nil, fmt.Errorf("%w: the API address of node %s is unknown", ErrNotReady, nodeID)
	}
	return n.options.Peers(address)
}

// finishRemovals goes on with removals that a crash or a fault interrupted, and
// returns all of them, and how many still wait. One that cannot go on holds up nobody else; its
// replica is not started. It is called by one goroutine at a time.
func (n *Node) finishRemovals() (marked map[uint64]uint64, waiting int, err error) {
	if marked, err = n.readIDs(removingBucket); err != nil {
		return nil, 0, err
	}
	for groupID, replicaID := range marked {
		err := n.finishRemoval(groupID, replicaID)
		if err == nil {
			delete(n.unremoved, groupID)
			continue
		}
		waiting++
		if n.life.Err() == nil && n.unremoved[groupID] != err.Error() {
			n.unremoved[groupID] = err.Error()
			n.log.Warn("a replica that left its group cannot be removed, will try again",
				zap.Uint64("group", groupID), zap.Uint64("replica", replicaID), zap.Error(err))
		}
	}
	return marked, waiting, nil
}

// finishRemoval goes on with the removal of a replica that is marked.
func (n *Node) finishRemoval(groupID, replicaID uint64) error {
	if g := n.group(groupID); g != nil && g.replicaID == replicaID {
		n.halt(g)
	}
	ctx, cancel := context.WithTimeout(n.life, removeTimeout)
	defer cancel()
	if err := n.host.SyncRemoveData(ctx, groupID, replicaID); err != nil {
		return fmt.Errorf("remove the Raft log of group %d: %w", groupID, err)
	}
	if err := n.at("log removed"); err != nil {
		return err
	}
	if err := n.engine.Drop(groupID); err != nil {
		return fmt.Errorf("remove the data of group %d: %w", groupID, err)
	}
	// If it came back after a crash, the next replica of the group would be refused.
	if err := removeDurably(n.raftDir(), syncedFile(groupID)); err != nil {
		return err
	}
	if err := n.at("store emptied"); err != nil {
		return err
	}
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return err
	}
	err = local.Update(func(tx *kv.Tx) error {
		if err := putID(tx, removedBucket, groupID, replicaID); err != nil {
			return err
		}
		for _, name := range [][]byte{replicasBucket, removingBucket} {
			if bucket := tx.Bucket(name); bucket != nil {
				if err := bucket.Delete(binary.BigEndian.AppendUint64(nil, groupID)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err = errors.Join(err, n.engine.Sync()); err != nil {
		return err
	}
	n.log.Info("removed a replica that left its group", zap.Uint64("group", groupID), zap.Uint64("replica", replicaID))
	return nil
}

// at tells tests how far a removal is; they can end it there.
func (n *Node) at(step string) error {
	if n.options.removal == nil {
		return nil
	}
	return n.options.removal(step)
}

// recordedReplicas returns the replicas of the node, group id to replica id.
func (n *Node) recordedReplicas() (map[uint64]uint64, error) { return n.readIDs(replicasBucket) }

func (n *Node) readIDs(name []byte) (map[uint64]uint64, error) {
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return nil, err
	}
	ids := map[uint64]uint64{}
	err = local.View(func(tx *kv.Tx) error {
		bucket := tx.Bucket(name)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			if len(k) == 8 && len(v) == 8 {
				ids[binary.BigEndian.Uint64(k)] = binary.BigEndian.Uint64(v)
			}
			return nil
		})
	})
	return ids, err
}

func putID(tx *kv.Tx, name []byte, groupID, replicaID uint64) error {
	bucket, err := tx.CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	return bucket.Put(binary.BigEndian.AppendUint64(nil, groupID), binary.BigEndian.AppendUint64(nil, replicaID))
}
