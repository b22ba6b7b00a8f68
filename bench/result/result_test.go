package result_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestMedian(t *testing.T) {
	for name, c := range map[string]struct {
		sample         []float64
		want, low, top float64
	}{
		// With 6 all of them, as 2/64 < 5 %; with 9 the second least and most, as 20/512 < 5 %.
		"six":  {[]float64{6, 1, 5, 2, 4, 3}, 3.5, 1, 6},
		"nine": {[]float64{9, 8, 7, 6, 5, 4, 3, 2, 1}, 5, 2, 8},
	} {
		if got := result.Median(c.sample); !near(got.Estimate, c.want) || !near(got.Low, c.low) || !near(got.High, c.top) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := result.Median([]float64{1, 2, 3, 4, 5}); got.Known() || got.Estimate != 3 {
		t.Errorf("five: %+v", got)
	}
	if got := result.Median(nil); got.Known() || !math.IsNaN(got.Estimate) {
		t.Errorf("none: %+v", got)
	}
}

func TestRatio(t *testing.T) {
	a := []float64{10, 11, 12, 13}
	got := result.Ratio(a, []float64{20, 22, 24, 26})
	// Twice 4: the least of 16 ratios, and the most, as 2/70 < 5 %.
	if math.Abs(got.Estimate-2) > 0.05 || !near(got.Low, 20.0/13) || !near(got.High, 2.6) {
		t.Errorf("%+v", got)
	}
	if got := result.Ratio(a, a); !near(got.Estimate, 1) || got.Low > 1 || got.High < 1 {
		t.Errorf("to itself %+v", got)
	}
	for name, got := range map[string]result.Interval{"three": result.Ratio(a[:3], a[:3]), "none": result.Ratio(a, nil), "zero": result.Ratio(a, []float64{0, 1, 2, 3})} {
		if got.Known() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Intervals hold the truth as often as they say: of medians and ratios of skewed samples.
func TestIntervalsCover(t *testing.T) {
	const rounds = 4000
	random := rand.New(rand.NewPCG(1, 2))
	sample := func(n int, scale float64) []float64 {
		all := make([]float64, n)
		for i := range all {
			all[i] = scale * random.ExpFloat64()
		}
		return all
	}
	medians, ratios, wide := 0, 0, 0
	for range rounds {
		if m := result.Median(sample(8, 1)); m.Low <= math.Ln2 && math.Ln2 <= m.High {
			medians++
		}
		r := result.Ratio(sample(6, 1), sample(6, 3))
		if r.Low <= 3 && 3 <= r.High {
			ratios++
		}
		if r.High/r.Low > 1000 {
			wide++
		}
	}
	for name, n := range map[string]int{"medians": medians, "ratios": ratios} {
		if share := float64(n) / rounds; share < 0.945 || share > 0.999 {
			t.Errorf("%s: %.3f hold the truth", name, share)
		}
	}
	if wide > rounds/10 {
		t.Errorf("%d say nothing", wide)
	}
}

func file(t *testing.T, throughput ...float64) *result.File {
	t.Helper()
	f := &result.File{
		Format: result.Format, Began: time.Unix(1_800_000_000, 0).UTC(), Machine: result.ThisMachine(),
		Workload: generate.Settings{Seed: 1, Shape: generate.Standard, Blocks: 10, Tenants: 20, Shards: 16}, Targets: []result.Target{{Name: "a"}},
	}
	for i, rate := range throughput {
		f.Runs = append(f.Runs, result.Run{Scenario: "write", Target: "a", Repetition: i, Callers: 4, Summary: pace.Summary{
			Answered: 100, Throughput: rate, Latency: pace.Distribution{Count: 100, Quantiles: []pace.Quantile{{Share: 0.5, Micros: int64(1e6 / rate)}, {Share: 1, Micros: int64(2e6 / rate)}}},
		}})
	}
	return f
}

func TestCompare(t *testing.T) {
	first, second := file(t, 100, 101, 102, 103, 104, 105), file(t, 200, 202, 204, 206, 208, 210)
	second.Runs = append(second.Runs, result.Run{Scenario: "poll", Target: "a", Callers: 2, Summary: pace.Summary{Failed: 3}})
	sides := result.Sides([]string{"x/first.json", "second.json"}, []*result.File{first, second})
	rows, err := result.Compare(sides)
	if err != nil || len(rows) != 2*len(result.Metrics()) || sides[0].Name != "first" {
		t.Fatalf("%d rows, %v, %v", len(rows), err, sides)
	}
	rate, median := rows[0].Cells[1], rows[1].Cells[1]
	if rate.Repetitions != 6 || !near(rate.Median.Low, 200) || math.Abs(rate.Ratio.Estimate-2) > 0.01 || rate.Ratio.Low < 1.9 || rate.Ratio.High > 2.1 {
		t.Errorf("%+v", rate)
	}
	if math.Abs(median.Ratio.Estimate-0.5) > 0.01 || median.Ratio.High > 0.6 {
		t.Errorf("%+v", median)
	}
	if poll := rows[len(result.Metrics())]; poll.Cells[0].Repetitions != 0 || poll.Cells[1].Repetitions != 0 || poll.Cells[1].Failed != 3 {
		t.Errorf("%+v", poll)
	}
	first.Machine = result.Machine{Host: "h", CPUs: 2, Load: 1.5}
	second.Machine = first.Machine
	if found := result.Warnings(sides); len(found) != 0 {
		t.Errorf("warns %q", found)
	}
	for want, change := range map[string]func(f *result.File){
		"ratios are of sizes":      func(f *result.File) { f.Workload.Blocks++ },
		"another seed":             func(f *result.File) { f.Workload.Seed++ },
		"another machine":          func(f *result.File) { f.Machine.Host = "x" },
		"load 2.5 of 2 processors": func(f *result.File) { f.Machine.Load = 2.5 },
	} {
		changed := *second
		change(&changed)
		if found := result.Warnings(result.Sides([]string{"a", "b"}, []*result.File{first, &changed})); len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("warns %q, want %q", found, want)
		}
	}
	second.Workload.Shards = 5
	if _, err := result.Compare(sides); err == nil || !strings.Contains(err.Error(), "not comparable") {
		t.Errorf("other workloads: %v", err)
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	f := file(t, 5)
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := result.Read(path)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%+v, %v", got, err)
	}
	f.Format = 99
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := result.Read(path); err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Error(err)
	}
	if leftovers, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(leftovers) != 1 {
		t.Error(leftovers)
	}
}

func TestErr(t *testing.T) {
	f := file(t, 5)
	if err := f.Err(); err != nil {
		t.Error(err)
	}
	f.Runs[0].Wrong, f.Runs[0].WrongExamples = 2, []string{"lost one"}
	f.Runs = append(f.Runs, result.Run{Scenario: "poll", Summary: pace.Summary{Failed: 7}})
	for _, want := range []string{"wrong answers", "lost one", "all 7 calls failed"} {
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
