package page_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/page"
	"github.com/skerrydb/skerry/bench/result"
)

func measured(t *testing.T, pause time.Duration) pace.Summary {
	t.Helper()
	m, err := pace.Run(t.Context(), pace.Options{Callers: 2, Calls: 40}, func(_ context.Context, _ int, n uint64) (func() error, error) {
		time.Sleep(pause)
		if n == 7 {
			return nil, errors.New("failed")
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Summary()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func report(t *testing.T) string {
	t.Helper()
	var files []*result.File
	for n := range 2 {
		f := &result.File{
			Format: result.Format, Began: time.Unix(1_800_000_000, 0), Version: "skerry <test>", Targets: []result.Target{{Name: "t"}},
			Workload: generate.Settings{Shape: generate.Standard, Blocks: 1000, Tenants: 20, Shards: 16},
			Steps:    []result.Step{{Name: "load", Target: "t", Blocks: 1000, DiskBytes: 1 << 20, MemoryBytes: 1 << 25}},
		}
		for repetition := range 4 {
			f.Runs = append(f.Runs, result.Run{Scenario: "write", Target: "t", Callers: 2, Repetition: repetition, Blocks: 1000, Summary: measured(t, time.Duration(1+n)*time.Millisecond)})
		}
		// One that was never answered has nothing to draw.
		f.Runs = append(f.Runs, result.Run{Scenario: "poll", Target: "t", Callers: 1, Summary: pace.Summary{Failed: 3}})
		files = append(files, f)
	}
	sides := result.Sides([]string{"<before>.json", "after.json"}, files)
	rows, err := result.Compare(sides)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Write(&b, sides, rows); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReport(t *testing.T) {
	html := report(t)
	// It is well-formed, so that nothing is left to browsers.
	decoder := xml.NewDecoder(strings.NewReader(strings.NewReplacer("<!DOCTYPE html>", "", `<meta charset="utf-8">`, "").Replace(html)))
	elements := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
			for _, attribute := range start.Attr {
				switch attribute.Name.Local {
				case "d", "x", "cx":
					inside(t, attribute.Value, 560)
				case "y", "cy":
					inside(t, attribute.Value, 300)
				case "src", "href", "srcset", "action", "data", "poster":
					t.Errorf("<%s> fetches %q", start.Name.Local, attribute.Value)
				}
			}
		}
	}
	// Latency and throughput of writes, disk, memory, latency over size; polls have none.
	if elements["svg"] != 5 {
		t.Errorf("%d plots", elements["svg"])
	}
	for _, element := range []string{"script", "link", "iframe", "img"} {
		if elements[element] > 0 {
			t.Errorf("has <%s>", element)
		}
	}
	if found := regexp.MustCompile(`https?:|url\(|@import|//[a-z]`).FindString(html); found != "" {
		t.Errorf("refers to something else: %q", found)
	}
	for _, want := range []string{"&lt;before&gt;", "skerry &lt;test&gt;", "write, 2 callers", "<td>throughput, /s</td>", ", 4 failed", "<td>load</td>"} {
		if !strings.Contains(html, want) {
			t.Errorf("does not have %q", want)
		}
	}
	if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
		t.Error("has places that are no numbers")
	}
}

var coordinate = regexp.MustCompile(`-?[0-9.]+(e[-+]?[0-9]+)?`)

// inside demands that all numbers are on the canvas.
func inside(t *testing.T, numbers string, limit float64) {
	t.Helper()
	for _, text := range coordinate.FindAllString(numbers, -1) {
		if n, err := strconv.ParseFloat(text, 64); err != nil || n < 0 || n > limit {
			t.Errorf("%q of %q is off the canvas: %v", text, numbers, err)
		}
	}
}

func TestCells(t *testing.T) {
	four, twice := []float64{10, 11, 12, 13}, []float64{20, 22, 24, 26}
	for want, c := range map[string]result.Cell{
		"2.00 [1.54, 2.60]":   {Repetitions: 4, Ratio: result.Ratio(four, twice)},
		"~ 1.00 [0.77, 1.30]": {Repetitions: 4, Ratio: result.Ratio(four, four)},
		"2.00 [?]":            {Repetitions: 1, Ratio: result.Ratio([]float64{1}, []float64{2})},
		"-":                   {},
	} {
		if got := page.Ratio(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := fmt.Sprint(page.Median(result.Cell{Repetitions: 6, Median: result.Median([]float64{1, 2, 3, 4, 5, 6}), Failed: 1})); got != "3.5 [1, 6], 1 failed" {
		t.Error(got)
	}
}
