package router

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Merging shows what was read last at each point, without what was accepted.
func TestVisibleBlocksAgainstASimpleList(t *testing.T) {
	tenants := []string{"a", "ab", "b"}
	rapid.Check(t, func(t *rapid.T) {
		size := newAnswerSize(1 << 30)
		found := &foundBlocks{size: size}
		type at struct {
			keyspace clusterv1.Keyspace
			point    uint64
		}
		truth := map[at][]*nodev1.EncodedBlock{}
		accepted := map[transferPair]uint64{}
		points := map[at]span{}
		for stream := range uint32(4) {
			for _, tenant := range append([]string{""}, tenants...) {
				s := pointSpan(tenant, stream)
				points[at{s.keyspace, s.lo}] = s
			}
		}
		block := func(tenant string, stream uint32, transfer uint64) *nodev1.EncodedBlock {
			n := rapid.IntRange(0, 30).Draw(t, "id")
			return &nodev1.EncodedBlock{Tenant: tenant, Shard: stream, Id: blockID(n), Transfer: transfer, Block: fmt.Appendf(nil, "%s/%d/%d", tenant, stream, n)}
		}
		for round := range rapid.IntRange(1, 3).Draw(t, "rounds") {
			var spans []span
			var again []at
			for _, key := range slices.SortedFunc(maps.Keys(points), func(a, b at) int {
				return slices.Compare([]uint64{uint64(a.keyspace), a.point}, []uint64{uint64(b.keyspace), b.point})
			}) {
				if round == 0 || rapid.Bool().Draw(t, "again") {
					again, spans = append(again, key), append(spans, points[key])
				}
			}
			found.forget(newSpanSet(spans))
			parts := make([]*nodev1.QueryBlocksResponse, 3)
			for i := range parts {
				parts[i] = &nodev1.QueryBlocksResponse{Watermarks: &nodev1.Watermarks{}}
			}
			for _, key := range again {
				truth[key] = nil
			}
			for stream := range uint32(4) {
				keyspace, point := clusterv1.BlockPoint("", stream)
				if key := (at{keyspace, point}); slices.Contains(again, key) {
					part := rapid.SampledFrom(parts).Draw(t, "part")
					for range rapid.IntRange(0, 3).Draw(t, "segments") {
						truth[key] = append(truth[key], block("", stream, 0))
					}
					for _, tenant := range tenants {
						issued := rapid.Uint64Range(1, 6).Draw(t, "issued")
						part.Watermarks.Issued = append(part.Watermarks.Issued, &nodev1.IssuedWatermark{Stream: stream, Tenant: tenant, Incarnation: 1, Issued: issued})
						for range rapid.IntRange(0, 3).Draw(t, "waiting") {
							truth[key] = append(truth[key], block(tenant, stream, rapid.Uint64Range(1, issued).Draw(t, "transfer")))
						}
					}
					part.Blocks = append(part.Blocks, truth[key]...)
				}
				for _, tenant := range tenants {
					keyspace, point := clusterv1.BlockPoint(tenant, stream)
					if key := (at{keyspace, point}); slices.Contains(again, key) {
						part := rapid.SampledFrom(parts).Draw(t, "part")
						x := rapid.Uint64Range(0, 6).Draw(t, "accepted")
						if accepted[transferPair{stream, tenant}] = x; x > 0 {
							part.Watermarks.Accepted = append(part.Watermarks.Accepted, &nodev1.AcceptedWatermark{Stream: stream, Tenant: tenant, Incarnation: 1, Accepted: x})
						}
						for range rapid.IntRange(0, 3).Draw(t, "blocks") {
							truth[key] = append(truth[key], block(tenant, stream, 0))
						}
						part.Blocks = append(part.Blocks, truth[key]...)
					}
				}
			}
			for _, part := range parts {
				slices.SortFunc(part.Blocks, compareBlocks)
				if err := found.add(part); err != nil {
					t.Fatal(err)
				}
			}
		}
		var want []*nodev1.EncodedBlock
		bytes := 0
		for _, list := range truth {
			bytes += encodedSizes(list)
			for _, block := range list {
				if x := block.GetTransfer(); x == 0 || x > accepted[transferPair{block.GetShard(), block.GetTenant()}] {
					want = append(want, block)
				}
			}
		}
		if used := size.used.Load(); used != int64(bytes) {
			t.Fatalf("counted %d bytes, want %d", used, bytes)
		}
		slices.SortFunc(want, compareBlocks)
		want = slices.CompactFunc(want, func(a, b *nodev1.EncodedBlock) bool { return compareBlocks(a, b) == 0 })
		got, err := found.visible()
		if err != nil || !slices.EqualFunc(got, want, func(a, b *nodev1.EncodedBlock) bool {
			return compareBlocks(a, b) == 0 && string(a.Block) == string(b.Block)
		}) {
			t.Fatalf("got %v (%v), want %v", got, err, want)
		}
	})
}

