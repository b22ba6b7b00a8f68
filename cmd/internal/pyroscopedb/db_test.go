package pyroscopedb_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// The partition of the layout's example.
var start = time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC)

// newBlock makes a block as producers do, created some time after start.
func newBlock(after time.Duration, tenant string, shard, level uint32, service string) *metastorev1.BlockMeta {
	var id ulid.ULID
	if err := id.SetTime(uint64(start.Add(after).UnixMilli())); err != nil {
		panic(err)
	}
	copy(id[6:], service+tenant)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: shard, CompactionLevel: level, MinTime: 1000, MaxTime: 2000, Size: 7,
		StringTable: []string{"", "sw-0", "acme", service, "service_name"},
		CreatedBy:   1,
		Datasets:    []*metastorev1.Dataset{{Tenant: 2, Name: 3, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 4, 3, 0}}},
	}
	if tenant != "" {
		block.StringTable = []string{"", tenant, service, "service_name"}
		block.Tenant, block.CreatedBy, block.Datasets[0].Tenant, block.Datasets[0].Name = 1, 0, 1, 2
		block.Datasets[0].Labels = []int32{1, 3, 2, 0}
	}
	return block
}

// write makes a database and returns its path.
func write(t *testing.T, fill func(w *pyroscopedbtest.Writer)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metastore.boltdb")
	w, err := pyroscopedbtest.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// read returns the blocks of a database, and what is damaged.
func read(t *testing.T, path string) (blocks []*metastorev1.BlockMeta, damage []string) {
	t.Helper()
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return readAll(t, db)
}

func readAll(t *testing.T, db *pyroscopedb.DB) (blocks []*metastorev1.BlockMeta, damage []string) {
	t.Helper()
	note := func(err error) {
		var damaged *pyroscopedb.DamageError
		if !errors.As(err, &damaged) {
			t.Fatal(err)
		}
		damage = append(damage, damaged.Error())
	}
	for shard, err := range db.Shards() {
		if err != nil {
			note(err)
			continue
		}
		for block, err := range shard.Blocks() {
			if err != nil {
				note(err)
				continue
			}
			blocks = append(blocks, block)
		}
	}
	return blocks, damage
}

func wantBlocks(t *testing.T, got, want []*metastorev1.BlockMeta) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("blocks differ:\n%s", diff)
	}
}

// Blocks come back as they were added, whatever they share with others.
func TestBlocks(t *testing.T) {
	a1, a2 := newBlock(time.Minute, "", 1, 0, "checkout"), newBlock(2*time.Minute, "", 1, 0, "cart")
	later := newBlock(7*time.Hour, "", 1, 0, "checkout")
	tenant, dash := newBlock(time.Hour, "acme", 2, 1, "checkout"), newBlock(3*time.Minute, "-", 1, 2, "cart")
	bare := &metastorev1.BlockMeta{Id: newBlock(4*time.Minute, "", 9, 0, "x").Id, Shard: 1, StringTable: []string{""}}
	path := write(t, func(w *pyroscopedbtest.Writer) {
		for _, block := range []*metastorev1.BlockMeta{later, a2, a1, tenant, dash, bare} {
			w.Add(block)
		}
		shard := pyroscopedbtest.Shard(tenant)
		w.Bucket(shard[0], shard[1], "no shards")
		w.Bucket(shard[0], shard[1], "no blocks", "\x00\x00\x00\x01").Put([]byte(".index"), make([]byte, 16))
		if err := w.Bucket(pyroscopedbtest.Shard(later)...).Delete([]byte(".index")); err != nil {
			t.Fatal(err)
		}
		// Tables with one entry are stored with the block.
		w.Bucket(pyroscopedbtest.Shard(bare)...).Put([]byte(bare.Id), mustMarshal(t, bare))
	})
	got, damage := read(t, path)
	wantBlocks(t, got, []*metastorev1.BlockMeta{a1, a2, dash, bare, tenant, later})
	if len(damage) > 0 {
		t.Errorf("damaged: %q", damage)
	}
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if term, index, err := db.Applied(); term != 3 || index != 4711 || err != nil {
		t.Errorf("applied: %d, %d, %v", term, index, err)
	}
}

