package index_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

const id = "01JGJFGR480W3GE1R70W3GE1R7"

func segment() *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		Id: id, Shard: 1, MinTime: 1, MaxTime: 2, StringTable: []string{"", "acme", "svc", "x"},
		Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: 1, MaxTime: 2, Labels: []int32{1, 2, 3}}},
	}
}

func add(t *testing.T, db *kv.DB, block *metastorev1.BlockMeta) {
	t.Helper()
	(&store{db, cold()}).change(t, func(w *index.Writer) error {
		_, err := addTo(w, block, 1)
		return err
	})
}

// cold returns a cache that knows nothing.
func cold() *index.GroupCache { return index.NewCache(1 << 20).Group() }

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
		r := index.NewReader(tx, cold())
		blockErr := r.Entries(t.Context(), "", 1, []ulid.ULID{parsed}, nil, func([]byte) error { return nil })
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
	// Of one block, which is not counted in its tenant's row yet.
	everything := []string{"block", "blocks", "labels", "bounds"}
	for name, test := range map[string]struct {
		tag    byte
		change func([]byte) []byte
		fail   []string
	}{
		"block is garbage":          {'b', to(0xff), everything},
		"block of a newer format":   {'b', set(0, 99), everything},
		"block is cut":              {'b', func(v []byte) []byte { return v[:len(v)-3] }, everything},
		"series run past the end":   {'b', set(seriesAt, 0xff, 0xff, 0x7f), everything},
		"tenant outside the table":  {'b', set(bodyAt, 99), []string{"block", "blocks"}},
		"dataset's tenant, too":     {'b', set(datasetAt, 99), everything},
		"creator outside the table": {'b', set(bodyAt+1, 99), []string{"block", "blocks"}},
		"another block":             {'b', set(17, 1, 2, 3), []string{"block"}},
		"id leads nowhere":          {'u', to(0, 0, 0, 9), []string{"block"}},
		"id is garbage":             {'u', to(1), []string{"block"}},
		"record is garbage":         {'r', to(1, 2, 3), everything},
		"record of a newer format":  {'r', set(0, 99), everything},
		"strings are garbage":       {'s', to(0xff), everything},
		"strings are short":         {'s', to(1, 'a'), everything},
		"series are garbage":        {'t', to(0xff), everything},
		"series of unknown strings": {'t', to(2, 1, 3, 99), everything},
	} {
		t.Run(name, func(t *testing.T) {
			db := kvtest.DB(t, 1)
			add(t, db, segment())
			for question, ok := range read(t, db) {
				if !ok {
					t.Fatalf("%s failed before the damage", question)
				}
			}
			damage(t, db, test.tag, test.change)
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

// A row of a tenant's bounds counts, once there is one.
func TestDamagedBounds(t *testing.T) {
	s := newStore(t, 0)
	s.change(t, func(w *index.Writer) error {
		if _, err := addTo(w, segment(), 1); err != nil {
			return err
		}
		for n := range 63 {
			if _, err := addTo(w, numbered(n), 1); err != nil {
				return err
			}
		}
		return nil
	})
	damage(t, s.DB, 'o', to(1))
	for question, ok := range read(t, s.DB) {
		if ok != (question != "bounds") {
			t.Errorf("%s: answered is %v", question, ok)
		}
	}
}

// Places in the entry of segment(): its series, its tenant, its dataset's.
const seriesAt, bodyAt, datasetAt = 33, 35, 41

func to(value ...byte) func([]byte) []byte { return func([]byte) []byte { return value } }

func set(at int, bytes ...byte) func([]byte) []byte {
	return func(value []byte) []byte {
		changed := slices.Clone(value)
		copy(changed[at:], bytes)
		return changed
	}
}

// damage changes the value of the first row of a kind.
func damage(t *testing.T, db *kv.DB, tag byte, change func([]byte) []byte) {
	t.Helper()
	err := db.Update(func(tx *kv.Tx) error {
		root := tx.Bucket([]byte("stream"))
		name, _ := root.Cursor().First()
		shard := root.Bucket(name)
		key, value := shard.Cursor().Seek([]byte{tag})
		if len(key) == 0 || key[0] != tag {
			return fmt.Errorf("no row %q", tag)
		}
		return shard.Put(slices.Clone(key), change(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A stored shard that does not add up stops the writer, too: better than
// growing the damage.
func TestWriterRefusesDamage(t *testing.T) {
	for _, tag := range []byte{'r', 's', 't', 'b'} {
		db := kvtest.DB(t, 1)
		add(t, db, segment())
		damage(t, db, tag, to(0xff))
		other := segment()
		other.Id = id[:25] + "8"
		err := db.Update(func(tx *kv.Tx) error {
			_, err := addTo(index.NewWriter(tx, cold()), other, 2)
			return err
		})
		if err == nil {
			t.Errorf("a block was added beside a damaged %q row", tag)
		}
	}
}

// Check finds what is wrong with derived rows, by the invariant that it breaks.
func TestCheckFindsDamage(t *testing.T) {
	deleted := func(bucket string, prefix ...byte) func(*kv.Tx) error {
		return func(tx *kv.Tx) error {
			rows := tx.Bucket([]byte(bucket))
			if bucket == "stream" {
				name, _ := rows.Cursor().First()
				rows = rows.Bucket(name)
			}
			key, _ := rows.Cursor().Seek(prefix)
			return rows.Delete(slices.Clone(key))
		}
	}
	for invariant, breakIt := range map[string]func(*kv.Tx) error{
		"ids":        deleted("stream", 'u'),
		"counts":     deleted("stream", 'b'),
		"references": deleted("stream", 't'),
		"postings":   deleted("stream", 'p'),
		"timeline":   deleted("stream-timeline", 0),
	} {
		s := newStore(t, 0)
		s.change(t, func(w *index.Writer) error {
			for n := range 70 {
				if _, err := addTo(w, numbered(n), 1); err != nil {
					return err
				}
			}
			return nil
		})
		check(t, s)
		if err := s.Update(breakIt); err != nil {
			t.Fatal(err)
		}
		found := ""
		err := s.View(func(tx *kv.Tx) error {
			return index.Check(t.Context(), tx, func(fault error) { found += fault.Error() + "\n" })
		})
		if err != nil || !strings.Contains(found, invariant+":") {
			t.Errorf("%s: found %q (%v)", invariant, found, err)
		}
	}
}
