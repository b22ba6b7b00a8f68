package statemachine_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

const half = uint64(1) << 63

// newDirectory is the directory of nodes a, b and c, with a replica of each of
// the groups 1 to 3 (replicas 1 to 9, in that order) and the ranges 1 (the lower
// half of the tenants, group 2), 2 (the upper half, group 3) and 3 (streams,
// group 2), at map version 1.
func newDirectory(t *testing.T) *directoryReplica {
	t.Helper()
	layout := clusterv1.InitialLayout{ClusterID: "cluster", Groups: 2, StreamGroups: 1, CreatedAt: 42}
	for _, id := range []string{"b", "c"} {
		layout.Peers = append(layout.Peers, testNode(id, 0))
	}
	layout.Node = testNode("a", 0)
	m, err := clusterv1.NewRangeMap(layout)
	if err != nil {
		t.Fatal(err)
	}
	return newDirectoryOf(t, m)
}

func newDirectoryOf(t *testing.T, m *clusterv1.RangeMap) *directoryReplica {
	t.Helper()
	d := &directoryReplica{newReplicaOf(t, statemachine.NewDirectory)}
	wantStatus(t, d.apply(command(raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, &raftlogv1.BootstrapDirectory{Map: m})), raftlogv1.Result_STATUS_OK)
	return d
}

type directoryReplica struct{ *replica }

func testNode(id string, boots uint64) *clusterv1.Node {
	return &clusterv1.Node{NodeId: id, RaftAddress: id + ":1", ApiAddress: id + ":2", Boots: boots}
}

func (d *directoryReplica) directory() statemachine.Directory {
	d.t.Helper()
	return d.lookup(statemachine.ReadDirectory{}).(statemachine.Directory)
}

// changeCommand makes a command of a change's part; the request id is told by a
// number.
func changeCommand(request byte, part proto.Message) *raftlogv1.Command {
	return commandOf(request, &raftlogv1.DirectoryChange{Actor: "me", Reason: "test"}, part)
}

func commandOf(request byte, change *raftlogv1.DirectoryChange, part proto.Message) *raftlogv1.Command {
	message := change.ProtoReflect()
	fields := message.Descriptor().Oneofs().ByName("change").Fields()
	for i := range fields.Len() {
		if fields.Get(i).Message() == part.ProtoReflect().Descriptor() {
			message.Set(fields.Get(i), message.NewField(fields.Get(i)))
			proto.Merge(message.Get(fields.Get(i)).Message().Interface(), part)
		}
	}
	c := command(raftlogv1.Kind_KIND_CHANGE_DIRECTORY, change)
	c.RequestId[0] = request
	return c
}

func (d *directoryReplica) change(request byte, part proto.Message) *raftlogv1.Result {
	d.t.Helper()
	return d.apply(changeCommand(request, part))
}

func outcomeOf(t *testing.T, result *raftlogv1.Result) *raftlogv1.DirectoryOutcome {
	t.Helper()
	outcome := &raftlogv1.DirectoryOutcome{}
	if err := outcome.UnmarshalVT(result.GetPayload()); err != nil {
		t.Fatal(err)
	}
	return outcome
}

// word is a result in short: status, map version and ids of the outcome, message.
func word(t *testing.T, result *raftlogv1.Result) string {
	t.Helper()
	o := outcomeOf(t, result)
	text := strings.TrimPrefix(result.GetStatus().String(), "STATUS_")
	for _, id := range []struct {
		name  string
		value uint64
	}{{"v", o.MapVersion}, {"g", o.GroupId}, {"r", o.ReplicaId}, {"op", o.OperationId}} {
		if id.value != 0 {
			text += fmt.Sprintf(" %s%d", id.name, id.value)
		}
	}
	return strings.TrimSpace(text + " " + result.GetMessage())
}

type changeStep struct {
	request byte
	change  proto.Message
	// Beginning of the result's word, and a part of it.
	want, message string
}

