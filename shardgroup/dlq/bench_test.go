package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/skerrydb/skerry/proto/blockobject"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/shardgroup/dlq"
	"github.com/skerrydb/skerry/storage/objects"
)

// bench is a recovery over a folder, with a cluster that remembers what was added.
type bench struct {
	*testing.T
	root     string
	bucket   *faulty
	cluster  *groups
	registry *prometheus.Registry
	options  dlq.Options
	recovery *dlq.Recovery
	stop     func()
}

// now is when tests begin.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const delay = 15 * time.Minute

func newBench(t *testing.T) *bench {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		T: t, root: folder.Path(), bucket: &faulty{Bucket: folder}, cluster: &groups{added: map[string]int{}, blocks: map[string]*metastorev1.BlockMeta{}},
		registry: prometheus.NewRegistry(),
	}
	started := time.Now()
	b.options = dlq.Options{
		Interval: 2 * time.Millisecond, TombstoneDelay: delay, BackoffMax: 10 * time.Millisecond, Timeout: 5 * time.Second,
		Now: func() time.Time { return now.Add(time.Since(started)) },
	}
	return b
}

// start runs a recovery that leads groups.
func (b *bench) start(led ...uint64) {
	b.Helper()
	recovery, err := dlq.New(b.bucket, b.cluster, b.options, zaptest.NewLogger(b), b.registry)
	if err != nil {
		b.Fatal(err)
	}
	b.recovery = recovery
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for _, group := range led {
		running.Go(func() { recovery.Lead(ctx, group) })
	}
	running.Go(func() { recovery.Run(ctx) })
	b.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		recovery.Close()
	})
	b.Cleanup(b.stop)
}

// put stores an object, as old as its content says.
func (b *bench) put(name string, content []byte) string {
	b.Helper()
	file := filepath.Join(b.root, filepath.FromSlash(name)) // without a sync of each
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		// Whole or not at all; the folder does not list what is not complete.
		partial := filepath.Join(filepath.Dir(file), ".skerry-new")
		err = errors.Join(os.WriteFile(partial, content, 0o644), os.Rename(partial, file))
	}
	if err != nil {
		b.Fatal(err)
	}
	return name
}

func (b *bench) exists(name string) bool {
	b.Helper()
	_, err := b.bucket.Bucket.Attributes(context.Background(), name)
	return err == nil
}

// names lists what is below a prefix.
func (b *bench) names(prefix string) []string {
	b.Helper()
	var names []string
	for e, err := range b.bucket.Bucket.List(context.Background(), objects.ListOptions{Prefix: prefix}) {
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// letter writes an entry as a segment-writer does.
func (b *bench) letter(block *metastorev1.BlockMeta) string {
	b.Helper()
	return b.put(letterName(block), encode(b, block))
}

func letterName(block *metastorev1.BlockMeta) string {
	return blockobject.DeadLetterOf(block.TenantName(), block.GetShard(), block.GetCompactionLevel(), ulid.MustParse(block.GetId())).Name()
}

func objectName(block *metastorev1.BlockMeta) string {
	return blockobject.Of(block.TenantName(), block.GetShard(), block.GetCompactionLevel(), ulid.MustParse(block.GetId())).Name()
}

// object writes a block's object with its footer.
func (b *bench) object(block *metastorev1.BlockMeta) {
	b.Helper()
	footer, err := blockobject.Encode(block)
	if err != nil {
		b.Fatal(err)
	}
	b.put(objectName(block), append([]byte("data of "+block.GetId()), footer...))
}

func encode(t testing.TB, block *metastorev1.BlockMeta) []byte {
	t.Helper()
	encoded, err := block.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// segment is a block of a stream, made some time ago.
func segment(serial int, shard uint32, age time.Duration) *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id(serial, age), Shard: shard, Size: 100, StringTable: []string{"", "writer", "acme", "shop"}, CreatedBy: 1,
		Datasets: []*metastorev1.Dataset{{Tenant: 2, Name: 3}},
	}
}

func tenantBlock(serial int, tenant string, shard uint32, age time.Duration) *metastorev1.BlockMeta {
	block := segment(serial, shard, age)
	block.StringTable = append(block.StringTable, tenant)
	block.Tenant, block.CompactionLevel = int32(len(block.StringTable)-1), 1
	return block
}

func id(serial int, age time.Duration) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(now.Add(-age))); err != nil {
		panic(err)
	}
	if err := id.SetEntropy(fmt.Appendf(nil, "%010d", serial)); err != nil {
		panic(err)
	}
	return id.String()
}

