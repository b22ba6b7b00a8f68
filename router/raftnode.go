package router

import (
	"context"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/proto/raftnode"
)

// A router has no term; Pyroscope's admin page only compares terms.
const routerTerm = 1

// raftNodeService makes a router look like a healthy member to Pyroscope's
// admin pages and command line.
type raftNodeService struct {
	raftnode.UnimplementedRaftNodeServiceServer
	router *Router
}

// NodeInfo calls the router a follower of itself: so it counts as a member.
func (s *raftNodeService) NodeInfo(context.Context, *raftnode.NodeInfoRequest) (*raftnode.NodeInfoResponse, error) {
	o := s.router.options
	info := &raftnode.NodeInfo{
		ServerId: o.ID, AdvertisedAddress: o.AdvertiseAddress, State: "Follower", LeaderId: o.ID,
		CurrentTerm: routerTerm, BuildVersion: o.Version, BuildRevision: o.Revision,
		Stats: &raftnode.NodeInfo_Stats{},
	}
	stat := func(name, value string) {
		info.Stats.Name = append(info.Stats.Name, name)
		info.Stats.Value = append(info.Stats.Value, value)
	}
	m := s.router.source.Map()
	stat("map_loaded", strconv.FormatBool(m != nil))
	if m != nil {
		info.CommitIndex, info.AppliedIndex, info.LastIndex = m.Version(), m.Version(), m.Version()
		stat("map_version", strconv.FormatUint(m.Version(), 10))
		stat("cluster_id", m.Proto().GetCluster().GetClusterId())
		stat("nodes", strconv.Itoa(len(m.Proto().GetNodes())))
		stat("groups", strconv.Itoa(len(m.Proto().GetGroups())))
		stat("tenant_ranges", strconv.Itoa(len(m.Ranges(clusterv1.Keyspace_KEYSPACE_TENANT))))
		stat("stream_ranges", strconv.Itoa(len(m.Ranges(clusterv1.Keyspace_KEYSPACE_STREAM))))
	}
	return &raftnode.NodeInfoResponse{Node: info}, nil
}

// ReadIndex asks the directory for its version: a round trip through the
// cluster, for Pyroscope's client test page.
func (s *raftNodeService) ReadIndex(ctx context.Context, _ *raftnode.ReadIndexRequest) (*raftnode.ReadIndexResponse, error) {
	inner, cancel := context.WithTimeout(ctx, s.router.options.GetBlocksBudget)
	defer cancel()
	if err := s.router.source.Refresh(inner); err != nil {
		return nil, s.router.fanout.ended(ctx, inner, "ReadIndex", err)
	}
	return &raftnode.ReadIndexResponse{CommitIndex: s.router.source.Map().Version(), Term: routerTerm}, nil
}

func (s *raftNodeService) AddNode(context.Context, *raftnode.AddNodeRequest) (*raftnode.AddNodeResponse, error) {
	return nil, membershipRefusal()
}

func (s *raftNodeService) RemoveNode(context.Context, *raftnode.RemoveNodeRequest) (*raftnode.RemoveNodeResponse, error) {
	return nil, membershipRefusal()
}

func (s *raftNodeService) DemoteLeader(context.Context, *raftnode.DemoteLeaderRequest) (*raftnode.DemoteLeaderResponse, error) {
	return nil, membershipRefusal()
}

func (s *raftNodeService) PromoteToLeader(context.Context, *raftnode.PromoteToLeaderRequest) (*raftnode.PromoteToLeaderResponse, error) {
	return nil, membershipRefusal()
}

func membershipRefusal() error {
	return status.Error(codes.InvalidArgument, "not supported: use the skerry command")
}
