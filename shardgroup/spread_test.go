package shardgroup_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/shardgroup/spread"
	"github.com/skerrydb/skerry/storage/objects"
)

// segmentNow is a segment of a shard, made just now, with one dataset.
func segmentNow(shard uint32, tenant, name string, bytes uint64) *metastorev1.BlockMeta {
	now := time.Now().UnixMilli()
	return &metastorev1.BlockMeta{
		FormatVersion: 1, Id: ulid.MustNew(uint64(now), ulid.DefaultEntropy()).String(), Shard: shard, Size: bytes,
		MinTime: now, MaxTime: now, CreatedBy: 3, StringTable: []string{"", tenant, name, fmt.Sprint("writer-", shard)},
		Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: now, MaxTime: now, Size: bytes}},
	}
}

type placementObjects struct {
	t      *testing.T
	bucket *objects.Folder
}

func (p placementObjects) rules() *adaptiveplacement.PlacementRules {
	rules := &adaptiveplacement.PlacementRules{}
	p.read("adaptive_placement/placement_rules.binpb", rules.UnmarshalVT)
	return rules
}

func (p placementObjects) stats() *adaptiveplacement.DistributionStats {
	stats := &adaptiveplacement.DistributionStats{}
	p.read("adaptive_placement/placement_stats.binpb", stats.UnmarshalVT)
	return stats
}

// read decodes what is there; nothing is empty.
func (p placementObjects) read(name string, decode func([]byte) error) {
	content, err := p.bucket.Get(p.t.Context(), name, 1<<20)
	if errors.Is(err, objects.ErrNotFound) {
		return
	}
	if err == nil {
		err = decode(content)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// R-PLC-1, R-PLC-8, R-PLC-14, L-30: three nodes add, and two objects appear. When the
// directory's leader is lost another one goes on with them; created_at never falls, a repeat of
// an add does not count.
func TestDatasetsAreSpread(t *testing.T) {
	f := newCrew(t)
	names := []string{"a", "b", "c"}
	f.found(names...)
	bucket, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	spreads := func(node *shardgroup.Node) {
		if err := node.SpreadDatasets(spread.Options{Bucket: bucket, Interval: 1100 * time.Millisecond, PutTimeout: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if _, err := f.node(name).Service().PlacementSamples(t.Context(), &nodev1.PlacementSamplesRequest{}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s counts before it is told to: %v", name, err)
		}
		spreads(f.node(name))
	}
	if err := f.node("a").SpreadDatasets(spread.Options{Bucket: bucket}); !errors.Is(err, shardgroup.ErrBadRequest) {
		t.Errorf("told twice: %v", err)
	}
	found := placementObjects{t, bucket}
	var added atomic.Uint64
	write := func(node *shardgroup.Node) {
		m := rangeMapSoon(t, node)
		for shard := range uint32(2) {
			request := addRequest(t, m, segmentNow(shard+1, "acme", "shop", 100_000))
			for range 2 { // repeats
				if retried(t, func() (*nodev1.AddBlockResponse, error) { return node.Service().AddBlock(t.Context(), request) }).GetAdded() {
					added.Add(100_000)
				}
			}
		}
	}
	leader := func() string {
		var leads string
		await(t, "a manager", func() bool {
			for _, name := range names {
				if node := f.node(name); node != nil && node.LeaderEpoch(clusterv1.DirectoryGroup) > 0 {
					if answer, err := node.Service().DescribePlacement(t.Context(), &nodev1.DescribePlacementRequest{}); err == nil && answer.GetNodeId() == node.ID() {
						leads = name
						return true
					}
				}
			}
			return false
		})
		return leads
	}
	var last int64
	until := func(what string, condition func() bool) {
		t.Helper()
		await(t, what, func() bool {
			for _, name := range names {
				if node := f.node(name); node != nil {
					write(node)
				}
			}
			created := found.rules().GetCreatedAt()
			if created < last {
				t.Fatalf("created at %d, before at %d", created, last)
			}
			last = created
			return condition()
		})
	}
	spreadOver := func(shards int) func() bool {
		return func() bool {
			stats, rules := found.stats(), found.rules()
			return len(stats.GetDatasets()) == 1 && len(stats.GetDatasets()[0].GetShards()) == shards && len(rules.GetDatasets()) == 1
		}
	}
	first := leader()
	until("rules", spreadOver(2))
	stats, rules := found.stats(), found.rules()
	for _, shard := range stats.GetShards() {
		if shard.GetOwner() != fmt.Sprint("writer-", shard.GetId()) {
			t.Errorf("got %v", stats)
		}
	}
	if rules.GetTenants()[0].GetTenantId() != "acme" || rules.GetDatasets()[0].GetName() != "shop" || rules.GetDatasets()[0].GetDatasetShardLimit() < 1 {
		t.Errorf("got %v", rules)
	}
	// What all nodes counted is what was added, once.
	var counted uint64
	for _, name := range names {
		samples, err := f.node(name).Service().PlacementSamples(t.Context(), &nodev1.PlacementSamplesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range samples.GetCounters() {
			counted += c.GetBytes()
		}
	}
	if counted != added.Load() {
		t.Errorf("%d bytes were counted, %d added", counted, added.Load())
	}
	answer, err := f.node(first).Service().DescribePlacement(t.Context(), &nodev1.DescribePlacementRequest{Tenant: "acme"})
	if err != nil || answer.GetDatasetsTotal() != 1 || len(answer.GetDatasets()[0].GetShards()) != 2 {
		t.Errorf("got %v, %v", answer, err)
	}

	f.stop(first)
	before := last
	second := leader()
	if second == first {
		t.Fatal("the leader that was stopped leads")
	}
	until("rules of the next leader", func() bool { return found.rules().GetCreatedAt() > before && spreadOver(2)() })
	// The first one comes back: it counts, and does not lead for that.
	spreads(f.start(first, nil))
	before = last
	until("rules of all", func() bool { return found.rules().GetCreatedAt() > before && spreadOver(2)() })
}
