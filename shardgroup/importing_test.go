package shardgroup_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// Tombstones of another metastore are held under names of ours, whatever partitions
// it had; what is no tombstone is refused before it is replicated.
func TestImportTombstones(t *testing.T) {
	node := openWith(t, func(*shardgroup.Options) {})
	whole := rangeMap(t, node).Cover(clusterv1.Keyspace_KEYSPACE_TENANT, 0, 0)[0].Ref
	day := time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC)
	of := func(start time.Time, length time.Duration) *metastorev1.Tombstones {
		return &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{Name: "theirs", Timestamp: start.UnixNano(), Duration: int64(length), Tenant: "anna", Shard: 3}}
	}
	good := func() *nodev1.ImportTombstonesRequest {
		return &nodev1.ImportTombstonesRequest{GroupId: dataGroup, Range: proto.CloneOf(whole), Tombstones: []*metastorev1.Tombstones{
			of(day, 24*time.Hour),
			{Blocks: &metastorev1.BlockTombstones{Name: "job", Tenant: "anna", Shard: 3, CompactionLevel: 1, Blocks: []string{testBlock(1, "anna", 3, 1).Id}}},
			of(day.Add(18*time.Hour), 7*time.Hour), // the same, by the last partition that is whole
		}}
	}
	for name, spoil := range map[string]func(*nodev1.ImportTombstonesRequest){
		"none":         func(r *nodev1.ImportTombstonesRequest) { r.Tombstones = nil },
		"too many":     func(r *nodev1.ImportTombstonesRequest) { r.Tombstones = slices.Repeat(r.Tombstones, 400) },
		"no range":     func(r *nodev1.ImportTombstonesRequest) { r.Range = nil },
		"neither":      func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Shard = nil },
		"both":         func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Blocks = r.Tombstones[1].Blocks },
		"no name":      func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[1].Blocks.Name = "" },
		"no blocks":    func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[1].Blocks.Blocks = nil },
		"no id":        func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[1].Blocks.Blocks[0] = "x" },
		"no time":      func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Shard.Timestamp = -1 },
		"no length":    func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Shard.Duration = 0 },
		"for ever":     func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Shard.Duration = 1<<63 - 1 },
		"the first":    func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0] = of(time.Unix(0, 0), 11*time.Hour) },
		"other tenant": func(r *nodev1.ImportTombstonesRequest) { r.Tombstones[0].Shard.Tenant = "" },
		"directory":    func(r *nodev1.ImportTombstonesRequest) { r.GroupId = clusterv1.DirectoryGroup },
	} {
		request := good()
		spoil(request)
		if _, err := node.Service().ImportTombstones(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	stale := good()
	stale.Range.Epoch++
	if _, err := node.Service().ImportTombstones(t.Context(), stale); err == nil || status.Code(err) == codes.InvalidArgument {
		t.Errorf("a range of another epoch: %v", err)
	}
	for _, want := range []raftlogv1.ImportOutcome{raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED, raftlogv1.ImportOutcome_IMPORT_OUTCOME_HELD} {
		answer, err := node.Service().ImportTombstones(t.Context(), good())
		if err != nil || !slices.Equal(answer.GetOutcomes(), []raftlogv1.ImportOutcome{want, want, want}) {
			t.Errorf("%v, %v, want %v", answer, err, want)
		}
	}
	list := retried(t, func() (*nodev1.ListTombstonesResponse, error) {
		return node.Service().ListTombstones(t.Context(), &nodev1.ListTombstonesRequest{GroupId: dataGroup})
	})
	var got []string
	for _, info := range list.GetTombstones() {
		if shard := info.GetTombstone().GetShard(); shard != nil {
			got = append(got, shard.GetName())
			if end := time.Unix(0, shard.GetTimestamp()+shard.GetDuration()); !end.Equal(day.Add(24 * time.Hour)) {
				t.Errorf("it reaches until %s", end)
			}
		} else {
			got = append(got, info.GetTombstone().GetBlocks().GetName())
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"2025-01-02 18:00:00 (6h0m0s)-Tanna-S3", "imported: job"}) {
		t.Errorf("held are %q", got)
	}
}
