package statemachine

import (
	"errors"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/directory"
	"github.com/skerrydb/skerry/statemachine/ranges"
)

// initGroup gives a new group its identity and its ranges. A second init with
// the same identity is a repeat; another identity is refused for ever.
func initGroup(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	init := &raftlogv1.InitGroup{}
	if err := init.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	if init.GetGroupId() == 0 || init.GetClusterId() == "" {
		return invalid(errors.New("a group needs an id and a cluster")), nil
	}
	if u.header.groupID != 0 {
		clusterID := clusterOf(u.tx)
		if u.header.groupID == init.GetGroupId() && clusterID == init.GetClusterId() {
			return already(), nil
		}
		return conflict("this is group %d of cluster %s, not group %d of cluster %s",
			u.header.groupID, clusterID, init.GetGroupId(), init.GetClusterId()), nil
	}
	if err := u.header.identify(u.tx, init.GetClusterId(), init.GetGroupId()); err != nil {
		return nil, err
	}
	for _, row := range init.GetRanges() {
		if err := ranges.Put(u.tx, row); err != nil {
			return nil, err
		}
	}
	var err error
	u.ranges, err = ranges.Load(u.tx)
	return ok(), err
}

// claimLeadership bumps the leader epoch. Terms decide between claimants: the
// claim of a leader that was deposed meanwhile, and so has an older term, is
// refused, in whatever order the claims come.
func claimLeadership(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	claim := &raftlogv1.ClaimLeadership{}
	if err := claim.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	var result *raftlogv1.Result
	switch {
	case claim.GetTerm() > u.header.leaderTerm:
		u.header.leaderEpoch++
		u.header.leaderTerm = claim.GetTerm()
		u.header.leader = claim.GetNodeId()
		result = ok()
	case claim.GetTerm() == u.header.leaderTerm && claim.GetNodeId() == u.header.leader && claim.GetTerm() > 0:
		result = already()
	default:
		result = conflict("leader epoch %d was claimed by node %s in term %d", u.header.leaderEpoch, u.header.leader, u.header.leaderTerm)
	}
	result.LeaderEpoch = u.header.leaderEpoch
	return result, nil
}

// bootstrapDirectory stores the first map of a new cluster, once.
func bootstrapDirectory(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	bootstrap := &raftlogv1.BootstrapDirectory{}
	if err := bootstrap.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	// The founders are not demanded: logs of the first releases have none.
	if err := clusterv1.CheckRangeIDs(bootstrap.GetMap()); err != nil {
		return invalid(err), nil
	}
	clusterID := bootstrap.GetMap().GetCluster().GetClusterId()
	existing, err := directory.Cluster(u.tx)
	switch {
	case err != nil:
		return nil, err
	case existing == nil:
	case existing.GetClusterId() == clusterID:
		return already(), nil
	default:
		return conflict("the directory describes cluster %s already", existing.GetClusterId()), nil
	}
	if err := directory.Bootstrap(u.tx, bootstrap.GetMap()); err != nil {
		return nil, err
	}
	return ok(), u.header.identify(u.tx, clusterID, clusterv1.DirectoryGroup)
}
