package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func readBlocks(t *testing.T, pattern string) []*metastorev1.BlockMeta {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	var blocks []*metastorev1.BlockMeta
	for _, file := range files {
		rest, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for len(rest) > 0 {
			size := binary.BigEndian.Uint32(rest)
			block := &metastorev1.BlockMeta{}
			if err := proto.Unmarshal(rest[4:4+size], block); err != nil {
				t.Fatal(err)
			}
			blocks, rest = append(blocks, block), rest[4+size:]
		}
	}
	return blocks
}

// describe writes out a block's fields with all references resolved; only
// datasets that keep accepts, and in label sets only names.
func describe(block *metastorev1.BlockMeta, keep func(tenant string) bool, names []string) string {
	str := func(ref int32) string { return append(block.StringTable, "")[ref] }
	var b strings.Builder
	fmt.Fprintf(&b, "%s v%d tenant %q shard %d level %d %d..%d by %q size %d metadata %d\n", block.Id, block.FormatVersion, str(block.Tenant),
		block.Shard, block.CompactionLevel, block.MinTime, block.MaxTime, str(block.CreatedBy), block.Size, block.MetadataOffset)
	for _, d := range block.Datasets {
		if !keep(str(d.Tenant)) {
			continue
		}
		fmt.Fprintf(&b, "  tenant %q name %q %d..%d toc %v size %d format %d:", str(d.Tenant), str(d.Name), d.MinTime, d.MaxTime, d.TableOfContents, d.Size, d.Format)
		for flat := d.Labels; len(flat) > 0; flat = flat[1+2*flat[0]:] {
			b.WriteString(" {")
			for _, name := range names {
				for i := int32(1); i < 1+2*flat[0]; i += 2 {
					if str(flat[i]) == name {
						fmt.Fprintf(&b, "%s=%q,", name, str(flat[i+1]))
					}
				}
			}
			b.WriteString("}")
		}
		b.WriteString("\n")
	}
	return b.String()
}

var blockFiles = flag.String("blocks", "../../proto/testdata/blocks/*.pb", "files of real blocks for TestServeRealBlocks")

var allNames = []string{"__profile_type__", "__tenant_dataset__", "__unsymbolized__", "service_name"}

