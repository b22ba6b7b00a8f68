package spread

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// fakeCluster is some nodes that count, and who leads.
type fakeCluster struct {
	mu sync.Mutex
	// Counters of each node; a restart replaces them.
	nodes map[string]*Counters
	// What asking a node fails with.
	faults map[string]error
	// The manager of now.
	leader    int
	limits    map[string]adaptive.Override
	limitsErr error
	// Called when somebody asks whether it leads.
	asked func()
}

func newFakeCluster(nodes ...string) *fakeCluster {
	c := &fakeCluster{nodes: map[string]*Counters{}, faults: map[string]error{}}
	for _, node := range nodes {
		c.restart(node)
	}
	return c
}

var processes int

func (c *fakeCluster) restart(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	processes++
	c.nodes[node] = NewCounters(fmt.Sprint("process-", processes), time.Now, NewMetrics())
}

func (c *fakeCluster) add(node string, shard uint32, owner string, datasets ...string) {
	c.nodes[node].add(segment(time.Now(), shard, owner, datasets...))
}

// asManager is the cluster as one of its managers sees it.
type asManager struct {
	*fakeCluster
	number int
}

func (c *fakeCluster) Nodes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.nodes))
}

func (c *fakeCluster) Samples(_ context.Context, node string, request *nodev1.PlacementSamplesRequest) (*nodev1.PlacementSamplesResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.faults[node]; err != nil {
		return nil, err
	}
	request.Limit = 2
	return c.nodes[node].Page(request), nil
}

func (c asManager) Leads(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil {
		c.asked()
	}
	if c.leader != c.number {
		return errors.New("another leader took over")
	}
	return nil
}

func (c *fakeCluster) Overrides() (map[string]adaptive.Override, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits, c.limitsErr
}

func (c *fakeCluster) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// testBucket keeps objects in memory, and can fail.
type testBucket struct {
	objects.Bucket // nothing else is called
	mu             sync.Mutex
	held           map[string][]byte
	getErr         error
	putErr         map[string]error
	puts           int
}

func newBucket() *testBucket {
	return &testBucket{held: map[string][]byte{}}
}

func (b *testBucket) String() string { return "test-bucket" }

func (b *testBucket) Get(_ context.Context, name string, _ int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, held := b.held[name]
	switch {
	case b.getErr != nil:
		return nil, b.getErr
	case !held:
		return nil, fmt.Errorf("%s: %w", name, objects.ErrNotFound)
	}
	return content, nil
}

func (b *testBucket) Put(ctx context.Context, name string, content []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := cmp.Or(b.putErr[name], ctx.Err()); err != nil {
		return err
	}
	b.puts++
	b.held[name] = content
	return nil
}

func (b *testBucket) written() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.puts
}

// fail makes reads, and writes of some objects, fail from now on.
func (b *testBucket) fail(get error, put map[string]error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.getErr, b.putErr = get, put
}

func (b *testBucket) rules(t *testing.T) *adaptiveplacement.PlacementRules {
	rules := &adaptiveplacement.PlacementRules{}
	decode(t, b, rulesName, rules.UnmarshalVT)
	return rules
}

func (b *testBucket) stats(t *testing.T) *adaptiveplacement.DistributionStats {
	stats := &adaptiveplacement.DistributionStats{}
	decode(t, b, statsName, stats.UnmarshalVT)
	return stats
}

func decode(t *testing.T, b *testBucket, name string, unmarshal func([]byte) error) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := unmarshal(b.held[name]); err != nil {
		t.Fatal(err)
	}
}

// tenure is a manager that runs.
type tenure struct {
	*Manager
	end func()
}

func (c *fakeCluster) takeOver(t *testing.T, options Options, clockSkew time.Duration) tenure {
	number := 0
	c.change(func() { c.leader++; number = c.leader })
	m := NewManager(options, asManager{c, number}, fmt.Sprint("node-", number),
		func() time.Time { return time.Now().Add(clockSkew) }, zaptest.NewLogger(t), NewMetrics())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	synctest.Wait()
	return tenure{m, func() { cancel(); <-ended }}
}

func (m tenure) fails() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.fault)
}

func (m tenure) count(t *testing.T, name string) float64 { return series(t, m.metrics)[name] }

const (
	interval = 15 * time.Second
	mib      = 1 << 20
)

// write has a dataset of 1 MiB/s in two shards on two nodes, for some intervals.
func (c *fakeCluster) write(intervals int) {
	for range intervals * 3 {
		time.Sleep(interval / 6)
		c.add("a", 1, "w1", fmt.Sprint("acme/shop=", 5*mib/4))
		c.add("b", 2, "w2", fmt.Sprint("acme/shop=", 15*mib/4))
		time.Sleep(interval / 6)
	}
	synctest.Wait()
}

