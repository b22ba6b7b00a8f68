package index_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Segments as many writers make them in a week: 10 datasets of 8 of 20 tenants,
// seven profile types each, in 16 data shards; one of 100 is late by up to 12
// hours, one dataset of 2,000 has profiles without symbols.
const (
	segmentShards = 16
	segmentDays   = 7
	segmentSpan   = segmentDays * 4 * partition
)

func wideSegment(n, of int) *metastorev1.BlockMeta {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	at := scaleStart + int64(float64(n)/float64(of)*segmentSpan)
	var id ulid.ULID
	if err := id.SetTime(uint64(at)); err != nil {
		panic(err)
	}
	for i := range 8 {
		id[15-i] = byte(n >> (8 * i))
	}
	begin := at
	if random.IntN(100) == 0 {
		begin -= random.Int64N(12 * 3600_000)
	}
	b := &metastorev1.BlockMeta{Id: id.String(), Shard: uint32(1 + random.IntN(segmentShards)), MinTime: begin, MaxTime: begin + 272, Size: 80_000, StringTable: []string{""}}
	ref := func(text string) int32 {
		for i, known := range b.StringTable {
			if known == text {
				return int32(i)
			}
		}
		b.StringTable = append(b.StringTable, text)
		return int32(len(b.StringTable) - 1)
	}
	b.CreatedBy = ref(fmt.Sprint("pyroscope-segment-writer-", random.IntN(8)))
	tenants := random.Perm(20)[:8]
	for k := range 10 {
		d := &metastorev1.Dataset{Tenant: ref(fmt.Sprint("tenant-", tenants[k%8])), Name: ref(fmt.Sprint("shop-production/service-", random.IntN(10))),
			MinTime: begin, MaxTime: begin + 272, Size: 8_000, TableOfContents: []uint64{uint64(k) * 8_000, uint64(k)*8_000 + 2_000, uint64(k)*8_000 + 3_000}}
		for kind := range 7 {
			d.Labels = append(d.Labels, 2, ref("service_name"), d.Name, ref("__profile_type__"), ref(fmt.Sprintf("process_cpu:%d:nanoseconds:cpu:nanoseconds", kind)))
		}
		if random.IntN(2000) == 0 {
			d.Labels = append(d.Labels, 2, ref("service_name"), d.Name, ref("__unsymbolized__"), ref("true"))
		}
		b.Datasets = append(b.Datasets, d)
	}
	return b
}

// What queries cost that read segments, and adds to them, by the size of the index.
func BenchmarkSegments(b *testing.B) {
	for _, blocks := range []int{50_000, 500_000} {
		if blocks > *scaleBlocks {
			continue
		}
		s := &store{kvtest.DB(b, 1), index.NewCache(256 << 20).Group()}
		n := 0
		add := func(b *testing.B, batch int) {
			b.StopTimer()
			made := make([]*metastorev1.BlockMeta, batch)
			for i := range made {
				made[i] = wideSegment(n+i, blocks)
			}
			n += batch
			b.StartTimer()
			s.change(b, func(w *index.Writer) error {
				for _, block := range made {
					if _, err := addTo(w, block, uint64(n)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		for n < blocks {
			add(b, 1000)
		}
		end := int64(scaleStart + segmentSpan)
		const hour, day = 3600_000, 24 * 3600_000
		for _, q := range []struct {
			name, text string
			back       int64
			labels     []string
			cold       bool // no dictionary is in memory
		}{
			{"hour/service", `{service_name="shop-production/service-1"}`, hour, nil, false},
			{"day/all", `{}`, day, nil, false},
			{"week/rare", `{__unsymbolized__="true"}`, 7 * day, []string{"service_name"}, false},
			{"week/rare/cold", `{__unsymbolized__="true"}`, 7 * day, []string{"service_name"}, true},
			{"day/labels", `{}`, day, []string{"service_name", "__profile_type__"}, false},
		} {
			matchers, err := selector.Parse(q.text)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/blocks=%d", q.name, blocks), func(b *testing.B) {
				random := rand.New(rand.NewPCG(1, 1))
				returned := 0
				b.ReportAllocs()
				for b.Loop() {
					ask := index.Query{Spans: whole(), Tenants: []string{fmt.Sprint("tenant-", random.IntN(20))}, Matchers: matchers,
						Time: index.Bounds{Min: end - q.back, Max: end}, Labels: q.labels}
					err := s.View(func(tx *kv.Tx) error {
						cache := s.cache
						if q.cold {
							cache = index.NewCache(1 << 20).Group()
						}
						reader := index.NewReader(tx, cache)
						if q.name == "day/labels" {
							answer, err := reader.LabelSets(b.Context(), ask)
							returned += len(answer.GetLabels())
							return err
						}
						answer, err := reader.Blocks(b.Context(), ask)
						returned += len(answer.GetBlocks())
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(returned)/float64(b.N), "returned/op")
			})
		}
		for _, batch := range []int{1, 16} {
			b.Run(fmt.Sprintf("add/batch=%d/blocks=%d", batch, blocks), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					add(b, batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/block")
			})
		}
	}
}