// Real blocks go in and come back field by field: by id, and as the answer of
// each tenant's query; before and after a restart.
func TestServeRealBlocks(t *testing.T) {
	dir := t.TempDir()
	blocks := readBlocks(t, *blockFiles)
	s := startServe(t, dir)
	var writers sync.WaitGroup
	next := atomic.Int64{}
	for range 16 {
		writers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(blocks)); i = next.Add(1) - 1 {
				if err := s.add(blocks[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	compareAll(t, s, blocks)
	s.stop()
	s = startServe(t, dir)
	compareAll(t, s, blocks)
	s.stop()
}

func compareAll(t *testing.T, s *serverProcess, blocks []*metastorev1.BlockMeta) {
	t.Helper()
	everything := func(string) bool { return true }
	tenants := map[string]bool{}
	for _, block := range blocks {
		response, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{
			Blocks: &metastorev1.BlockList{Tenant: block.TenantName(), Shard: block.Shard, Blocks: []string{block.Id}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(response.Blocks) != 1 || describe(response.Blocks[0], everything, allNames) != describe(block, everything, allNames) {
			t.Fatalf("added %v, got %v", block, response.Blocks)
		}
		for _, d := range block.Datasets {
			tenants[block.StringTable[d.Tenant]] = true
		}
	}
	listed, err := s.GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
	if err != nil || len(listed.TenantIds) != len(tenants) {
		t.Fatalf("tenants %v, %v, want %v", listed, err, tenants)
	}
	for tenant := range tenants {
		compareQuery(t, s, blocks, tenant)
	}
}

func compareQuery(t *testing.T, s *serverProcess, blocks []*metastorev1.BlockMeta, tenant string) {
	t.Helper()
	keep := func(owner string) bool { return owner == tenant }
	var expected []*metastorev1.BlockMeta
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, block := range blocks {
		owns := func(d *metastorev1.Dataset) bool { return keep(block.StringTable[d.Tenant]) }
		if slices.ContainsFunc(block.Datasets, owns) {
			expected = append(expected, block)
			from, to = min(from, block.MinTime), max(to, block.MaxTime)
		}
	}
	slices.SortFunc(expected, func(a, b *metastorev1.BlockMeta) int {
		return cmp.Or(cmp.Compare(a.TenantName(), b.TenantName()), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Id, b.Id))
	})
	answer, err := s.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{
		TenantId: []string{tenant}, StartTime: from, EndTime: to, Query: "{}", Labels: allNames,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Blocks) != len(expected) {
		t.Fatalf("%s: %d blocks, want %d", tenant, len(answer.Blocks), len(expected))
	}
	for i, block := range answer.Blocks {
		if got, want := describe(block, keep, allNames), describe(expected[i], keep, allNames); got != want || strings.Count(got, "\n") != 1+len(block.Datasets) {
			t.Fatalf("%s: got\n%s\nwant\n%s", tenant, got, want)
		}
	}
}

func TestServeBadInput(t *testing.T) {
	s := startServe(t, t.TempDir())
	good := readBlocks(t, "../../proto/testdata/blocks/L0.pb")[0]
	if err := s.add(good); err != nil {
		t.Fatal(err)
	}
	held := s.blocksHeld()
	changed := func(change func(*metastorev1.BlockMeta)) error {
		block := proto.CloneOf(good)
		block.Id = "01J8E68YM0Z2RRKCY9SYGX3054"
		change(block)
		return s.add(block)
	}
	query := func(change func(*metastorev1.QueryMetadataRequest)) error {
		request := &metastorev1.QueryMetadataRequest{TenantId: []string{"tenant-0"}, EndTime: math.MaxInt64, Query: "{}"}
		change(request)
		_, err := s.QueryMetadata(t.Context(), request)
		if err != nil {
			return err
		}
		_, err = s.QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: request.TenantId, EndTime: request.EndTime, Query: request.Query})
		return err
	}
	get := func(list *metastorev1.BlockList) error {
		_, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: list})
		return err
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, cancelErr := s.QueryMetadata(cancelled, &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"})
	_, pollErr := s.PollCompactionJobs(t.Context(), &metastorev1.PollCompactionJobsRequest{JobCapacity: 1})
	_, deleteErr := s.DeleteTenant(t.Context(), &metastorev1.DeleteTenantRequest{TenantId: "a"})
	// The node API trusts its callers: it must not be reachable here.
	_, nodeErr := nodev1.NewNodeServiceClient(s.conn).RangeMap(t.Context(), &nodev1.RangeMapRequest{})
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"the node API is private": {nodeErr, codes.Unimplemented},
		"no block":                {s.add(nil), codes.InvalidArgument},
		"no id":                   {changed(func(b *metastorev1.BlockMeta) { b.Id = "" }), codes.InvalidArgument},
		"id not base32":           {changed(func(b *metastorev1.BlockMeta) { b.Id = strings.Repeat("!", 26) }), codes.InvalidArgument},
		"tenant outside":          {changed(func(b *metastorev1.BlockMeta) { b.Tenant = 1000 }), codes.InvalidArgument},
		"name outside":            {changed(func(b *metastorev1.BlockMeta) { b.Datasets[0].Name = -1 }), codes.InvalidArgument},
		"label outside":           {changed(func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{1, 0, 1000} }), codes.InvalidArgument},
		"negative label count":    {changed(func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{-1} }), codes.InvalidArgument},
		"truncated label set":     {changed(func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{2, 0, 0} }), codes.InvalidArgument},
		"first string not empty":  {changed(func(b *metastorev1.BlockMeta) { b.StringTable[0] = "x" }), codes.InvalidArgument},
		"too large for the log":   {changed(func(b *metastorev1.BlockMeta) { b.StringTable = append(b.StringTable, strings.Repeat("x", 20<<20)) }), codes.InvalidArgument},
		"100 MiB message":         {changed(func(b *metastorev1.BlockMeta) { b.StringTable = append(b.StringTable, strings.Repeat("x", 100<<20)) }), codes.ResourceExhausted},
		"no tenant":               {query(func(q *metastorev1.QueryMetadataRequest) { q.TenantId = nil }), codes.InvalidArgument},
		"no selector":             {query(func(q *metastorev1.QueryMetadataRequest) { q.Query = "" }), codes.InvalidArgument},
		"bad selector":            {query(func(q *metastorev1.QueryMetadataRequest) { q.Query = "{a=b}" }), codes.InvalidArgument},
		"bad regular expression":  {query(func(q *metastorev1.QueryMetadataRequest) { q.Query = `{a=~"("}` }), codes.InvalidArgument},
		"unknown tenant":          {query(func(q *metastorev1.QueryMetadataRequest) { q.TenantId = []string{"nobody"} }), codes.OK},
		"reversed range":          {query(func(q *metastorev1.QueryMetadataRequest) { q.StartTime, q.EndTime = math.MaxInt64, math.MinInt64 }), codes.OK},
		"cancelled":               {cancelErr, codes.Canceled},
		"missing list":            {get(nil), codes.OK},
		"malformed id in list":    {get(&metastorev1.BlockList{Blocks: []string{"x"}}), codes.InvalidArgument},
		"an idle poll":            {pollErr, codes.OK},
		"deletion is not allowed": {deleteErr, codes.InvalidArgument},
	} {
		if status.Code(test.err) != test.want {
			t.Errorf("%s: %.200v, want %s", name, test.err, test.want)
		}
	}
	if s.blocksHeld() != held {
		t.Errorf("%d blocks are held, %d before the bad input", s.blocksHeld(), held)
	}
	// Unknown fields are no fault, and are kept.
	extra := []byte{0xa2, 0x06, 0x03, 'n', 'e', 'w'}
	if err := changed(func(b *metastorev1.BlockMeta) { b.ProtoReflect().SetUnknown(extra) }); err != nil {
		t.Error(err)
	}
	response, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{
		Blocks: &metastorev1.BlockList{Shard: good.Shard, Blocks: []string{"01J8E68YM0Z2RRKCY9SYGX3054"}},
	})
	if err != nil || len(response.Blocks) != 1 || !bytes.Equal(response.Blocks[0].ProtoReflect().GetUnknown(), extra) {
		t.Errorf("unknown fields: %v, %v", response, err)
	}
	s.stop()
}

