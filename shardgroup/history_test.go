package shardgroup_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

var historyTime = flag.Duration("history", 5*time.Second, "how long TestReadsAreLinearizable records")

// blockOp is one call about one block, as a history knows it.
type blockOp struct {
	block uint64
	add   bool // else a read
}

// blockModel is a register for each block, from absent to present. A read whose
// outcome is unknown is not recorded; an add whose outcome is unknown ends
// after everything else, or never.
var blockModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byBlock := map[uint64][]porcupine.Operation{}
		for _, op := range history {
			block := op.Input.(blockOp).block
			byBlock[block] = append(byBlock[block], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byBlock {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return false },
	Step: func(state, input, output any) (bool, any) {
		if input.(blockOp).add {
			return true, true
		}
		return state == output, state
	},
	DescribeOperation: func(input, output any) string {
		if op := input.(blockOp); op.add {
			return fmt.Sprintf("add %d", op.block)
		}
		return fmt.Sprintf("present: %v", output)
	},
}

// history collects the calls of all clients.
type history struct {
	start time.Time
	begun atomic.Uint64 // the newest block that is being added
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) record(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

func (h *history) check(t *testing.T) (adds, present, absent int) {
	t.Helper()
	for i, op := range h.ops {
		switch {
		case op.Input.(blockOp).add && op.Return == unknown:
			// Concurrent with all that follows.
			h.ops[i].Return = h.now()
		case op.Input.(blockOp).add:
			adds++
		case op.Output.(bool):
			present++
		default:
			absent++
		}
	}
	if result := porcupine.CheckOperationsTimeout(blockModel, h.ops, time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d calls is not linearizable: %s", len(h.ops), result)
	}
	return adds, present, absent
}

// unknown is the return time of a call that nobody knows the outcome of.
const unknown = -1

// A read on any replica sees every write that was acknowledged before it began,
// while leadership moves and nodes stop and come back.
func TestReadsAreLinearizable(t *testing.T) {
	c := found(t, 3, 1, 10*time.Millisecond)
	m := rangeMapSoon(t, c.node(0))
	h := &history{start: time.Now()}
	ctx, cancel := context.WithTimeout(t.Context(), *historyTime)
	defer cancel()
	var clients sync.WaitGroup
	for id := range 3 {
		clients.Go(func() { (&historyClient{t: t, c: c, m: m, h: h, id: id}).write(ctx) })
	}
	for id := 3; id < 12; id++ {
		clients.Go(func() { (&historyClient{t: t, c: c, m: m, h: h, id: id}).read(ctx) })
	}
	transfers, restarts := disturb(ctx, t, c)
	clients.Wait()
	adds, present, absent := h.check(t)
	t.Logf("%d adds, %d reads that found their block, %d that did not; %d transfers of leadership, %d restarts", adds, present, absent, transfers, restarts)
	if adds < 20 || present < 100 || absent < 10 || transfers == 0 || restarts == 0 {
		t.Error("the history is too thin to tell anything")
	}
}

// disturb moves leadership and restarts nodes until the context ends.
func disturb(ctx context.Context, t *testing.T, c *cluster) (transfers, restarts int) {
	const group = clusterv1.DirectoryGroup + 1
	for turn := 0; ctx.Err() == nil; turn++ {
		leader, follower := c.leader(t, group)
		if turn%4 != 3 {
			// Replica ids of the first data group follow those of the directory.
			target := rangeMapReplica(t, c, group, follower)
			if c.node(leader).TransferLeadership(group, target) == nil {
				transfers++
			}
			pace(ctx, 150*time.Millisecond)
			continue
		}
		victim := []int{leader, follower}[restarts%2]
		c.stop(t, victim)
		pace(ctx, 100*time.Millisecond)
		c.start(t, victim)
		if c.node(victim) == nil {
			return transfers, restarts
		}
		restarts++
	}
	return transfers, restarts
}

// pace lets the clients work between two disturbances; nothing depends on it.
func pace(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func rangeMapReplica(t *testing.T, c *cluster, group uint64, node int) uint64 {
	t.Helper()
	response, err := c.node(node).Service().GroupStatus(t.Context(), &nodev1.GroupStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, replica := range response.GetReplicas() {
		if replica.GetGroupId() == group {
			return replica.GetReplicaId()
		}
	}
	t.Fatalf("node %d has no replica of group %d", node, group)
	return 0
}

// historyBlocks is the number of blocks, the newest ones, that readers look for:
// few, so that reads are close to the adds.
const historyBlocks = 8

// historyClient adds or reads blocks, each time at another node.
type historyClient struct {
	t  *testing.T
	c  *cluster
	m  *clusterv1.Map
	h  *history
	id int
}

func (hc *historyClient) write(ctx context.Context) {
	for ctx.Err() == nil {
		node := hc.c.node(rand.IntN(3))
		if node == nil {
			continue
		}
		serial := hc.h.begun.Add(1)
		request := addRequest(hc.t, hc.m, historyBlock(serial))
		op := porcupine.Operation{ClientId: hc.id, Input: blockOp{serial, true}, Call: hc.h.now(), Return: unknown}
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := node.Service().AddBlock(call, request)
		cancel()
		if err == nil {
			op.Return = hc.h.now()
		} else if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled {
			hc.t.Errorf("add: %v", err)
		}
		hc.h.record(op)
	}
}

func (hc *historyClient) read(ctx context.Context) {
	for ctx.Err() == nil {
		newest := hc.h.begun.Load()
		serial := newest - min(newest, rand.Uint64N(historyBlocks))
		node := hc.c.node(rand.IntN(3))
		if node == nil {
			continue
		}
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		began := hc.h.now()
		var present bool
		var err error
		if hc.id%2 == 0 {
			present, err = hc.get(call, node, serial)
		} else {
			present, err = hc.query(call, node, serial)
		}
		ended := hc.h.now()
		cancel()
		if err == nil {
			hc.h.record(porcupine.Operation{ClientId: hc.id, Input: blockOp{serial, false}, Call: began, Output: present, Return: ended})
		} else if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled {
			hc.t.Errorf("read: %v", err)
		}
	}
}

func (hc *historyClient) get(ctx context.Context, node *shardgroup.Node, serial uint64) (bool, error) {
	add := addRequest(hc.t, hc.m, historyBlock(serial))
	answer, err := node.Service().GetBlocks(ctx, &nodev1.GetBlocksRequest{
		GroupId: add.GetGroupId(), Range: add.GetRange(), Tenant: historyTenant, Shard: 1, Ids: []string{historyBlock(serial).GetId()},
	})
	return len(answer.GetBlocks()) == 1, err
}

// query looks for the block's own millisecond: no other block has it.
func (hc *historyClient) query(ctx context.Context, node *shardgroup.Node, serial uint64) (bool, error) {
	block := historyBlock(serial)
	add := addRequest(hc.t, hc.m, block)
	answer, err := node.Service().QueryBlocks(ctx, &nodev1.QueryRequest{
		GroupId: add.GetGroupId(), Ranges: []*clusterv1.RangeRef{add.GetRange()}, Tenants: []string{historyTenant},
		StartTime: block.GetMinTime(), EndTime: block.GetMaxTime(), Selector: `{service_name="cart"}`,
	})
	if len(answer.GetBlocks()) > 1 {
		hc.t.Errorf("block %d was found as %v", serial, answer.GetBlocks())
	}
	return len(answer.GetBlocks()) == 1, err
}

const historyTenant = "history"

func historyBlock(serial uint64) *metastorev1.BlockMeta {
	id := ulid.ULID{}
	if err := id.SetTime(1735787040000 + serial); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(id[8:], serial)
	at := int64(id.Time())
	return &metastorev1.BlockMeta{
		Id: id.String(), Tenant: 1, Shard: 1, MinTime: at, MaxTime: at, CompactionLevel: 1,
		StringTable: []string{"", historyTenant, "service_name", "cart"},
		Datasets:    []*metastorev1.Dataset{{Tenant: 1, Name: 3, MinTime: at, MaxTime: at, Labels: []int32{1, 2, 3}}},
	}
}
