package spread

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// clock is a clock that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.UnixMilli(1_735_787_045_000)} }

func newTestCounters(process string) (*Counters, *clock) {
	c := newClock()
	return NewCounters(process, c.now, NewMetrics()), c
}

func (c *Counters) add(block *metastorev1.BlockMeta) { c.Count(c.Sample(block)) }

// segment returns a level 0 block of a shard with datasets "TENANT/NAME=SIZE".
func segment(at time.Time, shard uint32, owner string, datasets ...string) *metastorev1.BlockMeta {
	block := &metastorev1.BlockMeta{
		Id: ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String(), Shard: shard, StringTable: []string{"", owner}, CreatedBy: 1,
	}
	for _, text := range datasets {
		var size uint64
		name, number, _ := strings.Cut(text, "=")
		if _, err := fmt.Sscan(number, &size); err != nil {
			panic(err)
		}
		tenant, name, _ := strings.Cut(name, "/")
		at := int32(len(block.StringTable))
		block.StringTable = append(block.StringTable, tenant, name)
		block.Datasets = append(block.Datasets, &metastorev1.Dataset{Tenant: at, Name: at + 1, Size: size})
	}
	return block
}

func text(page *nodev1.PlacementSamplesResponse) string {
	var lines []string
	for _, c := range page.GetCounters() {
		lines = append(lines, fmt.Sprintf("%d %s/%s %d %s %d", c.Number, c.Tenant, c.Dataset, c.Shard, c.Owner, c.Bytes))
	}
	return strings.Join(lines, "; ")
}

// series returns what metrics show, by name and labels.
func series(t testing.TB, metrics *Metrics) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	for _, collector := range metrics.Collectors() {
		registry.MustRegister(collector)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			name := family.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return all
}

