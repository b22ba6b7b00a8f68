package statemachine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// Whatever comes, the directory stays one that a cluster can live by.
func TestDirectoryUnderRandomChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	made := map[string]bool{}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newDirectoryWalk(t, seed)
			for range 600 {
				w.step()
			}
			for _, kind := range []raftlogv1.Result_Status{raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY, raftlogv1.Result_STATUS_CONFLICT, raftlogv1.Result_STATUS_INVALID} {
				if w.results[kind] < 20 {
					t.Errorf("the walk meets %s %d times only", kind, w.results[kind])
				}
			}
			for _, entry := range w.recorded[2:] {
				change := &raftlogv1.DirectoryChange{}
				if change.UnmarshalVT(entry.Commands[0].GetPayload()) == nil && w.done[entry] {
					made[fmt.Sprintf("%T", change.GetChange())] = true
				}
			}
		})
	}
	if len(made) != 12 {
		t.Errorf("the walks make only %v", made)
	}
}

// directoryWalk makes random changes and judges what comes of them.
type directoryWalk struct {
	*directoryReplica
	random *rand.Rand
	was    statemachine.Directory
	// All ids that ever were, as kind and number.
	ids      map[string]bool
	founders map[uint64]*clusterv1.Group
	last     *raftlogv1.Command
	clock    uint64
	results  map[raftlogv1.Result_Status]int
	// Entries whose change was made.
	done map[*raftlogv1.Entry]bool
}

func newDirectoryWalk(t *testing.T, seed uint64) *directoryWalk {
	w := &directoryWalk{
		directoryReplica: newDirectory(t), random: rand.New(rand.NewPCG(seed, 7)),
		ids: map[string]bool{}, founders: map[uint64]*clusterv1.Group{}, results: map[raftlogv1.Result_Status]int{},
		done: map[*raftlogv1.Entry]bool{},
	}
	w.apply(claim("a", 1))
	w.was = w.directory()
	w.remember(w.was)
	return w
}

func (w *directoryWalk) step() {
	w.t.Helper()
	c := w.draw()
	if w.last != nil && w.random.IntN(8) == 0 {
		c = w.last
	}
	w.last = c
	w.clock += w.random.Uint64N(20)
	result := w.applyEntry(&raftlogv1.Entry{ProposedAt: w.clock - w.random.Uint64N(w.clock/2+1), Commands: []*raftlogv1.Command{c}})
	w.results[result.GetStatus()]++
	is := w.directory()
	if result.GetStatus() == raftlogv1.Result_STATUS_OK {
		w.done[w.recorded[len(w.recorded)-1]] = true
		if is.Map.Cluster.MapVersion != w.was.Map.Cluster.MapVersion+1 {
			w.t.Errorf("version %d after %d", is.Map.Cluster.MapVersion, w.was.Map.Cluster.MapVersion)
		}
	} else if !sameDirectory(w.was, is) {
		w.t.Errorf("%s changed the directory", word(w.t, result))
	}
	w.judge(is)
	w.was = is
	if w.t.Failed() {
		change := &raftlogv1.DirectoryChange{}
		_ = change.UnmarshalVT(c.GetPayload())
		w.t.Fatalf("after %v: %s", change, word(w.t, result))
	}
}

