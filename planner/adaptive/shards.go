package adaptive

import (
	"math"

	"github.com/skerrydb/skerry/planner"
)

// maxMultiplier bounds what a burst adds to each growth.
const maxMultiplier = 16

// allocation is the number of shards of one dataset over time. It follows usage up
// at once, and beyond while growth follows growth: a dataset that is being rolled
// out would otherwise move at each step. It follows usage down slowly. The zero
// value has seen nothing.
type allocation struct {
	// As it was last returned.
	shards uint64
	// Of growth.
	multiplier uint64
	burst      planner.Time // when it last grew
	// The most that was needed in the decay window before, and in this one.
	previousMin, currentMin uint64
	decay                   planner.Time // when this one began
}

// resume goes on with a number of shards that was decided before. It is what was
// returned last: otherwise the first observation would count as growth, and the
// next one as a burst.
func resume(shards uint64, since planner.Time) allocation {
	shards = min(shards, MaxShards)
	return allocation{shards: shards, currentMin: shards, decay: since}
}

// observe returns the number of shards for a usage, in bytes per second.
func (a *allocation) observe(usage uint64, now planner.Time, limits Limits) uint64 {
	target := needed(usage, limits.UnitBytes)
	if target > a.shards {
		target = a.grow(target, now, limits)
	}
	if now.Sub(a.decay) >= limits.DecayWindow {
		a.previousMin, a.currentMin, a.decay = a.currentMin, target, now
	}
	a.currentMin = max(a.currentMin, target)
	a.shards = max(1, min(limits.MaxDatasetShards, max(limits.MinDatasetShards, a.previousMin, a.currentMin)))
	return a.shards
}

func (a *allocation) grow(target uint64, now planner.Time, limits Limits) uint64 {
	if now.Sub(a.burst) < limits.BurstWindow {
		a.multiplier = min(max(1, a.multiplier)*2, maxMultiplier)
		target = min(2*target, target+(target-a.shards)*a.multiplier)
	} else {
		a.multiplier = 1
	}
	a.burst = now
	return min(target, MaxShards)
}

// needed is the number of shards that take a usage in units.
func needed(usage, unit uint64) uint64 {
	if unit == 0 {
		return 1
	}
	return min(usage/unit, MaxShards-1) + 1
}

// total is the sum of usages, as far as it goes.
func total(usages []uint64) uint64 {
	var sum uint64
	for _, usage := range usages {
		if usage > math.MaxUint64-sum {
			return math.MaxUint64
		}
		sum += usage
	}
	return sum
}
