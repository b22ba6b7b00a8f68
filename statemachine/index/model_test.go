package index_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// model is the index as naively as possible.
type model struct {
	blocks map[string]*metastorev1.BlockMeta
	// Bounds only widen until a shard is dropped, by shard and owner.
	bounds map[index.ShardKey]map[string]index.Bounds
}

func newModel() *model {
	return &model{map[string]*metastorev1.BlockMeta{}, map[index.ShardKey]map[string]index.Bounds{}}
}

func keyOf(block *metastorev1.BlockMeta) index.ShardKey {
	id, err := metastorev1.ParseID(block.GetId())
	if err != nil {
		panic(err)
	}
	if block.GetFormatVersion() == inOutbox && block.TenantName() != "" {
		return index.OutboxKey(id, block.TenantName(), block.GetShard())
	}
	return index.KeyOf(id, block.TenantName(), block.GetShard())
}

// inOutbox marks blocks that the tests file in the outbox.
const inOutbox = 7

func name(block *metastorev1.BlockMeta) string {
	return fmt.Sprintf("%s|%d|%s", block.TenantName(), block.GetShard(), block.GetId())
}

func (m *model) add(block *metastorev1.BlockMeta) bool {
	if m.blocks[name(block)] != nil {
		return false
	}
	m.blocks[name(block)] = proto.CloneOf(block)
	m.widen(block, block.TenantName(), block.GetMinTime(), block.GetMaxTime())
	for _, d := range block.GetDatasets() {
		if tenant := block.StringAt(d.GetTenant()); block.TenantName() == "" && tenant != "" {
			m.widen(block, tenant, d.GetMinTime(), d.GetMaxTime())
		}
	}
	return true
}

func (m *model) widen(block *metastorev1.BlockMeta, owner string, from, to int64) {
	owners := m.bounds[keyOf(block)]
	if owners == nil {
		owners = map[string]index.Bounds{}
		m.bounds[keyOf(block)] = owners
	}
	if before, known := owners[owner]; known {
		from, to = min(from, before.Min), max(to, before.Max)
	}
	owners[owner] = index.Bounds{Min: from, Max: to}
}

func (m *model) drop(key index.ShardKey) uint64 {
	blocks := uint64(0)
	for _, block := range m.blocks {
		if keyOf(block) == key {
			blocks++
			delete(m.blocks, name(block))
		}
	}
	delete(m.bounds, key)
	return blocks
}

// query returns the blocks with selected datasets, as text, labels dropped.
func (m *model) query(q index.Query, sets func(*metastorev1.BlockMeta, *metastorev1.Dataset, []map[string]string)) []string {
	var found []*metastorev1.BlockMeta
	for _, name := range slices.Sorted(maps.Keys(m.blocks)) {
		block := proto.CloneOf(m.blocks[name])
		tenant := block.TenantName()
		if tenant != "" && !slices.Contains(q.Tenants, tenant) || block.MinTime > q.Time.Max || block.MaxTime < q.Time.Min {
			continue
		}
		block.Datasets = slices.DeleteFunc(block.Datasets, func(d *metastorev1.Dataset) bool {
			if !slices.Contains(q.Tenants, block.StringAt(d.GetTenant())) || d.MinTime > q.Time.Max || d.MaxTime < q.Time.Min {
				return true
			}
			var selected []map[string]string
			for flat := d.Labels; len(flat) > 0; flat = flat[1+2*flat[0]:] {
				set := map[string]string{}
				for i := 2 * int(flat[0]); i > 0; i -= 2 { // the first of a name wins
					set[block.StringAt(flat[i-1])] = block.StringAt(flat[i])
				}
				passes := true
				for _, matcher := range q.Matchers {
					value, present := set[matcher.Name]
					passes = passes && (present && matcher.Matches(value) || !present && !selector.NeedsPresence(matcher))
				}
				if passes {
					selected = append(selected, set)
				}
			}
			if len(selected) > 0 && sets != nil {
				sets(block, d, selected)
			}
			return len(selected) == 0
		})
		if len(block.Datasets) > 0 {
			for _, d := range block.Datasets {
				d.Labels = nil
			}
			found = append(found, block)
		}
	}
	slices.SortFunc(found, func(a, b *metastorev1.BlockMeta) int {
		return cmp.Or(cmp.Compare(a.TenantName(), b.TenantName()), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Id, b.Id))
	})
	return texts(found)
}

func texts(blocks []*metastorev1.BlockMeta) []string {
	all := make([]string, len(blocks))
	for i, block := range blocks {
		all[i] = text(block)
	}
	return all
}

