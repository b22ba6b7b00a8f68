package rebuild_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/cmd/internal/blockfile"
	"github.com/skerrydb/skerry/cmd/internal/rebuild"
	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// fakeIndex is a cluster in memory.
type fakeIndex struct {
	mu         sync.Mutex
	blocks     map[string]*metastorev1.BlockMeta
	tombstoned map[string]bool
	refused    map[string]bool
	fail       error
	added      []string
}

func newFakeIndex(blocks ...*metastorev1.BlockMeta) *fakeIndex {
	f := &fakeIndex{blocks: map[string]*metastorev1.BlockMeta{}, tombstoned: map[string]bool{}, refused: map[string]bool{}}
	for _, block := range blocks {
		f.blocks[nameOf(block)] = block
	}
	return f
}

func (f *fakeIndex) Lookup(_ context.Context, tenant string, shard uint32, ids []string) ([]*metastorev1.BlockMeta, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(ids) > rebuild.LookupMax {
		return nil, errors.New("too many")
	}
	var found []*metastorev1.BlockMeta
	for _, block := range f.blocks {
		if blockobject.Tenant(block) == tenant && block.Shard == shard && slices.Contains(ids, block.Id) {
			found = append(found, block)
		}
	}
	return found, f.fail
}

func (f *fakeIndex) Add(_ context.Context, block *metastorev1.BlockMeta) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := nameOf(block)
	switch {
	case f.refused[name]:
		return &rebuild.RefusedError{Reason: "no"}
	case !f.tombstoned[name]:
		f.blocks[name] = block
	}
	f.added = append(f.added, name)
	return f.fail
}

func (f *fakeIndex) Blocks(context.Context) iter.Seq2[*metastorev1.BlockMeta, error] {
	return func(yield func(*metastorev1.BlockMeta, error) bool) {
		for _, block := range f.blocks {
			if !yield(block, nil) {
				return
			}
		}
	}
}