func (w *directoryWalk) judge(is statemachine.Directory) {
	w.t.Helper()
	if err := clusterv1.CheckDirectory(is.Map); err != nil {
		w.t.Error(err)
		return
	}
	old, _ := clusterv1.NewMap(w.was.Map)
	new, _ := clusterv1.NewMap(is.Map)
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM} {
		for _, r := range append(old.Ranges(keyspace), new.Ranges(keyspace)...) { // all places where something begins
			a, b := old.Lookup(keyspace, r.GetLo()), new.Lookup(keyspace, r.GetLo())
			if a.GetRangeId() != b.GetRangeId() && b.GetEpoch() <= a.GetEpoch() {
				w.t.Errorf("at %x epoch %d follows %d", r.GetLo(), b.GetEpoch(), a.GetEpoch())
			}
			if a.GetRangeId() == b.GetRangeId() && (a.GetEpoch() != b.GetEpoch() || a.GetHi() != b.GetHi()) {
				w.t.Errorf("range %v is now %v", a, b)
			}
		}
	}
	marked := map[uint64]uint64{}
	for _, r := range is.Map.GetRanges() {
		if r.GetOperationId() != 0 {
			marked[r.GetRangeId()] = r.GetOperationId()
		}
	}
	ended := 0
	for i, op := range is.Operations {
		if i > 0 && op.GetOperationId() >= is.Operations[i-1].GetOperationId() {
			w.t.Errorf("operation %d comes after %d", op.GetOperationId(), is.Operations[i-1].GetOperationId())
		}
		if op.GetState() != clusterv1.Operation_STATE_RUNNING {
			ended++
			continue
		}
		for _, r := range op.GetBefore() {
			if marked[r.GetRangeId()] != op.GetOperationId() {
				w.t.Errorf("range %d is not marked with operation %d", r.GetRangeId(), op.GetOperationId())
			}
			delete(marked, r.GetRangeId())
		}
	}
	if len(marked) > 0 {
		w.t.Errorf("ranges marked with operations that do not run: %v", marked)
	}
	if ended > 256 {
		w.t.Errorf("%d ended operations are kept", ended)
	}
	addresses := map[string]bool{}
	for _, node := range is.Map.GetNodes() {
		if node.Gone() {
			continue
		}
		if addresses[node.GetRaftAddress()] || addresses[node.GetApiAddress()] {
			w.t.Errorf("two nodes at %s", node.GetRaftAddress())
		}
		addresses[node.GetRaftAddress()], addresses[node.GetApiAddress()] = true, true
	}
	for _, group := range is.Map.GetGroups() {
		for _, replica := range group.GetReplicas() {
			if new.Node(replica.GetNodeId()).GetState() == removed {
				w.t.Errorf("group %d has a replica on a removed node", group.GetGroupId())
			}
		}
	}
	w.remember(is)
}

// remember demands that what is new has an id that never was.
func (w *directoryWalk) remember(is statemachine.Directory) {
	before := idsOf(w.was)
	for id := range idsOf(is) {
		if !before[id] && w.ids[id] {
			w.t.Errorf("%s was used before", id)
		}
		w.ids[id] = true
	}
	for _, group := range is.Map.GetGroups() {
		first := &clusterv1.Group{Founders: group.GetFounders()}
		if known := w.founders[group.GetGroupId()]; known != nil && !proto.Equal(known, first) {
			w.t.Errorf("the founders of group %d were %v and are %v", group.GetGroupId(), known, first)
		}
		w.founders[group.GetGroupId()] = first
	}
}

func idsOf(d statemachine.Directory) map[string]bool {
	ids := map[string]bool{}
	for _, group := range d.Map.GetGroups() {
		ids[fmt.Sprint("group ", group.GetGroupId())] = true
		for _, replica := range group.GetReplicas() {
			ids[fmt.Sprint("replica ", replica.GetReplicaId())] = true
		}
	}
	for _, r := range d.Map.GetRanges() {
		ids[fmt.Sprint("range ", r.GetRangeId())] = true
	}
	for _, op := range d.Operations {
		ids[fmt.Sprint("operation ", op.GetOperationId())] = true
		for _, r := range op.GetAfter() {
			ids[fmt.Sprint("range of an operation ", r.GetRangeId())] = true
		}
	}
	return ids
}

