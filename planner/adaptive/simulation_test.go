package adaptive

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

var seeds = flag.Int("seeds", 2, "simulations to run")

// world is some datasets of tenants that write steadily, whose data distributors
// spread as the rules say, and nodes that count. Managers change, nodes restart, and
// are not reached.
type world struct {
	random *rand.Rand
	now    planner.Time
	config Config
	limits Limits

	flows map[dataset]float64
	// Skewed datasets have one series that is half of everything.
	skewed map[dataset]bool
	// How far each node's counters were read, by the manager of now.
	pulled map[string]planner.Time
	waits  map[string]map[Key]float64

	stats *Statistics
	ruler *Ruler
	// What is in the bucket.
	lastStats Built
	lastRules *adaptiveplacement.PlacementRules
	// Changes of a dataset's number of shards.
	moves int
}

const interval = 15 * time.Second

func newWorld(seed uint64, mode Deviation) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 1)), now: at(1.7e9), config: Defaults(), limits: DefaultLimits(),
		flows: map[dataset]float64{}, skewed: map[dataset]bool{}, pulled: map[string]planner.Time{}, waits: map[string]map[Key]float64{},
	}
	w.config.Deviation = mode
	for i := range 3 + w.random.IntN(6) {
		name := dataset{fmt.Sprintf("tenant-%d", w.random.IntN(3)), fmt.Sprintf("service-%d", i)}
		// Not so close to a whole number of units that rounding decides.
		units := math.Floor(math.Exp(w.random.Float64()*3.5) - 1)
		w.flows[name] = (units + 0.05 + 0.9*w.random.Float64()) * float64(w.limits.UnitBytes)
		w.skewed[name] = w.random.IntN(3) == 0
	}
	w.takeOver()
	return w
}

// takeOver begins with another manager, which reads the bucket.
func (w *world) takeOver() {
	w.stats, w.ruler = NewStatistics(w.config), NewRuler(w.config, w.lastRules, w.now)
	if w.lastStats.DistributionStats != nil {
		w.stats.Resume(w.lastStats.DistributionStats, w.now)
	}
	for node := range w.pulled {
		w.pulled[node] = w.now
		clear(w.waits[node]) // the baseline
	}
}

// write spreads what came in one interval over shards and nodes.
func (w *world) write(trouble bool) {
	for name, flow := range w.flows {
		shards, robin := uint64(1), false
		for _, rule := range w.lastRules.GetDatasets() {
			if w.lastRules.Tenants[rule.Tenant].TenantId == name.tenant && rule.Name == name.name {
				shards, robin = rule.DatasetShardLimit, rule.LoadBalancing == adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN
			}
		}
		if trouble {
			flow *= w.random.Float64() * 2
		}
		bytes := flow * interval.Seconds()
		for shard := range shards {
			part := bytes / float64(shards)
			if w.skewed[name] && !robin {
				part /= 2
				if shard == 0 {
					part += bytes / 2
				}
			}
			node := fmt.Sprintf("node-%d", shard%3)
			if w.waits[node] == nil {
				w.waits[node], w.pulled[node] = map[Key]float64{}, w.now
			}
			w.waits[node][Key{name.tenant, name.name, uint32(shard + 1), fmt.Sprint("writer-", shard)}] += part
		}
	}
}

func (w *world) update(trouble bool) {
	w.write(trouble)
	w.now = w.now.Add(interval)
	for node, counted := range w.waits {
		if trouble && w.random.IntN(10) == 0 {
			continue // not reached
		}
		for key, bytes := range counted {
			w.stats.Add(node, key, uint64(bytes), w.pulled[node], w.now)
		}
		clear(counted)
		w.pulled[node] = w.now
	}
	w.lastStats = w.stats.Build(w.now, w.now)
	before := map[dataset]uint64{}
	for _, rule := range w.lastRules.GetDatasets() {
		before[dataset{w.lastRules.Tenants[rule.Tenant].TenantId, rule.Name}] = rule.DatasetShardLimit
	}
	w.lastRules = w.ruler.Build(w.lastStats.DistributionStats, w.now, same(w.limits))
	for _, rule := range w.lastRules.Datasets {
		if before[dataset{w.lastRules.Tenants[rule.Tenant].TenantId, rule.Name}] != rule.DatasetShardLimit {
			w.moves++
		}
	}
}

// Whatever happened, once it is quiet each dataset gets the shards that its flow
// needs, and stays there. Skewed ones become round-robin, if the deviation is exact.
func TestSimulation(t *testing.T) {
	robins := 0
	for seed := range uint64(*seeds) {
		for _, mode := range []Deviation{AsPyroscope, Exact} {
			w := newWorld(seed, mode)
			for range 240 {
				w.update(true)
				if w.random.IntN(40) == 0 {
					w.takeOver()
				}
			}
			// Two decay windows and what EWMAs need to forget.
			for range 4 * 90 {
				w.update(false)
			}
			w.moves = 0
			for range 240 {
				w.update(false)
			}
			if w.moves != 0 {
				t.Errorf("seed %d, %s: %d changes while nothing changed", seed, mode, w.moves)
			}
			if len(w.lastRules.Datasets) != len(w.flows) {
				t.Errorf("seed %d, %s: %d rules for %d datasets", seed, mode, len(w.lastRules.Datasets), len(w.flows))
			}
			for _, rule := range w.lastRules.Datasets {
				name := dataset{w.lastRules.Tenants[rule.Tenant].TenantId, rule.Name}
				if want := needed(uint64(w.flows[name]), w.limits.UnitBytes); rule.DatasetShardLimit != want {
					t.Errorf("seed %d, %s: %v: %v shards, want %v", seed, mode, name, rule.DatasetShardLimit, want)
				}
				robin := rule.LoadBalancing == adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN
				if robin {
					robins++
				}
				if robin && mode == AsPyroscope {
					t.Errorf("seed %d: %v became round-robin", seed, name)
				}
				// Half of it, and its part of the rest, in one shard.
				if mode == Exact && w.skewed[name] && rule.DatasetShardLimit >= 4 && !robin {
					t.Errorf("seed %d: %v has %d shards and half of all in one, and is not round-robin", seed, name, rule.DatasetShardLimit)
				}
			}
		}
	}
	if robins == 0 {
		t.Error("no dataset became round-robin in any run")
	}
}