func nameOf(block *metastorev1.BlockMeta) string {
	return blockobject.Of(blockobject.Tenant(block), block.Shard, block.CompactionLevel, ulid.MustParse(block.Id)).Name()
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// block makes metadata: its ID has the time of a second after epoch, and data of
// "tenant/service" from that second to the one before to.
func block(tenant string, shard, level uint32, second, to int, datasets ...string) *metastorev1.BlockMeta {
	made := epoch.Add(time.Duration(second) * time.Second)
	id := ulid.ULID{}
	_ = id.SetTime(ulid.Timestamp(made))
	id[15] = byte(level)
	b := &metastorev1.BlockMeta{FormatVersion: 1, Id: id.String(), Shard: shard, CompactionLevel: level, StringTable: []string{""}}
	text := func(s string) int32 {
		if at := slices.Index(b.StringTable, s); at >= 0 {
			return int32(at)
		}
		b.StringTable = append(b.StringTable, s)
		return int32(len(b.StringTable) - 1)
	}
	b.Tenant = text(tenant)
	b.MinTime, b.MaxTime = made.UnixMilli(), epoch.Add(time.Duration(to)*time.Second).UnixMilli()-1
	for _, dataset := range datasets {
		owner, name, _ := strings.Cut(dataset, "/")
		b.Datasets = append(b.Datasets, &metastorev1.Dataset{Tenant: text(owner), Name: text(name), MinTime: b.MinTime, MaxTime: b.MaxTime, Size: 10})
	}
	return b
}

// store writes the object of a block and returns what the index should have.
func store(t testing.TB, bucket objects.Bucket, b *metastorev1.BlockMeta) *metastorev1.BlockMeta {
	t.Helper()
	b = proto.Clone(b).(*metastorev1.BlockMeta)
	b.MetadataOffset = 100
	footer, err := blockobject.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	content := append(bytes.Repeat([]byte("d"), 100), footer...)
	b.Size = uint64(len(content))
	if err := bucket.Put(t.Context(), nameOf(b), content); err != nil {
		t.Fatal(err)
	}
	return b
}

func folder(t testing.TB) *objects.Folder {
	t.Helper()
	bucket, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

type findings map[string]rebuild.Verdict

func options(found findings) rebuild.Options {
	return rebuild.Options{
		Concurrency: 4, Now: time.Now(),
		Found: func(f rebuild.Finding) {
			if found[f.Object] != "" {
				found[f.Object+" again"] = f.Verdict
			}
			found[f.Object] = f.Verdict
		},
	}
}

func run(t *testing.T, bucket objects.Bucket, index *fakeIndex, change func(*rebuild.Options)) (findings, rebuild.Counts) {
	t.Helper()
	found := findings{}
	o := options(found)
	if change != nil {
		change(&o)
	}
	counts, err := rebuild.Run(t.Context(), bucket, index, o)
	if err != nil {
		t.Fatal(err)
	}
	return found, counts
}

func TestWhatIsMissingComesBack(t *testing.T) {
	bucket := folder(t)
	want := map[string]*metastorev1.BlockMeta{}
	for _, b := range []*metastorev1.BlockMeta{
		block("", 1, 0, 10, 11, "a/x", "b/x"), block("", 1, 0, 20, 21, "a/x"), block("", 10, 0, 10, 11, "a/x"),
		block("a", 1, 1, 0, 5, "a/x"), block("b", 2, 3, 0, 5, "b/y"), block("anonymous", 2, 1, 7, 8, "anonymous/x"),
		block("t", 3, 0, 5, 6, "t/x"), // a segment of a tenant
	} {
		b = store(t, bucket, b)
		want[nameOf(b)] = b
	}
	if err := bucket.Put(t.Context(), "segments/1/anonymous/x", nil); err != nil {
		t.Fatal(err)
	}
	index := newFakeIndex()
	found, counts := run(t, bucket, index, func(o *rebuild.Options) { o.DryRun = true })
	if len(index.blocks) > 0 || counts.Verdicts[rebuild.Missing] != 7 {
		t.Errorf("a dry run: %v", found)
	}
	found, counts = run(t, bucket, index, nil)
	for name, b := range want {
		if !proto.Equal(index.blocks[name], b) || found[name] != rebuild.Added {
			t.Errorf("%s is %v, %s", name, index.blocks[name], found[name])
		}
	}
	if counts.Objects != 7 || counts.Strays != 1 || counts.Footers != 7 || counts.Verdicts[rebuild.Added] != 7 || counts.Shards != 4 {
		t.Errorf("%+v", counts)
	}
	found, counts = run(t, bucket, index, nil)
	if len(index.added) != 7 || counts.Verdicts[rebuild.Indexed] != 7 {
		t.Errorf("again: %v", found)
	}
}

// Each object is judged by what else there is of its shard.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		// In the bucket; those of which the name begins with ! are indexed, too.
		objects map[string]*metastorev1.BlockMeta
		want    map[string]rebuild.Verdict
	}{
		{"sources beside all that was made of them", map[string]*metastorev1.BlockMeta{
			"first": block("", 1, 0, 10, 11, "a/x", "b/y"), "second": block("", 1, 0, 11, 12, "a/x"), "next": block("", 1, 0, 20, 21, "a/x"),
			"of a": block("a", 1, 1, 10, 12, "a/x"), "of b": block("b", 1, 1, 10, 11, "b/y"),
		}, map[string]rebuild.Verdict{"first": rebuild.Compacted, "second": rebuild.Compacted, "next": rebuild.Added, "of a": rebuild.Added, "of b": rebuild.Added}},
		{"a source of which one tenant's part was not made", map[string]*metastorev1.BlockMeta{
			"source": block("", 1, 0, 10, 11, "a/x", "b/y"), "of a": block("a", 1, 1, 10, 11, "a/x"),
		}, map[string]rebuild.Verdict{"source": rebuild.Added, "of a": rebuild.Added}},
		{"sources of another shard", map[string]*metastorev1.BlockMeta{
			"source": block("", 2, 0, 10, 11, "a/x"), "of a": block("a", 1, 1, 10, 11, "a/x"),
		}, map[string]rebuild.Verdict{"source": rebuild.Added, "of a": rebuild.Added}},
		{"a source that is older than what was made", map[string]*metastorev1.BlockMeta{
			"source": block("", 1, 0, 9, 10, "a/x"), "of a": block("a", 1, 1, 10, 12, "a/x"),
		}, map[string]rebuild.Verdict{"source": rebuild.Added, "of a": rebuild.Added}},
		{"a source that is much younger", map[string]*metastorev1.BlockMeta{
			"source": block("", 1, 0, 3*24*3600, 3*24*3600+1, "a/x"), "of a": block("a", 1, 1, 10, 4*24*3600, "a/x"),
		}, map[string]rebuild.Verdict{"source": rebuild.Added, "of a": rebuild.Added}},
		{"three levels", map[string]*metastorev1.BlockMeta{
			"segment": block("", 1, 0, 12, 13, "a/x"), "one": block("a", 1, 1, 12, 14, "a/x"), "two": block("a", 1, 2, 10, 20, "a/x"),
		}, map[string]rebuild.Verdict{"segment": rebuild.Compacted, "one": rebuild.Compacted, "two": rebuild.Added}},
		{"sources indexed, outcome not", map[string]*metastorev1.BlockMeta{
			"!first": block("", 1, 0, 10, 11, "a/x"), "!second": block("", 1, 0, 11, 12, "a/x"), "of a": block("a", 1, 1, 10, 12, "a/x"), "later": block("", 1, 0, 11, 12, "a/z"),
		}, map[string]rebuild.Verdict{"!first": rebuild.Indexed, "!second": rebuild.Indexed, "of a": rebuild.Unfinished, "later": rebuild.Added}},
		{"outcome indexed, a source left over", map[string]*metastorev1.BlockMeta{
			"left": block("", 1, 0, 11, 12, "a/x"), "!of a": block("a", 1, 1, 10, 12, "a/x"),
		}, map[string]rebuild.Verdict{"left": rebuild.Compacted, "!of a": rebuild.Indexed}},
		{"nothing to tell by", map[string]*metastorev1.BlockMeta{"empty": block("", 1, 0, 10, 11)}, map[string]rebuild.Verdict{"empty": rebuild.Added}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bucket, index := folder(t), newFakeIndex()
			for key, b := range c.objects {
				if key == "later" {
					id := ulid.MustParse(b.Id)
					id[14] = 1
					b.Id = id.String()
				}
				if b = store(t, bucket, b); strings.HasPrefix(key, "!") {
					index.blocks[nameOf(b)] = b
				}
			}
			found, _ := run(t, bucket, index, nil)
			for key, want := range c.want {
				if got := found[nameOf(c.objects[key])]; got != want {
					t.Errorf("%s is %s, want %s", key, got, want)
				}
			}
			found, _ = run(t, bucket, index, func(o *rebuild.Options) { o.Doubtful = true })
			for key := range c.objects {
				if index.blocks[nameOf(c.objects[key])] == nil {
					t.Errorf("%s is not there when all are asked for: %v", key, found)
				}
			}
		})
	}
}

