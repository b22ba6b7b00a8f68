package shardgroup

import (
	"context"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// localOrPeer is what the controller asks of a node: another one, or its own.
type localOrPeer interface {
	ChangeMembership(context.Context, *nodev1.ChangeMembershipRequest) (*nodev1.ChangeMembershipResponse, error)
	GroupMembership(context.Context, *nodev1.GroupMembershipRequest) (*nodev1.GroupMembershipResponse, error)
	TransferLeader(context.Context, *nodev1.TransferLeaderRequest) (*nodev1.TransferLeaderResponse, error)
	ReplaceRanges(context.Context, *nodev1.ReplaceRangesRequest) (*nodev1.ReplaceRangesResponse, error)
}

var _ localOrPeer = service{}

// remoteClient leaves the call options out.
type remoteClient struct{ nodev1.NodeServiceClient }

func (n *Node) groupPeer(nodeID string) (localOrPeer, error) {
	client, err := n.peer(nodeID)
	if err != nil {
		return nil, err
	}
	return remoteClient{client}, nil
}

func (c remoteClient) ChangeMembership(ctx context.Context, in *nodev1.ChangeMembershipRequest) (*nodev1.ChangeMembershipResponse, error) {
	return c.NodeServiceClient.ChangeMembership(ctx, in)
}

func (c remoteClient) GroupMembership(ctx context.Context, in *nodev1.GroupMembershipRequest) (*nodev1.GroupMembershipResponse, error) {
	return c.NodeServiceClient.GroupMembership(ctx, in)
}

func (c remoteClient) TransferLeader(ctx context.Context, in *nodev1.TransferLeaderRequest) (*nodev1.TransferLeaderResponse, error) {
	return c.NodeServiceClient.TransferLeader(ctx, in)
}

func (c remoteClient) ReplaceRanges(ctx context.Context, in *nodev1.ReplaceRangesRequest) (*nodev1.ReplaceRangesResponse, error) {
	return c.NodeServiceClient.ReplaceRanges(ctx, in)
}
