package clusterv1_test

import (
	"math"
	"testing"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func TestSettingsHaveDefaults(t *testing.T) {
	for _, test := range []struct {
		settings             *clusterv1.Settings
		replication, members int
		repair               time.Duration
	}{
		{nil, 3, 5, 5 * time.Minute},
		{&clusterv1.Settings{}, 3, 5, 5 * time.Minute},
		{&clusterv1.Settings{ReplicationFactor: 5, DirectoryReplicas: 1, RepairAfter: int64(time.Hour)}, 5, 1, time.Hour},
		{&clusterv1.Settings{RepairAfter: -1}, 3, 5, math.MaxInt64},
	} {
		s := test.settings
		if s.ReplicationFactorOrDefault() != test.replication || s.DirectoryReplicasOrDefault() != test.members || s.RepairAfterOrDefault() != test.repair {
			t.Errorf("%v stands for %d, %d, %s", s, s.ReplicationFactorOrDefault(), s.DirectoryReplicasOrDefault(), s.RepairAfterOrDefault())
		}
	}
}

func TestNewer(t *testing.T) {
	a, same, b := &clusterv1.Node{Boots: 1}, &clusterv1.Node{Boots: 1}, &clusterv1.Node{Boots: 2}
	for _, test := range []struct{ a, b, want *clusterv1.Node }{
		{a, b, b}, {b, a, b}, {a, same, a}, {nil, a, a}, {a, nil, a}, {nil, nil, nil},
	} {
		if got := clusterv1.Newer(test.a, test.b); got != test.want {
			t.Errorf("of %v and %v, %v is newer", test.a, test.b, got)
		}
	}
}

func TestReplicasOfAGroup(t *testing.T) {
	voter := &clusterv1.Replica{ReplicaId: 4, NodeId: "a", Role: clusterv1.ReplicaRole_REPLICA_ROLE_VOTER}
	learner := &clusterv1.Replica{ReplicaId: 6, NodeId: "b", Role: clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER}
	leaving := &clusterv1.Replica{ReplicaId: 9, NodeId: "c", Role: clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING}
	group := &clusterv1.Group{Replicas: []*clusterv1.Replica{voter, learner, leaving}}
	if voters := group.Voters(); len(voters) != 1 || voters[0] != voter {
		t.Errorf("voters %v", voters)
	}
	if group.ReplicaOn("b") != learner || group.ReplicaOn("x") != nil || group.Replica(9) != leaving || group.Replica(1) != nil {
		t.Error("a replica was not found")
	}
	if len(group.FoundersOrReplicas()) != 3 {
		t.Error("a group without founders has none")
	}
	group.Founders = []*clusterv1.Replica{voter}
	if founders := group.FoundersOrReplicas(); len(founders) != 1 || founders[0] != voter {
		t.Errorf("founders %v", founders)
	}
}

func TestFormatsOfNodes(t *testing.T) {
	for _, test := range []struct {
		min, max, format uint32
		works            bool
	}{{0, 0, 1, true}, {0, 0, 2, false}, {1, 2, 2, true}, {2, 3, 1, false}, {1, 2, 3, false}} {
		if node := (&clusterv1.Node{MinFormat: test.min, MaxFormat: test.max}); node.WorksWith(test.format) != test.works {
			t.Errorf("%v works with %d: %t", node, test.format, !test.works)
		}
	}
	if (&clusterv1.Cluster{}).FormatOrFirst() != clusterv1.FirstFormat || (&clusterv1.Cluster{ActiveVersion: 4}).FormatOrFirst() != 4 {
		t.Error("the format in use")
	}
	if clusterv1.MinFormat > clusterv1.MaxFormat {
		t.Error("the build works with no format")
	}
}