func TestWhatCannotComeBack(t *testing.T) {
	bucket, index := folder(t), newFakeIndex()
	good, young := store(t, bucket, block("", 1, 0, 1, 2, "a/x")), store(t, bucket, block("", 1, 0, 2, 3, "a/x"))
	resized, dead, refused := store(t, bucket, block("a", 1, 1, 100, 101, "a/x")), store(t, bucket, block("a", 1, 1, 200, 201, "a/x")), store(t, bucket, block("a", 1, 1, 300, 301, "a/x"))
	index.tombstoned[nameOf(dead)], index.refused[nameOf(refused)] = true, true
	entry := proto.Clone(resized).(*metastorev1.BlockMeta)
	entry.Size++
	index.blocks[nameOf(entry)] = entry
	misplaced := strings.Replace(nameOf(good), "segments/1/", "segments/2/", 1)
	content, err := bucket.Get(t.Context(), nameOf(good), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	garbled := strings.Replace(nameOf(good), "segments/1/", "segments/3/", 1)
	for name, content := range map[string][]byte{misplaced: content, garbled: content[:len(content)-1]} {
		if err := bucket.Put(t.Context(), name, content); err != nil {
			t.Fatal(err)
		}
	}
	_ = young
	found, _ := run(t, bucket, index, nil)
	want := findings{
		nameOf(good): rebuild.Added, nameOf(young): rebuild.Added, nameOf(resized): rebuild.Resized, nameOf(dead): rebuild.Tombstoned,
		nameOf(refused): rebuild.Refused, misplaced: rebuild.Damaged, garbled: rebuild.Damaged,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

func TestFilters(t *testing.T) {
	bucket := folder(t)
	all := map[string]*metastorev1.BlockMeta{
		"old":      block("", 1, 0, 1, 2, "a/x"),
		"of b":     block("", 1, 0, 102, 103, "b/x"),
		"of both":  block("", 1, 0, 103, 104, "a/x", "b/x"),
		"a's":      block("a", 1, 1, 110, 111, "a/y"),
		"b's":      block("b", 1, 1, 110, 111, "b/y"),
		"covered":  block("", 1, 0, 121, 122, "a/z"),
		"covering": block("a", 1, 1, 50, 130, "a/z"), // it is older than asked for
	}
	for _, b := range all {
		store(t, bucket, b)
	}
	for _, c := range []struct {
		name   string
		change func(*rebuild.Options)
		want   map[string]rebuild.Verdict
	}{
		{"since", func(o *rebuild.Options) { o.Since = epoch.Add(100 * time.Second) }, map[string]rebuild.Verdict{
			"of b": rebuild.Added, "of both": rebuild.Added, "a's": rebuild.Added, "b's": rebuild.Added, "covered": rebuild.Compacted,
		}},
		{"tenant", func(o *rebuild.Options) { o.Tenant = "a" }, map[string]rebuild.Verdict{
			"old": rebuild.Added, "of both": rebuild.Added, "a's": rebuild.Added, "covered": rebuild.Compacted, "covering": rebuild.Added,
		}},
		{"age", func(o *rebuild.Options) { o.MinAge = time.Hour }, map[string]rebuild.Verdict{
			"old": rebuild.Young, "of b": rebuild.Young, "of both": rebuild.Young, "a's": rebuild.Young, "b's": rebuild.Young, "covered": rebuild.Compacted, "covering": rebuild.Young,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := findings{}
			for key, verdict := range c.want {
				want[nameOf(all[key])] = verdict
			}
			found, _ := run(t, bucket, newFakeIndex(), c.change)
			if diff := cmp.Diff(want, found); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is to be deleted stays out even of an index that would take it.
func TestTombstones(t *testing.T) {
	bucket := folder(t)
	one, other := store(t, bucket, block("", 1, 0, 1, 2, "a/x")), store(t, bucket, block("", 1, 0, 2, 3, "a/y"))
	early, late := store(t, bucket, block("a", 1, 1, 99, 100, "a/z")), store(t, bucket, block("a", 1, 1, 100, 101, "a/z"))
	elsewhere, level := store(t, bucket, block("a", 2, 1, 99, 100, "a/z")), store(t, bucket, block("b", 1, 1, 1, 2, "b/x"))
	var tombstones rebuild.Tombstones
	tombstones.Note(&metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{Shard: 1, Blocks: []string{one.Id, "no id"}}})
	tombstones.Note(&metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{Shard: 1, Tenant: "b", CompactionLevel: 0, Blocks: []string{level.Id}}})
	tombstones.Note(&metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{
		Shard: 1, Tenant: "a", Timestamp: epoch.UnixNano(), Duration: int64(100 * time.Second),
	}})
	tombstones.Note(&metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{Shard: 1, Tenant: "a", Timestamp: epoch.UnixNano(), Duration: 1}})
	found, _ := run(t, bucket, newFakeIndex(), func(o *rebuild.Options) { o.Tombstones, o.Doubtful = tombstones, true })
	want := findings{
		nameOf(one): rebuild.Tombstoned, nameOf(other): rebuild.Added, nameOf(early): rebuild.Tombstoned, nameOf(late): rebuild.Added,
		nameOf(elsewhere): rebuild.Added, nameOf(level): rebuild.Added,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

func TestItEndsAtFaultsAndGoesOnThere(t *testing.T) {
	bucket, index := folder(t), newFakeIndex()
	for shard := range uint32(5) {
		store(t, bucket, block("", shard, 0, 1, 2, "a/x"))
	}
	done := map[uint32]bool{}
	fault := errors.New("out of order")
	resumed := func(o *rebuild.Options) {
		o.Done = func(shard uint32) bool { return done[shard] }
		o.Finished = func(shard uint32) error {
			done[shard] = true
			if shard == 2 {
				index.fail = fault
			}
			return nil
		}
	}
	o := options(findings{})
	resumed(&o)
	if _, err := rebuild.Run(t.Context(), bucket, index, o); !errors.Is(err, fault) || !strings.Contains(err.Error(), "shard 3") {
		t.Errorf("got %v", err)
	}
	index.fail = nil
	found, _ := run(t, bucket, index, resumed)
	if len(found) != 2 || len(index.blocks) != 5 {
		t.Errorf("the second time: %v, %d blocks", found, len(index.blocks))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rebuild.Run(ctx, bucket, index, options(findings{})); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCheckComparesBothWays(t *testing.T) {
	bucket := folder(t)
	good := store(t, bucket, block("", 1, 0, 1, 2, "a/x"))
	missing := store(t, bucket, block("a", 1, 1, 10, 20, "a/x"))
	absent, absentSegment := block("a", 1, 1, 30, 31, "a/x"), block("", 7, 0, 30, 31, "a/x")
	index := newFakeIndex(good, absent, absentSegment)
	found := findings{}
	counts, err := rebuild.Check(t.Context(), bucket, index, options(found))
	if err != nil {
		t.Fatal(err)
	}
	want := findings{
		nameOf(good): rebuild.Indexed, nameOf(missing): rebuild.Missing, nameOf(absent): rebuild.Absent, nameOf(absentSegment): rebuild.Absent,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	if counts.Verdicts[rebuild.Absent] != 2 || len(index.added) > 0 {
		t.Errorf("%+v, added %q", counts, index.added)
	}
}

func TestRate(t *testing.T) {
	bucket := folder(t)
	for second := range 6 {
		store(t, bucket, block("", 1, 0, second, second+1, "a/x"))
	}
	began := time.Now()
	run(t, bucket, newFakeIndex(), func(o *rebuild.Options) { o.Rate = 50 })
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("6 footers at 50/s took %s", took)
	}
}

// A selection of what a real Pyroscope wrote, sources among it. What is taken for
// compacted lies within a block of a higher level of the same tenant.
func TestRealBlocks(t *testing.T) {
	bucket, index := folder(t), newFakeIndex()
	all := map[string]*metastorev1.BlockMeta{}
	for _, level := range []string{"L0", "L1", "L2"} {
		file, err := os.Open("../../../proto/testdata/blocks/" + level + ".pb")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for block, err := range blockfile.Blocks(file) {
			if err != nil {
				t.Fatal(err)
			}
			all[nameOf(block)] = store(t, bucket, block)
		}
	}
	found, counts := run(t, bucket, index, nil)
	if counts.Verdicts[rebuild.Added] != 114 || counts.Verdicts[rebuild.Compacted] != 26 {
		t.Errorf("%+v", counts)
	}
	for name, verdict := range found {
		if verdict != rebuild.Compacted {
			continue
		}
		within := func(other *metastorev1.BlockMeta) bool {
			b := all[name]
			return other.Shard == b.Shard && other.CompactionLevel > b.CompactionLevel && other.MinTime <= b.MinTime && other.MaxTime >= b.MaxTime
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(index.blocks)), within) {
			t.Errorf("%s is within no block that was added", name)
		}
	}
}

var footers = flag.Int("rebuild.blocks", 200, "blocks in the bucket of TestRebuildSpeed")

// TestRebuildSpeed prints how fast footers are read from a folder.
func TestRebuildSpeed(t *testing.T) {
	bucket := folder(t)
	for i := range *footers {
		store(t, bucket, block("", uint32(i%16), 0, i, i+1, "a/x", "b/y", fmt.Sprintf("t-%d/z", i%50)))
	}
	for _, concurrency := range []int{1, 32} {
		began := time.Now()
		_, counts := run(t, bucket, newFakeIndex(), func(o *rebuild.Options) { o.Concurrency = concurrency })
		took := time.Since(began)
		if counts.Verdicts[rebuild.Added] != uint64(*footers) {
			t.Errorf("%+v", counts)
		}
		t.Logf("%d at a time: %d footers in %s: %.0f/s", concurrency, counts.Footers, took, float64(counts.Footers)/took.Seconds())
	}
}
