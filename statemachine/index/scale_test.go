package index_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

var scaleBlocks = flag.Int("blocks", 1_000_000, "blocks of the largest index of BenchmarkScale")

// The index of a group as it looks after 30 days: blocks of 2,000 tenants,
// spread evenly over the time, each tenant in two data shards, with ten
// services of three profile types. A rare service is in every 1,000th block of
// a tenant.
const (
	scaleTenants  = 2000
	scaleDays     = 30
	scaleServices = 10
)

const scaleStart = 1_760_000_000_000 / partition * partition

func scaleBlock(n, of int) *metastorev1.BlockMeta {
	const span = scaleDays * 4 * partition
	at := scaleStart + int64(float64(n)/float64(of)*span)
	var id ulid.ULID
	if err := id.SetTime(uint64(at)); err != nil {
		panic(err)
	}
	for i := range 8 {
		id[15-i] = byte(n >> (8 * i))
	}
	tenant, turn := n%scaleTenants, n/scaleTenants
	b := &metastorev1.BlockMeta{
		Id: id.String(), Shard: uint32(1 + turn%2), Tenant: 1, MinTime: at, MaxTime: at + 15*60_000, CompactionLevel: 2, Size: 1 << 20,
		StringTable: []string{"", fmt.Sprint("tenant-", tenant), "service_name", "__profile_type__", "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
			"memory:inuse_space:bytes:space:bytes", "goroutine:goroutine:count:goroutine:count"},
	}
	for s := range 3 {
		service := fmt.Sprint("service-", (turn*3+s)%scaleServices)
		if s == 0 && (n/7)%1000 == 0 {
			service = "rare"
		}
		b.StringTable = append(b.StringTable, service)
		name := int32(len(b.StringTable) - 1)
		b.Datasets = append(b.Datasets, &metastorev1.Dataset{
			Tenant: 1, Name: name, MinTime: at, MaxTime: b.MaxTime, Size: 1 << 18, TableOfContents: []uint64{uint64(n), uint64(n) + 100, uint64(n) + 200},
			Labels: []int32{2, 2, name, 3, 4, 2, 2, name, 3, 5, 2, 2, name, 3, 6},
		})
	}
	return b
}

// The probe is one tenant more, with the same few blocks in the last hour
// whatever else the index holds.
const probeBlocks = 8

func scaleStore(b *testing.B, blocks int) *store {
	s := &store{kvtest.DB(b, 1), index.NewCache(64 << 20).Group()}
	s.change(b, func(w *index.Writer) error {
		for n := range probeBlocks {
			// Services by turn, times of the end.
			block, last := scaleBlock(n*scaleTenants, 1<<40), scaleBlock(blocks-1, blocks)
			block.Id = last.Id[:10] + block.Id[10:]
			block.MinTime, block.MaxTime = last.MinTime-int64(n)*60_000, last.MaxTime
			for _, d := range block.Datasets {
				d.MinTime, d.MaxTime = block.MinTime, block.MaxTime
			}
			block.StringTable[1] = "probe"
			if _, err := addTo(w, block, 1); err != nil {
				return err
			}
		}
		return nil
	})
	for first := 0; first < blocks; first += 5000 {
		s.change(b, func(w *index.Writer) error {
			for n := first; n < min(first+5000, blocks); n++ {
				if _, err := addTo(w, scaleBlock(n, blocks), uint64(first+1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return s
}

// What queries of one tenant cost, by the size of the index. A scan would decode
// as many blocks for any selector as the index does for {}.
func BenchmarkScale(b *testing.B) {
	sizes := []int{10_000, 100_000, 1_000_000}
	sizes = slices.DeleteFunc(sizes, func(n int) bool { return n > *scaleBlocks })
	for _, blocks := range sizes {
		s := scaleStore(b, blocks)
		end := int64(scaleStart + scaleDays*4*partition)
		const hour, day = 3600_000, 24 * 3600_000
		anyone := func(random *rand.Rand) string { return fmt.Sprint("tenant-", random.IntN(scaleTenants)) }
		for _, q := range []struct {
			name   string
			text   string
			back   int64
			tenant func(*rand.Rand) string
		}{
			{"probe/hour/service", `{service_name="service-1"}`, hour, func(*rand.Rand) string { return "probe" }},
			{"hour/service", `{service_name="service-1"}`, hour, anyone},
			{"day/service", `{service_name="service-1"}`, day, anyone},
			{"week/rare", `{service_name="rare"}`, 7 * day, anyone},
			{"week/all", `{}`, 7 * day, anyone},
			{"month/all", `{}`, 30 * day, anyone},
		} {
			matchers, err := selector.Parse(q.text)
			if err != nil {
				b.Fatal(err)
			}
			ask := func(tenant string) index.Query {
				return index.Query{
					Spans: whole(), Tenants: []string{tenant}, Matchers: matchers,
					Time: index.Bounds{Min: end - q.back, Max: end},
				}
			}
			b.Run(fmt.Sprintf("%s/blocks=%d", q.name, blocks), func(b *testing.B) {
				random := rand.New(rand.NewPCG(1, 1))
				var shards, tested, decoded, returned uint64
				b.ReportAllocs()
				for b.Loop() {
					err := s.View(func(tx *kv.Tx) error {
						answer, err := index.NewReader(tx, s.cache).Blocks(b.Context(), ask(q.tenant(random)))
						c := answer.GetCost()
						shards, tested = shards+c.GetShards(), tested+c.GetBlocksTested()
						decoded, returned = decoded+c.GetBlocksDecoded(), returned+c.GetBlocksReturned()
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				n := float64(b.N)
				b.ReportMetric(float64(shards)/n, "shards/op")
				b.ReportMetric(float64(tested)/n, "tested/op")
				b.ReportMetric(float64(decoded)/n, "decoded/op")
				b.ReportMetric(float64(returned)/n, "returned/op")
			})
		}
		b.Run(fmt.Sprintf("day/labels/blocks=%d", blocks), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 1))
			var sets, decoded uint64
			b.ReportAllocs()
			for b.Loop() {
				err := s.View(func(tx *kv.Tx) error {
					answer, err := index.NewReader(tx, s.cache).LabelSets(b.Context(), index.Query{
						Spans: whole(), Tenants: []string{anyone(random)},
						Time: index.Bounds{Min: end - day, Max: end}, Labels: []string{"service_name", "__profile_type__"},
					})
					sets, decoded = sets+uint64(len(answer.GetLabels())), decoded+answer.GetCost().GetBlocksDecoded()
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(sets)/float64(b.N), "sets/op")
			b.ReportMetric(float64(decoded)/float64(b.N), "decoded/op")
		})
	}
}