var kills = flag.Int("kills", 4, "how often TestServeSurvivesKills kills the server")

// kill -9 in the middle of adds, again and again: each acknowledged block is
// there after the restart.
func TestServeSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []*metastorev1.BlockMeta
	serial := uint64(0)
	for round := range *kills {
		s := startServe(t, dir)
		wantAll(t, s, acknowledged)
		var mu sync.Mutex
		var writers sync.WaitGroup
		// The kill comes after some hundred acknowledgements, in full flight.
		enough, target := make(chan struct{}), 100+37*(round%10)
		for range 16 {
			writers.Go(func() {
				for {
					block := numberedBlock(atomic.AddUint64(&serial, 1))
					if err := s.add(block); err != nil {
						return // the server is gone
					}
					mu.Lock()
					acknowledged = append(acknowledged, block)
					if target--; target == 0 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		s.kill()
		writers.Wait()
	}
	s := startServe(t, dir)
	wantAll(t, s, acknowledged)
	t.Logf("%d acknowledged blocks survived %d kills", len(acknowledged), *kills)
	s.stop()
}

// numberedBlock makes blocks of many tenants, segments, shards and partitions.
func numberedBlock(n uint64) *metastorev1.BlockMeta {
	id := ulid.ULID{}
	if err := id.SetTime(1735787040000 + n*1000); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(id[8:], n)
	block := &metastorev1.BlockMeta{
		Id: id.String(), Shard: uint32(n % 7), MinTime: int64(n), MaxTime: int64(n) + 1000, Size: n,
		StringTable: []string{"", fmt.Sprintf("tenant-%d", n%13), "service", fmt.Sprint("host-", n%3)},
		Datasets:    []*metastorev1.Dataset{{Tenant: 1, Name: 2, Size: n, Labels: []int32{1, 2, 3}}},
	}
	if n%2 == 0 {
		block.Tenant = 1
	}
	return block
}

func wantAll(t *testing.T, s *serverProcess, blocks []*metastorev1.BlockMeta) {
	t.Helper()
	type place struct {
		tenant string
		shard  uint32
	}
	lists := map[place][]string{}
	for _, block := range blocks {
		at := place{block.TenantName(), block.Shard}
		lists[at] = append(lists[at], block.Id)
	}
	for at, ids := range lists {
		response, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{
			Blocks: &metastorev1.BlockList{Tenant: at.tenant, Shard: at.shard, Blocks: ids},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(response.Blocks) != len(ids) {
			t.Fatalf("%d of %d acknowledged blocks of %+v are there", len(response.Blocks), len(ids), at)
		}
	}
}
