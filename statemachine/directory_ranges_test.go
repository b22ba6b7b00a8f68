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

func split(id, epoch, at uint64) *raftlogv1.StartSplit {
	return &raftlogv1.StartSplit{RangeId: id, Epoch: epoch, At: at}
}

func merge(id, epoch, next, nextEpoch uint64) *raftlogv1.StartMerge {
	return &raftlogv1.StartMerge{RangeId: id, Epoch: epoch, NextRangeId: next, NextEpoch: nextEpoch}
}

func finish(id uint64, err string) *raftlogv1.FinishOperation {
	return &raftlogv1.FinishOperation{OperationId: id, Error: err}
}

// rangeText is a map's ranges in short: id, bounds, group, epoch, operation.
func rangeText(ranges []*clusterv1.Range) string {
	var texts []string
	for _, r := range ranges {
		texts = append(texts, fmt.Sprintf("%d:%x-%x g%d e%d o%d", r.RangeId, r.Lo>>60, r.Hi>>60, r.GroupId, r.Epoch, r.OperationId))
	}
	return strings.Join(texts, ", ")
}

func TestSplitAndMerge(t *testing.T) {
	d := newDirectory(t)
	const quarter = half / 2
	wantRanges := func(want string) {
		t.Helper()
		if got := rangeText(d.directory().Map.Ranges); got != want {
			t.Errorf("ranges %s\nwant   %s", got, want)
		}
	}
	d.run([]changeStep{
		{1, split(9, 1, 1), "CONFLICT v1", "there is no range 9"},
		{1, split(1, 2, 1), "CONFLICT v1", "range 1 is at epoch 1, not 2"},
		{1, split(1, 0, 1), "CONFLICT v1", "range 1 is at epoch 1, not 0"},
		{1, split(1, 1, 0), "CONFLICT v1", "cannot be split at"},
		{1, split(1, 1, half), "CONFLICT v1", "cannot be split at"},
		{1, split(1, 1, half+1), "CONFLICT v1", "cannot be split at"},
		{1, split(2, 1, half), "CONFLICT v1", "cannot be split at"},
		{1, split(2, 1, half-1), "CONFLICT v1", "cannot be split at"},
		{1, split(2, 1, 0), "CONFLICT v1", "cannot be split at"},
		{1, split(1, 1, quarter), "OK v2 g2 op1", ""},
		{1, split(1, 1, quarter), "ALREADY v2 g2 op1", ""},
		{2, split(1, 1, quarter), "CONFLICT v2", "operation 1 is about to replace range 1"},
		{2, merge(1, 1, 2, 1), "CONFLICT v2", "operation 1 is about to replace range 1"},
	})
	wantRanges("1:0-8 g2 e1 o1, 2:8-0 g3 e1 o0, 3:0-0 g2 e1 o0")
	d.run([]changeStep{
		{0, finish(7, ""), "CONFLICT v2", "operation 7 is not known"},
		{0, finish(1, ""), "OK v3 g2 op1", ""},
		{0, finish(1, ""), "ALREADY v3 g2 op1", ""},
		{0, finish(1, "no"), "CONFLICT v3", "has ended already"},
		{1, split(1, 1, quarter), "ALREADY v3 g2 op1", ""}, // late repeat
	})
	wantRanges("4:0-4 g2 e2 o0, 5:4-8 g2 e2 o0, 2:8-0 g3 e1 o0, 3:0-0 g2 e1 o0")
	d.run([]changeStep{
		{3, split(2, 1, 3*quarter), "OK v4 g3 op2", ""},
		{0, finish(2, "the group is gone"), "OK v5 g3 op2", ""},
		{0, finish(2, "twice"), "ALREADY v5 g3 op2", ""},
		{0, finish(2, ""), "CONFLICT v5", "has ended already"},
	})
	wantRanges("4:0-4 g2 e2 o0, 5:4-8 g2 e2 o0, 2:8-0 g3 e1 o0, 3:0-0 g2 e1 o0")
	d.run([]changeStep{
		{4, merge(4, 2, 2, 1), "CONFLICT v5", "only neighbours"},
		{4, merge(5, 2, 4, 2), "CONFLICT v5", "only neighbours"},
		{4, merge(4, 2, 4, 2), "CONFLICT v5", "only neighbours"},
		{4, merge(2, 1, 4, 2), "CONFLICT v5", "only neighbours"}, // around the end of the space
		{4, merge(2, 1, 3, 1), "CONFLICT v5", "only neighbours"}, // another keyspace
		{4, merge(5, 2, 2, 1), "CONFLICT v5", "only ranges of one group"},
		{4, merge(9, 2, 5, 2), "CONFLICT v5", "there is no range 9"},
		{4, merge(4, 2, 9, 2), "CONFLICT v5", "there is no range 9"},
		{4, merge(4, 1, 5, 2), "CONFLICT v5", "range 4 is at epoch 2, not 1"},
		{4, merge(4, 2, 5, 3), "CONFLICT v5", "range 5 is at epoch 2, not 3"},
		{5, split(5, 2, 3*quarter/2), "OK v6 g2 op3", ""},
		{4, merge(4, 2, 5, 2), "CONFLICT v6", "operation 3 is about to replace range 5"},
		{0, finish(3, ""), "OK v7 g2 op3", ""}, // ranges 8 and 9, epoch 3
		{6, merge(4, 2, 8, 3), "OK v8 g2 op4", ""},
		{6, merge(4, 2, 8, 3), "ALREADY v8 g2 op4", ""},
		{7, split(8, 3, quarter+1), "CONFLICT v8", "operation 4 is about to replace range 8"},
		{0, finish(4, ""), "OK v9 g2 op4", ""},
	})
	wantRanges("10:0-6 g2 e4 o0, 9:6-8 g2 e3 o0, 2:8-0 g3 e1 o0, 3:0-0 g2 e1 o0")

	operations := d.directory().Operations
	if len(operations) != 4 || operations[0].OperationId != 4 || operations[3].OperationId != 1 {
		t.Fatalf("operations %v", operations)
	}
	if op := operations[2]; op.State != clusterv1.Operation_STATE_FAILED || op.Error != "the group is gone" || op.Actor != "me" || op.Reason != "test" {
		t.Errorf("operation 2 is %v", op)
	}
	if op := operations[0]; op.State != clusterv1.Operation_STATE_DONE || op.Kind != clusterv1.Operation_KIND_MERGE || op.GroupId != 2 ||
		rangeText(op.Before) != "4:0-4 g2 e2 o0, 8:4-6 g2 e3 o0" || rangeText(op.After) != "10:0-6 g2 e4 o0" {
		t.Errorf("operation 4 is %v", op)
	}
}

