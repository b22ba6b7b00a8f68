package index_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

func always() index.Bounds { return index.Bounds{Min: math.MinInt64, Max: math.MaxInt64} }

func ask(t testing.TB, s *store, tenant, text string, time index.Bounds, spans ...*clusterv1.RangeRef) *nodev1.QueryBlocksResponse {
	t.Helper()
	matchers, err := selector.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if spans == nil {
		spans = whole()
	}
	var answer *nodev1.QueryBlocksResponse
	err = s.View(func(tx *kv.Tx) error {
		answer, err = index.NewReader(tx, s.cache).Blocks(t.Context(), index.Query{Spans: spans, Tenants: []string{tenant}, Time: time, Matchers: matchers})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// fill adds numbered blocks, each of ten with the label values that vary.
func fill(t testing.TB, s *store, from, to int, vary func(n int, block *metastorev1.BlockMeta)) {
	t.Helper()
	for first := from; first < to; first += 100 {
		s.change(t, func(w *index.Writer) error {
			for n := first; n < min(first+100, to); n++ {
				block := numbered(n)
				vary(n, block)
				if _, err := addTo(w, block, uint64(n+1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// Postings lead through all levels to the few blocks that are asked for, in
// shards of any size, also when many are gone.
func TestDeepPostings(t *testing.T) {
	s := newStore(t, 1<<20)
	vary := func(n int, block *metastorev1.BlockMeta) {
		block.StringTable[3] = fmt.Sprint("v", n/1000)
		if n%1500 == 7 {
			block.StringTable[3] = "rare"
		}
		block.MinTime, block.MaxTime = int64(n), int64(n)
		block.Datasets[0].MinTime, block.Datasets[0].MaxTime = int64(n), int64(n)
	}
	fill(t, s, 0, 4090, vary)
	if c := ask(t, s, "acme", `{svc="rare"}`, always()).Cost; c.BlocksReturned != 3 {
		t.Errorf("a rare label cost %v", c)
	}
	fill(t, s, 4090, 9000, vary)
	check(t, s)
	rare := ask(t, s, "acme", `{svc="rare"}`, always())
	if c := rare.Cost; c.BlocksReturned != 6 || c.BlocksDecoded != 6 || c.BlocksTested > 6+64 {
		t.Errorf("a rare label cost %v", c)
	}
	if c := ask(t, s, "acme", `{}`, index.Bounds{Min: 4200, Max: 4300}).Cost; c.BlocksReturned != 101 || c.BlocksTested > 101+2*64+64 {
		t.Errorf("a short time cost %v", c)
	}
	s.change(t, func(w *index.Writer) error {
		for n := range 9000 {
			if n%100 == 7 {
				continue
			}
			if _, existed, err := removeFrom(w, numbered(n), 10_000); err != nil || !existed {
				return fmt.Errorf("%d: %v, %w", n, existed, err)
			}
			// At every size that it passes through, the shard holds together.
		}
		return nil
	})
	check(t, s)
	rare = ask(t, s, "acme", `{svc="rare"}`, always())
	if c := rare.Cost; c.BlocksReturned != 6 || c.BlocksDecoded != 6 {
		t.Errorf("a rare label cost %v after most blocks went", c)
	}
}

// A label query reads at most one block for each distinct label set, whatever
// the number of blocks and of shards.
func TestLabelsDecodeOnce(t *testing.T) { // R-LBL-5
	s := newStore(t, 1<<20)
	fill(t, s, 0, 2000, func(n int, block *metastorev1.BlockMeta) {
		block.StringTable[3] = fmt.Sprint("service-", n%10)
		block.Shard = uint32(n % 3)
	})
	err := s.View(func(tx *kv.Tx) error {
		answer, err := index.NewReader(tx, s.cache).LabelSets(t.Context(), index.Query{
			Spans: whole(), Tenants: []string{"acme"}, Time: always(), Labels: []string{"svc"},
		})
		if c := answer.GetCost(); len(answer.GetLabels()) != 10 || c.GetBlocksDecoded() != 10 {
			t.Errorf("%d label sets cost %v", len(answer.GetLabels()), c)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a shard does not use any more goes when it is renumbered, and when it is
// emptied.
func TestStringsAreReclaimed(t *testing.T) {
	s := newStore(t, 1<<20)
	fill(t, s, 0, 2000, func(n int, block *metastorev1.BlockMeta) {
		block.StringTable[4] = fmt.Sprint("host-", n)
		block.StringTable[3] = fmt.Sprint("value-", n)
	})
	full := count(t, s)
	if full.Strings < 4000 || full.Series != 2000 {
		t.Fatalf("record %+v", full)
	}
	remove := func(from, to int) {
		t.Helper()
		s.change(t, func(w *index.Writer) error {
			for n := from; n < to; n++ {
				if _, _, err := removeFrom(w, numbered(n), uint64(3000+n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	remove(0, 1990)
	check(t, s)
	if left := count(t, s); left.Blocks != 10 || left.Strings > 2500 || left.Series > 600 || left.Bounds != full.Bounds {
		t.Errorf("10 blocks are left, the record is %+v", left)
	}
	remove(1990, 2000)
	check(t, s)
	if left := count(t, s); left.Blocks+uint64(left.Strings)+uint64(left.Series)+uint64(left.Next)+left.ObjectBytes != 0 || left.Bounds != full.Bounds {
		t.Errorf("no blocks are left, the record is %+v", left)
	}
}

// count returns the record of the one shard.
func count(t *testing.T, s *store) index.Record {
	t.Helper()
	var record index.Record
	err := s.View(func(tx *kv.Tx) error {
		root := tx.Bucket([]byte("stream"))
		name, _ := root.Cursor().First()
		var err error
		record, err = index.DecodeRecord(root.Bucket(name).Get([]byte{'r'}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// Parts of the keyspaces, also such that divide a tenant, answer for what lies
// in them: together each block once, each tenant, and all bounds.
func TestSpansDivideAnswers(t *testing.T) {
	s, random := newStore(t, 1<<20), rand.New(rand.NewPCG(1, 9))
	var points []uint64
	s.change(t, func(w *index.Writer) error {
		for n := range 300 {
			block := numbered(n)
			block.StringTable[1] = fmt.Sprint("tenant-", n%12)
			block.Shard = uint32(n % 7)
			if n%3 > 0 {
				block.Tenant = 1
			}
			_, point := clusterv1.BlockPoint(block.TenantName(), block.Shard)
			points = append(points, point, point+1)
			if _, err := addTo(w, block, 1); err != nil {
				return err
			}
		}
		return nil
	})
	everything := ask(t, s, "tenant-5", `{}`, always())
	for range 200 {
		var parts [][]*clusterv1.RangeRef
		cuts := []uint64{0, points[random.IntN(len(points))], points[random.IntN(len(points))]}
		slices.Sort(cuts)
		cuts = append(slices.Compact(cuts), 0)
		for i := range len(cuts) - 1 {
			for _, span := range whole() {
				parts = append(parts, []*clusterv1.RangeRef{{Keyspace: span.Keyspace, Lo: cuts[i], Hi: cuts[i+1]}})
			}
		}
		blocks := 0
		tenants := map[string]bool{}
		var bounds []index.Bounds
		for _, part := range parts {
			blocks += len(ask(t, s, "tenant-5", `{}`, always(), part...).Blocks)
			err := s.View(func(tx *kv.Tx) error {
				r := index.NewReader(tx, s.cache)
				found, err := r.Tenants(t.Context(), part)
				for _, tenant := range found {
					tenants[tenant] = true
				}
				if b, known, boundsErr := r.TenantBounds(t.Context(), part, "tenant-5"); known || boundsErr != nil {
					bounds, err = append(bounds, b), errors.Join(err, boundsErr)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if blocks != len(everything.Blocks) || len(tenants) != 12 || len(bounds) == 0 {
			t.Fatalf("cut at %x: %d blocks of %d, %d tenants, bounds %v", cuts, blocks, len(everything.Blocks), len(tenants), bounds)
		}
	}
}

// Every row of the index can be worded.
func TestDescribeRows(t *testing.T) {
	s := newStore(t, 1<<20)
	fill(t, s, 0, 70, func(n int, block *metastorev1.BlockMeta) { block.Tenant = int32(n % 2) })
	rows := 0
	var walk func(path [][]byte, bucket *kv.Bucket) error
	walk = func(path [][]byte, bucket *kv.Bucket) error {
		return bucket.ForEach(func(k, v []byte) error {
			if v == nil {
				if text, known := index.DescribeShard(path[0], k); !known || text == "" {
					t.Errorf("bucket %q %x", path, k)
				}
				return walk(append(path, k), bucket.Bucket(k))
			}
			rows++
			if key, value, known := index.DescribeRow(path, k, v); !known || key == "" || value == "" {
				t.Errorf("row %q %x: %q %q", path, k, key, value)
			}
			return nil
		})
	}
	err := s.View(func(tx *kv.Tx) error {
		return tx.ForEach(func(name []byte, bucket *kv.Bucket) error { return walk([][]byte{name}, bucket) })
	})
	if err != nil || rows < 150 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// The bounds of a shard widen in place, and its blocks are found by both ends.
func TestBackfill(t *testing.T) {
	s := newStore(t, 1<<20)
	fill(t, s, 0, 3, func(n int, block *metastorev1.BlockMeta) {
		times := []int64{1_700_000_000_000, 1_700_000_000_000 - 30*24*3600_000, math.MinInt64}
		block.MinTime, block.MaxTime = times[n], times[n]+1000
		block.Datasets[0].MinTime, block.Datasets[0].MaxTime = times[n], times[n]+1000
	})
	check(t, s)
	for _, at := range []int64{1_700_000_000_500, 1_700_000_000_500 - 30*24*3600_000, math.MinInt64 + 500} {
		if got := ask(t, s, "acme", `{}`, index.Bounds{Min: at, Max: at}); len(got.Blocks) != 1 {
			t.Errorf("%d blocks at %d", len(got.Blocks), at)
		}
	}
}