func mustMarshal(t *testing.T, message interface{ MarshalVT() ([]byte, error) }) []byte {
	t.Helper()
	encoded, err := message.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// Strings that occur twice, or are not used, do not come back; nor do tables that
// blocks brought along stay as they are.
func TestTablesAreTidied(t *testing.T) {
	want := newBlock(time.Minute, "acme", 1, 1, "checkout")
	names := pyroscopedbtest.Shard(want)
	shared, brought := newBlock(time.Minute, "acme", 1, 1, "checkout"), newBlock(time.Minute, "acme", 2, 1, "checkout")
	shared.StringTable, shared.Tenant, shared.CreatedBy = nil, 3, 2
	shared.Datasets[0] = &metastorev1.Dataset{Tenant: 1, Name: 5, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 6, 5, 0}}
	brought.StringTable = []string{"", "unused", "service_name", "checkout", "acme"}
	brought.Tenant = 4
	brought.Datasets[0] = &metastorev1.Dataset{Tenant: 4, Name: 3, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 2, 3, 0}}
	got, damage := read(t, write(t, func(w *pyroscopedbtest.Writer) {
		w.Strings(1, []string{"acme", "", "acme", "unused", "checkout", "service_name"}, names...)
		w.Bucket(names...).Put([]byte(shared.Id), mustMarshal(t, shared))
		w.Bucket(pyroscopedbtest.Shard(brought)...).Put([]byte(brought.Id), mustMarshal(t, brought))
	}))
	wantBlocks(t, got, []*metastorev1.BlockMeta{want, newBlock(time.Minute, "acme", 2, 1, "checkout")})
	if len(damage) > 0 {
		t.Errorf("damaged: %q", damage)
	}
}

// Each damaged row is told with its place, and passed over.
func TestDamage(t *testing.T) {
	good := newBlock(time.Minute, "acme", 1, 1, "checkout")
	names := pyroscopedbtest.Shard(good)
	place := "partition/1816b71351a6000000005460/acme/00000001/"
	row := func(edit func(*metastorev1.BlockMeta)) func(*testing.T, *pyroscopedbtest.Writer) {
		return func(t *testing.T, w *pyroscopedbtest.Writer) {
			block := newBlock(2*time.Minute, "acme", 1, 1, "cart")
			id := block.Id
			block.StringTable, block.Tenant = nil, 1
			block.Datasets = nil
			edit(block)
			w.Bucket(names...).Put([]byte(id), mustMarshal(t, block))
		}
	}
	bad := newBlock(2*time.Minute, "acme", 1, 1, "cart").Id
	for name, c := range map[string]struct {
		spoil func(*testing.T, *pyroscopedbtest.Writer)
		path  string
		want  string
	}{
		"a string too far": {row(func(b *metastorev1.BlockMeta) { b.CreatedBy = 99 }), place + bad, "created_by refers to string 99 of 4"},
		"a negative label": {row(func(b *metastorev1.BlockMeta) { b.Datasets = []*metastorev1.Dataset{{Labels: []int32{-1}}} }), place + bad, "announces -1 pairs"},
		"another shard":    {row(func(b *metastorev1.BlockMeta) { b.Shard = 5 }), place + bad, "shard 5"},
		"another tenant":   {row(func(b *metastorev1.BlockMeta) { b.Tenant = 2 }), place + bad, `tenant "checkout"`},
		"another block":    {row(func(b *metastorev1.BlockMeta) { b.Id = good.Id }), place + bad, `it holds block "` + good.Id},
		"no message": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket(names...).Put([]byte(bad), []byte{0xff}) },
			place + bad, "not a block's metadata"},
		"no id": {func(_ *testing.T, w *pyroscopedbtest.Writer) {
			w.Bucket(names...).Put([]byte(strings.Repeat("!", 26)), nil)
		}, place + strings.Repeat("!", 26), "invalid block id"},
		"another partition": {func(t *testing.T, w *pyroscopedbtest.Writer) {
			block := newBlock(6*time.Hour, "acme", 1, 1, "cart")
			w.AddAt(block, names...)
		}, place, "not in the partition"},
		"a bucket":        {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket(append(slices.Clone(names), bad)...) }, place + bad, "a bucket where a block"},
		"a strange index": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket(names...).Put([]byte(".index"), []byte{1}) }, place + ".index", "1 bytes, want 24"},
		"a shard's name": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket(names[0], names[1], names[2], "shard") },
			"partition/1816b71351a6000000005460/acme/shard", "a shard of 5 bytes"},
		"a tenant's name": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket(names[0], names[1], "\xff") },
			"partition/1816b71351a6000000005460/ff", "a tenant of 1 bytes"},
		"a partition's name": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket("partition", "today") }, "partition/today", "a partition of 5 bytes"},
		"a value among partitions": {func(_ *testing.T, w *pyroscopedbtest.Writer) { w.Bucket("partition").Put([]byte("x"), []byte("y")) },
			"partition/x", "a value where a bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			got, damage := read(t, write(t, func(w *pyroscopedbtest.Writer) {
				w.Add(good)
				c.spoil(t, w)
			}))
			wantBlocks(t, got, []*metastorev1.BlockMeta{good})
			if len(damage) != 1 || !strings.HasPrefix(damage[0], c.path) || !strings.Contains(damage[0], c.want) {
				t.Errorf("got %q\nwant %q … %q", damage, c.path, c.want)
			}
		})
	}
}

