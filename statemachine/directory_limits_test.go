package statemachine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// grown is a map of one node with as many groups and tenant ranges.
func grown(t *testing.T, groups, ranges int) *clusterv1.RangeMap {
	t.Helper()
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{ClusterID: "cluster", Node: testNode("a", 1), Groups: groups, StreamGroups: 1})
	if err != nil {
		t.Fatal(err)
	}
	last := m.Ranges[groups-1]
	for i := len(m.Ranges); i < ranges; i++ {
		next := &clusterv1.Range{RangeId: m.Cluster.NextRangeId, Keyspace: last.Keyspace, Lo: last.Lo + 10, GroupId: last.GroupId, Epoch: 1}
		m.Cluster.NextRangeId++
		last.Hi = next.Lo
		m.Ranges = append(m.Ranges, next)
		last = next
	}
	return m
}

func TestBoundsOfTheDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	request := make([]byte, 16)
	want := func(d *directoryReplica, part proto.Message, want, message string) {
		t.Helper()
		c := changeCommand(0, part)
		copy(c.RequestId, request)
		request[15]++
		if got := word(t, d.apply(c)); !strings.HasPrefix(got, want) || !strings.Contains(got, message) {
			t.Errorf("%T: %s, want %s %s", part, got, want, message)
		}
	}
	t.Run("groups", func(t *testing.T) {
		d := newDirectoryOf(t, grown(t, 4094, 0)) // and the directory
		want(d, &raftlogv1.CreateGroup{NodeIds: []string{"a"}}, "OK v2 g4096", "")
		want(d, &raftlogv1.CreateGroup{NodeIds: []string{"a"}}, "CONFLICT", "4096 groups and can have no more")
	})
	t.Run("ranges", func(t *testing.T) {
		d := newDirectoryOf(t, grown(t, 2, 9998))
		want(d, split(1, 1, 5), "OK", "")
		want(d, split(2, 1, half+5), "OK", "")
		// Those that are about to be count.
		want(d, split(9, 1, half+65), "CONFLICT", "10000 ranges and can have no more")
		want(d, finish(1, ""), "OK", "")
		want(d, split(9, 1, half+65), "CONFLICT", "can have no more")
		want(d, finish(2, "no"), "OK", "")
		want(d, split(9, 1, half+65), "OK", "")
		want(d, split(8, 1, half+55), "CONFLICT", "can have no more")
	})
	t.Run("nodes", func(t *testing.T) {
		m := grown(t, 1, 0)
		for i := range 998 {
			m.Nodes = append(m.Nodes, testNode(fmt.Sprintf("n%04d", i), 1))
		}
		gone := testNode("gone", 1)
		gone.State = removed
		m.Nodes = append(m.Nodes, gone)
		d := newDirectoryOf(t, m)
		want(d, register(testNode("x", 1)), "OK", "")
		want(d, register(testNode("y", 1)), "CONFLICT", "1000 nodes, 1001 with those removed")
		want(d, register(testNode("x", 2)), "OK", "")
		want(d, setState("x", decommissioning), "OK", "")
		want(d, setState("x", removed), "OK", "")
		want(d, register(testNode("y", 1)), "OK", "")
	})
	t.Run("size", func(t *testing.T) {
		d := newDirectory(t)
		c := commandOf(0, &raftlogv1.DirectoryChange{Reason: strings.Repeat("r", 64<<10)}, setState("a", draining))
		if got := d.apply(c); got.GetStatus() != raftlogv1.Result_STATUS_INVALID {
			t.Errorf("a huge change: %v", got)
		}
		c = commandOf(0, &raftlogv1.DirectoryChange{Reason: strings.Repeat("é", 1000) + "\xff"}, setState("a", draining))
		if got := word(t, d.apply(c)); got != "OK v2" {
			t.Error(got)
		}
		if reason := d.directory().Map.Nodes[0].StateReason; reason != strings.Repeat("é", 512) {
			t.Errorf("a long reason is kept as %q", reason)
		}
		// Cut within a character, it stays a text.
		c = commandOf(0, &raftlogv1.DirectoryChange{Reason: "x" + strings.Repeat("é", 1000)}, setState("a", up))
		d.apply(c)
		if reason := d.directory().Map.Nodes[0].StateReason; reason != "x"+strings.Repeat("é", 511) {
			t.Errorf("a long reason is kept as %q", reason)
		}
	})
}

