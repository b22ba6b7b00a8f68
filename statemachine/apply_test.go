package statemachine_test

import (
	"errors"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

func wantStatus(t *testing.T, result *raftlogv1.Result, want raftlogv1.Result_Status) {
	t.Helper()
	if result.GetStatus() != want {
		t.Errorf("result %v, want %s", result, want)
	}
}

func TestLogTimeMonotone(t *testing.T) {
	r := newReplica(t)
	for _, step := range []struct{ clock, want int64 }{{10, 10}, {5, 10}, {0, 10}, {11, 11}, {10, 11}} {
		r.applyEntry(&raftlogv1.Entry{ProposedAt: uint64(step.clock), Commands: []*raftlogv1.Command{claim("n", 99)}})
		if got := r.status().LogTime; got != step.want {
			t.Errorf("at clock %d log time is %d, want %d", step.clock, got, step.want)
		}
	}
}

func TestOwnershipAtApply(t *testing.T) {
	block := realBlocks(t)[100] // has a tenant
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	r := newReplica(t)

	notReady := r.apply(addCommand(block))
	wantStatus(t, notReady, raftlogv1.Result_STATUS_ROUTE)
	if reason := notReady.GetRoute().GetReason(); reason != clusterv1.RouteError_REASON_NOT_READY {
		t.Errorf("before init: %s", reason)
	}

	// The group owns the half of the space that holds the point, at epoch 5.
	owned := &clusterv1.Range{RangeId: 3, Keyspace: keyspace, GroupId: group, Epoch: 5, Lo: 1 << 63}
	if point < 1<<63 {
		owned.Lo, owned.Hi = 0, 1<<63
	}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{
		ClusterId: "c", GroupId: group, Ranges: []*clusterv1.Range{owned},
	})), raftlogv1.Result_STATUS_OK)
	before := r.status()

	for _, test := range []struct {
		name   string
		ref    *clusterv1.RangeRef
		status raftlogv1.Result_Status
		reason clusterv1.RouteError_Reason
		hint   bool
	}{
		{"older epoch", &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1, Epoch: 4}, raftlogv1.Result_STATUS_ROUTE, clusterv1.RouteError_REASON_STALE_EPOCH, true},
		{"newer epoch", &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1, Epoch: 6}, raftlogv1.Result_STATUS_ROUTE, clusterv1.RouteError_REASON_EPOCH_AHEAD, false},
		{"wider than owned", &clusterv1.RangeRef{Keyspace: keyspace, Epoch: 5}, raftlogv1.Result_STATUS_ROUTE, clusterv1.RouteError_REASON_NOT_OWNER, true},
		{"other point", &clusterv1.RangeRef{Keyspace: keyspace, Lo: point + 1, Hi: point + 2, Epoch: 5}, raftlogv1.Result_STATUS_INVALID, 0, false},
		{"other keyspace", &clusterv1.RangeRef{Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, Epoch: 5}, raftlogv1.Result_STATUS_INVALID, 0, false},
		{"no span", nil, raftlogv1.Result_STATUS_INVALID, 0, false},
	} {
		c := addCommand(block)
		c.Range = test.ref
		result := r.apply(c)
		wantStatus(t, result, test.status)
		if result.GetRoute().GetReason() != test.reason {
			t.Errorf("%s: reason %s, want %s", test.name, result.GetRoute().GetReason(), test.reason)
		}
		if hinted := len(result.GetRoute().GetCurrent()) == 1 && proto.Equal(result.GetRoute().GetCurrent()[0], owned); hinted != test.hint {
			t.Errorf("%s: descriptors %v", test.name, result.GetRoute().GetCurrent())
		}
	}
	if after := r.status(); after.Blocks != before.Blocks {
		t.Errorf("refused commands changed the state: %+v", after)
	}
	c := addCommand(block)
	c.Range.Epoch = 5
	wantStatus(t, r.apply(c), raftlogv1.Result_STATUS_OK)
}

