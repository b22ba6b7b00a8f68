package adaptive

import (
	"math"

	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

// Skewed tells whether series kept in one shard each load the shards of a dataset
// so unevenly that round-robin is better for it. Shards is the number that it is
// to have: while it moves to others, usages say little. A minimum of usage is
// demanded, for round-robin costs queries and compaction something.
func Skewed(usages []uint64, deviation float64, shards, unit uint64) bool {
	if len(usages) < 2 || shards == 0 {
		return false
	}
	if ratio := float64(len(usages)) / float64(shards); ratio > 2 || ratio < 0.5 {
		return false
	}
	var most, sum float64
	for _, usage := range usages {
		most, sum = max(most, float64(usage)), sum+float64(usage)
	}
	if most < 2*float64(unit) || sum == 0 {
		return false
	}
	return deviation/(sum/float64(len(usages))) >= 0.5
}

// balance chooses for a dataset that was balanced in a way before.
func balance(before adaptiveplacement.LoadBalancing, stats *adaptiveplacement.DatasetStats, shards uint64, limits Limits) adaptiveplacement.LoadBalancing {
	if fixed := limits.LoadBalancing.fixed(); fixed != adaptiveplacement.LoadBalancing_LOAD_BALANCING_UNSPECIFIED {
		return fixed
	}
	if before == adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN || Skewed(stats.GetUsage(), float64(stats.GetStdDev()), shards, limits.UnitBytes) {
		return adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN
	}
	return adaptiveplacement.LoadBalancing_LOAD_BALANCING_FINGERPRINT
}

// deviation is the standard deviation of a whole population.
func deviation(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	var sum, squares float64
	for _, v := range values {
		sum += v
	}
	mean := sum / float64(len(values))
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return math.Sqrt(squares / float64(len(values)))
}