// Of operations that ended, the last 256 by their ends are known; those that run
// are known however old.
func TestEndedOperationsAreForgotten(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	d := newDirectory(t)
	change := func(at uint64, request int, part proto.Message) string {
		t.Helper()
		c := changeCommand(0, part)
		c.RequestId[1], c.RequestId[2] = byte(request), byte(request>>8)
		return word(t, d.applyEntry(&raftlogv1.Entry{ProposedAt: at, Commands: []*raftlogv1.Command{c}}))
	}
	change(1, 1, split(1, 1, 5))      // runs on and on
	change(1, 2, split(2, 1, half+5)) // ends late
	for i := range 300 {
		start, end := change(uint64(10+i), 3+i, split(3, 1, 5)), change(uint64(10+i), 0, finish(uint64(3+i), "no"))
		if !strings.HasPrefix(start, "OK") || !strings.HasPrefix(end, "OK") {
			t.Fatal(start, end)
		}
	}
	// Its end is in the past, by a clock that is behind: it is the last one all the same.
	if got := change(1, 0, finish(2, "no")); !strings.HasPrefix(got, "OK") {
		t.Error(got)
	}
	if got := change(1, 0, finish(2, "no")); !strings.HasPrefix(got, "ALREADY") {
		t.Error(got)
	}
	operations := d.directory().Operations
	if len(operations) != 257 || operations[256].OperationId != 1 || operations[255].OperationId != 2 || operations[254].OperationId != 48 {
		t.Errorf("%d operations are known, the oldest %v", len(operations), operations[len(operations)-3:])
	}
	if got := change(400, 0, finish(3, "no")); !strings.Contains(got, "ended long ago") {
		t.Error(got)
	}
}

// The first releases recorded neither founders nor a counter of operations, and
// states of nodes only sometimes.
func TestDirectoryOfTheFirstReleases(t *testing.T) {
	m := grown(t, 2, 0)
	m.Nodes = append(m.Nodes, testNode("b", 0))
	m.Cluster.NextOperationId = 0
	for _, g := range m.Groups {
		g.Founders = nil
	}
	d := newDirectoryOf(t, m)
	steps := []struct {
		part proto.Message
		want string
	}{
		{&raftlogv1.AddReplica{GroupId: 2, NodeId: "b"}, "OK v2 g2 r4"},
		{split(1, 1, 5), "OK v3 g2 op1"},
		{split(2, 1, half+5), "ALREADY v3 g2 op1"}, // the same request id
	}
	for _, s := range steps {
		if got := word(t, d.change(9, s.part)); got != s.want {
			t.Errorf("%T: %s, want %s", s.part, got, s.want)
		}
	}
	got := d.directory().Map.Groups[1]
	if len(got.Founders) != 1 || got.Founders[0].ReplicaId != 2 || len(got.Replicas) != 2 {
		t.Errorf("group 2 is %v", got)
	}
}

// Garbage is refused, and changes nothing.
func TestGarbageChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	d, r := newDirectory(t), newReplica(t)
	r.apply(initCommand())
	random := rand.New(rand.NewPCG(5, 5))
	tenants := &clusterv1.Range{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: group, Epoch: 1}
	good := []*raftlogv1.Command{
		changeCommand(1, register(testNode("d", 1))), changeCommand(1, setState("x", draining)),
		changeCommand(1, split(9, 1, 1)), changeCommand(1, &raftlogv1.CreateGroup{NodeIds: []string{"x"}}),
	}
	for _, payload := range [][]byte{nil, {0xff}, {0x50}, {0x52, 0x7f}, {0xa2, 0x06, 0x00}} {
		for _, kind := range []raftlogv1.Kind{raftlogv1.Kind_KIND_CHANGE_DIRECTORY, raftlogv1.Kind_KIND_REPLACE_RANGES} {
			to := r
			if kind == raftlogv1.Kind_KIND_CHANGE_DIRECTORY {
				to = d.replica
			}
			wantStatus(t, to.apply(&raftlogv1.Command{Kind: kind, Payload: payload}), raftlogv1.Result_STATUS_INVALID)
		}
	}
	for range 2000 {
		c := proto.CloneOf(good[random.IntN(len(good))])
		to := d.replica
		if random.IntN(3) == 0 {
			c, to = replace([]*clusterv1.Range{tenants}, cut(tenants, 3, half)), r
		}
		for range 1 + random.IntN(3) {
			if n := len(c.Payload); n > 0 {
				c.Payload[random.IntN(n)] = byte(random.Uint32())
				c.Payload = c.Payload[:n-random.IntN(2)]
			}
		}
		to.apply(c) // whatever comes of it, the state is one that can be read
	}
	if err := clusterv1.CheckDirectory(d.directory().Map); err != nil {
		t.Error(err)
	}
	rows := &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{}, Groups: []*clusterv1.Group{{GroupId: group}}, Ranges: r.status().Ranges}
	if err := clusterv1.CheckRangeIDs(rows); err != nil {
		t.Error(err)
	}
}