func TestOwnershipInRead(t *testing.T) {
	r := newReplica(t)
	stale := func() []*clusterv1.RangeRef {
		refs := wholeSpans()
		refs[1].Epoch = 2
		return refs
	}
	queries := map[string]func([]*clusterv1.RangeRef) statemachine.Query{
		"blocks": func(refs []*clusterv1.RangeRef) statemachine.Query {
			return statemachine.QueryBlocks{Context: t.Context(), Ranges: refs}
		},
		"labels": func(refs []*clusterv1.RangeRef) statemachine.Query {
			return statemachine.QueryLabels{Context: t.Context(), Ranges: refs}
		},
		"tenants": func(refs []*clusterv1.RangeRef) statemachine.Query {
			return statemachine.ListTenants{Context: t.Context(), Ranges: refs}
		},
		"stats": func(refs []*clusterv1.RangeRef) statemachine.Query {
			return statemachine.TenantStats{Context: t.Context(), Ranges: refs}
		},
		"get": func(refs []*clusterv1.RangeRef) statemachine.Query {
			return statemachine.GetBlocks{Context: t.Context(), Range: refs[1]}
		},
	}
	for name, query := range queries {
		var refusal *statemachine.RouteRefusal
		if _, err := r.machine.Lookup(query(wholeSpans())); !errors.As(err, &refusal) || refusal.Detail.GetReason() != clusterv1.RouteError_REASON_NOT_READY {
			t.Errorf("%s before init: %v", name, err)
		}
	}
	r.apply(initCommand())
	for name, query := range queries {
		var refusal *statemachine.RouteRefusal
		if _, err := r.machine.Lookup(query(stale())); !errors.As(err, &refusal) || refusal.Detail.GetReason() != clusterv1.RouteError_REASON_EPOCH_AHEAD {
			t.Errorf("%s with a newer epoch: %v", name, err)
		}
		if _, err := r.machine.Lookup(query(wholeSpans())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIdempotent(t *testing.T) {
	r := newReplica(t)
	wantStatus(t, r.apply(initCommand()), raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(initCommand()), raftlogv1.Result_STATUS_ALREADY)
	block := realBlocks(t)[0]
	wantStatus(t, r.apply(addCommand(block)), raftlogv1.Result_STATUS_OK) // R-ADD-3
	changed := proto.CloneOf(block)
	changed.Size++
	wantStatus(t, r.apply(addCommand(changed)), raftlogv1.Result_STATUS_ALREADY)
	if got := getBlocks(t, r, "", block.GetShard(), block.GetId()); len(got) != 1 || !proto.Equal(got[0], block) { // R-ADD-4
		t.Errorf("a repeated add changed the entry: %v", got)
	}
	if r.status().Blocks != 1 {
		t.Errorf("%d blocks are counted", r.status().Blocks)
	}
}

func TestInitGroupOfAnotherClusterIsRefused(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{ClusterId: "other", GroupId: group})), raftlogv1.Result_STATUS_CONFLICT)
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{ClusterId: "cluster", GroupId: group + 1})), raftlogv1.Result_STATUS_CONFLICT)
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{})), raftlogv1.Result_STATUS_INVALID)
	if s := r.status(); s.ClusterID != "cluster" || s.GroupID != group || len(s.Ranges) != 2 {
		t.Errorf("identity is now %+v", s)
	}
}

func TestLeaderEpoch(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	wantStatus(t, r.apply(claim("a", 0)), raftlogv1.Result_STATUS_CONFLICT) // no term
	first := r.apply(claim("a", 5))
	wantStatus(t, first, raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(claim("a", 5)), raftlogv1.Result_STATUS_ALREADY) // a retry
	wantStatus(t, r.apply(claim("b", 5)), raftlogv1.Result_STATUS_CONFLICT)
	second := r.apply(claim("b", 7))
	// A deposed leader that claims late must not depose the new one.
	wantStatus(t, r.apply(claim("a", 6)), raftlogv1.Result_STATUS_CONFLICT)
	wantStatus(t, r.apply(claim("a", 5)), raftlogv1.Result_STATUS_CONFLICT)
	if first.GetLeaderEpoch() != 1 || second.GetLeaderEpoch() != 2 || r.status().LeaderEpoch != 2 {
		t.Errorf("epochs %d, %d, now %d", first.GetLeaderEpoch(), second.GetLeaderEpoch(), r.status().LeaderEpoch)
	}
	add := addCommand(realBlocks(t)[0])
	for epoch, want := range map[uint64]raftlogv1.Result_Status{1: raftlogv1.Result_STATUS_STALE_LEADER, 3: raftlogv1.Result_STATUS_STALE_LEADER} {
		wantStatus(t, r.applyEntry(&raftlogv1.Entry{LeaderEpoch: epoch, Commands: []*raftlogv1.Command{add}}), want)
	}
	if r.status().Blocks != 0 {
		t.Error("a deposed leader's command was applied")
	}
	wantStatus(t, r.applyEntry(&raftlogv1.Entry{LeaderEpoch: 2, Commands: []*raftlogv1.Command{add}}), raftlogv1.Result_STATUS_OK)
}

