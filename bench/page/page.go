// Package page writes comparisons as one HTML file that needs no other: plots are
// SVG in it, styles too, there are no scripts, and nothing is fetched.
package page

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/bench/result"
)

const style = `body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1em}
svg{width:100%}.grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:1.8}.tick{font-size:11px;fill:#555}.title{font-size:13px;font-weight:600}
.legend span{margin-right:1em;font-size:12px}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}.bad{color:#b00}.ratio{font-weight:600}`

// Write writes the report of sides, the first of which is the one that others are compared with.
func Write(w io.Writer, sides []result.Side, rows []result.Row) error {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>skerry bench</title><style>" + style + "</style></head><body>\n<h1>skerry bench</h1>\n")
	writeSides(&b, sides)
	for _, warning := range result.Warnings(sides) {
		b.WriteString("<p class=\"bad\">" + html.EscapeString(warning) + ".</p>\n")
	}
	writeRows(&b, sides, rows)
	b.WriteString("<h2>Latency</h2>\n<p>From the intended start of a call, all repetitions of a side in the median. The axis counts nines.</p><div class=\"plots\">\n")
	for _, key := range result.Keys(sides) {
		b.WriteString("<div>" + latency(sides, key).svg() + "</div>\n")
	}
	b.WriteString("</div>\n<h2>Throughput over time</h2>\n<p>The first repetition.</p><div class=\"plots\">\n")
	for _, key := range result.Keys(sides) {
		b.WriteString("<div>" + throughput(sides, key).svg() + "</div>\n")
	}
	b.WriteString("</div>\n<h2>Cost against size</h2>\n<div class=\"plots\">\n")
	for _, p := range costs(sides) {
		b.WriteString("<div>" + p.svg() + "</div>\n")
	}
	b.WriteString("</div>\n")
	writeSteps(&b, sides)
	b.WriteString("</body></html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(b *strings.Builder, format string, args ...any) {
	b.WriteString("<td>" + html.EscapeString(fmt.Sprintf(format, args...)) + "</td>")
}

func writeSides(b *strings.Builder, sides []result.Side) {
	b.WriteString("<table><tr><th>side</th><th>began</th><th>version</th><th>machine</th><th>workload</th></tr>\n")
	for _, s := range sides {
		f, m := s.File, s.File.Machine
		b.WriteString("<tr>")
		cell(b, "%s", s.Name)
		cell(b, "%s", f.Began.UTC().Format(time.RFC3339))
		cell(b, "%s", f.Version)
		cell(b, "%s, %d × %s, %.1f GiB, load %.1f", m.Host, m.CPUs, m.CPU, float64(m.MemoryBytes)/(1<<30), m.Load)
		cell(b, "%s blocks, %d, %g days, %d tenants, %d shards, seed %d", f.Workload.Shape, f.Workload.Blocks, f.Workload.Days, f.Workload.Tenants, f.Workload.Shards, f.Workload.Seed)
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>\n")
}

func writeRows(b *strings.Builder, sides []result.Side, rows []result.Row) {
	b.WriteString("<h2>Ratios</h2>\n<p>Medians over repetitions with 95 % intervals; × is the ratio to the first side. “?”: too few repetitions for an interval.</p>\n<table><tr><th>scenario</th><th>metric</th>")
	for n, s := range sides {
		fmt.Fprintf(b, "<th>%s</th>", html.EscapeString(s.Name))
		if n > 0 {
			b.WriteString("<th>×</th>")
		}
	}
	b.WriteString("</tr>\n")
	for _, row := range rows {
		b.WriteString("<tr>")
		cell(b, "%s", row.Key)
		cell(b, "%s, %s", row.Metric.Name, row.Metric.Unit)
		for n, c := range row.Cells {
			cell(b, "%s", Median(c))
			if n > 0 {
				fmt.Fprintf(b, "<td class=\"ratio\">%s</td>", html.EscapeString(Ratio(c)))
			}
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>\n")
}

// Median writes a cell: 1.2 [1.1, 1.3].
func Median(c result.Cell) string {
	if c.Repetitions == 0 {
		return "-"
	}
	text := number(c.Median.Estimate)
	if c.Median.Known() {
		text += fmt.Sprintf(" [%s, %s]", number(c.Median.Low), number(c.Median.High))
	} else {
		text += " [?]"
	}
	if c.Failed > 0 {
		text += fmt.Sprintf(", %d failed", c.Failed)
	}
	return text
}

// Ratio writes a cell: 1.20 [1.10, 1.30], with "~" if 1 is in the interval.
func Ratio(c result.Cell) string {
	switch r := c.Ratio; {
	case c.Repetitions == 0 || math.IsNaN(r.Estimate):
		return "-"
	case !r.Known():
		return fmt.Sprintf("%.2f [?]", r.Estimate)
	case r.Low <= 1 && r.High >= 1:
		return fmt.Sprintf("~ %.2f [%.2f, %.2f]", r.Estimate, r.Low, r.High)
	default:
		return fmt.Sprintf("%.2f [%.2f, %.2f]", r.Estimate, r.Low, r.High)
	}
}

func nines(share float64) float64 { return -math.Log10(1 - min(share, 0.99999)) }

func latency(sides []result.Side, key result.Key) *plot {
	p := &plot{title: key.String(), x: "share of calls", y: "ms", logY: true}
	for _, share := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		p.ticks = append(p.ticks, tick{nines(share), fmt.Sprintf("%g%%", 100*share)})
	}
	for i := range sides {
		runs := sides[i].Runs()[key]
		l := line{name: sides[i].Name}
		for _, share := range []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999} {
			var sample []float64
			for r := range runs {
				if runs[r].Latency.Tells(share) {
					sample = append(sample, float64(runs[r].Latency.At(share))/1000)
				}
			}
			if len(sample) > 0 {
				l.points = append(l.points, [2]float64{nines(share), result.Median(sample).Estimate})
			}
		}
		p.lines = append(p.lines, l)
	}
	return p
}

func throughput(sides []result.Side, key result.Key) *plot {
	p := &plot{title: key.String(), x: "seconds", y: "answers a second"}
	for i := range sides {
		l := line{name: sides[i].Name}
		for _, r := range sides[i].Runs()[key][:min(1, len(sides[i].Runs()[key]))] {
			for at, point := range r.Series {
				// The last interval is not whole.
				span := min(r.SeriesSeconds, r.Seconds-float64(at)*r.SeriesSeconds)
				if span > r.SeriesSeconds/4 || at == 0 {
					l.points = append(l.points, [2]float64{float64(at) * r.SeriesSeconds, float64(point.Answered) / max(span, 1e-3)})
				}
			}
		}
		p.lines = append(p.lines, l)
	}
	return p
}

// costs are plots over the number of blocks. What is drawn as one line is of one
// server: files of it with several sizes make it long.
func costs(sides []result.Side) []*plot {
	disk := &plot{title: "Disk", x: "blocks", y: "bytes"}
	memory := &plot{title: "Resident memory", x: "blocks", y: "bytes"}
	median := &plot{title: "Median latency", x: "blocks", y: "ms", logY: true}
	for _, group := range servers(sides) {
		for _, s := range group {
			for _, step := range s.File.Steps {
				if step.Target == s.Target && step.DiskBytes > 0 {
					disk.add(group[0].Name+": after "+step.Name, float64(step.Blocks), step.DiskBytes)
					memory.add(group[0].Name+": after "+step.Name, float64(step.Blocks), step.MemoryBytes)
				}
			}
		}
		for _, key := range result.Keys(group) {
			bySize := map[uint64][]float64{}
			for i := range group {
				// Repetitions of writes have more blocks each time: they count as of one size.
				size := group[i].File.Workload.Blocks
				for _, r := range group[i].Runs()[key] {
					if r.Latency.Count > 0 {
						bySize[size] = append(bySize[size], float64(r.Latency.At(0.5))/1000)
					}
				}
			}
			for blocks, sample := range bySize {
				median.add(group[0].Name+": "+key.String(), float64(blocks), result.Median(sample).Estimate)
			}
		}
	}
	all := []*plot{disk, memory, median}
	for _, p := range all {
		for _, l := range p.lines {
			slices.SortFunc(l.points, func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
		}
	}
	return all
}

// servers groups sides by target and version.
func servers(sides []result.Side) [][]result.Side {
	var groups [][]result.Side
	for _, s := range sides {
		at := slices.IndexFunc(groups, func(g []result.Side) bool { return g[0].Target == s.Target && g[0].File.Version == s.File.Version })
		if at < 0 {
			groups, at = append(groups, nil), len(groups)
		}
		groups[at] = append(groups[at], s)
	}
	return groups
}

func writeSteps(b *strings.Builder, sides []result.Side) {
	b.WriteString("<table><tr><th>side</th><th>step</th><th>blocks</th><th>seconds</th><th>memory, MiB</th><th>peak, MiB</th><th>disk, MiB</th><th>CPU, s</th></tr>\n")
	for _, s := range sides {
		for _, step := range s.File.Steps {
			if step.Target != s.Target {
				continue
			}
			b.WriteString("<tr>")
			cell(b, "%s", s.Name)
			cell(b, "%s", step.Name)
			cell(b, "%d", step.Blocks)
			cell(b, "%.2f", step.Seconds)
			for _, bytes := range []float64{step.MemoryBytes, step.PeakMemoryBytes, step.DiskBytes} {
				cell(b, "%.1f", bytes/(1<<20))
			}
			cell(b, "%.2f", step.CPUSeconds)
			b.WriteString("</tr>\n")
		}
	}
	b.WriteString("</table>\n")
}
