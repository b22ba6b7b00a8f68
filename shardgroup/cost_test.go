package shardgroup_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// What queries cost is counted for each group, and told to the caller.
func TestQueriesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	node, err := tryOpen(t, t.TempDir(), registry)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNode(t, node)
	m := rangeMap(t, node)
	for i := range uint64(3) {
		if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, historyBlock(i))); err != nil {
			t.Fatal(err)
		}
	}
	add := addRequest(t, m, historyBlock(1))
	request := everything(m)
	request.GroupId, request.Ranges = add.GetGroupId(), request.Ranges[:0]
	request.Ranges = append(request.Ranges, add.GetRange())
	blocks, err := node.Service().QueryBlocks(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	labels, err := node.Service().QueryLabels(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := blocks.GetCost().GetBlocksReturned(); got != 3 {
		t.Errorf("%d blocks returned, want 3", got)
	}
	total := &nodev1.QueryCost{}
	total.Add(blocks.GetCost())
	total.Add(labels.GetCost())
	group := map[uint64]string{2: "2", 3: "3"}[add.GetGroupId()]
	for _, item := range nodev1.CostItems() {
		if got := counterOf(t, registry, "skerry_group_query_"+item.Name+"_total", group); got != float64(*item.Of(total)) {
			t.Errorf("%s: counted %v, want %d", item.Name, got, *item.Of(total))
		}
	}
	if reads, rounds := counterOf(t, registry, "skerry_group_reads_total", group), counterOf(t, registry, "skerry_group_read_rounds_total", group); reads < 2 || rounds < 2 || rounds > reads {
		t.Errorf("%v reads in %v rounds", reads, rounds)
	}
}
