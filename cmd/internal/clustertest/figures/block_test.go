package figures

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/workload"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	week    = 7 * 24 * time.Hour
	tenants = 20
	shards  = 16
	// Services that there are.
	serviceNames = 10
)

// blocks makes segments of one week: each of some 1.6 KB, with 10 datasets of 8 of
// 20 tenants, in one of 16 shards. The week is the last one: retention must not
// take it away while it is measured.
type blocks struct {
	begin time.Time
	// Between two blocks; after a week they begin anew.
	step time.Duration
}

func newBlocks(step time.Duration) blocks {
	return blocks{begin: time.Now().Add(-week).Truncate(time.Second), step: max(step, time.Millisecond)}
}

var profileTypes = []string{
	"process_cpu:cpu:nanoseconds:cpu:nanoseconds", "process_cpu:samples:count:cpu:nanoseconds",
	"memory:alloc_objects:count:space:bytes", "memory:alloc_space:bytes:space:bytes",
	"memory:inuse_objects:count:space:bytes", "memory:inuse_space:bytes:space:bytes", "goroutines:goroutine:count:goroutine:count",
}

func tenantName(n uint64) string { return fmt.Sprintf("tenant-%02d", n%tenants) }

func (b blocks) at(n uint64) time.Time {
	return b.begin.Add(time.Duration(n%uint64(week/b.step)) * b.step)
}

// block makes the n-th one; it is the same each time.
func (b blocks) block(n uint64) *metastorev1.BlockMeta {
	var names []string
	for i := range uint64(8) {
		names = append(names, tenantName(n+i))
	}
	return b.segment(n, uint32(n%shards)+1, names, 10, 0)
}

// segment makes the n-th one with datasets of some tenants in turn, each of the
// next service.
func (b blocks) segment(n uint64, shard uint32, names []string, datasets, service int) *metastorev1.BlockMeta {
	at := b.at(n).UnixMilli()
	var id ulid.ULID
	if err := id.SetTime(uint64(at)); err != nil {
		panic(err) // a time of this century
	}
	binary.BigEndian.PutUint64(id[8:], n)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: shard, CreatedBy: 1, Size: uint64(datasets)*8_000 + 2_000, MetadataOffset: uint64(datasets)*8_000 + 1_000,
		MinTime: at, MaxTime: at + 272,
		StringTable: append([]string{"", "segment-writer-0", "service_name", "__profile_type__"}, profileTypes...),
	}
	const firstType = 4
	firstTenant := int32(len(block.StringTable))
	block.StringTable = append(block.StringTable, names...)
	services := map[int]int32{}
	for i := range datasets {
		number := (service + i) % serviceNames
		name, known := services[number]
		if !known {
			name = int32(len(block.StringTable))
			services[number] = name
			block.StringTable = append(block.StringTable, fmt.Sprintf("checkout-service-%02d", number))
		}
		offset := uint64(i) * 8_000
		d := &metastorev1.Dataset{
			Tenant: firstTenant + int32(i%len(names)), Name: name, MinTime: at, MaxTime: at + 272, Size: 8_000,
			TableOfContents: []uint64{offset, offset + 3_000, offset + 5_000},
		}
		for k := range profileTypes {
			d.Labels = append(d.Labels, 2, 2, name, 3, int32(firstType+k))
		}
		block.Datasets = append(block.Datasets, d)
	}
	return block
}

// query finds the n-th block.
func (b blocks) query(n uint64) *metastorev1.QueryMetadataRequest {
	at := b.at(n).UnixMilli()
	return &metastorev1.QueryMetadataRequest{
		TenantId: []string{tenantName(n)}, StartTime: at, EndTime: at + 272, Query: "{}", Labels: []string{"service_name"},
	}
}

// segments are blocks of many streams, drawn so that streams do not get due for
// compaction all at once. Each tenant has data in some of the
// streams; a segment has some of its stream's tenants, the next one others.
type segments struct {
	blocks
	each    int
	streams [][]string
}

func newSegments(step time.Duration, streams, tenants, spread, each int) segments {
	s := segments{blocks: newBlocks(step), each: each, streams: make([][]string, streams)}
	for tenant := range tenants {
		name := fmt.Sprintf("tenant-%04d", tenant)
		for i := range min(spread, streams) {
			at := &s.streams[(tenant*spread+i)%streams]
			*at = append(*at, name)
		}
	}
	return s
}

// ofTenant returns the name of a tenant that has data.
func (s segments) ofTenant(n int) string {
	stream := s.streams[n%len(s.streams)]
	return stream[n/len(s.streams)%len(stream)]
}

func (s segments) block(n uint64) *metastorev1.BlockMeta {
	stream := rand.New(rand.NewPCG(n, 0)).IntN(len(s.streams))
	turn, all := int(n/uint64(len(s.streams))), s.streams[stream]
	var names []string
	for i := range min(s.each, len(all)) {
		names = append(names, all[(turn*s.each+i)%len(all)])
	}
	return s.segment(n, uint32(stream)+1, names, len(names), turn)
}

func TestSegmentsAreValid(t *testing.T) {
	s := newSegments(time.Millisecond, 8, 30, 3, 5)
	seen := map[string]bool{}
	var sources []*metastorev1.BlockMeta
	for n := range uint64(160) {
		block := s.block(n)
		if err := metastorev1.ValidateBlock(block); err != nil || len(block.Datasets) != 5 || block.Shard < 1 || block.Shard > 8 {
			t.Fatal(n, block, err)
		}
		for _, d := range block.Datasets {
			seen[block.StringAt(d.Tenant)] = true
		}
		if block.Shard == 1 {
			sources = append(sources, block)
		}
	}
	if len(seen) != 30 || !seen[s.ofTenant(0)] || !seen[s.ofTenant(7777)] {
		t.Errorf("tenants %v", seen)
	}
	made := workload.Merge(&metastorev1.CompactionJob{Name: "j", Shard: 1}, 7, sources, true)
	if len(made) != len(s.streams[0]) {
		t.Errorf("%d blocks of %d tenants", len(made), len(s.streams[0]))
	}
	for _, block := range made {
		if err := metastorev1.ValidateBlock(block); err != nil || block.CompactionLevel != 1 {
			t.Error(block, err)
		}
		for i, d := range block.Datasets {
			if len(d.Labels) != 5*len(profileTypes) || i > 0 && d.Name == block.Datasets[i-1].Name {
				t.Errorf("not joined: %v", block)
			}
		}
	}
}

func TestBlocksAreValid(t *testing.T) {
	b, seen := newBlocks(97*time.Millisecond), map[string]bool{}
	for _, n := range []uint64{0, 1, 7, 19, 20, 6_234_999, 6_235_000, 20_000_000} {
		block := b.block(n)
		if err := metastorev1.ValidateBlock(block); err != nil {
			t.Error(n, err)
		}
		if size := block.SizeVT(); size < 1200 || size > 2000 {
			t.Errorf("block %d has %d bytes", n, size)
		}
		if age := time.Since(time.UnixMilli(block.MinTime)); age < 0 || age > week+time.Minute {
			t.Errorf("block %d is %v old", n, age)
		}
		if seen[block.Id] {
			t.Errorf("block %d has the id of another", n)
		}
		seen[block.Id] = true
	}
}