// run makes changes one by one. After each the map is valid; what was not made
// has changed nothing.
func (d *directoryReplica) run(steps []changeStep) {
	d.t.Helper()
	for i, s := range steps {
		before := d.directory()
		result := d.change(s.request, s.change)
		got := word(d.t, result)
		if exact := s.message == "" && got != s.want; exact || !strings.HasPrefix(got, s.want) || !strings.Contains(got, s.message) {
			d.t.Errorf("step %d, %T{%v}: %s; want %s %s", i, s.change, s.change, got, s.want, s.message)
		}
		after := d.directory()
		if result.GetStatus() == raftlogv1.Result_STATUS_OK {
			if after.Map.Cluster.MapVersion != before.Map.Cluster.MapVersion+1 {
				d.t.Errorf("step %d: version %d after %d", i, after.Map.Cluster.MapVersion, before.Map.Cluster.MapVersion)
			}
		} else if !sameDirectory(before, after) {
			d.t.Errorf("step %d: %s changed the directory", i, got)
		}
		if err := clusterv1.CheckDirectory(after.Map); err != nil {
			d.t.Errorf("step %d: %v", i, err)
		}
	}
}

func sameDirectory(a, b statemachine.Directory) bool {
	if !proto.Equal(a.Map, b.Map) || len(a.Operations) != len(b.Operations) {
		return false
	}
	for i := range a.Operations {
		if !proto.Equal(a.Operations[i], b.Operations[i]) {
			return false
		}
	}
	return true
}

const (
	up              = clusterv1.NodeState_NODE_STATE_UP
	draining        = clusterv1.NodeState_NODE_STATE_DRAINING
	decommissioning = clusterv1.NodeState_NODE_STATE_DECOMMISSIONING
	lost            = clusterv1.NodeState_NODE_STATE_LOST
	removed         = clusterv1.NodeState_NODE_STATE_REMOVED
	voter           = clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
	learner         = clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER
	leaving         = clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING
)

func register(node *clusterv1.Node) *raftlogv1.RegisterNode {
	return &raftlogv1.RegisterNode{Node: node}
}

func with(node *clusterv1.Node, change func(*clusterv1.Node)) *clusterv1.Node {
	change(node)
	return node
}

func setState(id string, state clusterv1.NodeState) *raftlogv1.SetNodeState {
	return &raftlogv1.SetNodeState{NodeId: id, State: state}
}

