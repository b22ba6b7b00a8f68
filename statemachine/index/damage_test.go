package index_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

const id = "01JGJFGR480W3GE1R70W3GE1R7"

func segment() *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		Id: id, Shard: 1, MinTime: 1, MaxTime: 2, StringTable: []string{"", "acme", "svc", "x"},
		Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: 1, MaxTime: 2, Labels: []int32{1, 2, 3}}},
	}
}

func newDB(t *testing.T) *kv.DB {
	t.Helper()
	engine, err := kv.OpenEngine(t.TempDir(), kv.EngineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := engine.DB(1)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func add(t *testing.T, db *kv.DB, block *metastorev1.BlockMeta) {
	t.Helper()
	err := db.Update(func(tx *kv.Tx) error {
		w := index.NewWriter(tx, index.NewStringsCache(1<<20))
		if _, err := w.Add(block, 1); err != nil {
			return err
		}
		return w.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read asks everything that touches the one stored segment, and returns the
// questions that were answered without an error.
func read(t *testing.T, db *kv.DB) map[string]bool {
	t.Helper()
	parsed, err := metastorev1.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	spans := []*clusterv1.RangeRef{{Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM}}
	q := index.Query{Spans: spans, Tenants: []string{"acme"}, Time: index.Bounds{Min: math.MinInt64, Max: math.MaxInt64}, Labels: []string{"svc"}}
	answered := map[string]bool{}
	err = db.View(func(tx *kv.Tx) error {
		r := index.NewReader(tx)
		blockErr := r.Entries(t.Context(), "", 1, []ulid.ULID{parsed}, func(*metastorev1.BlockMeta) error { return nil })
		_, blocksErr := r.Blocks(t.Context(), q)
		_, labelsErr := r.LabelSets(t.Context(), q)
		_, _, boundsErr := r.TenantBounds(t.Context(), spans, "acme")
		for name, err := range map[string]error{"block": blockErr, "blocks": blocksErr, "labels": labelsErr, "bounds": boundsErr} {
			answered[name] = err == nil
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return answered
}

// Damaged rows fail the reads that need them; they are never skipped and never
// crash the reader.
func TestDamagedEntries(t *testing.T) { // R-QRY-22
	encode := func(change func(*metastorev1.BlockMeta)) []byte {
		stored := segment()
		stored.StringTable = nil
		change(stored)
		encoded, err := stored.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	for name, test := range map[string]struct {
		tag   byte
		value []byte
		fail  []string
	}{
		"block is garbage":         {'b', []byte{0xff}, []string{"block", "blocks", "labels"}},
		"tenant outside the table": {'b', encode(func(b *metastorev1.BlockMeta) { b.Tenant = 99 }), []string{"block", "blocks", "labels"}},
		"label outside the table":  {'b', encode(func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{1, 2, 99} }), []string{"block", "blocks", "labels"}},
		"negative label count":     {'b', encode(func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{-1} }), []string{"block", "blocks", "labels"}},
		"record is garbage":        {'i', []byte{1, 2, 3}, []string{"block", "blocks", "labels", "bounds"}},
		"record of a newer format": {'i', append([]byte{99}, make([]byte, 44)...), []string{"block", "blocks", "labels", "bounds"}},
		"strings are garbage":      {'s', []byte{0xff}, []string{"block", "blocks", "labels"}},
		"strings are short":        {'s', []byte{1, 'a'}, []string{"block", "blocks", "labels"}},
		"bounds are garbage":       {'t', []byte{1}, []string{"bounds"}},
	} {
		t.Run(name, func(t *testing.T) {
			db := newDB(t)
			add(t, db, segment())
			for question, ok := range read(t, db) {
				if !ok {
					t.Fatalf("%s failed before the damage", question)
				}
			}
			damage(t, db, test.tag, test.value)
			answered := read(t, db)
			for _, question := range test.fail {
				if answered[question] {
					t.Errorf("%s was answered from a damaged row", question)
				}
				delete(answered, question)
			}
			for question, ok := range answered {
				if !ok {
					t.Errorf("%s failed, which does not need the row", question)
				}
			}
		})
	}
}

// damage replaces the value of the one row of a kind.
func damage(t *testing.T, db *kv.DB, tag byte, value []byte) {
	t.Helper()
	err := db.Update(func(tx *kv.Tx) error {
		root := tx.Bucket([]byte("stream"))
		name, _ := root.Cursor().First()
		shard := root.Bucket(name)
		key, _ := shard.Cursor().Seek([]byte{tag})
		if len(key) == 0 || key[0] != tag {
			return fmt.Errorf("no row %q", tag)
		}
		return shard.Put(append([]byte(nil), key...), value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A stored shard that does not add up stops the writer, too: better than
// growing the damage.
func TestWriterRefusesDamage(t *testing.T) {
	for _, tag := range []byte{'i', 's'} {
		db := newDB(t)
		add(t, db, segment())
		damage(t, db, tag, []byte{0xff})
		err := db.Update(func(tx *kv.Tx) error {
			_, err := index.NewWriter(tx, index.NewStringsCache(1<<20)).Add(segment(), 2)
			return err
		})
		if err == nil {
			t.Errorf("a block was added beside a damaged %q row", tag)
		}
	}
}
