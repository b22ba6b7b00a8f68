package main

import (
	"math"
	"slices"
	"testing"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// A deleted tenant's blocks and datasets are gone from all answers, also after a
// crash; others' are not; what comes afterwards is there.
func TestServeDeletesTenants(t *testing.T) {
	dir := t.TempDir()
	s := startServe(t, dir, "-tenants.allow-delete")
	blocks := readBlocks(t, *blockFiles)
	for _, block := range blocks {
		if err := s.add(block); err != nil {
			t.Fatal(err)
		}
	}
	count := func(tenant string) int {
		t.Helper()
		answer, err := s.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{tenant}, EndTime: math.MaxInt64, Query: "{}"})
		if err != nil {
			t.Fatal(err)
		}
		return len(answer.GetBlocks())
	}
	const gone, other = "tenant-0", "tenant-1"
	before := count(other)
	if count(gone) == 0 || before == 0 {
		t.Fatal("there is nothing to delete")
	}
	for range 2 { // repeating it is safe
		if _, err := s.DeleteTenant(t.Context(), &metastorev1.DeleteTenantRequest{TenantId: gone}); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		if left, others := count(gone), count(other); left != 0 || others != before {
			t.Errorf("%d blocks of the deleted tenant are found, %d of another, which had %d", left, others, before)
		}
		tenants, err := s.GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
		if err != nil || slices.Contains(tenants.GetTenantIds(), gone) || !slices.Contains(tenants.GetTenantIds(), other) {
			t.Errorf("tenants %v (%v)", tenants.GetTenantIds(), err)
		}
	}
	check()
	s.kill()
	s = startServe(t, dir, "-tenants.allow-delete")
	check()
	for _, block := range blocks { // late, as from a queue of dead letters
		if err := s.add(block); err != nil {
			t.Fatal(err)
		}
	}
	check()
	s.stop()
}