func TestRegisterNode(t *testing.T) {
	d := newDirectory(t)
	d.run([]changeStep{
		{0, register(testNode("d", 1)), "OK v2", ""},
		{0, register(testNode("d", 1)), "ALREADY v2", ""},
		{0, register(testNode("d", 0)), "CONFLICT v2", "has started 1 times, this is its start 0"},
		{0, register(with(testNode("d", 1), func(n *clusterv1.Node) { n.RaftAddress = "x:1" })), "CONFLICT v2", "the data directory was copied"},
		{0, register(with(testNode("d", 1), func(n *clusterv1.Node) { n.ApiAddress = "x:1" })), "CONFLICT v2", "the data directory was copied"},
		{0, register(with(testNode("d", 1), func(n *clusterv1.Node) { n.Zone = "z" })), "OK v3", ""},
		{0, register(with(testNode("d", 2), func(n *clusterv1.Node) { n.RaftAddress = "x:1"; n.State = lost })), "OK v4", ""},
		{0, register(with(testNode("a", 0), func(n *clusterv1.Node) { n.Version = "2" })), "OK v5", ""}, // as laid out, without a start
		{0, register(with(testNode("a", 0), func(n *clusterv1.Node) { n.RaftAddress = "a:9" })), "OK v6", ""},
		{0, register(with(testNode("e", 1), func(n *clusterv1.Node) { n.RaftAddress = "b:1" })), "CONFLICT v6", "address b:1 is that of node b"},
		{0, register(with(testNode("e", 1), func(n *clusterv1.Node) { n.ApiAddress = "b:2" })), "CONFLICT v6", "address b:2 is that of node b"},
		{0, register(with(testNode("e", 1), func(n *clusterv1.Node) { n.MinFormat, n.MaxFormat = 2, 3 })), "CONFLICT v6", "the node's build works with 2 to 3"},
		{0, register(with(testNode("d", 3), func(n *clusterv1.Node) { n.MinFormat = 2 })), "CONFLICT v6", "the cluster uses data format 1"},
		// The place of a node that is lost is free, and so is that of one removed.
		{0, setState("c", lost), "OK v7", ""},
		{0, register(testNode("c", 7)), "CONFLICT v7", "node c is LOST and is not let in again"},
		{0, register(with(testNode("e", 1), func(n *clusterv1.Node) { n.RaftAddress, n.ApiAddress = "c:1", "c:2" })), "OK v8", ""},
		{0, setState("d", decommissioning), "OK v9", ""},
		{0, setState("d", removed), "OK v10", ""},
		{0, register(with(testNode("d", 2), func(n *clusterv1.Node) { n.RaftAddress = "x:1" })), "CONFLICT v10", "node d is REMOVED"},
		{0, register(with(testNode("f", 1), func(n *clusterv1.Node) { n.RaftAddress = "x:1"; n.ApiAddress = "" })), "OK v11", ""},
		{0, register(with(testNode("g", 1), func(n *clusterv1.Node) { n.ApiAddress = "" })), "OK v12", ""},
		{0, register(nil), "INVALID", "needs an id"},
		{0, register(&clusterv1.Node{NodeId: "h"}), "INVALID", "a Raft address"},
		{0, register(testNode(strings.Repeat("h", 65), 1)), "INVALID", "at most 64 bytes"},
		{0, register(with(testNode("h", 1), func(n *clusterv1.Node) { n.Zone = strings.Repeat("z", 1025) })), "INVALID", "1,024"},
	})
	d.applyEntry(&raftlogv1.Entry{ProposedAt: 99, Commands: []*raftlogv1.Command{changeCommand(0, register(testNode("i", 1)))}})
	d.applyEntry(&raftlogv1.Entry{ProposedAt: 120, Commands: []*raftlogv1.Command{changeCommand(0, register(with(testNode("i", 2), func(n *clusterv1.Node) { n.JoinedAt = 5 })))}})
	m, err := clusterv1.NewMap(d.directory().Map)
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Node("i"); n.State != up || n.JoinedAt != 99 || n.StateSince != 99 || n.StateReason != "me: test" || n.Boots != 2 {
		t.Errorf("node i is %v", n)
	}
	if n := m.Node("d"); n.State != removed || n.RaftAddress != "x:1" || n.Boots != 2 {
		t.Errorf("node d is %v", n)
	}
}

func TestNodeStates(t *testing.T) {
	d := newDirectory(t)
	d.run([]changeStep{
		{0, setState("x", up), "CONFLICT v1", "there is no node"},
		{0, setState("", up), "CONFLICT v1", "there is no node"},
		{0, setState("a", 0), "INVALID", "no such state"},
		{0, setState("a", 6), "INVALID", "no such state"},
		{0, setState("a", up), "ALREADY v1", ""}, // an unset state means it
		{0, setState("a", removed), "CONFLICT v1", "node a is UP: decommission it"},
		{0, setState("a", draining), "OK v2", ""},
		{0, setState("a", draining), "ALREADY v2", ""},
		{0, setState("a", removed), "CONFLICT v2", "node a is DRAINING: decommission it"},
		{0, setState("a", decommissioning), "OK v3", ""},
		{0, setState("a", up), "OK v4", ""},
		{0, setState("a", decommissioning), "OK v5", ""},
		{0, setState("a", removed), "CONFLICT v5", "still has a replica of group 1"},
		{0, setState("b", lost), "OK v6", ""},
		{0, setState("b", up), "CONFLICT v6", "which is for ever"},
		{0, setState("b", draining), "CONFLICT v6", "which is for ever"},
		{0, setState("b", decommissioning), "CONFLICT v6", "which is for ever"},
		{0, setState("b", removed), "CONFLICT v6", "still has a replica of group 1"},
		{0, register(testNode("d", 1)), "OK v7", ""},
		{0, register(testNode("e", 1)), "OK v8", ""},
		{0, setState("d", decommissioning), "OK v9", ""},
		{0, setState("d", lost), "OK v10", ""},
		{0, setState("d", removed), "OK v11", ""},
		{0, setState("d", removed), "ALREADY v11", ""},
		{0, setState("d", up), "CONFLICT v11", "REMOVED for ever"},
		{0, setState("d", lost), "CONFLICT v11", "REMOVED for ever"},
		{0, setState("e", decommissioning), "OK v12", ""},
		{0, setState("e", removed), "OK v13", ""},
	})
}

