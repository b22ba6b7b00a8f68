package drawing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// members are replicas as a word draws them.
type members struct {
	nodes  map[uint64]string
	roles  map[uint64]clusterv1.ReplicaRole
	leader uint64
}

func newMembers() *members {
	return &members{nodes: map[uint64]string{}, roles: map[uint64]clusterv1.ReplicaRole{}}
}

// add reads +3@c*.
func (m *members) add(word string) error {
	role := clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
	switch word[0] {
	case '+':
		role, word = clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER, word[1:]
	case '-':
		role, word = clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING, word[1:]
	}
	id, node, ok := strings.Cut(word, "@")
	if !ok || number(id) == 0 {
		return fmt.Errorf("a replica is drawn as id@node, not %q", word)
	}
	node, leads := strings.CutSuffix(node, "*")
	if leads {
		m.leader = number(id)
	}
	m.nodes[number(id)], m.roles[number(id)] = node, role
	return nil
}

// raft is the membership.
func (m *members) raft() *nodev1.Membership {
	out := &nodev1.Membership{ConfigId: configID, Voters: map[uint64]string{}, Learners: map[uint64]string{}}
	for id, node := range m.nodes {
		if m.roles[id] == clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER {
			out.Learners[id] = node
		} else {
			out.Voters[id] = node
		}
	}
	return out
}

func (d *Drawing) group(id string, words []string) error {
	g := &clusterv1.Group{GroupId: number(strings.TrimSuffix(id, ":")), State: clusterv1.GroupState_GROUP_STATE_ACTIVE}
	rows, other := newMembers(), newMembers()
	report := map[uint64]*nodev1.GroupReplica{}
	of := func(id uint64) *nodev1.GroupReplica {
		if report[id] == nil {
			report[id] = &nodev1.GroupReplica{
				GroupId: g.GroupId, ReplicaId: id, Term: 5, AppliedIndex: applied, Initialised: true, State: nodev1.ReplicaState_REPLICA_STATE_RUNNING,
			}
		}
		return report[id]
	}
	var removed []uint64
	empty, mute := false, false
	err := each(words, func(key, value string) error {
		switch key = strings.TrimSuffix(key, ":"); key {
		case "streams":
			d.Map.Ranges = append(d.Map.Ranges, &clusterv1.Range{GroupId: g.GroupId, Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM})
		case "creating":
			g.State = clusterv1.GroupState_GROUP_STATE_CREATING
		case "empty": // without identity
			empty = true
		case "mute": // nobody tells the members
			mute = true
		case "lag": // replica:entries
			replica, by, _ := strings.Cut(value, ":")
			of(number(replica)).AppliedIndex = applied - number(by)
		case "failed":
			of(number(value)).State, of(number(value)).Error = nodev1.ReplicaState_REPLICA_STATE_FAILED, "its log is damaged"
		case "unread":
			of(number(value)).Error = "a read failed"
		case "ahead":
			of(1).LogTime = int64(Now.Add(span(value)))
		case "removed":
			removed = append(removed, number(value))
		case "raft":
			for word := range strings.SplitSeq(value, ",") {
				if err := other.add(word); err != nil {
					return err
				}
			}
		default:
			return rows.add(key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(rows.nodes)) {
		g.Replicas = append(g.Replicas, &clusterv1.Replica{ReplicaId: id, NodeId: rows.nodes[id], Role: rows.roles[id]})
	}
	d.Map.Groups = append(d.Map.Groups, g)
	membership := rows.raft()
	if len(other.nodes) > 0 {
		membership = other.raft()
	}
	membership.Removed = removed
	for _, on := range []map[uint64]string{rows.nodes, membership.Voters, membership.Learners} {
		for id, node := range on {
			r := of(id)
			r.LeaderReplicaId = rows.leader + other.leader
			if r.Initialised = !empty; !mute {
				r.Membership = membership
			}
			if at, heard := d.Nodes[node]; heard && !slices.Contains(at.Report.Replicas, r) {
				at.Report.Replicas = append(at.Report.Replicas, r)
			}
		}
	}
	return nil
}