// draw makes a change that is often possible, sometimes wrong, seldom garbage.
func (w *directoryWalk) draw() *raftlogv1.Command {
	m := w.was.Map
	node := func() string {
		if n := w.random.IntN(len(m.Nodes) + 1); n < len(m.Nodes) {
			return m.Nodes[n].GetNodeId()
		}
		return fmt.Sprint("n", w.random.IntN(12))
	}
	group := m.Groups[w.random.IntN(len(m.Groups))]
	replica := &clusterv1.Replica{ReplicaId: w.random.Uint64N(m.Cluster.NextReplicaId + 1)}
	if len(group.Replicas) > 0 && w.random.IntN(8) > 0 {
		replica = group.Replicas[w.random.IntN(len(group.Replicas))]
	}
	row := m.Ranges[w.random.IntN(len(m.Ranges))]
	epoch := func(r *clusterv1.Range) uint64 { return r.GetEpoch() - w.random.Uint64N(9)/8 }
	request := make([]byte, 16)
	for i := range request {
		request[i] = byte(w.random.Uint32())
	}
	var part proto.Message
	switch w.random.IntN(26) {
	case 0, 1, 2:
		id := node()
		boots := w.random.Uint64N(4)
		for _, known := range m.Nodes {
			if known.GetNodeId() == id {
				boots = known.GetBoots() + w.random.Uint64N(3) - w.random.Uint64N(9)/8
			}
		}
		n := testNode(id, boots)
		if w.random.IntN(3) == 0 {
			n.RaftAddress = testNode(node(), 0).RaftAddress
		}
		n.MaxFormat = w.random.Uint32N(6)
		part = register(n)
	case 3, 4, 5:
		part = setState(node(), clusterv1.NodeState(w.random.IntN(7)))
	case 6:
		part = &raftlogv1.CreateGroup{NodeIds: []string{node(), node(), node()}[:1+w.random.IntN(3)]}
	case 7:
		part = &raftlogv1.ActivateGroup{GroupId: group.GetGroupId() + w.random.Uint64N(5)/4}
	case 8, 9, 10:
		part = &raftlogv1.AddReplica{GroupId: group.GetGroupId(), NodeId: node()}
	case 11, 12, 13, 14:
		part = &raftlogv1.SetReplicaRole{GroupId: group.GetGroupId(), ReplicaId: replica.GetReplicaId(), Role: clusterv1.ReplicaRole(w.random.IntN(4))}
	case 15, 16:
		part = &raftlogv1.RemoveReplica{GroupId: group.GetGroupId(), ReplicaId: replica.GetReplicaId()}
	case 17, 18:
		at := w.random.Uint64()
		if w.random.IntN(3) > 0 { // within the range
			at = row.GetLo() + w.random.Uint64N(max(row.GetHi()-row.GetLo()-1, 1))
		}
		part = split(row.GetRangeId(), epoch(row), at)
	case 19, 20:
		next := row
		for _, r := range m.Ranges {
			if r.GetLo() == row.GetHi() && r.GetKeyspace() == row.GetKeyspace() {
				next = r
			}
		}
		part = merge(row.GetRangeId(), epoch(row), next.GetRangeId(), epoch(next))
	case 21, 22, 23:
		id := w.random.Uint64N(m.Cluster.NextOperationId + 1)
		for _, op := range w.was.Operations {
			if op.GetState() == clusterv1.Operation_STATE_RUNNING {
				id = op.GetOperationId()
			}
		}
		part = finish(id, []string{"", "", "refused"}[w.random.IntN(3)])
	case 24:
		part = &raftlogv1.ChangeSettings{Settings: &clusterv1.Settings{ReplicationFactor: w.random.Uint32N(6), RepairAfter: w.random.Int64N(40e9)}}
	default:
		part = &raftlogv1.ActivateFormat{Format: w.random.Uint32N(5)}
	}
	change := &raftlogv1.DirectoryChange{Actor: "walk"}
	if w.random.IntN(6) == 0 {
		change.ExpectedMapVersion = m.Cluster.MapVersion - w.random.Uint64N(2)
	}
	c := commandOf(0, change, part)
	c.RequestId = request
	if w.random.IntN(40) == 0 {
		c.Payload = c.Payload[:w.random.IntN(len(c.Payload))]
	}
	return c
}
