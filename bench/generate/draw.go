package generate

import (
	"math"
	"math/bits"
	"sort"
)

// draw is a sequence of numbers that a seed and an index begin (SplitMix64): small
// enough to make one for each block.
type draw struct{ state uint64 }

const goldenGamma = 0x9e3779b97f4a7c15

func newDraw(seed, index uint64) draw { return draw{mix(mix(seed+goldenGamma) + index)} }

// mix is a bijection that leaves no pattern.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (d *draw) next() uint64 {
	d.state += goldenGamma
	return mix(d.state)
}

// below returns a number less than n, which is at least 1.
func (d *draw) below(n uint64) uint64 {
	high, _ := bits.Mul64(d.next(), n)
	return high
}

// weights draws numbers from 0 on, each as often as its weight says.
type weights struct{ limits []uint64 }

func newWeights(all []float64) weights {
	total := 0.0
	for _, weight := range all {
		total += weight
	}
	w := weights{make([]uint64, len(all))}
	sum := 0.0
	for i, weight := range all {
		sum += weight
		w.limits[i] = uint64(math.MaxUint32 * (sum / total))
	}
	w.limits[len(all)-1] = math.MaxUint32
	return w
}

// zipf makes the k-th of n as frequent as (k+1)^-skew; with 0 all are alike.
func zipf(n int, skew float64) weights {
	all := make([]float64, n)
	for k := range all {
		all[k] = math.Pow(float64(k+1), -skew)
	}
	return newWeights(all)
}

func (w weights) pick(d *draw) int {
	x := d.next() >> 32
	return sort.Search(len(w.limits)-1, func(i int) bool { return x <= w.limits[i] })
}

// spread draws a number between neighbours of a table of quantiles: the first is
// the least, the last the most, the others divide what is between alike.
type spread []uint64

func (s spread) pick(d *draw) uint64 {
	at := d.below(uint64(len(s) - 1))
	return s[at] + d.below(s[at+1]-s[at]+1)
}
