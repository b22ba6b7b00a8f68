package clusterv1_test

import (
	"math"
	"testing"

	"github.com/cespare/xxhash/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// The hash itself, by a vector that another implementation made.
func TestHashIsXXH64WithSeedZero(t *testing.T) {
	if got := xxhash.Sum64String("01JGJFGR480000000000000000"); got != 0x8002ef2e40f85368 {
		t.Errorf("got %#x", got)
	}
}

// Points are for ever: these values may never change.
func TestPointsArePinned(t *testing.T) {
	for _, test := range []struct {
		tenant string
		shard  uint32
		want   uint64
	}{
		{"acme", 0, 0xbb189bfb846f3aef}, {"acme", 1, 0xbb189bfb846f5b1b}, {"anonymous", 3, 0xab5bc715eb8af615}, {"", 1, 0x5b1bd2a964692595}, {"", math.MaxUint32, 0x7f78e4bda3addf93},
	} {
		keyspace, point := clusterv1.BlockPoint(test.tenant, test.shard)
		if point != test.want {
			t.Errorf("%q/%d is at %#016x, want %#016x", test.tenant, test.shard, point, test.want)
		}
		stream := keyspace == clusterv1.Keyspace_KEYSPACE_STREAM
		if stream != (test.tenant == "") {
			t.Errorf("%q lies in %s", test.tenant, keyspace)
		}
	}
}

func TestTenantSpanHoldsAllShards(t *testing.T) {
	for _, tenant := range []string{"acme", "a", "", "a-very-long-tenant-name"} {
		lo, hi := clusterv1.TenantSpan(tenant)
		span := &clusterv1.RangeRef{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Lo: lo, Hi: hi}
		if hi-lo != 1<<16 || lo&0xffff != 0 {
			t.Errorf("%q spans %x to %x", tenant, lo, hi)
		}
		for shard := range uint32(1000) {
			if point := clusterv1.TenantPoint(tenant, shard); !span.Contains(point) {
				t.Errorf("%q/%d is at %x, outside its tenant's span", tenant, shard, point)
			}
		}
	}
}

func TestSpansAtTheEndOfTheSpace(t *testing.T) {
	tenant := clusterv1.Keyspace_KEYSPACE_TENANT
	whole := &clusterv1.Range{Keyspace: tenant}
	upper := &clusterv1.Range{Keyspace: tenant, Lo: 1 << 63}
	lower := &clusterv1.Range{Keyspace: tenant, Hi: 1 << 63}
	last := &clusterv1.RangeRef{Keyspace: tenant, Lo: math.MaxUint64}
	all := &clusterv1.RangeRef{Keyspace: tenant}
	for name, ok := range map[string]bool{
		"whole contains the last point":  whole.Contains(math.MaxUint64),
		"whole contains the first point": whole.Contains(0),
		"whole covers all":               whole.Covers(all),
		"upper covers last":              upper.Covers(last),
		"upper does not cover all":       !upper.Covers(all),
		"lower does not overlap last":    !lower.Overlaps(last),
		"lower overlaps all":             lower.Overlaps(all),
		"lower ends before 2^63":         !lower.Contains(1<<63) && lower.Contains(1<<63-1),
		"other keyspaces do not overlap": !whole.Overlaps(&clusterv1.RangeRef{Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM}),
		"a span without keyspace is bad": !(&clusterv1.RangeRef{}).Valid(),
		"an unset span is bad":           !(*clusterv1.RangeRef)(nil).Valid(),
		"a reversed span is bad":         !(&clusterv1.RangeRef{Keyspace: tenant, Lo: 5, Hi: 4}).Valid(),
		"an empty span is bad":           !(&clusterv1.RangeRef{Keyspace: tenant, Lo: 5, Hi: 5}).Valid(),
		"a span up to the end is good":   all.Valid() && last.Valid(),
	} {
		if !ok {
			t.Error("not so:", name)
		}
	}
}