// R-PLC-4, R-ADD-10: what a sample is.
func TestCountersCount(t *testing.T) {
	c, clock := newTestCounters("p")
	c.add(segment(clock.t, 1, "w1", "a/x=10", "a/y=1", "b/x=5", "a/x=3"))
	c.add(segment(clock.t, 1, "w1", "a/x=100"))
	c.add(segment(clock.t, 1, "w2", "a/x=7"))
	c.add(segment(clock.t, 2, "w1", "a/x=7"))
	for _, change := range []func(*metastorev1.BlockMeta){
		func(b *metastorev1.BlockMeta) { b.CompactionLevel = 1 },
		func(b *metastorev1.BlockMeta) { b.Shard = 0 },
		func(b *metastorev1.BlockMeta) { b.Datasets[0].Format = 1 },
		func(b *metastorev1.BlockMeta) { b.Datasets[0].Tenant = 0 },
		func(b *metastorev1.BlockMeta) { b.Datasets[0].Size = 0 },
		func(b *metastorev1.BlockMeta) { b.Id = "x" },
		func(b *metastorev1.BlockMeta) {
			b.Id = ulid.MustNew(ulid.Timestamp(clock.t.Add(-oldAfter-time.Second)), ulid.DefaultEntropy()).String()
		},
	} {
		block := segment(clock.t, 1, "w1", "c/z=1")
		change(block)
		c.add(block)
	}
	want := "1 a/x 1 w1 113; 2 a/y 1 w1 1; 3 b/x 1 w1 5; 4 a/x 1 w2 7; 5 a/x 2 w1 7"
	if got := text(c.Page(&nodev1.PlacementSamplesRequest{})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// A size that is a lie does not make the counter fall.
	c.add(segment(clock.t, 1, "w1", fmt.Sprint("a/x=", uint64(math.MaxUint64))))
	if got := c.Page(&nodev1.PlacementSamplesRequest{Limit: 1}).Counters[0].Bytes; got != math.MaxUint64 {
		t.Errorf("got %d", got)
	}
	var off *Counters
	off.add(segment(clock.t, 1, "w1", "a/x=10"))
	if off.Len() != 0 {
		t.Error("nobody counts")
	}
}

func TestCountersPages(t *testing.T) {
	c, clock := newTestCounters("p")
	for i := range 10 {
		c.add(segment(clock.t, 1, "w", fmt.Sprintf("a/%d=1", i)))
	}
	clock.t = clock.t.Add(time.Minute)
	var seen []uint64
	request := &nodev1.PlacementSamplesRequest{Limit: 3}
	for {
		page := c.Page(request)
		if page.ProcessId != "p" || page.CountingFor != int64(time.Minute) {
			t.Errorf("got %v", page)
		}
		for _, counter := range page.Counters {
			seen = append(seen, counter.Number)
		}
		if !page.More {
			break
		}
		request.After = seen[len(seen)-1]
	}
	if fmt.Sprint(seen) != "[1 2 3 4 5 6 7 8 9 10]" {
		t.Errorf("got %v", seen)
	}
	if page := c.Page(&nodev1.PlacementSamplesRequest{After: math.MaxUint64}); len(page.Counters) != 0 || page.More {
		t.Errorf("behind the last one: %v", page)
	}
}

// Endless names take no memory without end, and do not keep services out for ever; a
// counter that comes back is another one.
func TestCountersAreBounded(t *testing.T) {
	c, clock := newTestCounters("p")
	c.max, c.maxTenant = 8, 3
	keep := func() { c.add(segment(clock.t, 1, "w", "good/x=1")) }
	keep()
	for i := range 100 {
		c.add(segment(clock.t, 1, "w", fmt.Sprintf("greedy/%d=1", i)))
	}
	if c.Len() != 4 {
		t.Errorf("%d counters, one tenant may have 3", c.Len())
	}
	for i := range 100 {
		c.add(segment(clock.t, 1, "w", fmt.Sprintf("tenant-%d/x=1", i)))
	}
	c.add(segment(clock.t, 1, "w", strings.Repeat("x", maxNameBytes)+"/x=1"))
	if c.Len() != 8 {
		t.Errorf("%d counters, 8 are allowed", c.Len())
	}
	if got := series(t, c.metrics)[`skerry_adaptive_placement_dropped_total{what="counter"}`]; got != 97+96+1 {
		t.Errorf("%v samples were counted as dropped", got)
	}
	clock.t = clock.t.Add(50 * time.Second)
	keep()
	clock.t = clock.t.Add(11 * time.Second)
	c.add(segment(clock.t, 1, "w", "late/x=1"))
	if got, want := text(c.Page(&nodev1.PlacementSamplesRequest{})), "1 good/x 1 w 2; 9 late/x 1 w 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	clock.t = clock.t.Add(forgetAfter + time.Second)
	if page := c.Page(&nodev1.PlacementSamplesRequest{}); len(page.Counters) != 0 || len(c.counters) != 0 || len(c.tenants) != 0 || c.names != 0 {
		t.Errorf("not forgotten: %v", page)
	}
	keep()
	if got, want := text(c.Page(&nodev1.PlacementSamplesRequest{})), "10 good/x 1 w 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Long names are bounded together, too.
func TestCountersBoundNames(t *testing.T) {
	c, clock := newTestCounters("p")
	c.names = maxNamesBytes - 10
	c.add(segment(clock.t, 1, "w", "0123456789/x=1"))
	c.add(segment(clock.t, 1, "w", "01234567/x=1"))
	if got, want := text(c.Page(&nodev1.PlacementSamplesRequest{})), "1 01234567/x 1 w 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Adds are many: what is counted again takes no memory.
func TestCountingAllocatesNothing(t *testing.T) {
	c, clock := newTestCounters("p")
	block := segment(clock.t, 1, "w", "a/x=1", "a/y=1", "b/z=1")
	sample := c.Sample(block)
	c.Count(sample)
	if n := testing.AllocsPerRun(100, func() { c.Count(sample) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { c.Sample(block) }); n > 2 {
		t.Errorf("%v allocations of a sample", n)
	}
}

func BenchmarkCount(b *testing.B) {
	for _, datasets := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(datasets), func(b *testing.B) {
			c, clock := newTestCounters("p")
			var names []string
			for i := range datasets {
				names = append(names, fmt.Sprintf("tenant-%d/service-%d=1", i%7, i))
			}
			block := segment(clock.t, 1, "segment-writer-1", names...)
			b.ReportAllocs()
			for b.Loop() {
				c.add(block)
			}
		})
	}
}
