package clusterv1

import "fmt"

// CheckDirectory demands what a directory stores: a valid map (see NewMap) in
// which each range has an id of its own (see CheckRangeIDs), each replica too,
// and each group a voter, known roles, at most one replica on a node, and
// founders; and in which no id in use will be handed out again.
func CheckDirectory(source *RangeMap) error {
	if err := CheckRangeIDs(source); err != nil {
		return err
	}
	cluster, replicas := source.GetCluster(), map[uint64]bool{}
	for _, group := range source.GetGroups() {
		if err := checkGroup(group, replicas); err != nil {
			return fmt.Errorf("range map: group %d %w", group.GetGroupId(), err)
		}
		if id := group.GetGroupId(); id >= cluster.GetNextGroupId() {
			return fmt.Errorf("range map: group id %d is in use, and the next one is %d", id, cluster.GetNextGroupId())
		}
	}
	for id := range replicas {
		if id >= cluster.GetNextReplicaId() {
			return fmt.Errorf("range map: replica id %d is in use, and the next one is %d", id, cluster.GetNextReplicaId())
		}
	}
	for _, r := range source.GetRanges() {
		if id := r.GetRangeId(); id >= cluster.GetNextRangeId() {
			return fmt.Errorf("range map: range id %d is in use, and the next one is %d", id, cluster.GetNextRangeId())
		}
	}
	return nil
}

// CheckRangeIDs demands a valid map in which each range has an id of its own. A
// router's map may hold several parts of one range, while it learns of a split.
func CheckRangeIDs(source *RangeMap) error {
	if _, err := NewMap(source); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, r := range source.GetRanges() {
		if id := r.GetRangeId(); id == 0 || seen[id] {
			return fmt.Errorf("range map: range id %d is 0 or not unique", id)
		}
		seen[r.GetRangeId()] = true
	}
	return nil
}

func checkGroup(group *Group, seen map[uint64]bool) error {
	if len(group.GetFounders()) == 0 {
		return fmt.Errorf("does not say which replicas it was made with")
	}
	nodes := map[string]bool{}
	for _, replica := range group.GetReplicas() {
		id := replica.GetReplicaId()
		if id == 0 || seen[id] {
			return fmt.Errorf("has replica id %d, which is 0 or not unique", id)
		}
		if seen[id] = true; nodes[replica.GetNodeId()] {
			return fmt.Errorf("has two replicas on node %q", replica.GetNodeId())
		}
		nodes[replica.GetNodeId()] = true
		switch replica.GetRole() {
		case ReplicaRole_REPLICA_ROLE_VOTER, ReplicaRole_REPLICA_ROLE_LEARNER, ReplicaRole_REPLICA_ROLE_LEAVING:
		default:
			return fmt.Errorf("has replica %d without a known role", id)
		}
	}
	if len(group.Voters()) == 0 {
		return fmt.Errorf("has no voter")
	}
	return nil
}