func usage(stats *adaptiveplacement.DistributionStats) string {
	var lines []string
	for _, d := range stats.GetDatasets() {
		for i, at := range d.GetShards() {
			shard := stats.GetShards()[at]
			lines = append(lines, fmt.Sprintf("%s/%s %d %s %.2f", stats.GetTenants()[d.GetTenant()].GetTenantId(), d.GetName(),
				shard.GetId(), shard.GetOwner(), float64(d.GetUsage()[i])/mib))
		}
	}
	return strings.Join(lines, "; ")
}

// R-PLC-1, R-PLC-8, R-PLC-14: what nodes add becomes two objects, every interval.
func TestManagerWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		m := c.takeOver(t, Options{Bucket: bucket, ExportLimits: true, ExportUsage: true, ExportBreakdown: true}, 0)
		defer m.end()
		c.write(200)
		stats, rules := bucket.stats(t), bucket.rules(t)
		if got, want := usage(stats), "acme/shop 1 w1 0.25; acme/shop 2 w2 0.75"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if len(rules.Datasets) != 1 || rules.Tenants[0].TenantId != "acme" || rules.Datasets[0].Name != "shop" || rules.CreatedAt != stats.CreatedAt {
			t.Fatalf("got %v", rules)
		}
		// 1 MiB/s are 8 units.
		if n := rules.Datasets[0].DatasetShardLimit; n < 8 || n > 9 {
			t.Errorf("%d shards", n)
		}
		if age := time.Now().UnixNano() - rules.CreatedAt; age > int64(interval) {
			t.Errorf("the rules are %s old", time.Duration(age))
		}
		if bucket.written() != 2*200 || m.fails() != "<nil>" {
			t.Errorf("%d objects were written; %s", bucket.written(), m.fails())
		}
		shown := series(t, m.metrics)
		for name, want := range map[string]float64{
			`skerry_adaptive_placement_updates_total{result="ok"}`:                                              200,
			`skerry_adaptive_placement_writes_total{object="rules",result="ok"}`:                                200,
			`pyroscope_adaptive_placement_rules`:                                                                1,
			`pyroscope_adaptive_placement_stats`:                                                                1,
			`pyroscope_adaptive_placement_rules_last_update_time`:                                               float64(rules.CreatedAt) / 1e9,
			`skerry_adaptive_placement_rates`:                                                                   2,
			`pyroscope_adaptive_placement_dataset_shard_limit{dataset="shop",load_balancing="1",tenant="acme"}`: float64(rules.Datasets[0].DatasetShardLimit),
			`pyroscope_adaptive_placement_dataset_shard_usage_bytes_per_second{dataset="shop",tenant="acme"}`:   float64(stats.Datasets[0].Usage[0] + stats.Datasets[0].Usage[1]),
			`pyroscope_adaptive_placement_dataset_shard_usage_per_shard_bytes_per_second{dataset="shop",shard_id="2",shard_owner="w2",tenant="acme"}`: float64(stats.Datasets[0].Usage[1]),
		} {
			if shown[name] != want {
				t.Errorf("%s is %v, want %v", name, shown[name], want)
			}
		}
		m.end()
		if _, stays := series(t, m.metrics)["pyroscope_adaptive_placement_rules"]; stays {
			t.Error("a manager that ended still shows its rules")
		}
	})
}

// L-30, R-PLC-2, R-PLC-7: a successor, whatever its clock says, goes on with rates and
// rules, and readers never see created_at fall.
func TestManagerIsSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		c.write(200)
		last := bucket.rules(t)
		for _, skew := range []time.Duration{0, -10 * time.Minute, time.Minute, 0, -time.Second} {
			m.end()
			time.Sleep(20 * time.Second) // nobody leads, and writers go on
			c.add("a", 1, "w1", fmt.Sprint("acme/shop=", 5*mib))
			m = c.takeOver(t, Options{Bucket: bucket}, skew)
			for step := range 100 {
				c.write(1)
				rules, stats := bucket.rules(t), bucket.stats(t)
				if rules.CreatedAt < last.CreatedAt || stats.CreatedAt < last.CreatedAt {
					t.Fatalf("created at %d, before at %d", rules.CreatedAt, last.CreatedAt)
				}
				last = rules
				for i, want := range []float64{0.25, 0.75} {
					// When the rate of the one before is forgotten, a little is lost.
					if got := float64(stats.Datasets[0].Usage[i]) / mib; got < 0.95*want || got > 1.01*want {
						t.Fatalf("skew %v, step %d: the rate is %.3f, was %.3f: %v", skew, step, got, want, usage(stats))
					}
				}
				if n := rules.Datasets[0].DatasetShardLimit; n < 8 || n > 9 {
					t.Fatalf("%d shards", n)
				}
			}
		}
		m.end()
	})
}

