package router

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// ImportTombstones answers with the shard of each, so that a mix-up shows.
func (n *fakeNode) ImportTombstones(ctx context.Context, in *nodev1.ImportTombstonesRequest) (*nodev1.ImportTombstonesResponse, error) {
	out := &nodev1.ImportTombstonesResponse{}
	if err := n.check(ctx, "ImportTombstones", in.GetGroupId(), in, in.GetRange()); err != nil {
		return nil, err
	}
	for _, tombstone := range in.GetTombstones() {
		out.Outcomes = append(out.Outcomes, raftlogv1.ImportOutcome(tombstone.GetBlocks().GetShard()+tombstone.GetShard().GetShard()))
	}
	return out, nil
}

func importedBlock(n int) *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{Id: fmt.Sprintf("01JGJFGR480000000000%06d", n), Shard: uint32(n), StringTable: []string{"", "acme"}, Tenant: int32(n % 2)}
}

// Blocks go to the owners of their points, in parallel; those that are not valid are
// named and stop no other.
func TestImportBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		s := &adminService{router: c.start(t, Options{})}
		request := &adminv1.ImportBlocksRequest{}
		for n := range 100 {
			request.Blocks = append(request.Blocks, encode(importedBlock(n)))
		}
		request.Blocks[7] = []byte("no block")
		request.Blocks[9] = encode(&metastorev1.BlockMeta{Id: "x"})
		c.setBefore(func(e entry) error {
			time.Sleep(50 * time.Millisecond)
			return nil
		})
		began := time.Now()
		answer, err := s.ImportBlocks(t.Context(), request)
		if err != nil || answer.GetAdded() != 98 || answer.GetKnown() != 0 {
			t.Fatalf("%v, %v", answer, err)
		}
		var refused []uint32
		for _, block := range answer.GetRefused() {
			refused = append(refused, block.GetIndex())
		}
		slices.Sort(refused)
		if !slices.Equal(refused, []uint32{7, 9}) {
			t.Errorf("refused: %v", answer.GetRefused())
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("one after the other: it took %v", took)
		}
		for n := range 100 {
			if (n == 7 || n == 9) == (c.blocks[keyOf(importedBlock(n))] != nil) {
				t.Errorf("block %d is stored: %v", n, n == 7 || n == 9)
			}
		}
	})
}

func keyOf(block *metastorev1.BlockMeta) string {
	return fmt.Sprintf("%s\x00%08x\x00%s", block.TenantName(), block.GetShard(), block.GetId())
}

// A group that cannot be asked fails the request, so that it is repeated.
func TestImportBlocksFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		s := &adminService{router: c.start(t, Options{})}
		c.setBefore(dead(2, 3))
		request := &adminv1.ImportBlocksRequest{}
		for n := range 50 {
			request.Blocks = append(request.Blocks, encode(importedBlock(n)))
		}
		if answer, err := s.ImportBlocks(t.Context(), request); status.Code(err) != codes.Unavailable {
			t.Errorf("%v, %v", answer, err)
		}
	})
}

func TestImportBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		s := &adminService{router: c.start(t, Options{})}
		large := encode(&metastorev1.BlockMeta{Id: importedBlock(1).Id, StringTable: []string{"", strings.Repeat("x", 60_000)}})
		for name, blocks := range map[string][][]byte{
			"blocks": slices.Repeat([][]byte{nil}, 1001),
			"bytes":  slices.Repeat([][]byte{large}, 999),
		} {
			if _, err := s.ImportBlocks(t.Context(), &adminv1.ImportBlocksRequest{Blocks: blocks}); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.ImportTombstones(t.Context(), &adminv1.ImportTombstonesRequest{Tombstones: make([]*metastorev1.Tombstones, 1001)}); status.Code(err) != codes.InvalidArgument {
			t.Error(err)
		}
		bad := &metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{Tenant: "\xff"}}
		if _, err := s.ImportTombstones(t.Context(), &adminv1.ImportTombstonesRequest{Tombstones: []*metastorev1.Tombstones{bad}}); status.Code(err) != codes.InvalidArgument {
			t.Error(err)
		}
		// More imports at a time than there are places.
		release := make(chan struct{})
		c.setBefore(func(entry) error { <-release; return nil })
		one := &adminv1.ImportBlocksRequest{Blocks: [][]byte{encode(importedBlock(1))}}
		ended := make(chan error, importsMax)
		for range importsMax {
			go func() {
				_, err := s.ImportBlocks(t.Context(), one)
				ended <- err
			}()
		}
		synctest.Wait()
		if _, err := s.ImportBlocks(t.Context(), one); status.Code(err) != codes.Unavailable || !bytes.Contains([]byte(err.Error()), []byte("try again")) {
			t.Errorf("one too many: %v", err)
		}
		close(release)
		for range importsMax {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if _, err := s.ImportBlocks(t.Context(), one); err != nil {
			t.Errorf("after the others: %v", err)
		}
	})
}

// Outcomes come in the order of the tombstones, whoever gave them.
func TestImportTombstonesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		s := &adminService{router: c.start(t, Options{})}
		request := &adminv1.ImportTombstonesRequest{}
		var want []raftlogv1.ImportOutcome
		for n := range 40 {
			shard := uint32(n*7%10 + 1)
			one := &metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{Shard: shard, Tenant: "acme"}}
			if n%3 == 0 {
				one = &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{Shard: shard}}
			}
			request.Tombstones = append(request.Tombstones, one)
			want = append(want, raftlogv1.ImportOutcome(shard))
		}
		answer, err := s.ImportTombstones(t.Context(), request)
		if err != nil || !slices.Equal(answer.GetOutcomes(), want) {
			t.Errorf("%v, %v\nwant %v", answer.GetOutcomes(), err, want)
		}
		if n := len(c.calls("ImportTombstones")); n > 20 {
			t.Errorf("%d calls", n)
		}
	})
}