// text words a block with its references resolved.
func text(block *metastorev1.BlockMeta) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q/%d %d..%d by %q size %d level %d", block.Id, block.TenantName(), block.Shard, block.MinTime, block.MaxTime,
		block.StringAt(block.CreatedBy), block.Size, block.CompactionLevel)
	for _, d := range block.Datasets {
		fmt.Fprintf(&b, " [%q %q %d..%d %d", block.StringAt(d.Tenant), block.StringAt(d.Name), d.MinTime, d.MaxTime, d.Size)
		for flat := d.Labels; len(flat) > 0; flat = flat[1+2*flat[0]:] {
			b.WriteString(" {")
			for _, ref := range flat[1 : 1+2*flat[0]] {
				fmt.Fprintf(&b, "%q ", block.StringAt(ref))
			}
			b.WriteString("}")
		}
		b.WriteString("]")
	}
	return b.String()
}

// workload makes blocks that crowd into a few shards, ordered in time as real
// ones are, with some that are not.
type workload struct {
	random *rand.Rand
	clock  int64
	serial uint64
}

const partition = 6 * 60 * 60 * 1000

func (w *workload) block() *metastorev1.BlockMeta {
	w.serial++
	w.clock += 1000
	var id ulid.ULID
	if err := id.SetTime(uint64(w.clock/(4*partition)*partition + int64(w.random.IntN(2))*partition)); err != nil {
		panic(err)
	}
	for i := range 8 {
		id[15-i] = byte(w.serial >> (8 * i))
	}
	from := w.clock + w.random.Int64N(2000)
	if w.random.IntN(50) == 0 {
		from -= w.random.Int64N(100 * partition)
	}
	b := &metastorev1.BlockMeta{
		Id: id.String(), Shard: uint32(w.random.IntN(2)), MinTime: from, MaxTime: from + w.random.Int64N(20_000) - 100,
		Size: w.random.Uint64N(1000), CompactionLevel: uint32(w.random.IntN(3)),
		StringTable: []string{"", "acme", "umbrella", "service_name", fmt.Sprint("svc-", w.random.IntN(5)), "rare", fmt.Sprint("v", w.serial/300), "host"},
	}
	b.CreatedBy = 7
	if w.random.IntN(4) == 0 {
		b.FormatVersion = inOutbox
	}
	if w.random.IntN(3) == 0 {
		b.Tenant = 1
	}
	for range w.random.IntN(4) {
		d := &metastorev1.Dataset{Tenant: int32(w.random.IntN(3)), Name: 4, MinTime: from + w.random.Int64N(100), MaxTime: b.MaxTime, Size: w.random.Uint64N(9)}
		for range w.random.IntN(3) {
			d.Labels = append(d.Labels, [][]int32{{1, 3, 4}, {2, 3, 4, 5, 6}, {0}, {2, 3, 4, 3, 6}}[w.random.IntN(4)]...)
		}
		b.Datasets = append(b.Datasets, d)
	}
	return b
}

func (w *workload) query(t *testing.T) index.Query {
	text := []string{`{}`, `{service_name="svc-1"}`, `{service_name!="svc-1"}`, fmt.Sprintf(`{rare="v%d"}`, w.random.Uint64N(w.serial/300+2)), `{service_name=~"svc-[12]",rare!~"v1.*"}`, `{nowhere="x"}`}[w.random.IntN(6)]
	matchers, err := selector.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	from := w.random.Int64N(w.clock + 1)
	return index.Query{
		Spans: whole(), Tenants: [][]string{{"acme"}, {"umbrella"}, {"acme", "umbrella", "acme"}, {""}, {"nobody"}}[w.random.IntN(5)],
		Time: index.Bounds{Min: from, Max: from + w.random.Int64N(w.clock+1)/4}, Matchers: matchers,
	}
}

func whole() []*clusterv1.RangeRef {
	return []*clusterv1.RangeRef{{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT}, {Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM}}
}

// store is a database with the cache of its group.
type store struct {
	*kv.DB
	cache *index.GroupCache
}

func newStore(t testing.TB, cacheBytes int) *store {
	return &store{kvtest.DB(t, 1), index.NewCache(cacheBytes).Group()}
}

