package figures

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape is the metrics of one or more processes at about one moment.
type scrape []map[string]*dto.MetricFamily

func parseMetrics(text string) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(strings.NewReader(text))
}

func scrapeOne(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	content, err := fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(content))
}

// sum adds up counters and gauges of a name, or the observations' counts, or with
// the suffix _sum their sums. Label values, in pairs, narrow it.
func (s scrape) sum(name string, labels ...string) float64 {
	family, sums := strings.CutSuffix(name, "_sum")
	total := 0.0
	for _, process := range s {
		for _, metric := range process[family].GetMetric() {
			if !has(metric, labels) {
				continue
			}
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
			if sums {
				total += metric.GetHistogram().GetSampleSum() + metric.GetSummary().GetSampleSum()
			} else {
				total += float64(metric.GetHistogram().GetSampleCount() + metric.GetSummary().GetSampleCount())
			}
		}
	}
	return total
}

// quantile estimates a quantile of what a histogram observed from one scrape to a
// later one, in its unit: within its bucket, values are believed to be spread
// evenly. Above the last bucket it is that one's bound; without observations 0.
func quantile(before, after scrape, name string, share float64) float64 {
	counts := map[float64]float64{}
	for sign, s := range map[float64]scrape{-1: before, 1: after} {
		for _, process := range s {
			for _, metric := range process[name].GetMetric() {
				for _, bucket := range metric.GetHistogram().GetBucket() {
					counts[bucket.GetUpperBound()] += sign * float64(bucket.GetCumulativeCount())
				}
			}
		}
	}
	bounds := slices.Sorted(maps.Keys(counts))
	if len(bounds) == 0 {
		return 0
	}
	wanted := share * counts[bounds[len(bounds)-1]]
	low, below := 0.0, 0.0
	for _, bound := range bounds {
		if count := counts[bound]; count > below && count >= wanted {
			if math.IsInf(bound, 1) {
				return low
			}
			return low + (bound-low)*(wanted-below)/(count-below)
		}
		low, below = bound, counts[bound]
	}
	return 0
}

// most is the largest value of gauges of a name; 0 without any.
func (s scrape) most(name string) float64 {
	largest := 0.0
	for _, process := range s {
		for _, metric := range process[name].GetMetric() {
			largest = max(largest, metric.GetGauge().GetValue())
		}
	}
	return largest
}

// known tells whether there is a metric of that name at all.
func (s scrape) known(name string) bool {
	for _, process := range s {
		if process[name] != nil {
			return true
		}
	}
	return false
}

func has(metric *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, pair := range metric.GetLabel() {
			found = found || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// sentKinds are the kinds of what nodes send each other for Raft.
var sentKinds = []string{"messages", "snapshot"}

// sent writes what went between nodes from one scrape to a later one.
func sent(before, after scrape) string {
	const name = "skerry_raft_transport_sent_bytes_total"
	if !after.known(name) {
		return "not measured"
	}
	var parts []string
	for _, kind := range sentKinds {
		parts = append(parts, fmt.Sprintf("%s %s", kind, mebibytes(after.sum(name, "kind", kind)-before.sum(name, "kind", kind))))
	}
	return strings.Join(parts, ", ")
}

func TestSums(t *testing.T) {
	process, err := parseMetrics(`# TYPE c counter
c{group="1",kind="a"} 1
c{group="2",kind="a"} 2
c{group="2",kind="b"} 4
# TYPE g gauge
g 8
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 3
h_sum 70
h_count 3
`)
	must(t, err)
	s := scrape{process, process}
	for name, c := range map[string]struct{ got, want float64 }{
		"all":    {s.sum("c"), 14},
		"one":    {s.sum("c", "group", "2"), 12},
		"two":    {s.sum("c", "group", "2", "kind", "b"), 8},
		"none":   {s.sum("c", "group", "3"), 0},
		"gauge":  {s.sum("g"), 16},
		"count":  {s.sum("h"), 6},
		"sum":    {s.sum("h_sum"), 140},
		"absent": {s.sum("x"), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if got := quantile(nil, s, "h", 0.25); got != 0.75 {
		t.Errorf("a quarter is below %v", got)
	}
	if quantile(nil, s, "h", 0.99) != 1 || quantile(s, s, "h", 0.5) != 0 || quantile(nil, s, "x", 0.5) != 0 {
		t.Error("quantiles without bounds, or of nothing")
	}
	if s.most("g") != 8 || s.most("x") != 0 {
		t.Error("the most is not the most")
	}
	if !s.known("h") || s.known("x") {
		t.Error("what there is, is not known")
	}
}

// fetch reads what a URL has.
func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, content)
	}
	return content, err
}
