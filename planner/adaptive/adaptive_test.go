package adaptive

import (
	"encoding/hex"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

const second = planner.Time(time.Second)

func at(seconds float64) planner.Time { return planner.Time(seconds * float64(time.Second)) }

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9*math.Max(1, math.Abs(want)) }

// R-PLC-3: the formula, step by step.
func TestRate(t *testing.T) {
	const halfLife = 3 * time.Minute
	tau := 180 / math.Ln2
	var r rate
	r.add(1000, at(100_000), halfLife)
	if got := r.at(at(100_000), halfLife); got != 0 {
		t.Errorf("the first sample alone gives %v", got)
	}
	if got := r.at(at(100_000.5), halfLife); got != 0 {
		t.Errorf("read after less than a second gives %v", got)
	}
	// Read later, and nothing is stored by it.
	share := 1 - math.Exp(-10/tau)
	for range 2 {
		if got, want := r.at(at(100_010), halfLife), share*100; !near(got, want) {
			t.Errorf("read after 10 s gives %v, want %v", got, want)
		}
	}
	// Within a second samples are gathered.
	r.add(500, at(100_000.9), halfLife)
	r.add(700, at(100_010), halfLife)
	if want := share * 150; !near(r.mean, want) || r.sum != 700 || r.last != at(100_010) {
		t.Errorf("got %+v, want a mean of %v", r, want)
	}
	before := r
	r.add(1e9, at(100_009), halfLife)
	if r != before {
		t.Error("a sample from the past was taken")
	}
	// Half of what was there is gone after a half-life.
	r = rate{last: at(1000), mean: 800}
	if got := r.at(at(1180), halfLife); !near(got, 400) {
		t.Errorf("after one half-life %v is left of 800", got)
	}
	// Half-lives under a second count as one.
	r = rate{last: at(1000), mean: 800}
	if got := r.at(at(1001), 0); !near(got, 400) {
		t.Errorf("without a half-life %v is left of 800 after a second", got)
	}
	// A constant flow is found.
	r = rate{}
	for i := range 2000 {
		r.add(300, at(float64(1000+15*i)), halfLife)
	}
	if got := r.at(at(1000+15*2000), halfLife); math.Abs(got-20) > 1e-6 {
		t.Errorf("300 in each 15 s give a rate of %v", got)
	}
}

// R-PLC-6: vectors.
func TestShards(t *testing.T) {
	limits := Limits{MinDatasetShards: 1, MaxDatasetShards: 64, UnitBytes: 100, BurstWindow: 1000 * time.Second, DecayWindow: 1200 * time.Second}
	var a allocation
	for i, c := range []struct {
		usage  uint64
		now    planner.Time
		shards uint64
	}{
		{50, 1000, 1}, {120, 1100, 4}, {120, 1200, 4}, {450, 1300, 9}, {900, 1400, 18}, {300, 1500, 18},
		{300, 2700, 18}, {300, 3950, 4}, {20, 5200, 4}, {20, 6500, 1}, {640, 9000, 7},
	} {
		if got := a.observe(c.usage, c.now*second, limits); got != c.shards {
			t.Errorf("step %d: %d B/s at %d s: %d shards, want %d", i, c.usage, c.now, got, c.shards)
		}
	}
}

// A number that was decided before is no growth, and what follows it no burst.
func TestShardsResume(t *testing.T) {
	a := resume(8, at(1e6))
	for i, c := range []struct{ units, want uint64 }{{8, 8}, {8, 8}, {9, 9}, {10, 12}} {
		if got := a.observe(c.units*128<<10-1, at(1e6+15*float64(i)), DefaultLimits()); got != c.want {
			t.Errorf("step %d: %d units get %d shards, want %d", i, c.units, got, c.want)
		}
	}
}

// R-PLC-6, R-PLC-10: bounds, whatever comes.
func TestShardsAreBounded(t *testing.T) {
	limits := DefaultLimits()
	for i, c := range []struct {
		change func(*Limits)
		usage  uint64
		want   uint64
	}{
		{func(*Limits) {}, 0, 1},
		{func(*Limits) {}, math.MaxUint64, 1024},
		{func(l *Limits) { l.MinDatasetShards = 5 }, 0, 5},
		{func(l *Limits) { l.UnitBytes = 0 }, math.MaxUint64, 1},
		{func(l *Limits) { l.UnitBytes, l.MinDatasetShards = 0, 3 }, 10, 3},
		{func(l *Limits) { l.UnitBytes, l.MaxDatasetShards = 1, MaxShards }, math.MaxUint64, MaxShards},
		{func(l *Limits) { l.MinDatasetShards, l.MaxDatasetShards = 9, 4 }, 0, 4},
		{func(l *Limits) { *l = Limits{} }, math.MaxUint64, 1},
	} {
		own := limits
		c.change(&own)
		var a allocation
		for step := range 40 {
			if got := a.observe(c.usage, at(float64(1e6+step)), own); got != c.want {
				t.Fatalf("case %d, step %d: %d shards, want %d", i, step, got, c.want)
			}
		}
	}
}

