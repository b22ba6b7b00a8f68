package figures

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	week    = 7 * 24 * time.Hour
	tenants = 20
	shards  = 16
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
	at := b.at(n).UnixMilli()
	var id ulid.ULID
	if err := id.SetTime(uint64(at)); err != nil {
		panic(err) // a time of this century
	}
	binary.BigEndian.PutUint64(id[8:], n)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: uint32(n%shards) + 1, CreatedBy: 1, Size: 82_000, MetadataOffset: 81_000,
		MinTime: at, MaxTime: at + 272,
		StringTable: append([]string{"", "segment-writer-0", "service_name", "__profile_type__"}, profileTypes...),
	}
	const firstType = 4
	var names [8]int32 // of the tenants
	for i := range names {
		names[i] = int32(len(block.StringTable))
		block.StringTable = append(block.StringTable, tenantName(n+uint64(i)))
	}
	for i := range uint64(10) {
		name := int32(len(block.StringTable))
		block.StringTable = append(block.StringTable, fmt.Sprintf("checkout-service-%02d", i))
		d := &metastorev1.Dataset{
			Tenant: names[i%8], Name: name, MinTime: at, MaxTime: at + 272, Size: 8_000,
			TableOfContents: []uint64{i * 8_000, i*8_000 + 3_000, i*8_000 + 5_000},
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
