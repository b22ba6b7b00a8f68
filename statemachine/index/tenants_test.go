package index_test

import (
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

// tenantsIn lists the tenants of a shard, as a reader and as Check see it.
func tenantsIn(t *testing.T, s *store, key index.ShardKey) (found []string) {
	t.Helper()
	check(t, s)
	err := s.View(func(tx *kv.Tx) error {
		return index.NewReader(tx, s.cache).TenantsIn(key, func(tenant string, _ index.Bounds) bool {
			found = append(found, tenant)
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Datasets that are hidden when their segment comes do not make their tenant
// known, to nobody: not to a reader, nor to a writer that knows nothing.
func TestHiddenDatasetsComeLate(t *testing.T) {
	s := newStore(t, 1<<20)
	block := numbered(1)
	block.StringTable = append(block.StringTable, "other")
	of := int32(len(block.StringTable) - 1)
	second := proto.CloneOf(block.Datasets[0])
	second.Tenant = of
	block.Datasets = append(block.Datasets, second)
	key, at := keyOf(block), ulid.MustParse(block.GetId()).Time()
	add := func(n int) {
		s.change(t, func(w *index.Writer) error {
			w.Hide(map[string]uint64{"acme": at})
			next := proto.CloneOf(block)
			next.Id = numbered(n).Id
			_, err := addTo(w, next, uint64(n))
			return err
		})
	}
	for n := range 70 {
		add(n)
		if n%3 == 0 {
			s.cache.Clear()
		}
		if got := tenantsIn(t, s, key); !slices.Equal(got, []string{"other"}) {
			t.Fatalf("after %d segments: tenants %q", n+1, got)
		}
	}
}
