package shardgroup

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerrydb/skerry/planner/placement"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// A node that hangs holds up its own steps only.
func TestStepsAreIndependent(t *testing.T) {
	c := &controller{running: map[work]string{}, wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	hang := func(ctx context.Context) bool {
		<-ctx.Done()
		return false
	}
	for group := range uint64(stepsPerNode) {
		c.launch(ctx, work{group: 100 + group}, "hangs", hang)
	}
	begun := make(chan string, 8)
	step := func(what string) func(context.Context) bool {
		return func(context.Context) bool {
			begun <- what
			return true
		}
	}
	c.launch(ctx, work{group: 2}, "hangs", step("one too many on a node"))
	c.launch(ctx, work{group: 100}, "well", step("a second one for a group"))
	c.launch(ctx, work{group: 1}, "well", step("the directory's before the others"))
	c.launch(ctx, work{group: 3}, "well", step("another node's"))
	<-c.wake
	cancel()
	c.steps.Wait()
	c.launch(t.Context(), work{group: 1}, "well", step("the directory's"))
	c.steps.Wait()
	close(begun)
	var all []string
	for what := range begun {
		all = append(all, what)
	}
	if len(all) != 2 || all[0] != "another node's" || all[1] != "the directory's" {
		t.Errorf("steps taken: %q", all)
	}
	if len(c.running) != 0 {
		t.Errorf("steps under way: %v", c.running)
	}
}

// A group that was asked to change its leader is left alone until another one is
// reported, or patience ends.
func TestHandoversSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leadBy := func(nodeID string, term uint64) placement.NodeView {
			return placement.NodeView{Report: &nodev1.NodeReport{Replicas: []*nodev1.GroupReplica{
				{GroupId: 2, ReplicaId: replicaOf(nodeID), LeaderReplicaId: replicaOf(nodeID), Term: term}}}}
		}
		picture := placement.Picture{Nodes: map[string]placement.NodeView{"x": leadBy("x", 7)}}
		action := placement.Action{Kind: placement.TransferLeader, Group: 2}
		c := &controller{transfers: map[uint64]transfer{2: {time.Now(), "x"}}}
		if !c.settling(picture, action) || !c.settling(placement.Picture{}, action) {
			t.Error("it is not known yet")
		}
		picture.Nodes["y"] = leadBy("y", 8)
		if c.settling(picture, action) {
			t.Error("another one leads")
		}
		delete(picture.Nodes, "y")
		c.transfers[2] = transfer{time.Now(), "x"}
		time.Sleep(transferPatience + 1)
		if c.settling(picture, action) {
			t.Error("it was asked long ago")
		}
	})
}