// datum is what a segment holds of a tenant.
type datum struct {
	segment int
	tenant  string
}

// turmoil is a cluster in which everything happens between any two reads. Its
// methods are called with its lock.
type turmoil struct {
	*fakeCluster
	random  *rand.Rand
	lock    sync.Mutex
	serial  int
	streams []uint32
	tenants []string
	covers  map[string][]datum // by block id
	stored  map[datum]bool
	retired map[datum]bool
}

func newTurmoil(t testing.TB, seed uint64) *turmoil {
	u := &turmoil{
		fakeCluster: newFakeCluster(t, 3, 2, 1), random: rand.New(rand.NewPCG(seed, 1)),
		streams: []uint32{1, 2, 3}, tenants: []string{"a", "b"},
		covers: map[string][]datum{}, stored: map[datum]bool{}, retired: map[datum]bool{},
	}
	// Groups with one shard of a tenant, or with streams and tenants.
	for range 4 {
		u.split(t)
	}
	u.publish()
	return u
}

func (u *turmoil) pick(n int) int { return u.random.IntN(n) }

func (u *turmoil) pair() transferPair {
	return transferPair{u.streams[u.pick(len(u.streams))], u.tenants[u.pick(len(u.tenants))]}
}

// split cuts a range that matters and gives its parts to random groups.
func (u *turmoil) split(t testing.TB) {
	pair := u.pair()
	keyspace, point := clusterv1.BlockPoint(pair.tenant, pair.stream)
	if u.pick(2) == 0 {
		keyspace, point = clusterv1.BlockPoint("", pair.stream)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.published == nil {
		u.published = u.truth.Proto()
	}
	source := proto.Clone(u.truth.Proto()).(*clusterv1.RangeMap)
	source.Cluster.MapVersion++
	for _, r := range source.Ranges {
		if r.Keyspace != keyspace || !r.Contains(point) {
			continue
		}
		r.Epoch++
		r.GroupId = uint64(2 + u.pick(3))
		if r.Lo != point {
			right := proto.Clone(r).(*clusterv1.Range)
			right.Lo, r.Hi = point, point
			right.GroupId = uint64(2 + u.pick(3))
			right.RangeId = uint64(1000 + len(source.Ranges))
			source.Ranges = append(source.Ranges, right)
		}
		break
	}
	u.truth = newMap(t, source)
}

func (u *turmoil) block(tenant string, stream uint32, data []datum) *metastorev1.BlockMeta {
	u.serial++
	block := newBlock(tenant, stream, u.serial)
	u.covers[block.GetId()] = data
	return block
}

func (u *turmoil) of(tenant string, stream uint32) (blocks []*metastorev1.BlockMeta) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range u.order {
		if block := u.blocks[key]; block.TenantName() == tenant && block.GetShard() == stream {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

func (u *turmoil) step(t testing.TB) {
	pair := u.pair()
	switch u.pick(9) {
	case 0, 1: // a segment
		var data []datum
		for _, tenant := range u.tenants {
			data = append(data, datum{u.serial, tenant})
		}
		u.add(u.block("", pair.stream, data))
		for _, d := range data {
			u.stored[d] = true
		}
	case 2, 3: // a job of segments
		if segments := u.of("", pair.stream); len(segments) > 0 {
			segments = segments[:1+u.pick(len(segments))]
			var outputs []*metastorev1.BlockMeta
			for _, tenant := range u.tenants {
				var data []datum
				for _, segment := range segments {
					for _, d := range u.covers[segment.GetId()] {
						if d.tenant == tenant {
							data = append(data, d)
						}
					}
				}
				outputs = append(outputs, u.block(tenant, pair.stream, data))
			}
			u.issue(pair.stream, segments, outputs...)
		}
	case 4:
		u.accept(pair)
	case 5:
		u.finish(pair)
	case 6: // the tenant's blocks are compacted
		if sources := u.of(pair.tenant, pair.stream); len(sources) > 1 {
			var data []datum
			for _, source := range sources {
				data = append(data, u.covers[source.GetId()]...)
			}
			output := u.block(pair.tenant, pair.stream, data)
			u.mu.Lock()
			for _, source := range sources {
				u.remove(source)
			}
			u.blocks[blockKey(output)] = output
			u.order = slices.Sorted(maps.Keys(u.blocks))
			u.mu.Unlock()
		}
	case 7: // and retired
		if blocks := u.of(pair.tenant, pair.stream); len(blocks) > 0 && u.pick(3) == 0 {
			u.mu.Lock()
			u.remove(blocks[0])
			u.mu.Unlock()
			for _, d := range u.covers[blocks[0].GetId()] {
				u.retired[d] = true
			}
		}
	case 8:
		if u.pick(10) == 0 {
			u.split(t)
		}
	}
}

// Every query finds each datum once, whatever happens between its reads: ranges of
// streams, tenants and parts of them split and move, too.
func TestQueriesFindAllDataOnce(t *testing.T) {
	again, spent := 0.0, 0
	for seed := range uint64(60) {
		u := newTurmoil(t, seed)
		registry := prometheus.NewRegistry()
		r, err := New(Options{}, u, u.seeds, nil, registry)
		if err != nil {
			t.Fatal(err)
		}
		u.setBefore(func(e entry) error {
			if e.call == "QueryBlocks" {
				u.lock.Lock()
				defer u.lock.Unlock()
				for range u.pick(30) {
					u.step(t)
				}
			}
			return nil
		})
		for range 12 {
			u.lock.Lock()
			before, gone := maps.Clone(u.stored), maps.Clone(u.retired)
			u.lock.Unlock()
			asked := u.tenants[:1+u.random.IntN(2)]
			answer, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: asked, Query: "{}"})
			if status.Code(err) == codes.Unavailable {
				spent++ // transfers between all its reads: rare, but possible
				continue
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			u.lock.Lock()
			counts := map[datum]int{}
			for _, block := range passed(t, answer).GetBlocks() {
				for _, d := range u.covers[block.GetId()] {
					counts[d]++
				}
			}
			for d := range u.stored {
				switch n := counts[d]; {
				case !slices.Contains(asked, d.tenant):
				case n > 1:
					t.Errorf("seed %d: %v was found %d times", seed, d, n)
				case n == 0 && before[d] && !u.retired[d]:
					t.Errorf("seed %d: %v is missing", seed, d)
				case n > 0 && gone[d]:
					t.Errorf("seed %d: %v came back", seed, d)
				}
			}
			u.lock.Unlock()
		}
		for _, n := range extraRounds(t, registry) {
			again += n
		}
		r.Close()
		if t.Failed() {
			return
		}
	}
	if again < 30 || spent > 10 {
		t.Errorf("%v extra rounds, %d queries given up: too few, or too many", again, spent)
	}
}