// A follower may have lost strings, or have others in their place: blocks that need
// only what is before the damage are read, the others are told.
func TestDamagedStrings(t *testing.T) {
	first, second := newBlock(time.Minute, "acme", 1, 1, "checkout"), newBlock(2*time.Minute, "acme", 1, 1, "cart")
	names := pyroscopedbtest.Shard(first)
	of := func(w *pyroscopedbtest.Writer) pyroscopedbtest.Bucket {
		return w.Bucket(append(slices.Clone(names), ".strings")...)
	}
	for name, spoil := range map[string]func(w *pyroscopedbtest.Writer){
		"lost":    func(w *pyroscopedbtest.Writer) { _ = of(w).Delete([]byte{0, 0, 0, 4}) },
		"overlap": func(w *pyroscopedbtest.Writer) { w.Strings(3, []string{"svc-4"}, names...) },
		"cut":     func(w *pyroscopedbtest.Writer) { of(w).Put([]byte{0, 0, 0, 4}, []byte{0, 0, 0, 1, 0, 0, 0, 9, 'c'}) },
		"too many": func(w *pyroscopedbtest.Writer) {
			of(w).Put([]byte{0, 0, 0, 4}, binary.BigEndian.AppendUint32(nil, 1<<31))
		},
		"odd key": func(w *pyroscopedbtest.Writer) { of(w).Put([]byte{0, 0, 0, 3, 1}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			got, damage := read(t, write(t, func(w *pyroscopedbtest.Writer) {
				w.Add(first)
				w.Add(second)
				spoil(w)
			}))
			wantBlocks(t, got, []*metastorev1.BlockMeta{first})
			if len(damage) == 0 || !strings.Contains(damage[len(damage)-1], second.Id) || !strings.Contains(damage[len(damage)-1], "refers to string 4 of 4") {
				t.Errorf("damage is told as %q", damage)
			}
		})
	}
}