func TestGroupsAndReplicas(t *testing.T) {
	d := newDirectory(t)
	group := func(ids ...string) *raftlogv1.CreateGroup { return &raftlogv1.CreateGroup{NodeIds: ids} }
	add := func(group uint64, node string) *raftlogv1.AddReplica {
		return &raftlogv1.AddReplica{GroupId: group, NodeId: node}
	}
	role := func(group, replica uint64, role clusterv1.ReplicaRole) *raftlogv1.SetReplicaRole {
		return &raftlogv1.SetReplicaRole{GroupId: group, ReplicaId: replica, Role: role}
	}
	remove := func(group, replica uint64) *raftlogv1.RemoveReplica {
		return &raftlogv1.RemoveReplica{GroupId: group, ReplicaId: replica}
	}
	steps := []changeStep{
		{1, group(), "INVALID", "1 to 9"},
		{1, group("a", "a"), "INVALID", "1 to 9"},
		{1, group("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), "INVALID", "1 to 9"},
		{1, group("a", "x"), "CONFLICT v1", "there is no node \"x\""},
		{1, group("c", "a"), "OK v2 g4", ""}, // replicas 10 and 11
		{1, group("c", "a"), "ALREADY v2 g4", ""},
		{2, group("a"), "OK v3 g5", ""}, // replica 12
		{0, &raftlogv1.ActivateGroup{GroupId: 9}, "CONFLICT v3", "there is no group 9"},
		{0, &raftlogv1.ActivateGroup{GroupId: 4}, "OK v4", ""},
		{0, &raftlogv1.ActivateGroup{GroupId: 4}, "ALREADY v4", ""},
		{0, setState("b", draining), "OK v5", ""},
		{3, group("b"), "CONFLICT v5", "node b is DRAINING"},
		{0, add(4, "b"), "CONFLICT v5", "node b is DRAINING"},
		{0, setState("b", up), "OK v6", ""},
		{0, add(9, "b"), "CONFLICT v6", "there is no group 9"},
		{0, add(4, "x"), "CONFLICT v6", "there is no node"},
		{0, add(4, "b"), "OK v7 g4 r13", ""},
		{0, add(4, "b"), "ALREADY v7 g4 r13", ""},
		{0, add(4, "a"), "ALREADY v7 g4 r11", ""},
		{0, role(9, 13, voter), "CONFLICT v7", "there is no group 9"},
		{0, role(4, 99, voter), "CONFLICT v7", "group 4 has no replica 99"},
		{0, role(4, 13, 0), "INVALID", "no such role"},
		{0, role(4, 13, 4), "INVALID", "no such role"},
		{0, role(4, 13, learner), "ALREADY v7", ""},
		{0, role(4, 13, voter), "OK v8", ""},
		{0, role(4, 13, voter), "ALREADY v8", ""},
		{0, role(4, 13, learner), "CONFLICT v8", "cannot become a learner"},
		{0, remove(4, 13), "CONFLICT v8", "let it leave first"},
		{0, role(4, 10, leaving), "OK v9", ""},
		{0, role(4, 10, leaving), "ALREADY v9", ""},
		{0, role(4, 10, voter), "CONFLICT v9", "cannot be undone"},
		{0, role(4, 10, learner), "CONFLICT v9", "cannot be undone"},
		{0, role(4, 11, leaving), "OK v10", ""},
		{0, role(4, 13, leaving), "CONFLICT v10", "the last voter of group 4"},
		{0, add(4, "c"), "CONFLICT v10", "replica 10 of group 4 is leaving node c"},
		{0, remove(9, 10), "CONFLICT v10", "there is no group 9"},
		{0, remove(4, 10), "OK v11", ""},
		{0, remove(4, 10), "ALREADY v11", ""},
		{0, remove(4, 12), "CONFLICT v11", "replica 12 is one of group 5, not of group 4"},
		{0, remove(4, 14), "CONFLICT v11", "never was a replica 14"},
		{0, remove(4, 0), "CONFLICT v11", "never was a replica 0"},
		{0, add(4, "c"), "OK v12 g4 r14", ""}, // not 10 again
		{0, role(4, 14, leaving), "OK v13", ""},
		{0, remove(4, 14), "OK v14", ""},
	}
	for i := range 8 { // group 5 has one replica
		id := string(rune('k' + i))
		steps = append(steps,
			changeStep{0, register(testNode(id, 1)), fmt.Sprintf("OK v%d", 15+2*i), ""},
			changeStep{0, add(5, id), fmt.Sprintf("OK v%d g5 r%d", 16+2*i, 15+i), ""})
	}
	d.run(append(steps, changeStep{0, add(5, "b"), "CONFLICT v30", "can have no more"}))

	m, err := clusterv1.NewMap(d.directory().Map)
	if err != nil {
		t.Fatal(err)
	}
	want := []*clusterv1.Replica{{ReplicaId: 10, NodeId: "c", Role: voter}, {ReplicaId: 11, NodeId: "a", Role: voter}}
	if g := m.Group(4); g.State != clusterv1.GroupState_GROUP_STATE_ACTIVE || len(g.Replicas) != 2 || len(g.Founders) != 2 ||
		!proto.Equal(g.Founders[0], want[0]) || !proto.Equal(g.Founders[1], want[1]) {
		t.Errorf("group 4 is %v", g)
	}
	if g := m.Group(5); g.State != clusterv1.GroupState_GROUP_STATE_CREATING {
		t.Errorf("group 5 is %v", g)
	}
	for _, part := range []proto.Message{group("a"), &raftlogv1.StartSplit{}, &raftlogv1.StartMerge{}} {
		c := changeCommand(0, part)
		c.RequestId = nil
		if got := word(t, d.apply(c)); !strings.HasPrefix(got, "INVALID") || !strings.Contains(got, "request id") {
			t.Errorf("%T without a request id: %s", part, got)
		}
	}
}

// Settings are replaced as a whole: who has not seen what others set must not undo it.
func TestSettingsOfTwoOperators(t *testing.T) {
	d := newDirectory(t)
	set := func(before *clusterv1.Settings, factor, directory uint32) string {
		return word(t, d.apply(changeCommand(0, &raftlogv1.ChangeSettings{
			Settings: &clusterv1.Settings{ReplicationFactor: factor, DirectoryReplicas: directory}, Before: before,
		})))
	}
	for i, test := range []struct {
		got, want string
	}{
		{set(&clusterv1.Settings{}, 5, 0), "OK"},
		{set(&clusterv1.Settings{}, 0, 3), "CONFLICT"},
		{set(&clusterv1.Settings{}, 5, 0), "ALREADY"}, // its answer was lost
		{set(&clusterv1.Settings{ReplicationFactor: 5}, 5, 3), "OK"},
		{set(nil, 1, 1), "OK"},
	} {
		if !strings.HasPrefix(test.got, test.want) {
			t.Errorf("%d: %s, want %s", i, test.got, test.want)
		}
	}
}
