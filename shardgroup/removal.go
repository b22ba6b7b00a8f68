package shardgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
var removingBucket = []byte("removing")

const (
	confirmTimeout = 2 * time.Second
	removeTimeout  = 30 * time.Second
)

// removeReplica removes a replica that the map does not give to this node any
// more, after it is certain: the directory says so now, and the group itself
// does not count the replica among its members.
func (n *Node) removeReplica(ctx context.Context, groupID, replicaID uint64) error {
	if err := n.confirmRemoval(ctx, groupID, replicaID); err != nil {
		return err
	}
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return err
	}
	err = local.Update(func(tx *kv.Tx) error { return putID(tx, removingBucket, groupID, replicaID) })
	if err = errors.Join(err, n.engine.Sync()); err != nil {
		return err
	}
	if g := n.group(groupID); g != nil {
		n.halt(g)
	}
	return n.finishRemoval(groupID, replicaID)
}

// confirmRemoval returns nil if the replica has left its group for good.
func (n *Node) confirmRemoval(ctx context.Context, groupID, replicaID uint64) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	m, err := n.directoryMap(ctx, n.maps.version())
	if err != nil {
		return fmt.Errorf("ask the directory: %w", err)
	}
	record := m.Group(groupID)
	if slices.ContainsFunc(record.GetReplicas(), func(r *clusterv1.Replica) bool { return r.GetReplicaId() == replicaID }) {
		return errors.New("the directory still has it")
	}
	var faults []error
	for _, other := range record.GetReplicas() {
		if other.GetNodeId() == n.ID() {
			continue
		}
		membership, err := n.askMembership(ctx, other.GetNodeId(), groupID)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if _, voter := membership.GetVoters()[replicaID]; voter || membership.GetLearners()[replicaID] != "" {
			return errors.New("the group still counts it among its members")
		}
		return nil
	}
	return fmt.Errorf("no member of the group could be asked: %w", errors.Join(faults...))
}

// directoryMap reads the map as of now, which is at least of a version.
func (n *Node) directoryMap(ctx context.Context, version uint64) (*clusterv1.Map, error) {
	request := &nodev1.RangeMapRequest{MinVersion: version}
	answer, err := service{node: n}.RangeMap(ctx, request)
	if err == nil {
		return clusterv1.NewMap(answer.GetMap())
	}
	faults := []error{err}
	for _, address := range n.directoryAddresses() {
		client, err := n.options.Peers(address)
		if err == nil {
			answer, err = client.RangeMap(ctx, request)
		}
		if err == nil {
			return clusterv1.NewMap(answer.GetMap())
		}
		faults = append(faults, err)
	}
	return nil, errors.Join(faults...)
}

func (n *Node) askMembership(ctx context.Context, nodeID string, groupID uint64) (*nodev1.Membership, error) {
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

// finishRemovals goes on with removals that a crash interrupted.
func (n *Node) finishRemovals() error {
	marked, err := n.readIDs(removingBucket)
	if err != nil {
		return err
	}
	for groupID, replicaID := range marked {
		if err := n.finishRemoval(groupID, replicaID); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) finishRemoval(groupID, replicaID uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	if err := n.host.SyncRemoveData(ctx, groupID, replicaID); err != nil {
		return fmt.Errorf("remove the Raft log of group %d: %w", groupID, err)
	}
	if err := n.engine.Drop(groupID); err != nil {
		return fmt.Errorf("remove the data of group %d: %w", groupID, err)
	}
	if err := os.Remove(filepath.Join(n.raftDir(), syncedFile(groupID))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return err
	}
	err = local.Update(func(tx *kv.Tx) error {
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
