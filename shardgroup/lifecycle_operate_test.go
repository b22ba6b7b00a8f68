package shardgroup_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// do has an operator's change made.
func (f *crew) do(request *nodev1.OperateRequest) *nodev1.OperateResponse {
	f.t.Helper()
	answer, err := f.operate(request)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

// awaitRanges waits until the directory has so many ranges, and no operation runs.
func (f *crew) awaitRanges(want int) *clusterv1.Map {
	f.t.Helper()
	var m *clusterv1.Map
	await(f.t, fmt.Sprint(want, " ranges"), func() bool {
		state := f.state()
		if len(state.GetMap().GetRanges()) != want || slices.ContainsFunc(state.GetOperations(), func(o *clusterv1.Operation) bool {
			return o.GetState() == clusterv1.Operation_STATE_RUNNING
		}) {
			return false
		}
		var err error
		if m, err = clusterv1.NewMap(state.GetMap()); err != nil {
			f.t.Fatal(err)
		}
		return true
	})
	return m
}

// Ranges are split and merged while blocks are written; who comes with an old epoch
// is told the new ones.
func TestSplitAndMergeUnderWrites(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	a := f.node("a")
	w := f.write("a", "b", "c")
	old := rangeMapSoon(t, a)
	before := len(old.Proto().GetRanges())
	block := testBlock(1_000_000, "", 1, 0, "anna")
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	split := old.Lookup(keyspace, point)
	f.do(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_Split{Split: &nodev1.SplitAction{RangeId: split.GetRangeId()}}})
	m := f.awaitRanges(before + 1)
	_, err := a.Service().AddBlock(t.Context(), addRequest(t, old, block))
	var corrected []*clusterv1.Range
	for _, detail := range status.Convert(err).Details() {
		corrected = detail.(*clusterv1.RouteError).GetCurrent()
	}
	if status.Code(err) != codes.Aborted || len(corrected) == 0 || corrected[0].GetEpoch() != split.GetEpoch()+1 {
		t.Errorf("an old epoch: %v, corrected to %v", err, corrected)
	}
	retried(t, func() (*nodev1.AddBlockResponse, error) {
		return a.Service().AddBlock(t.Context(), addRequest(t, m, block))
	})
	low := m.Lookup(keyspace, split.GetLo())
	f.do(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_Merge{Merge: &nodev1.MergeAction{RangeId: low.GetRangeId()}}})
	m = f.awaitRanges(before)
	wantBlocks(t, a, m, append(w.end(), block))
	if merged := m.Lookup(keyspace, point); merged.GetEpoch() != split.GetEpoch()+2 {
		t.Errorf("the merged range is %v", merged)
	}
}

// New groups get replicas, their identity and nothing else, once for each request.
func TestGroupsAreCreated(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	request := func() *nodev1.OperateRequest {
		return &nodev1.OperateRequest{RequestId: bytes.Repeat([]byte{7}, 16), Action: &nodev1.OperateRequest_CreateGroups{
			CreateGroups: &nodev1.CreateGroupsAction{Count: 2}}}
	}
	if ids := f.do(request()).GetGroupIds(); !slices.Equal(ids, []uint64{4, 5}) {
		t.Errorf("made groups %v", ids)
	}
	if again := f.do(request()); again.GetChanged() || !slices.Equal(again.GetGroupIds(), []uint64{4, 5}) {
		t.Errorf("a repeat made groups %v", again)
	}
	await(t, "the groups to be active", func() bool {
		m := f.state().GetMap()
		return len(m.GetGroups()) == 5 && !slices.ContainsFunc(m.GetGroups(), func(g *clusterv1.Group) bool {
			return g.GetState() == clusterv1.GroupState_GROUP_STATE_CREATING || len(g.Voters()) != 3
		})
	})
	await(t, "replicas everywhere", func() bool {
		return len(f.node("a").Groups()) == 5 && len(f.node("b").Groups()) == 5 && len(f.node("c").Groups()) == 5
	})
	f.stop("b")
	f.start("b", nil)
}