// Bad payloads are refused one by one; their neighbours in the entry apply.
func TestRefusalsAreResults(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	good := realBlocks(t)[0]
	bad := proto.CloneOf(good)
	bad.Datasets[0].Labels = []int32{-1}
	garbage := addCommand(good)
	garbage.Payload = []byte{0xff}
	entry := &raftlogv1.Entry{Commands: []*raftlogv1.Command{addCommand(bad), addCommand(good), garbage}}
	encoded, err := entry.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	r.applied++
	applied, err := r.machine.Update([]sm.Entry{{Index: r.applied, Cmd: encoded}})
	if err != nil {
		t.Fatal(err)
	}
	var results raftlogv1.Results
	if err := results.UnmarshalVT(applied[0].Result.Data); err != nil {
		t.Fatal(err)
	}
	for i, want := range []raftlogv1.Result_Status{raftlogv1.Result_STATUS_INVALID, raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_INVALID} {
		wantStatus(t, results.GetResults()[i], want)
	}
	if r.status().Blocks != 1 {
		t.Errorf("%d blocks", r.status().Blocks)
	}
}

// What this release does not understand stops the replica before it diverges.
func TestUnknownLogStops(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	before := r.hash()
	unknown, err := (&raftlogv1.Entry{Commands: []*raftlogv1.Command{addCommand(realBlocks(t)[0]), {Kind: 99}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for name, entry := range map[string]sm.Entry{
		"unknown kind":    {Index: r.applied + 1, Cmd: unknown},
		"no entry":        {Index: r.applied + 1, Cmd: []byte{0xff}},
		"directory kind":  {Index: r.applied + 1, Cmd: mustEntry(t, bootstrapCommand(t, "c"))},
		"applied already": {Index: r.applied, Cmd: mustEntry(t, initCommand())},
	} {
		if _, err := r.machine.Update([]sm.Entry{entry}); err == nil {
			t.Errorf("%s was applied", name)
		}
		if r.hash() != before {
			t.Fatalf("%s changed the state", name)
		}
	}
}

func mustEntry(t *testing.T, c *raftlogv1.Command) []byte {
	t.Helper()
	encoded, err := (&raftlogv1.Entry{Commands: []*raftlogv1.Command{c}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func bootstrapCommand(t *testing.T, cluster string) *raftlogv1.Command {
	t.Helper()
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: cluster, Node: &clusterv1.Node{NodeId: "n"}, Groups: 4, StreamGroups: 1, CreatedAt: 42,
	})
	if err != nil {
		t.Fatal(err)
	}
	return command(raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, &raftlogv1.BootstrapDirectory{Map: m})
}

func TestDirectoryBootstrapsOnce(t *testing.T) {
	r := newReplicaOf(t, statemachine.NewDirectory)
	if m := r.lookup(statemachine.ReadMap{}).(*clusterv1.RangeMap); m != nil {
		t.Fatalf("a new directory has a map: %v", m)
	}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, &raftlogv1.BootstrapDirectory{})), raftlogv1.Result_STATUS_INVALID)
	first := bootstrapCommand(t, "c")
	wantStatus(t, r.apply(first), raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(first), raftlogv1.Result_STATUS_ALREADY)
	wantStatus(t, r.apply(bootstrapCommand(t, "other")), raftlogv1.Result_STATUS_CONFLICT)
	r.crash()
	for r.applied < 4 {
		r.apply(first) // the log is replayed: here, the same command each time
	}
	var want raftlogv1.BootstrapDirectory
	if err := want.UnmarshalVT(first.GetPayload()); err != nil {
		t.Fatal(err)
	}
	if got := r.lookup(statemachine.ReadMap{}).(*clusterv1.RangeMap); !proto.Equal(got, want.GetMap()) {
		t.Errorf("the map is %v, want %v", got, want.GetMap())
	}
}

func getBlocks(t *testing.T, r *replica, tenant string, shard uint32, ids ...string) []*metastorev1.BlockMeta {
	t.Helper()
	query := statemachine.GetBlocks{Context: t.Context(), Range: pointRef(tenant, shard), Tenant: tenant, Shard: shard}
	for _, text := range ids {
		id, err := metastorev1.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		query.IDs = append(query.IDs, id)
	}
	var blocks []*metastorev1.BlockMeta
	for _, encoded := range r.lookup(query).([][]byte) {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, block)
	}
	return blocks
}
