package generate_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/check"
	"github.com/skerrydb/skerry/bench/generate"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// end is a day's begin, so that fingerprints stay.
const end = int64(1_795_305_600_000)

func generator(t *testing.T, s generate.Settings) *generate.Generator {
	t.Helper()
	s.End = end
	g, err := generate.New(s.WithDefaults(time.UnixMilli(end)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func encode(t *testing.T, b *metastorev1.BlockMeta) []byte {
	t.Helper()
	content, err := b.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The fingerprints pin the workload: results of other versions are comparable only as long as they stay.
func TestSameBytesEverywhere(t *testing.T) {
	for shape, want := range map[generate.Shape]string{
		generate.Standard: "5768f1b97233b941",
		generate.Real:     "6f036eaad327446e",
	} {
		first, second := generator(t, generate.Settings{Seed: 7, Shape: shape, Blocks: 10_000_000}), generator(t, generate.Settings{Seed: 7, Shape: shape, Blocks: 10_000_000})
		sum := sha256.New()
		for i := uint64(0); i < 10_100_000; i += 99_991 {
			content := encode(t, first.Block(i))
			// Neither the order of making them nor who makes them matters.
			if other := encode(t, second.Block(i)); !bytes.Equal(content, other) {
				t.Fatalf("%s: block %d is not itself", shape, i)
			}
			sum.Write(content)
		}
		if got := hex.EncodeToString(sum.Sum(nil)[:8]); got != want {
			t.Errorf("%s: fingerprint %s, want %s", shape, got, want)
		}
		other := generator(t, generate.Settings{Seed: 8, Shape: shape, Blocks: 10_000_000})
		if bytes.Equal(encode(t, first.Block(5)), encode(t, other.Block(5))) {
			t.Errorf("%s: the seed does not matter", shape)
		}
	}
}

func TestBlocksAreValid(t *testing.T) {
	for _, shape := range []generate.Shape{generate.Standard, generate.Real} {
		g := generator(t, generate.Settings{Shape: shape, Blocks: 1_000_000})
		seen, last := map[string]bool{}, int64(0)
		for i := uint64(0); i < 1_010_000; i += 503 {
			b := g.Block(i)
			if err := metastorev1.ValidateBlock(b); err != nil {
				t.Fatal(shape, i, err)
			}
			id, err := metastorev1.ParseID(b.Id)
			if err != nil || int64(id.Time()) != g.At(i) || g.At(i) < last || g.ID(i) != b.Id || seen[b.Id] {
				t.Fatalf("%s: block %d: id %s, %v, at %d after %d", shape, i, b.Id, err, g.At(i), last)
			}
			seen[b.Id], last = true, g.At(i)
			if b.MinTime > b.MaxTime || (b.CompactionLevel > 0) != (b.TenantName() != "") {
				t.Fatalf("%s: block %d: %v", shape, i, b)
			}
			strings := slices.Clone(b.StringTable)
			slices.Sort(strings)
			if len(slices.Compact(strings)) != len(b.StringTable) {
				t.Fatalf("%s: block %d has a string twice: %q", shape, i, b.StringTable)
			}
			services := map[string]bool{}
			for _, d := range b.Datasets {
				if d.MinTime < b.MinTime || d.MaxTime > b.MaxTime || d.MinTime > d.MaxTime {
					t.Fatalf("%s: block %d: times of %v", shape, i, d)
				}
				key := b.StringAt(d.Tenant) + "/" + b.StringAt(d.Name)
				if services[key] {
					t.Fatalf("%s: block %d has %s twice", shape, i, key)
				}
				services[key] = true
			}
		}
		if first, fresh := g.At(0), g.At(1_000_000); first != g.Begin() || fresh != end {
			t.Errorf("%s: from %d, fresh from %d", shape, first, fresh)
		}
	}
}

// Ten millions of blocks take no more memory than ten.
func TestConstantMemory(t *testing.T) {
	g := generator(t, generate.Settings{Shape: generate.Standard, Blocks: 10_000_000})
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	// What a query for a rare label over all of it matches is found, too.
	q := &check.Query{Tenants: g.Tenants()[:1], From: end - int64(time.Hour/time.Millisecond), To: end, Matchers: []check.Matcher{{Name: generate.LabelUnsymbolized, Value: "true"}}}
	digest := g.Blocks(q, 10_000_000)
	for i := uint64(0); i < 10_000_000; i += 5_000 {
		g.Block(i)
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("grew by %d bytes", grown)
	}
	if digest.Count == 0 {
		t.Error("nothing matches")
	}
	runtime.KeepAlive(g)
}

func TestDistributions(t *testing.T) {
	const count = 8_000
	g := generator(t, generate.Settings{Shape: generate.Standard, Blocks: count})
	bytes, tenants, late := 0, map[string]int{}, 0
	for i := range uint64(count) {
		b := g.Block(i)
		bytes += b.SizeVT()
		here := map[string]bool{}
		for _, d := range b.Datasets {
			here[b.StringAt(d.Tenant)] = true
		}
		if len(b.Datasets) != 10 || len(here) != 8 || b.MaxTime-b.MinTime != 272 {
			t.Fatal(b)
		}
		for name := range here {
			tenants[name]++
		}
		if b.MinTime != g.At(i) {
			late++
		}
	}
	if mean := bytes / count; mean < 1_590 || mean > 1_670 {
		t.Errorf("standard: %d bytes", mean)
	}
	for name, n := range tenants {
		if share := float64(n) / count; math.Abs(share-0.4) > 0.02 {
			t.Errorf("standard: %s in %.3f of all blocks", name, share)
		}
	}
	if len(tenants) != 20 || late < count/200 || late > count/100*2 {
		t.Errorf("standard: %d tenants, %d late", len(tenants), late)
	}

	g = generator(t, generate.Settings{Shape: generate.Real, Blocks: count})
	tenants = map[string]int{}
	levels := map[uint32]int{}
	partitions := map[int64]bool{}
	for i := range uint64(count) {
		b := g.Block(i)
		levels[b.CompactionLevel]++
		partitions[g.At(i)/(6*3600*1000)] = true
		for _, d := range b.Datasets {
			if d.Format == 1 {
				tenants[b.StringAt(d.Tenant)]++
			}
		}
	}
	// Zipf: the first is in 2^1.1 times as many blocks as the second.
	if ratio := float64(tenants["tenant-00"]) / float64(tenants["tenant-01"]); ratio < 1.5 || ratio > 2.3 {
		t.Errorf("real: %v blocks of the first tenant, %v of the second", tenants["tenant-00"], tenants["tenant-01"])
	}
	if len(partitions) != 120 || tenants["tenant-99"] == 0 || tenants["tenant-99"] > tenants["tenant-00"]/20 {
		t.Errorf("real: %d partitions, %d blocks of the last tenant", len(partitions), tenants["tenant-99"])
	}
	if share := float64(levels[1]) / count; share < 0.18 || share > 0.22 || levels[2] == 0 {
		t.Errorf("real: levels %v", levels)
	}
}

// The real shape is compared with real blocks.
func TestRealShape(t *testing.T) {
	g := generator(t, generate.Settings{Shape: generate.Real, Blocks: 100_000})
	var made [3][]*metastorev1.BlockMeta
	for i := uint64(0); len(made[2]) < 40; i++ {
		b := g.Block(i)
		made[b.CompactionLevel] = append(made[b.CompactionLevel], b)
	}
	for level, name := range []string{"L0.pb", "L1.pb", "L2.pb"} {
		real := readBlocks(t, filepath.Join("..", "..", "proto", "testdata", "blocks", name))
		for what, measure := range map[string]func(*metastorev1.BlockMeta) float64{
			"bytes":    func(b *metastorev1.BlockMeta) float64 { return float64(b.SizeVT()) },
			"datasets": func(b *metastorev1.BlockMeta) float64 { return float64(len(b.Datasets)) },
			"strings":  func(b *metastorev1.BlockMeta) float64 { return float64(len(b.StringTable)) },
			"object":   func(b *metastorev1.BlockMeta) float64 { return float64(b.Size) },
		} {
			got, want := mean(made[level], measure), mean(real, measure)
			if got < 0.65*want || got > 1.5*want {
				t.Errorf("level %d: %s %.1f, really %.1f", level, what, got, want)
			}
		}
	}
}

func mean(blocks []*metastorev1.BlockMeta, measure func(*metastorev1.BlockMeta) float64) float64 {
	sum := 0.0
	for _, b := range blocks {
		sum += measure(b)
	}
	return sum / float64(len(blocks))
}

func readBlocks(t *testing.T, name string) (blocks []*metastorev1.BlockMeta) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(content) > 0 {
		length := binary.BigEndian.Uint32(content)
		b := &metastorev1.BlockMeta{}
		if err := b.UnmarshalVT(content[4 : 4+length]); err != nil {
			t.Fatal(err)
		}
		blocks, content = append(blocks, b), content[4+length:]
	}
	return blocks
}

// What is calculated from plans is what a look at every block finds.
func TestExpectationsAreComplete(t *testing.T) {
	const hour = int64(3600_000)
	for _, shape := range []generate.Shape{generate.Standard, generate.Real} {
		g := generator(t, generate.Settings{Shape: shape, Blocks: 1_000, Days: 3})
		service := []check.Matcher{{Name: generate.LabelService, Value: g.Services()[0]}}
		for name, q := range map[string]check.Query{
			"all":        {Tenants: g.Tenants()[:1], From: 0, To: end + hour},
			"service":    {Tenants: g.Tenants()[:1], From: end - 20*hour, To: end - 2*hour, Matchers: service, Labels: []string{generate.LabelType}},
			"rare":       {Tenants: g.Tenants()[:3], From: end - 60*hour, To: end, Matchers: []check.Matcher{{Name: generate.LabelUnsymbolized, Value: "true"}}},
			"index":      {Tenants: g.Tenants()[:1], From: end - 5*hour, To: end, Matchers: []check.Matcher{{Name: generate.LabelIndex, Value: "dataset_tsdb_index"}}},
			"fresh":      {Tenants: g.Tenants()[:1], From: end, To: end + hour},
			"no tenant":  {Tenants: []string{"nobody"}, From: 0, To: end},
			"no service": {Tenants: g.Tenants()[:1], From: 0, To: end, Matchers: []check.Matcher{{Name: generate.LabelService, Value: "x"}}},
		} {
			const last = 1_300
			var want check.Digest
			sets, h := check.NewLabelSets(q), check.NewHasher()
			for i := range uint64(last) {
				b := g.Block(i)
				sets.Add(b)
				if found := q.Select(b); found != nil {
					want.Add(h.Block(found))
				}
			}
			if got := g.Blocks(&q, last); got != want {
				t.Errorf("%s, %s: expects %v, there are %v", shape, name, got, want)
			}
			if got := g.Labels(q, last).Digest(); got != sets.Digest() {
				t.Errorf("%s, %s: expects %v, there are %v", shape, name, got, sets.Digest())
			}
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, s := range map[string]generate.Settings{
		"shape": {Shape: "x", Blocks: 1}, "no blocks": {}, "days": {Blocks: 1, Days: 1000}, "shards": {Blocks: 1, Shards: -1},
		"tenants": {Blocks: 1, Tenants: 1 << 30}, "end": {Blocks: 1, End: 5},
	} {
		if _, err := generate.New(s.WithDefaults(time.UnixMilli(end))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