// change runs one transaction.
func (s *store) change(t testing.TB, fn func(*index.Writer) error) {
	t.Helper()
	err := s.Update(func(tx *kv.Tx) error {
		w := index.NewWriter(tx, s.cache)
		if err := fn(w); err != nil {
			return err
		}
		return w.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Random histories of adds, repeats, removals and drops, by which shards fill,
// are renumbered, run empty and go, give the answers of the model, also to
// readers with a cold cache, one without room, and one that jumps ahead by
// snapshots; and the index stays consistent in itself. Writers that remember
// nothing from one transaction to the next leave the same rows.
func TestAgainstModel(t *testing.T) {
	rounds := 36
	if testing.Short() {
		rounds = 10
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &workload{random: rand.New(rand.NewPCG(seed, 4)), clock: 1_700_000_000_000 / partition * partition}
			m, leader, follower := newModel(), newStore(t, []int{10_000, 100_000, 1 << 20}[seed]), newStore(t, 1<<20)
			forgetful := newStore(t, 0)
			entry := uint64(0)
			for round := range rounds {
				for range 20 {
					entry++
					steps := w.steps(m)
					for _, s := range []*store{leader, forgetful} {
						s.change(t, func(writer *index.Writer) error { return apply(steps, writer, entry) })
					}
				}
				if round%7 == 3 {
					install(t, leader, follower)
				}
				check(t, leader)
				if dump(t, leader) != dump(t, forgetful) {
					t.Fatal("what a writer remembers changes what it writes")
				}
				for range 5 {
					compare(t, m, w.query(t), leader, &store{leader.DB, index.NewCache(1 << 20).Group()})
				}
				if round%7 == 3 {
					check(t, follower)
					compare(t, m, w.query(t), follower)
				}
			}
		})
	}
}

// step is a change, and what the index must say to it.
type step struct {
	add, remove *metastorev1.BlockMeta
	drop        index.ShardKey
	added       bool
	blocks      uint64
}

// steps does something at random to the model, and returns it.
func (w *workload) steps(m *model) []step {
	switch w.random.IntN(12) {
	case 0:
		return w.removals(m, w.random.IntN(10))
	case 1:
		if w.random.IntN(3) == 0 {
			return w.removals(m, len(m.blocks)*9/10)
		}
		return nil
	case 2:
		keys := slices.SortedFunc(maps.Keys(m.bounds), func(a, b index.ShardKey) int {
			return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
		if len(keys) == 0 || w.random.IntN(4) > 0 {
			return nil
		}
		key := keys[w.random.IntN(len(keys))]
		return []step{{drop: key, blocks: m.drop(key)}}
	}
	var steps []step
	for range 1 + w.random.IntN(30) {
		block := w.block()
		for range 1 + w.random.IntN(2) {
			steps = append(steps, step{add: block, added: m.add(block)})
		}
	}
	return steps
}

func (w *workload) removals(m *model, n int) []step {
	var steps []step
	names := slices.Sorted(maps.Keys(m.blocks))
	for range min(n, len(names)) {
		if block := m.blocks[names[w.random.IntN(len(names))]]; block != nil {
			steps = append(steps, step{remove: block})
			delete(m.blocks, name(block))
		}
	}
	return steps
}

func apply(steps []step, writer *index.Writer, entry uint64) error {
	for _, s := range steps {
		switch {
		case s.add != nil:
			added, err := addTo(writer, proto.CloneOf(s.add), entry)
			if err != nil || added != s.added {
				return fmt.Errorf("added: %v, want %v (%w)", added, s.added, err)
			}
		case s.remove != nil:
			objectBytes, existed, err := removeFrom(writer, s.remove, entry)
			if err != nil || !existed || objectBytes != s.remove.Size {
				return fmt.Errorf("removed %d bytes (%v) of %s (%w)", objectBytes, existed, text(s.remove), err)
			}
		default:
			blocks, _, err := writer.Drop(s.drop)
			if err != nil || blocks != s.blocks {
				return fmt.Errorf("dropped %d blocks, want %d (%w)", blocks, s.blocks, err)
			}
		}
	}
	return nil
}

func addTo(w *index.Writer, block *metastorev1.BlockMeta, entry uint64) (bool, error) {
	return w.Add(keyOf(block), ulid.MustParseStrict(block.Id), block, entry)
}

func removeFrom(w *index.Writer, block *metastorev1.BlockMeta, entry uint64) (uint64, bool, error) {
	return w.Remove(keyOf(block), ulid.MustParseStrict(block.Id), entry)
}

// dump returns all that a store holds.
func dump(t *testing.T, s *store) string {
	t.Helper()
	var b strings.Builder
	var walk func(bucket *kv.Bucket) error
	walk = func(bucket *kv.Bucket) error {
		return bucket.ForEach(func(k, v []byte) error {
			fmt.Fprintf(&b, "%d %s %d %s\n", len(k), k, len(v), v)
			if v == nil {
				return walk(bucket.Bucket(k))
			}
			return nil
		})
	}
	err := s.View(func(tx *kv.Tx) error {
		return tx.ForEach(func(name []byte, bucket *kv.Bucket) error { return walk(bucket) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// install gives the follower the leader's state, as Raft does with one that
// fell behind. Its cache stays as it is: nothing in it may become wrong.
func install(t *testing.T, leader, follower *store) {
	t.Helper()
	var snapshot bytes.Buffer
	err := leader.View(func(tx *kv.Tx) error {
		_, err := tx.WriteTo(&snapshot)
		return err
	})
	if err == nil {
		err = follower.Restore(&snapshot)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, s *store) {
	t.Helper()
	err := s.View(func(tx *kv.Tx) error {
		return index.Check(t.Context(), tx, func(fault error) { t.Error(fault) })
	})
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// compare asks all stores the same and demands the model's answers.
func compare(t *testing.T, m *model, q index.Query, stores ...*store) {
	t.Helper()
	for _, s := range stores {
		err := s.View(func(tx *kv.Tx) error {
			compareBlocks(t, m, q, index.NewReader(tx, s.cache))
			compareLabels(t, m, q, index.NewReader(tx, s.cache))
			compareTenants(t, m, index.NewReader(tx, s.cache))
			compareEntries(t, m, index.NewReader(tx, s.cache))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func compareBlocks(t *testing.T, m *model, q index.Query, r index.Reader) {
	t.Helper()
	answer, err := r.Blocks(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []*metastorev1.BlockMeta
	for _, encoded := range answer.Blocks {
		blocks = append(blocks, decode(t, encoded.Block))
	}
	if want := m.query(q, nil); !slices.Equal(texts(blocks), want) {
		t.Fatalf("%+v: got\n%s\nwant\n%s", q, strings.Join(texts(blocks), "\n"), strings.Join(want, "\n"))
	}
	if c := answer.Cost; c.BlocksReturned != uint64(len(blocks)) || c.BlocksDecoded < c.BlocksReturned || c.BlocksTested < c.BlocksDecoded || c.Shards < c.ShardsSkipped {
		t.Fatalf("the cost does not add up: %v", c)
	}
}

func compareLabels(t *testing.T, m *model, q index.Query, r index.Reader) {
	t.Helper()
	q.Labels = []string{"service_name", "rare"}
	answer, err := r.LabelSets(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, set := range answer.Labels {
		got = append(got, fmt.Sprintf("%q %q", set.Labels[0].Value, set.Labels[1].Value))
	}
	distinct := map[[2]string]bool{}
	m.query(q, func(_ *metastorev1.BlockMeta, _ *metastorev1.Dataset, sets []map[string]string) {
		for _, set := range sets {
			distinct[[2]string{set["service_name"], set["rare"]}] = true
		}
	})
	var want []string
	for _, values := range slices.SortedFunc(maps.Keys(distinct), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		want = append(want, fmt.Sprintf("%q %q", values[0], values[1]))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: labels %v, want %v", q, got, want)
	}
}

func compareTenants(t *testing.T, m *model, r index.Reader) {
	t.Helper()
	tenants, err := r.Tenants(t.Context(), whole())
	if err != nil {
		t.Fatal(err)
	}
	bounds := map[string]index.Bounds{}
	for _, owners := range m.bounds {
		for owner, b := range owners {
			if before, known := bounds[owner]; known {
				b = index.Bounds{Min: min(b.Min, before.Min), Max: max(b.Max, before.Max)}
			}
			bounds[owner] = b
		}
	}
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(bounds)), func(tenant string) bool { return tenant == "" })
	if !slices.Equal(tenants, want) {
		t.Fatalf("tenants %q, want %q", tenants, want)
	}
	for _, tenant := range []string{"", "acme", "umbrella", "nobody"} {
		got, found, err := r.TenantBounds(t.Context(), whole(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		if want, known := bounds[tenant]; found != known || got != want {
			t.Fatalf("bounds of %q: %v (%v), want %v (%v)", tenant, got, found, want, known)
		}
	}
}

// compareEntries reads a few blocks by id, one of which does not exist.
func compareEntries(t *testing.T, m *model, r index.Reader) {
	t.Helper()
	for i, name := range slices.Sorted(maps.Keys(m.blocks)) {
		block := m.blocks[name]
		if i%37 > 0 || block.FormatVersion == inOutbox && block.TenantName() != "" {
			continue // what is in the outbox is not read by id
		}
		id, missing := ulid.MustParseStrict(block.Id), ulid.MustParseStrict(block.Id)
		missing[6]++
		var got []string
		err := r.Entries(t.Context(), block.TenantName(), block.Shard, []ulid.ULID{id, missing, id}, nil, func(encoded []byte) error {
			got = append(got, text(decode(t, encoded)))
			return nil
		})
		if want := text(block); err != nil || !slices.Equal(got, []string{want, want}) {
			t.Fatalf("%s: got %q (%v), want %s", name, got, err, want)
		}
	}
}

func decode(t *testing.T, encoded []byte) *metastorev1.BlockMeta {
	t.Helper()
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(encoded); err != nil {
		t.Fatal(err)
	}
	return block
}