// A manager that was deposed writes nothing any more, even in the middle of an update;
// a new one waits until a write of its predecessor has ended.
func TestDeposedManagerWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		old := c.takeOver(t, Options{Bucket: bucket}, 0)
		c.write(4)
		rules, stats := bucket.rules(t), bucket.stats(t)
		asked := 0
		c.change(func() {
			c.asked = func() {
				if asked++; asked == 2 {
					c.leader++ // it has written the rules, and not yet the statistics
				}
			}
		})
		c.write(10)
		if asked < 3 || bucket.rules(t).CreatedAt <= rules.CreatedAt || bucket.stats(t).CreatedAt != stats.CreatedAt {
			t.Errorf("asked %d times; rules of %d, statistics of %d", asked, bucket.rules(t).CreatedAt, bucket.stats(t).CreatedAt)
		}
		if !strings.Contains(old.fails(), "another leader took over") {
			t.Error(old.fails())
		}
		c.change(func() { c.asked = nil })
		puts := bucket.written()
		next := c.takeOver(t, Options{Bucket: bucket, Interval: time.Second}, 0)
		defer next.end()
		time.Sleep(5 * time.Second)
		c.add("a", 1, "w1", "acme/shop=1")
		time.Sleep(4900 * time.Millisecond)
		synctest.Wait()
		if bucket.written() != puts {
			t.Errorf("%d objects written while the one before may still write", bucket.written()-puts)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if bucket.written() == puts {
			t.Error("nothing is written afterwards")
		}
		old.end()
	})
}

// A cluster that nobody adds to leaves alone what another metastore writes: before the
// first add, and when adds have gone elsewhere.
func TestIdleManagerWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		foreign := &adaptiveplacement.PlacementRules{CreatedAt: 5, Tenants: []*adaptiveplacement.TenantPlacement{{TenantId: "x"}}, Datasets: []*adaptiveplacement.DatasetPlacement{{Name: "y", DatasetShardLimit: 9}}}
		content, err := foreign.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		bucket.held[rulesName] = content
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		time.Sleep(time.Hour)
		synctest.Wait()
		page := m.Describe(&nodev1.DescribePlacementRequest{})
		if bucket.written() != 0 || m.Finding() != nil || !strings.Contains(page.Error, "another metastore") {
			t.Errorf("%d objects written, %v, %v", bucket.written(), m.Finding(), page)
		}
		c.write(2)
		if bucket.written() != 4 {
			t.Errorf("%d objects written", bucket.written())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := bucket.written(); n < 4+2*59 || n > 4+2*61 {
			t.Errorf("%d objects written, want those of a quarter of an hour", n)
		}
	})
}

// R-PLC-11: rules are made, and not written yet.
func TestManagerGainsConfidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		m := c.takeOver(t, Options{Bucket: bucket, Confidence: time.Minute}, 0)
		defer m.end()
		c.write(3)
		if bucket.written() != 0 || m.count(t, `skerry_adaptive_placement_updates_total{result="waits"}`) != 3 || m.count(t, "pyroscope_adaptive_placement_rules") != 1 {
			t.Errorf("%d objects written, %v", bucket.written(), series(t, m.metrics))
		}
		c.write(2)
		if bucket.written() == 0 {
			t.Error("nothing is written afterwards")
		}
	})
}