func TestSettingsAndFormats(t *testing.T) {
	d := newDirectory(t)
	settings := func(s *clusterv1.Settings) *raftlogv1.ChangeSettings { return &raftlogv1.ChangeSettings{Settings: s} }
	format := func(f uint32) *raftlogv1.ActivateFormat { return &raftlogv1.ActivateFormat{Format: f} }
	newer := func(id string, boots uint64) *clusterv1.Node {
		return with(testNode(id, boots), func(n *clusterv1.Node) { n.MinFormat, n.MaxFormat = 1, 2 })
	}
	d.run([]changeStep{
		{0, settings(nil), "INVALID", "no settings"},
		{0, settings(&clusterv1.Settings{}), "ALREADY v1", ""},
		{0, settings(&clusterv1.Settings{ReplicationFactor: 2}), "INVALID", "odd"},
		{0, settings(&clusterv1.Settings{ReplicationFactor: 11}), "INVALID", "odd"},
		{0, settings(&clusterv1.Settings{DirectoryReplicas: 4}), "INVALID", "odd"},
		{0, settings(&clusterv1.Settings{DirectoryReplicas: 1<<32 - 1}), "INVALID", "odd"},
		{0, settings(&clusterv1.Settings{RepairAfter: 10e9 - 1}), "INVALID", "at least 10s"},
		{0, settings(&clusterv1.Settings{ReplicationFactor: 9, DirectoryReplicas: 1, RepairAfter: 10e9, LeaderBalanceOff: true}), "OK v2", ""},
		{0, settings(&clusterv1.Settings{ReplicationFactor: 9, DirectoryReplicas: 1, RepairAfter: 10e9, LeaderBalanceOff: true}), "ALREADY v2", ""},
		{0, settings(&clusterv1.Settings{RepairAfter: -1}), "OK v3", ""},
		{0, settings(&clusterv1.Settings{}), "OK v4", ""},

		{0, format(0), "INVALID", "no data format"},
		{0, format(1), "ALREADY v4", ""},
		{0, format(2), "CONFLICT v4", "node a runs release \"\", which works with data formats 1 to 1, not with 2"},
		{0, register(newer("a", 1)), "OK v5", ""},
		{0, register(newer("b", 1)), "OK v6", ""},
		{0, format(2), "CONFLICT v6", "node c runs"},
		{0, register(newer("d", 1)), "OK v7", ""},
		{0, setState("c", lost), "OK v8", ""}, // does not count any more
		{0, format(3), "CONFLICT v8", "node a runs"},
		{0, format(2), "OK v9", ""},
		{0, format(2), "ALREADY v9", ""},
		{0, format(1), "CONFLICT v9", "cannot go back to 1"},
		{0, register(testNode("e", 1)), "CONFLICT v9", "the cluster uses data format 2, the node's build works with 1 to 1"},
	})
	if c := d.directory().Map.Cluster; c.ActiveVersion != 2 || !proto.Equal(c.Settings, &clusterv1.Settings{}) {
		t.Errorf("cluster %v", c)
	}
}

// A change decided on another version of the map is refused; a repeat is not.
func TestExpectedVersion(t *testing.T) {
	d := newDirectory(t)
	expect := func(version uint64, part proto.Message) *raftlogv1.Command {
		return commandOf(0, &raftlogv1.DirectoryChange{ExpectedMapVersion: version}, part)
	}
	for i, s := range []struct {
		version uint64
		part    proto.Message
		want    string
	}{
		{1, setState("a", draining), "OK v2"},
		{1, setState("a", draining), "ALREADY v2"},
		{1, setState("b", draining), "CONFLICT v2 decided on map version 1, now it is 2: read the map and decide again"},
		{3, setState("b", draining), "CONFLICT v2 decided on map version 3, now it is 2: read the map and decide again"},
		{1, setState("a", removed), "CONFLICT v2 decided on map version 1, now it is 2: read the map and decide again"},
		{1, setState("a", 0), "INVALID v2 no such state of a node"},
		{2, setState("b", draining), "OK v3"},
	} {
		if got := word(t, d.apply(expect(s.version, s.part))); got != s.want {
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
	}
}

func TestChangesBeforeThereIsACluster(t *testing.T) {
	d := &directoryReplica{newReplicaOf(t, statemachine.NewDirectory)}
	if got := word(t, d.change(0, setState("a", up))); got != "CONFLICT there is no cluster yet: found one first" {
		t.Error(got)
	}
	if answer := d.directory(); answer.Map != nil || answer.Operations != nil {
		t.Errorf("the directory holds %v", answer)
	}
}