// leads returns how many groups a node leads.
func leads(node *shardgroup.Node) (count int) {
	for _, group := range node.Groups() {
		if node.LeaderEpoch(group) > 0 {
			count++
		}
	}
	return count
}

// Leaders spread over the nodes, and then nothing happens any more. They leave a node
// that drains or stops, and return to one that is up again.
func TestLeadersSpreadAndDrain(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	f.do(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_CreateGroups{CreateGroups: &nodev1.CreateGroupsAction{Count: 4}}})
	names := []string{"a", "b", "c"}
	settled := func() bool {
		state := f.state()
		return state != nil && len(state.GetPlan()) == 0 && leads(f.node("a")) > 0 && leads(f.node("b")) > 0 && leads(f.node("c")) > 0 &&
			leads(f.node("a"))+leads(f.node("b"))+leads(f.node("c")) == 7
	}
	await(t, "the leaders to be spread", settled)
	was := f.state()
	epochs := func() (all [3][8]uint64) {
		for i, name := range names {
			for group := range uint64(8) {
				all[i][group] = f.node(name).LeaderEpoch(group)
			}
		}
		return all
	}
	before := epochs()
	await(t, "some reports", func() bool {
		state := f.state()
		return state != nil && state.GetNodes()[0].GetReport() != was.GetNodes()[0].GetReport() && !settled() || time.Now().UnixNano()-was.GetMap().GetCluster().GetCreatedAt() > int64(5*time.Second)
	})
	if after := epochs(); after != before || !proto.Equal(f.state().GetMap(), was.GetMap()) {
		t.Errorf("leaders moved for nothing: %v, were %v; the plan is %v", after, before, f.state().GetPlan())
	}
	f.setState(f.node("b").ID(), clusterv1.NodeState_NODE_STATE_DRAINING)
	await(t, "the leaders to leave", func() bool { return leads(f.node("b")) == 0 && leads(f.node("a"))+leads(f.node("c")) == 7 })
	f.setState(f.node("b").ID(), clusterv1.NodeState_NODE_STATE_UP)
	await(t, "leaders to return", settled)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.node("c").Drain(ctx); err != nil {
		t.Error(err)
	}
	await(t, "the node to lead nothing", func() bool { return leads(f.node("c")) == 0 })
	if phase := f.hello(f.node("c")).GetPhase(); phase != "stopping" || f.node("c").Ready() == nil {
		t.Errorf("a node that stops says %q", phase)
	}
}

// Who watches the map gets it as a whole, and then what changes, also from a node
// without a replica of the directory.
func TestMapIsWatched(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	// One voter is enough of the directory, so two nodes have none.
	f.settings(&clusterv1.Settings{DirectoryReplicas: 1})
	name := ""
	await(t, "a node without a replica of the directory", func() bool {
		for _, node := range []string{"a", "b", "c"} {
			if !slices.Contains(f.node(node).Groups(), clusterv1.DirectoryGroup) {
				name = node
			}
		}
		return name != ""
	})
	client, err := f.peer(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := client.WatchMap(ctx, &nodev1.WatchMapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var m *clusterv1.RangeMap
	changes := 0
	for wanted := uint64(0); changes < 3; {
		update, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if snapshot := update.GetSnapshot(); snapshot != nil {
			if m != nil {
				t.Error("a watcher that kept up got the whole map again")
			}
			m = snapshot
		} else if m, err = clusterv1.Apply(m, update.GetDelta()); err != nil {
			t.Fatal(err)
		}
		if m.GetCluster().GetMapVersion() >= wanted {
			changes++
			wanted = f.do(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_CreateGroups{
				CreateGroups: &nodev1.CreateGroupsAction{Count: 1}}}).GetMapVersion()
		}
	}
	if len(m.GetGroups()) < 5 {
		t.Errorf("the watcher has %d groups", len(m.GetGroups()))
	}
}
