package result

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// Side is a target in a file.
type Side struct {
	Name string
	File *File
	// Its name in the file.
	Target string
}

// Sides are all targets of files, which are named as their paths are.
func Sides(paths []string, files []*File) []Side {
	var sides []Side
	for at, f := range files {
		base := strings.TrimSuffix(filepath.Base(paths[at]), ".json")
		for _, target := range f.Targets {
			name := base
			if len(f.Targets) > 1 {
				name += ":" + target.Name
			}
			sides = append(sides, Side{name, f, target.Name})
		}
	}
	return sides
}

// Key is what must be equal for runs to be compared.
type Key struct {
	Scenario string
	Callers  int
	Rate     float64
}

// String tells people.
func (k Key) String() string {
	if k.Rate > 0 {
		return fmt.Sprintf("%s, %g/s", k.Scenario, k.Rate)
	}
	return fmt.Sprintf("%s, %d callers", k.Scenario, k.Callers)
}

// Runs are a side's, by key.
func (s *Side) Runs() map[Key][]Run {
	all := map[Key][]Run{}
	for _, r := range s.File.Runs {
		if r.Target == s.Target {
			k := Key{r.Scenario, r.Callers, r.Rate}
			all[k] = append(all[k], r)
		}
	}
	return all
}

// Keys are those of any side, in the order of the first that has them.
func Keys(sides []Side) []Key {
	var keys []Key
	for _, s := range sides {
		for _, r := range s.File.Runs {
			if k := (Key{r.Scenario, r.Callers, r.Rate}); r.Target == s.Target && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// Metric is a number of a run.
type Metric struct {
	Name, Unit string
	// Not a number for runs that do not tell it.
	Of func(*Run) float64
}

// Metrics are those that are compared.
func Metrics() []Metric {
	quantile := func(share float64) func(*Run) float64 {
		return func(r *Run) float64 {
			if !r.Latency.Tells(share) {
				return math.NaN()
			}
			return float64(r.Latency.At(share)) / 1000
		}
	}
	return []Metric{
		{"throughput", "/s", func(r *Run) float64 { return r.Throughput }},
		{"p50", "ms", quantile(0.5)}, {"p99", "ms", quantile(0.99)}, {"p99.9", "ms", quantile(0.999)},
	}
}

// Row is one metric of one scenario: each side's median, and its ratio to the first side's.
type Row struct {
	Key    Key
	Metric Metric
	Cells  []Cell
}

// Cell is one side's; Repetitions is 0 if it has none.
type Cell struct {
	Repetitions int
	Median      Interval
	// To the first side; not known for itself.
	Ratio Interval
	// Failed, unsent and wrong calls.
	Failed uint64
}

// Compare makes a row for each scenario and metric. Files of other workloads are
// refused: their ratios would say nothing.
func Compare(sides []Side) ([]Row, error) {
	for _, s := range sides[min(1, len(sides)):] {
		a, b := sides[0].File.Workload, s.File.Workload
		if a.Shape != b.Shape || a.Tenants != b.Tenants || a.Shards != b.Shards {
			return nil, fmt.Errorf("%s has %s blocks of %d tenants in %d shards, %s %s ones of %d in %d: they are not comparable",
				sides[0].Name, a.Shape, a.Tenants, a.Shards, s.Name, b.Shape, b.Tenants, b.Shards)
		}
	}
	bySide := make([]map[Key][]Run, len(sides))
	for i := range sides {
		bySide[i] = sides[i].Runs()
	}
	var rows []Row
	for _, key := range Keys(sides) {
		for _, metric := range Metrics() {
			row := Row{Key: key, Metric: metric}
			var first []float64
			for i := range sides {
				sample, failed := values(bySide[i][key], metric)
				if i == 0 {
					first = sample
				}
				cell := Cell{Repetitions: len(sample), Median: Median(sample), Ratio: Ratio(first, sample), Failed: failed}
				row.Cells = append(row.Cells, cell)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// Warnings are what makes ratios of sides say less than they seem to.
func Warnings(sides []Side) []string {
	var all []string
	first := sides[0].File
	for i, s := range sides {
		f := s.File
		if m := f.Machine; m.Load > float64(m.CPUs) {
			all = append(all, fmt.Sprintf("%s: the machine was busy with other work when it began: load %.1f of %d processors", s.Name, m.Load, m.CPUs))
		}
		if i == 0 || f == first {
			continue
		}
		if a, b := first.Workload, f.Workload; a.Blocks != b.Blocks || a.Days != b.Days {
			all = append(all, fmt.Sprintf("%s has %d blocks of %g days, %s %d of %g: ratios are of sizes, too", sides[0].Name, a.Blocks, a.Days, s.Name, b.Blocks, b.Days))
		} else if a.Seed != b.Seed {
			all = append(all, fmt.Sprintf("%s has another seed than %s: questions and answers differ", s.Name, sides[0].Name))
		}
		if a, b := first.Machine, f.Machine; a.Host != b.Host || a.CPU != b.CPU || a.CPUs != b.CPUs {
			all = append(all, fmt.Sprintf("%s was measured on another machine than %s", s.Name, sides[0].Name))
		}
	}
	return slices.Compact(all)
}

// values are those of runs that tell them.
func values(runs []Run, metric Metric) (sample []float64, failed uint64) {
	for i := range runs {
		failed += runs[i].Failed + runs[i].Unsent + runs[i].Wrong
		if value := metric.Of(&runs[i]); runs[i].Answered > 0 && !math.IsNaN(value) {
			sample = append(sample, value)
		}
	}
	slices.SortFunc(sample, cmp.Compare[float64])
	return sample, failed
}
