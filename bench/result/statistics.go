package result

import (
	"math"
	"slices"
)

// Interval is an estimate and where the truth is with 95 % certainty. If there are
// too few repetitions for that, Low and High are not numbers.
type Interval struct{ Estimate, Low, High float64 }

// Known tells whether there is an interval.
func (i Interval) Known() bool { return !math.IsNaN(i.Low) }

const tail = 0.025

// Median estimates it with an interval of order statistics, for which no
// distribution is assumed: 6 repetitions are the fewest that give one.
func Median(sample []float64) Interval {
	if len(sample) == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN()}
	}
	s := slices.Sorted(slices.Values(sample))
	n := len(s)
	found := Interval{middle(s), math.NaN(), math.NaN()}
	// The k-th least and the k-th most enclose it unless k-1 or fewer lie on one side.
	below, chance := 0.0, math.Pow(0.5, float64(n))
	for k := 0; k < n/2; k++ {
		if below += chance; below > tail {
			break
		}
		found.Low, found.High = s[k], s[n-1-k]
		chance *= float64(n-k) / float64(k+1)
	}
	return found
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Ratio estimates how many times larger the second sample is: the median of all
// ratios of pairs, with the interval that belongs to the rank test of Mann and
// Whitney. Twice 4 repetitions are the fewest that give one. Values must be above 0.
func Ratio(first, second []float64) Interval {
	unknown := math.NaN()
	var logs []float64
	for _, a := range first {
		for _, b := range second {
			if a <= 0 || b <= 0 {
				return Interval{unknown, unknown, unknown}
			}
			logs = append(logs, math.Log(b/a))
		}
	}
	if len(logs) == 0 {
		return Interval{unknown, unknown, unknown}
	}
	slices.Sort(logs)
	found := Interval{math.Exp(middle(logs)), unknown, unknown}
	below := 0.0
	for k, chance := range rankChances(len(first), len(second)) {
		if below += chance; below > tail || k >= len(logs)/2 {
			break
		}
		found.Low, found.High = math.Exp(logs[k]), math.Exp(logs[len(logs)-1-k])
	}
	return found
}

// rankChances is how likely it is, if nothing differs, that k pairs of two samples
// are in one order.
func rankChances(n, m int) []float64 {
	// ways[i][k]: of i of the first sample and, in turn, more of the second.
	ways := make([][]float64, n+1)
	for i := range ways {
		ways[i] = make([]float64, n*m+1)
		ways[i][0] = 1 // with none of the second
	}
	for j := 1; j <= m; j++ {
		for i := 1; i <= n; i++ {
			// The last in order is of the first sample, above j others, or of the second.
			next := slices.Clone(ways[i])
			for k := j; k < len(next); k++ {
				next[k] += ways[i-1][k-j]
			}
			ways[i] = next
		}
	}
	total := 0.0
	for _, count := range ways[n] {
		total += count
	}
	for k := range ways[n] {
		ways[n][k] /= total
	}
	return ways[n]
}