// R-PLC-2, R-PLC-12: what happens when the bucket fails.
func TestBucketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		bucket.fail(errors.New("no route"), nil)
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		c.write(20)
		if bucket.written() != 0 || !strings.Contains(m.fails(), "no route") || !strings.Contains(m.fails(), bucket.String()) || m.Finding() != nil {
			t.Errorf("%d objects written; %s; %v", bucket.written(), m.fails(), m.Finding())
		}
		c.write(1)
		if f := m.Finding(); f.GetCode() != "placement-rules-old" || !strings.Contains(f.GetCause(), "no route") {
			t.Errorf("nobody is told: %v", f)
		}
		bucket.fail(nil, map[string]error{rulesName: errors.New("no room")})
		c.write(2)
		if len(bucket.rules(t).Datasets) != 0 || len(bucket.stats(t).Datasets) != 1 || !strings.Contains(m.fails(), "no room") {
			t.Errorf("got %v, %v; %s", bucket.rules(t), bucket.stats(t), m.fails())
		}
		bucket.fail(nil, map[string]error{statsName: errors.New("no room")})
		c.write(2)
		bucket.fail(nil, nil)
		c.write(1)
		if m.Finding() != nil {
			t.Errorf("still told: %v", m.Finding())
		}
		if len(bucket.rules(t).Datasets) != 1 || m.count(t, `skerry_adaptive_placement_writes_total{object="stats",result="failed"}`) != 2 {
			t.Errorf("got %v; %v", bucket.rules(t), series(t, m.metrics))
		}
		// What came while nothing could be read was counted all the same.
		if got := bucket.rules(t).Datasets[0].DatasetShardLimit; got < 5 {
			t.Errorf("%d shards", got)
		}
	})
}

// Damaged objects keep distributors from starting: they are replaced.
func TestDamagedObjectsAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		for _, name := range []string{rulesName, statsName} {
			if err := bucket.Put(t.Context(), name, []byte{0x0a, 0xff}); err != nil {
				t.Fatal(err)
			}
		}
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		c.write(2)
		if len(bucket.rules(t).Datasets) != 1 || len(bucket.stats(t).Datasets) != 1 {
			t.Errorf("got %v, %v", bucket.rules(t), bucket.stats(t))
		}
	})
}

// R-PLC-10: a tenant's own limits, and no rules as long as nobody knows them.
func TestOverridesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		c.limitsErr = errors.New("no file")
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		c.write(3)
		if bucket.written() != 0 || !strings.Contains(m.fails(), "no file") {
			t.Errorf("%d objects written; %s", bucket.written(), m.fails())
		}
		most, shards, fixed := uint64(3), uint64(2), adaptive.RoundRobin
		c.change(func() {
			c.limitsErr, c.limits = nil, map[string]adaptive.Override{"acme": {MaxDatasetShards: &most, TenantShards: &shards, LoadBalancing: &fixed}}
		})
		c.write(60)
		want := adaptiveplacement.DatasetPlacement{Name: "shop", TenantShardLimit: 2, DatasetShardLimit: 3, LoadBalancing: 2}
		if got := bucket.rules(t).Datasets[0]; got.String() != want.String() {
			t.Errorf("got %v, want %v", got, &want)
		}
	})
}

// Nodes that do not answer, answer late, or start again: nothing is lost, nothing
// counts twice.
func TestNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		c.add("a", 1, "w1", fmt.Sprint("acme/old=", 1000*mib)) // before anybody looked
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		for i := range 200 {
			c.change(func() {
				c.faults["b"] = nil
				if i%3 == 1 {
					c.faults["b"] = errors.New("connection refused")
				}
			})
			if i%20 == 19 {
				c.restart("a")
			}
			c.write(1)
			if i%3 == 1 && !strings.Contains(m.fails(), "node b") {
				t.Fatal(m.fails())
			}
		}
		c.change(func() { c.faults["b"] = nil })
		c.write(1)
		stats := bucket.stats(t)
		if len(stats.Datasets) != 1 {
			t.Fatalf("got %v", stats)
		}
		for i, want := range []float64{0.25, 0.75} {
			if got := float64(stats.Datasets[0].Usage[i]) / mib; got < 0.96*want || got > 1.04*want {
				t.Errorf("the rate is %.3f, want %.3f", got, want)
			}
		}
		if m.count(t, `skerry_adaptive_placement_updates_total{result="partial"}`) < 60 || bucket.written() < 2*200 {
			t.Errorf("%v", series(t, m.metrics))
		}
	})
}

