// Package pyroscopedbtest writes databases as a stock Pyroscope metastore does, for
// tests.
package pyroscopedbtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// PartitionDuration is Pyroscope's.
const PartitionDuration = 6 * time.Hour

// Writer fills a new database. Its methods panic on errors of the database.
type Writer struct {
	bolt   *bbolt.DB
	tx     *bbolt.Tx
	tables map[string]map[string]int32
	serial uint64
}

// Create makes a database.
func Create(path string) (*Writer, error) {
	bolt, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	w := &Writer{bolt: bolt, tables: map[string]map[string]int32{}}
	w.begin()
	for _, name := range []string{"partition", "compaction_block_queue", "compaction_job_state", "compaction_job_plan", "tombstones", "raft"} {
		w.Bucket(name)
	}
	w.Bucket("raft").Put([]byte("term.applied_index"), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 3), 4711))
	return w, nil
}

func (w *Writer) begin() {
	var err error
	w.tx, err = w.bolt.Begin(true)
	must(err)
}

// Commit writes what was put so far to disk: a transaction keeps it in memory.
func (w *Writer) Commit() {
	must(w.tx.Commit())
	w.begin()
}

// Close commits and closes.
func (w *Writer) Close() error {
	must(w.tx.Commit())
	return w.bolt.Close()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Bucket is a bucket by the names that lead to it, made if need be.
type Bucket struct{ *bbolt.Bucket }

// Put panics on errors.
func (b Bucket) Put(key, value []byte) { must(b.Bucket.Put(key, value)) }

// Bucket returns a bucket. It is valid until the next Commit.
func (w *Writer) Bucket(names ...string) Bucket {
	bucket, err := w.tx.CreateBucketIfNotExists([]byte(names[0]))
	must(err)
	for _, name := range names[1:] {
		bucket, err = bucket.CreateBucketIfNotExists([]byte(name))
		must(err)
	}
	return Bucket{bucket}
}

// Shard returns the names of the bucket of a block.
func Shard(block *metastorev1.BlockMeta) []string {
	id, err := metastorev1.ParseID(block.GetId())
	must(err)
	tenant := block.TenantName()
	if tenant == "" {
		tenant = "-"
	}
	return []string{"partition", string(PartitionKey(time.UnixMilli(int64(id.Time())).UTC().Truncate(PartitionDuration), PartitionDuration)), tenant, string(binary.BigEndian.AppendUint32(nil, block.GetShard()))}
}

// PartitionKey names a partition's bucket.
func PartitionKey(start time.Time, duration time.Duration) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, uint64(start.UnixNano())), uint32(duration/time.Second))
}

// Add files a block, and queues it if its level is compacted.
func (w *Writer) Add(block *metastorev1.BlockMeta) {
	w.AddAt(block, Shard(block)...)
	if block.GetCompactionLevel() < 3 {
		w.Queue(block)
	}
}

// AddAt files a block in the shard of a bucket.
func (w *Writer) AddAt(block *metastorev1.BlockMeta, names ...string) {
	shard := w.Bucket(names...)
	if shard.Get([]byte(".index")) == nil {
		shard.Put([]byte(".index"), make([]byte, 24))
	}
	stored, err := w.intern(block, names).MarshalVT()
	must(err)
	shard.Put([]byte(block.GetId()), stored)
}

// intern returns a block that refers to its shard's strings.
func (w *Writer) intern(block *metastorev1.BlockMeta, names []string) *metastorev1.BlockMeta {
	key := fmt.Sprint(names)
	table := w.tables[key]
	if table == nil {
		table = map[string]int32{"": 0}
		w.tables[key] = table
	}
	first := len(table)
	var fresh []string
	ref := func(own int32) int32 {
		s := block.StringAt(own)
		number, known := table[s]
		if !known {
			number = int32(len(table))
			table[s] = number
			fresh = append(fresh, s)
		}
		return number
	}
	stored := proto.CloneOf(block)
	stored.Tenant, stored.CreatedBy, stored.StringTable = ref(block.GetTenant()), ref(block.GetCreatedBy()), nil
	for _, dataset := range stored.GetDatasets() {
		dataset.Tenant, dataset.Name = ref(dataset.GetTenant()), ref(dataset.GetName())
		for at := 0; at < len(dataset.Labels); {
			refs := int(2 * dataset.Labels[at])
			for i := at + 1; i <= at+refs; i++ {
				dataset.Labels[i] = ref(dataset.Labels[i])
			}
			at += 1 + refs
		}
	}
	if len(fresh) > 0 {
		w.Strings(uint32(first), fresh, names...)
	}
	return stored
}

// Strings writes a row of a shard's string table.
func (w *Writer) Strings(first uint32, all []string, names ...string) {
	row := binary.BigEndian.AppendUint32(nil, uint32(len(all)))
	for _, s := range all {
		row = append(binary.BigEndian.AppendUint32(row, uint32(len(s))), s...)
	}
	w.Bucket(append(slices.Clone(names), ".strings")...).Put(binary.BigEndian.AppendUint32(nil, first), row)
}

// Queue writes an entry of the compaction queue.
func (w *Writer) Queue(block *metastorev1.BlockMeta) {
	value := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	value = binary.BigEndian.AppendUint32(value, block.GetCompactionLevel())
	value = binary.BigEndian.AppendUint32(value, block.GetShard())
	w.Bucket("compaction_block_queue").Put(append(w.next(), block.GetId()...), append(value, block.TenantName()...))
}

// Tombstone writes a tombstone that waits.
func (w *Writer) Tombstone(tombstone *metastorev1.Tombstones) {
	name := tombstone.GetBlocks().GetName() + tombstone.GetShard().GetName()
	key := append(binary.BigEndian.AppendUint64(w.next(), uint64(time.Now().UnixNano())), name...)
	value, err := tombstone.MarshalVT()
	must(err)
	w.Bucket("tombstones").Put(key, value)
}

// Job writes the plan of a job, with the tombstones that it carries.
func (w *Writer) Job(name string, sources []string, tombstones ...*metastorev1.Tombstones) {
	plan := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	plan = protowire.AppendVarint(protowire.AppendTag(plan, 3, protowire.VarintType), 7)
	for _, id := range sources {
		plan = protowire.AppendString(protowire.AppendTag(plan, 5, protowire.BytesType), id)
	}
	for _, tombstone := range tombstones {
		value, err := tombstone.MarshalVT()
		must(err)
		plan = protowire.AppendBytes(protowire.AppendTag(plan, 6, protowire.BytesType), value)
	}
	w.Bucket("compaction_job_plan").Put([]byte(name), plan)
	w.Bucket("compaction_job_state").Put([]byte(name), protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name))
}

func (w *Writer) next() []byte {
	w.serial++
	return binary.BigEndian.AppendUint64(nil, w.serial)
}

// Snapshot writes a file as the snapshot of a directory, as Raft does.
func Snapshot(file, directory string, compress bool) error {
	state, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if compress {
		var packed bytes.Buffer
		encoder, err := zstd.NewWriter(&packed)
		if err != nil {
			return err
		}
		if _, err := encoder.Write(state); err != nil {
			return err
		}
		if err := encoder.Close(); err != nil {
			return err
		}
		state = packed.Bytes()
	}
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	sum.Write(state)
	meta, err := json.Marshal(map[string]any{
		"Version": 1, "ID": filepath.Base(directory), "Index": 4711, "Term": 3, "Size": len(state), "CRC": sum.Sum(nil),
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "state.bin"), state, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "meta.json"), meta, 0o600)
}