// R-PLC-9: every way out, in order.
func TestBalance(t *testing.T) {
	const fingerprint, robin = adaptiveplacement.LoadBalancing_LOAD_BALANCING_FINGERPRINT, adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN
	dynamic := Limits{UnitBytes: 100, LoadBalancing: Dynamic}
	for name, c := range map[string]struct {
		limits Limits
		before adaptiveplacement.LoadBalancing
		usage  []uint64
		stdDev uint64
		shards uint64
		want   adaptiveplacement.LoadBalancing
	}{
		"skewed":               {dynamic, 0, []uint64{200, 0}, 50, 2, robin},
		"one shard":            {dynamic, 0, []uint64{900}, 900, 1, fingerprint},
		"nothing":              {dynamic, 0, nil, 900, 1, fingerprint},
		"twice as many shards": {dynamic, 0, []uint64{400, 0, 0, 0}, 50, 2, robin},
		"more than twice":      {dynamic, 0, []uint64{400, 0, 0, 0, 0}, 90, 2, fingerprint},
		"half as many":         {dynamic, 0, []uint64{400, 0}, 100, 4, robin},
		"less than half":       {dynamic, 0, []uint64{400, 0}, 100, 5, fingerprint},
		"little usage":         {dynamic, 0, []uint64{199, 0}, 100, 2, fingerprint},
		"even":                 {dynamic, 0, []uint64{300, 300}, 149, 2, fingerprint},
		"just uneven":          {dynamic, 0, []uint64{300, 300}, 150, 2, robin},
		"stays round-robin":    {dynamic, robin, []uint64{1}, 0, 1, robin},
		"is set to one":        {Limits{LoadBalancing: Fingerprint}, robin, []uint64{900, 0}, 900, 2, fingerprint},
		"is set to the other":  {Limits{LoadBalancing: RoundRobin}, fingerprint, []uint64{1}, 0, 1, robin},
		"no unit":              {Limits{LoadBalancing: Dynamic}, 0, []uint64{0, 0}, 1, 2, fingerprint},
	} {
		stats := &adaptiveplacement.DatasetStats{Usage: c.usage, StdDev: c.stdDev}
		if got := balance(c.before, stats, c.shards, c.limits); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// feed adds a flow of bytes per second for some time, at each update interval, and
// returns what is built last.
func feed(s *Statistics, flows map[Key]float64, from planner.Time, updates int) (Built, planner.Time) {
	var built Built
	now := from
	for range updates {
		before := now
		now = now.Add(15 * time.Second)
		for key, flow := range flows {
			s.Add("a", key, uint64(flow*15), before, now)
		}
		built = s.Build(now, now)
	}
	return built, now
}

// R-PLC-4: order, rounding, shard 0, equal names of two tenants, and the published
// deviation, which is as many times too small as an interval has seconds.
func TestStatistics(t *testing.T) {
	flows := map[Key]float64{
		{"b", "x", 2, "w2"}: 3000, {"b", "x", 1, "w1"}: 1000, {"a", "x", 2, "w2"}: 500, {"a", "a", 2, "w1"}: 500, {"a", "a", 0, "w1"}: 900,
	}
	config := Defaults()
	built, _ := feed(NewStatistics(config), flows, at(1e6), 400)
	want := `tenants:{tenant_id:"a"} tenants:{tenant_id:"b"}` +
		` datasets:{name:"a" shards:0 usage:500} datasets:{name:"x" shards:1 usage:500}` +
		` datasets:{tenant:1 name:"x" shards:2 shards:1 usage:1000 usage:3000 std_dev:67}` +
		` shards:{id:2 owner:"w1"} shards:{id:2 owner:"w2"} shards:{id:1 owner:"w1"} created_at:1006000000000000`
	if got := compact(built.DistributionStats); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if built.Deviations[2] != 1000 {
		t.Errorf("the true deviation is %v", built.Deviations)
	}
	config.Deviation = Exact
	built, _ = feed(NewStatistics(config), flows, at(1e6), 400)
	if got := built.Datasets[2].StdDev; got != 1000 {
		t.Errorf("the exact deviation is %d", got)
	}
}

func compact(stats *adaptiveplacement.DistributionStats) string {
	var out string
	add := func(format string, args ...any) {
		if out != "" {
			out += " "
		}
		out += fmt.Sprintf(format, args...)
	}
	for _, x := range stats.Tenants {
		add("tenants:{tenant_id:%q}", x.TenantId)
	}
	for _, d := range stats.Datasets {
		line := fmt.Sprintf("name:%q", d.Name)
		if d.Tenant != 0 {
			line = fmt.Sprintf("tenant:%d ", d.Tenant) + line
		}
		for _, x := range d.Shards {
			line += fmt.Sprintf(" shards:%d", x)
		}
		for _, x := range d.Usage {
			line += fmt.Sprintf(" usage:%d", x)
		}
		if d.StdDev != 0 {
			line += fmt.Sprintf(" std_dev:%d", d.StdDev)
		}
		add("datasets:{%s}", line)
	}
	for _, x := range stats.Shards {
		add("shards:{id:%d owner:%q}", x.Id, x.Owner)
	}
	add("created_at:%d", stats.CreatedAt)
	return out
}

// R-PLC-14: who counts does not matter, nor when each was asked.
func TestSumOfSources(t *testing.T) {
	key := Key{"a", "x", 1, "w"}
	one, several := NewStatistics(Defaults()), NewStatistics(Defaults())
	now := at(1e6)
	for i := range 100 {
		next := now.Add(15 * time.Second)
		one.Add("a", key, 3000, now, next)
		several.Add("a", key, 1000, now, next)
		several.Add("b", key, 2000, now, next)
		now = next
		x, y := one.Build(now, now), several.Build(now, now)
		if x.Datasets[0].Usage[0] != y.Datasets[0].Usage[0] {
			t.Fatalf("update %d: %d of one, %d of two", i, x.Datasets[0].Usage[0], y.Datasets[0].Usage[0])
		}
	}
	// One of them is asked only every other time: nothing is lost, nothing counts twice.
	for i := range 100 {
		next := now.Add(15 * time.Second)
		several.Add("a", key, 1000, now, next)
		if i%2 == 1 {
			several.Add("b", key, 4000, now.Add(-15*time.Second), next)
		}
		now = next
	}
	if got := several.Build(now, now).Datasets[0].Usage[0]; got != 200 {
		t.Errorf("%d B/s, want 200", got)
	}
}

// R-PLC-5: what gets no samples is forgotten; bounds hold and are counted.
func TestStatisticsAreBounded(t *testing.T) {
	config := Defaults()
	config.MaxRates = 8
	s := NewStatistics(config)
	now := at(1e6)
	add := func(tenant, name string) { s.Add("a", Key{tenant, name, 1, "w"}, 1, now.Add(-time.Second), now) }
	for i := range 20 {
		add("greedy", fmt.Sprint(i))
	}
	if s.Len() != 3 || s.Dropped() != 17 {
		t.Errorf("one tenant has %d rates, %d samples were left out", s.Len(), s.Dropped())
	}
	for i := range 20 {
		add(fmt.Sprint(i), "x")
	}
	if s.Len() != 8 || s.Dropped() != 32 {
		t.Errorf("%d rates, %d samples were left out", s.Len(), s.Dropped())
	}
	// Full, the idle give way; those that go on stay.
	now = now.Add(61 * time.Second)
	add("0", "x")
	if s.Build(now, now); s.Len() != 1 {
		t.Errorf("%d rates are left", s.Len())
	}
	now = now.Add(15 * time.Minute)
	if s.Build(now, now); s.Len() != 1 {
		t.Error("forgotten too early")
	}
	now++
	if s.Build(now, now); s.Len() != 0 || len(s.tenants) != 0 {
		t.Errorf("not forgotten: %d rates, %d tenants", s.Len(), len(s.tenants))
	}
}

// A successor goes on where the last manager stopped.
func TestStatisticsResume(t *testing.T) {
	flows := map[Key]float64{{"a", "x", 1, "w1"}: 1000, {"a", "x", 2, "w2"}: 3000, {"b", "y", 1, "w1"}: 70}
	for _, mode := range []Deviation{AsPyroscope, Exact} {
		config := Defaults()
		config.Deviation = mode
		last, now := feed(NewStatistics(config), flows, at(1e6), 400)
		next := NewStatistics(config)
		now = now.Add(time.Minute) // nobody looked
		next.Resume(last.DistributionStats, now)
		for range 100 {
			var built Built
			built, now = feed(next, flows, now, 1)
			for i, d := range built.Datasets {
				for j, usage := range d.Usage {
					// When the old rate is forgotten, 1/32 of it is left.
					if was := last.Datasets[i].Usage[j]; float64(usage) < 0.96*float64(was)-1 || usage > was+1 {
						t.Fatalf("%s: dataset %d: %v, was %v", mode, i, d.Usage, last.Datasets[i].Usage)
					}
				}
				// The first sample of a rate only counts at the second one.
				if was := last.Datasets[i].StdDev; d.StdDev*10 < was*9 || d.StdDev > was+2 {
					t.Fatalf("%s: dataset %d: deviation %d, was %d", mode, i, d.StdDev, was)
				}
			}
		}
		stale := NewStatistics(config)
		stale.Resume(last.DistributionStats, planner.Time(last.CreatedAt).Add(config.StatsRetention+1))
		if stale.Len() != 0 {
			t.Error("statistics that are too old were taken")
		}
	}
	damaged := NewStatistics(Defaults())
	damaged.Resume(&adaptiveplacement.DistributionStats{
		Tenants: []*adaptiveplacement.TenantStats{{TenantId: "a"}}, Shards: []*adaptiveplacement.ShardStats{{Id: 1}, {Id: 0}},
		Datasets: []*adaptiveplacement.DatasetStats{
			{Tenant: 1, Shards: []uint32{0}, Usage: []uint64{1}}, {Shards: []uint32{0, 1}, Usage: []uint64{1}},
			{Shards: []uint32{2, 1}, Usage: []uint64{1, 1}}, {Name: "good", Shards: []uint32{0}, Usage: []uint64{5}},
		},
		CreatedAt: math.MaxInt64,
	}, at(1e6))
	if damaged.Len() != 1 {
		t.Errorf("%d rates were taken from damaged statistics, want 1", damaged.Len())
	}
}

func statsOf(now planner.Time, usages map[string][]uint64, tenants ...string) *adaptiveplacement.DistributionStats {
	stats := &adaptiveplacement.DistributionStats{CreatedAt: int64(now)}
	for i, tenant := range tenants {
		stats.Tenants = append(stats.Tenants, &adaptiveplacement.TenantStats{TenantId: tenant})
		stats.Datasets = append(stats.Datasets, &adaptiveplacement.DatasetStats{Tenant: uint32(i), Name: "x", Usage: usages[tenant]})
	}
	return stats
}

func same(limits Limits) func(string) Limits { return func(string) Limits { return limits } }

func line(rules *adaptiveplacement.PlacementRules) string {
	var out string
	for _, d := range rules.Datasets {
		out += fmt.Sprintf("%s/%s %d %d %d; ", rules.Tenants[d.Tenant].TenantId, d.Name, d.TenantShardLimit, d.DatasetShardLimit, d.LoadBalancing)
	}
	return out
}

// R-PLC-8, R-PLC-5: what a rule says, who keeps one, and for how long.
func TestRules(t *testing.T) {
	limits := DefaultLimits()
	limits.UnitBytes = 100
	r := NewRuler(Defaults(), nil, 0)
	now := at(1e6)
	build := func(usages map[string][]uint64, tenants ...string) string {
		stats := statsOf(now, usages, tenants...)
		stats.CreatedAt = 77
		rules := r.Build(stats, now, func(tenant string) Limits {
			own := limits
			own.TenantShards = uint64(len(tenant))
			return own
		})
		if rules.CreatedAt != 77 {
			t.Errorf("created at %d, the statistics at 77", rules.CreatedAt)
		}
		return line(rules)
	}
	if got, want := build(map[string][]uint64{"a": {250}, "bb": {1}, "c": {1}}, "a", "bb", "c"), "a/x 1 3 1; bb/x 2 1 1; c/x 1 1 1; "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	now = now.Add(15 * time.Minute)
	if got, want := build(map[string][]uint64{"bb": {1}}, "bb"), "bb/x 2 1 1; a/x 1 3 1; c/x 1 1 1; "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	now++
	if got, want := build(nil), "bb/x 2 1 1; "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// R-PLC-7: a successor does not shrink what it finds.
func TestRulesResume(t *testing.T) {
	before := &adaptiveplacement.PlacementRules{
		Tenants: []*adaptiveplacement.TenantPlacement{{TenantId: "a"}, {TenantId: "b"}}, CreatedAt: int64(at(1e6)),
		Datasets: []*adaptiveplacement.DatasetPlacement{
			{Name: "x", DatasetShardLimit: 8, LoadBalancing: adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN},
			{Tenant: 1, Name: "x", DatasetShardLimit: 5, TenantShardLimit: 4}, {Tenant: 2, Name: "damaged"},
		},
	}
	now := at(1e6).Add(10 * time.Minute)
	r := NewRuler(Defaults(), before, now)
	build := func() string {
		return line(r.Build(statsOf(now, map[string][]uint64{"a": {1}}, "a"), now, same(DefaultLimits())))
	}
	if got, want := build(), "a/x 0 8 2; b/x 4 5 0; "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// The window began when the rules were made: it ends at 19 minutes, and what was
	// needed in it counts for one more.
	for _, c := range []struct {
		minute time.Duration
		want   string
	}{{24, "a/x 0 8 2; b/x 4 5 0; "}, {31, "a/x 0 8 2; "}, {42, "a/x 0 8 2; "}, {43, "a/x 0 1 2; "}} {
		now = at(1e6).Add(c.minute * time.Minute)
		if got := build(); got != c.want {
			t.Errorf("minute %d: got %q, want %q", c.minute, got, c.want)
		}
	}
}

// Rules are bounded: who has one keeps it, the longest absent go first.
func TestRulesAreBounded(t *testing.T) {
	config := Defaults()
	config.MaxRules = 3
	r := NewRuler(config, nil, 0)
	now := at(1e6)
	for _, c := range []struct {
		tenants []string
		want    string
		dropped uint64
	}{
		{[]string{"m"}, "m/x 0 1 1; ", 0},
		{[]string{"n"}, "n/x 0 1 1; m/x 0 1 1; ", 0},
		{[]string{"o", "p"}, "o/x 0 1 1; p/x 0 1 1; n/x 0 1 1; ", 1},
		{[]string{"a", "b", "o", "p"}, "a/x 0 1 1; o/x 0 1 1; p/x 0 1 1; ", 3},
	} {
		now = now.Add(time.Second)
		if got := line(r.Build(statsOf(now, nil, c.tenants...), now, same(DefaultLimits()))); got != c.want || r.Dropped() != c.dropped {
			t.Errorf("%v: got %q, want %q; %d were dropped, want %d", c.tenants, got, c.want, r.Dropped(), c.dropped)
		}
	}
}

// R-PLC-10: whose limits stand.
func TestLimits(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Error(err)
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	if (Limits{LoadBalancing: "odd", MinDatasetShards: 1, BurstWindow: -1}).Validate() == nil || (Config{}).Validate() == nil {
		t.Error("wrong limits pass")
	}
	n := func(v uint64) *uint64 { return &v }
	minute, robin := time.Minute, RoundRobin
	limits := DefaultLimits().With(Override{
		TenantShards: n(3), IngestionTenantShards: n(2), MinDatasetShards: n(4), MaxDatasetShards: n(0), UnitBytes: n(6),
		BurstWindow: &minute, DecayWindow: &minute, LoadBalancing: &robin,
	})
	if limits != (Limits{3, 4, 0, 6, minute, minute, RoundRobin}) {
		t.Errorf("got %+v", limits)
	}
	if got := DefaultLimits().With(Override{IngestionTenantShards: n(7)}).TenantShards; got != 7 {
		t.Errorf("a tenant that ingestion gives 7 shards may have %d", got)
	}
}

// The objects' encoding is a contract.
func TestEncoding(t *testing.T) {
	rules := &adaptiveplacement.PlacementRules{
		Tenants:   []*adaptiveplacement.TenantPlacement{{TenantId: "acme"}},
		Datasets:  []*adaptiveplacement.DatasetPlacement{{Name: "checkout", DatasetShardLimit: 3, LoadBalancing: adaptiveplacement.LoadBalancing_LOAD_BALANCING_FINGERPRINT}},
		CreatedAt: 1735787045000000000,
	}
	encoded, err := rules.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	const want = "0a060a0461636d65120e1208636865636b6f7574200328011880e4ccf7eea3b08b18"
	if got := hex.EncodeToString(encoded); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