// groups is a cluster in which streams go to groups 2 and 3 by their shard, odd and
// even, and tenants to group 4, or another one if the tenant says so: "t-7".
type groups struct {
	mu     sync.Mutex
	added  map[string]int
	blocks map[string]*metastorev1.BlockMeta
	order  []string
	tries  map[string]int
	// Called before each add.
	fault func(ctx context.Context, block *metastorev1.BlockMeta) error
	full  error
	// Shards by point.
	moved map[uint64]uint64
}

func (g *groups) Owner(keyspace clusterv1.Keyspace, point uint64) (uint64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if group := g.moved[point]; group != 0 {
		return group, true
	}
	if keyspace == clusterv1.Keyspace_KEYSPACE_TENANT {
		if point == clusterv1.TenantPoint("far", 1) {
			return 9, true
		}
		return 4, true
	}
	for shard := range uint32(200) {
		if clusterv1.StreamPoint(shard) == point {
			return uint64(2 + (shard+1)%2), true
		}
	}
	return 0, false
}

func (g *groups) Room() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.full
}

func (g *groups) Add(ctx context.Context, block *metastorev1.BlockMeta, encoded []byte) error {
	again := &metastorev1.BlockMeta{}
	if err := again.UnmarshalVT(encoded); err != nil || again.GetId() != block.GetId() {
		return fmt.Errorf("the encoding is of another block: %v", err)
	}
	g.mu.Lock()
	fault := g.fault
	if g.tries == nil {
		g.tries = map[string]int{}
	}
	g.tries[block.GetId()]++
	g.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, block); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.added[block.GetId()]++; g.added[block.GetId()] == 1 {
		g.blocks[block.GetId()] = block
		g.order = append(g.order, block.GetId())
	}
	return nil
}

func (g *groups) has(block *metastorev1.BlockMeta) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.added[block.GetId()] > 0
}

func (g *groups) tried(block *metastorev1.BlockMeta) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tries[block.GetId()]
}

// faulty is a bucket that fails as it is told.
type faulty struct {
	objects.Bucket
	mu sync.Mutex
	// Called before each operation.
	fault func(ctx context.Context, operation, name string) error
	calls map[string]int
	// When objects were written, if not at the time of their ULID.
	times map[string]time.Time
}

func (f *faulty) before(ctx context.Context, operation, name string) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[operation]++
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx, operation, name)
}

func (f *faulty) set(fault func(ctx context.Context, operation, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faulty) count(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[operation]
}

func (f *faulty) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := f.before(ctx, "get", name); err != nil {
		return nil, err
	}
	return f.Bucket.Get(ctx, name, limit)
}

func (f *faulty) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	if err := f.before(ctx, "get", name); err != nil {
		return nil, 0, err
	}
	return f.Bucket.GetRange(ctx, name, offset, length)
}

func (f *faulty) Put(ctx context.Context, name string, content []byte) error {
	if err := f.before(ctx, "put", name); err != nil {
		return err
	}
	return f.Bucket.Put(ctx, name, content)
}

func (f *faulty) Delete(ctx context.Context, name string) error {
	if err := f.before(ctx, "delete", name); err != nil {
		return err
	}
	return f.Bucket.Delete(ctx, name)
}

func (f *faulty) Attributes(ctx context.Context, name string) (objects.Attributes, error) {
	if err := f.before(ctx, "attributes", name); err != nil {
		return objects.Attributes{}, err
	}
	a, err := f.Bucket.Attributes(ctx, name)
	a.Modified = f.modified(name)
	return a, err
}

// List yields what a folder lists, with times that belong to the tests' now.
func (f *faulty) List(ctx context.Context, o objects.ListOptions) iter.Seq2[objects.Entry, error] {
	return func(yield func(objects.Entry, error) bool) {
		if err := f.before(ctx, "list", o.Prefix); err != nil {
			yield(objects.Entry{}, err)
			return
		}
		for e, err := range f.Bucket.List(ctx, o) {
			if !e.Prefix && err == nil {
				e.Modified = f.modified(e.Name)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// modified is the time of the ULID in a name, unless a test says otherwise.
func (f *faulty) modified(name string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, said := f.times[name]; said {
		return at
	}
	for _, part := range strings.Split(path.Dir(name), "/") {
		if id, err := ulid.Parse(part); err == nil {
			return ulid.Time(id.Time())
		}
	}
	return now
}

// attempts reads the metric.
func (b *bench) attempts(status string) int {
	b.Helper()
	return int(b.metric("pyroscope_metastore_dlq_recovery_attempts_total", status))
}

// metric reads a metric, of one label if it has any.
func (b *bench) metric(name, label string) float64 {
	b.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				if m.Gauge != nil {
					return m.GetGauge().GetValue()
				}
				return m.GetCounter().GetValue()
			}
		}
	}
	b.Fatalf("no metric %s %s", name, label)
	return 0
}

func (b *bench) await(what string, met func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited in vain for %s; status %+v", what, b.recovery.Status())
		}
	}
}