// A page that is broken off, or of another process, counts for nothing.
func TestGatheringIsWholeOrNothing(t *testing.T) {
	pages := map[uint64]*nodev1.PlacementSamplesResponse{}
	cluster := pagedCluster{pages}
	now := tickingClock()
	g := newGathered(cluster, now)
	var got []string
	var answered planner.Time
	ask := func() error {
		got = nil
		_, _, err := g.ask(t.Context(), time.Second, func(process string, key adaptive.Key, bytes uint64, from, to planner.Time) {
			got = append(got, fmt.Sprint(key.Dataset, "=", bytes))
			if process != "p" || from != answered || to <= from {
				t.Errorf("from %s to %s, the last answer came at %s", from, to, answered)
			}
		})
		if err == nil {
			answered = g.processes["p"].at
		}
		return err
	}
	page := func(process string, more bool, counters ...uint64) *nodev1.PlacementSamplesResponse {
		p := &nodev1.PlacementSamplesResponse{ProcessId: process, More: more, CountingFor: int64(time.Hour)}
		for i := 0; i < len(counters); i += 2 {
			p.Counters = append(p.Counters, &nodev1.PlacementCounter{Number: counters[i], Tenant: "t", Dataset: fmt.Sprint(counters[i]), Shard: 1, Bytes: counters[i+1]})
		}
		return p
	}
	for i, step := range []struct {
		pages map[uint64]*nodev1.PlacementSamplesResponse
		want  string
		fails bool
	}{
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", false, 1, 10, 2, 20)}, "[]", false}, // the baseline
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", true, 1, 15), 1: page("p", false, 2, 20, 3, 7)}, "[1=5 3=7]", false},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", true, 1, 16), 1: page("q", false, 2, 21)}, "[]", true},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", true, 1, 16)}, "[]", true},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", true, 1, 16), 1: page("p", true, 1, 16)}, "[]", true},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", true)}, "[]", true},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("", false, 1, 1)}, "[]", true},
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", false, 1, 17, 4, 1)}, "[1=2 4=1]", false},
		// 1 was forgotten by the node, and is not used again.
		{map[uint64]*nodev1.PlacementSamplesResponse{0: page("p", false, 4, 1, 5, 3)}, "[5=3]", false},
	} {
		maps.DeleteFunc(pages, func(uint64, *nodev1.PlacementSamplesResponse) bool { return true })
		maps.Copy(pages, step.pages)
		if err := ask(); (err != nil) != step.fails || fmt.Sprint(got) != step.want {
			t.Errorf("step %d: got %v, %v, want %s", i, got, err, step.want)
		}
	}
}

type pagedCluster struct {
	pages map[uint64]*nodev1.PlacementSamplesResponse
}

func (c pagedCluster) Nodes() []string { return []string{"n"} }

func (c pagedCluster) Samples(_ context.Context, _ string, request *nodev1.PlacementSamplesRequest) (*nodev1.PlacementSamplesResponse, error) {
	if page := c.pages[request.GetAfter()]; page != nil {
		return page, nil
	}
	return nil, errors.New("connection reset")
}

func (c pagedCluster) Leads(context.Context) error                      { return nil }
func (c pagedCluster) Overrides() (map[string]adaptive.Override, error) { return nil, nil }

// What people are shown, page by page.
func TestDescribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bucket := newFakeCluster("a", "b"), newBucket()
		m := c.takeOver(t, Options{Bucket: bucket}, 0)
		defer m.end()
		if d := m.Describe(&nodev1.DescribePlacementRequest{}); d.NodeId != "node-1" || d.CreatedAt != 0 || d.Since == 0 || d.Bucket != bucket.String() {
			t.Errorf("got %v", d)
		}
		for _, tenant := range []string{"b", "a", "c"} {
			for i := range 3 {
				c.add("a", 1, "w1", fmt.Sprintf("%s/s%d=%d", tenant, i, mib))
			}
		}
		time.Sleep(interval)
		synctest.Wait()
		for _, tenant := range []string{"", "a", "b", "c", "d"} {
			var seen []string
			request := &nodev1.DescribePlacementRequest{Tenant: tenant, Limit: 2}
			for {
				d := m.Describe(request)
				for _, placed := range d.Datasets {
					seen = append(seen, placed.Tenant+"/"+placed.Name)
					if placed.Rule.GetDatasetShardLimit() != 1 || len(placed.Shards) != 1 || placed.Shards[0].Owner != "w1" || placed.Shards[0].Usage == 0 {
						t.Errorf("got %v", placed)
					}
				}
				if d.WrittenAt == 0 || d.Error != "" || d.Rates != 9 {
					t.Errorf("got %v", d)
				}
				if !d.More {
					if want := map[string]int{"": 9, "a": 3, "b": 3, "c": 3}[tenant]; int(d.DatasetsTotal) != want || len(seen) != want {
						t.Errorf("tenant %q: %v of %d, want %d", tenant, seen, d.DatasetsTotal, want)
					}
					break
				}
				last := d.Datasets[len(d.Datasets)-1]
				request.AfterTenant, request.AfterDataset = last.Tenant, last.Name
			}
			if !slices.IsSorted(seen) {
				t.Errorf("got %v", seen)
			}
		}
	})
}

// tickingClock is a clock that moves by a second each time that it is looked at.
func tickingClock() func() planner.Time {
	now := planner.Time(1e18)
	return func() planner.Time { now = now.Add(time.Second); return now }
}
