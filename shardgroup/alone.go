package shardgroup

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const (
	// Spaces attempts to lead a group of one replica.
	campaignRetry = 10 * time.Millisecond
	// After that the group waits for its election's time, as all others do.
	campaignPatience = 5 * time.Second
)

// mailbox is a transport that also keeps the way to the node's own replicas.
type mailbox struct {
	config.TransportFactory
	deliver atomic.Pointer[raftio.MessageHandler]
}

// Create implements config.TransportFactory.
func (m *mailbox) Create(c config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	m.deliver.Store(&messages)
	return m.TransportFactory.Create(c, messages, chunks)
}

// campaign has a replica that is alone in its group become its leader at once:
// there is nobody whose silence an election would have to wait for. It sends what
// a leader sends to whom it hands over, which for Raft is the clock moving forward
// (section 3.10 of Ongaro's thesis), so it is safe whoever else there may be. Others
// would have to listen, though, even to one that they have removed, and lose their
// leader each time: so the log must agree with the record, which may be old.
//
// Dragonboat takes no notice before everything committed is applied; so it is
// repeated until the group has a leader.
func (n *Node) campaign(ctx context.Context, g *Group, record *clusterv1.Group) {
	if n.mailbox == nil || !aloneIn(record, g.replicaID) {
		return
	}
	deliver := n.mailbox.deliver.Load()
	if deliver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, campaignPatience)
	defer cancel()
	for ; ctx.Err() == nil && !g.leader.known(); pause(ctx, campaignRetry) {
		if info := g.host.GetNodeHostInfo(dragonboat.NodeHostInfoOption{SkipLogInfo: true}); info == nil || !appliedAlone(info.ShardInfoList, g.id, g.replicaID) {
			continue
		}
		(*deliver)(raftpb.MessageBatch{
			DeploymentId: n.deploymentID(), BinVer: raftio.TransportBinVersion,
			Requests: []raftpb.Message{{Type: raftpb.TimeoutNow, ShardID: g.id, From: g.replicaID, To: g.replicaID}},
		})
	}
}

// appliedAlone reports whether a replica is its group's only voter by what it has applied.
func appliedAlone(shards []dragonboat.ShardInfo, groupID, replicaID uint64) bool {
	return slices.ContainsFunc(shards, func(shard dragonboat.ShardInfo) bool {
		_, votes := shard.Replicas[replicaID]
		return shard.ShardID == groupID && !shard.Pending && votes && len(shard.Replicas) == 1
	})
}

// aloneIn reports whether a replica is its group's only one.
func aloneIn(record *clusterv1.Group, replicaID uint64) bool {
	replicas := record.GetReplicas()
	return len(replicas) == 1 && replicas[0].GetReplicaId() == replicaID
}
