package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner/placement"
	"github.com/skerrydb/skerry/planner/placement/drawing"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func TestSettings(t *testing.T) {
	if data, directory := placement.Factor(nil, 2), placement.Factor(nil, placement.DirectoryGroup); data != 3 || directory != 5 {
		t.Error("factors", data, directory)
	}
	s := &clusterv1.Settings{ReplicationFactor: 5, DirectoryReplicas: 7}
	if data, directory := placement.Factor(s, 2), placement.Factor(s, placement.DirectoryGroup); data != 5 || directory != 7 {
		t.Error("factors", data, directory)
	}
}

func TestConfig(t *testing.T) {
	if err := placement.Defaults().Validate(); err != nil {
		t.Error(err)
	}
	bad := placement.Config{Settle: -1, BalanceMax: -1}
	err := bad.Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 5 {
		t.Error("not every fault:", err)
	}
}

// TestNoMap: a directory without a map plans nothing, and says so.
func TestNoMap(t *testing.T) {
	var p placement.Picture
	if actions, notes := placement.Plan(p, placement.Defaults()); len(actions) != 0 || len(notes) != 1 {
		t.Error(actions, notes)
	}
	if v := placement.Check(p, placement.Defaults(), "a", clusterv1.NodeState_NODE_STATE_UP); len(v.Impossible) != 1 {
		t.Error(v)
	}
	if _, err := placement.ChooseNodes(p, placement.Defaults()); err == nil {
		t.Error("nodes without a map")
	}
}

// TestEvacuationsAreBounded: a node that leads everything does not hand it over at once.
func TestEvacuationsAreBounded(t *testing.T) {
	lines := []string{"node a state=draining", "node b", "node c"}
	for range 40 {
		id := len(lines)
		lines = append(lines, fmt.Sprintf("group %d: %d@a* %d@b %d@c", id, 3*id, 3*id+1, 3*id+2))
	}
	d, err := drawing.Read(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	actions, _ := placement.Plan(d.Picture, placement.Defaults())
	to := map[string]int{}
	for _, a := range actions {
		if a.Kind == placement.TransferLeader {
			to[a.Node]++
		}
	}
	if to["b"] != 8 || to["c"] != 8 {
		t.Error("handed over to", to)
	}
	// The same picture has the same plan.
	again, _ := placement.Plan(d.Picture, placement.Defaults())
	if !slices.Equal(actions, again) {
		t.Error("two plans of one picture differ")
	}
}