func TestTombstones(t *testing.T) {
	blocks := func(name string) *metastorev1.Tombstones {
		return &metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{Name: name, Shard: 1, Tenant: "acme", CompactionLevel: 1, Blocks: []string{newBlock(0, "", 1, 0, "x").Id}}}
	}
	shard := &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{Name: "s", Timestamp: start.UnixNano(), Duration: int64(6 * time.Hour), Tenant: "acme", Shard: 1}}
	path := write(t, func(w *pyroscopedbtest.Writer) {
		w.Tombstone(blocks("waits"))
		w.Tombstone(&metastorev1.Tombstones{Blocks: blocks("both").Blocks, Shard: shard.Shard})
		w.Tombstone(&metastorev1.Tombstones{})
		bad := blocks("bad")
		bad.Blocks.Blocks = []string{"x"}
		w.Tombstone(bad)
		w.Bucket("tombstones").Put([]byte("\xffnot a message"), []byte{0xff})
		w.Job("job", []string{"a", "b"}, blocks("carried"), blocks("too"))
		w.Bucket("compaction_job_plan").Put([]byte("no plan"), []byte{0xff})
	})
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var got []*metastorev1.Tombstones
	damaged := 0
	for tombstone, err := range db.Tombstones() {
		var damage *pyroscopedb.DamageError
		if errors.As(err, &damage) {
			damaged++
		} else if err != nil {
			t.Fatal(err)
		} else {
			got = append(got, tombstone)
		}
	}
	want := []*metastorev1.Tombstones{blocks("waits"), blocks("both"), shard, blocks("carried"), blocks("too")}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || damaged != 4 {
		t.Errorf("%d damaged, tombstones differ:\n%s", damaged, diff)
	}
}

// The queue may name blocks that are gone, and blocks twice.
func TestQueue(t *testing.T) {
	there, gone := newBlock(time.Minute, "", 1, 0, "checkout"), newBlock(time.Minute, "acme", 1, 1, "gone")
	path := write(t, func(w *pyroscopedbtest.Writer) {
		w.Add(there)
		w.Queue(there)
		w.Queue(gone)
		w.Bucket("compaction_block_queue").Put([]byte("short"), nil)
		w.Bucket("partition", string(pyroscopedbtest.PartitionKey(start.Add(-24*time.Hour), 24*time.Hour)))
	})
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	indexed, stale, damaged := 0, 0, 0
	for entry, err := range db.Queue() {
		switch {
		case err != nil:
			damaged++
		case entry.Indexed && entry.ID.String() == there.Id:
			indexed++
		case entry.ID.String() == gone.Id && entry.Tenant == "acme" && entry.Level == 1:
			stale++
		}
	}
	if indexed != 2 || stale != 1 || damaged != 1 {
		t.Errorf("%d entries of blocks, %d stale, %d damaged", indexed, stale, damaged)
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                        "-snapshot",
		text:                       "not a BoltDB file",
		filepath.Join(dir, "gone"): "no such file",
	} {
		if _, err := pyroscopedb.Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	// Cut off in the middle, and overwritten with nonsense: an error, whatever is hit.
	whole, err := os.ReadFile(write(t, func(w *pyroscopedbtest.Writer) {
		for i := range 200 {
			w.Add(newBlock(time.Duration(i)*time.Second, "acme", uint32(i%50), 1, "checkout"))
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for at := 1; at < len(whole)/4096; at++ {
		for name, content := range map[string][]byte{
			"cut":         whole[:at*4096],
			"overwritten": slices.Concat(whole[:at*4096+16], []byte(strings.Repeat("\xee", 512)), whole[at*4096+16+512:]),
		} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := pyroscopedb.Open(path)
			if err != nil {
				failed++
				continue
			}
			for shard, err := range db.Shards() {
				if err != nil {
					failed++
					continue
				}
				for _, err := range shard.Blocks() {
					if err != nil {
						failed++
					}
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if failed == 0 {
		t.Error("no damage was noticed")
	}
}

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metastore.boltdb")
	w, err := pyroscopedbtest.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := pyroscopedb.Open(path); !errors.Is(err, pyroscopedb.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

// A panic of who reads is his own, not the file's.
func TestReadersPanic(t *testing.T) {
	path := write(t, func(w *pyroscopedbtest.Writer) { w.Add(newBlock(0, "", 1, 0, "x")) })
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	for shard := range db.Shards() {
		for range shard.Blocks() {
			panic("mine")
		}
	}
}
