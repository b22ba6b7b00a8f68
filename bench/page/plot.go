package page

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// line is a curve of a plot.
type line struct {
	name   string
	points [][2]float64
}

// plot draws lines as SVG. Axes are from 0, or logarithmic.
type plot struct {
	title, x, y string
	logX, logY  bool
	// Names places of the x axis; without it they are numbers.
	ticks []tick
	lines []line
}

type tick struct {
	at   float64
	text string
}

const (
	width, height            = 560.0, 300.0
	left, right, top, bottom = 64.0, 12.0, 30.0, 44.0
)

// Colours that also those tell apart who see few.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"}

// add puts a point into the line of a name.
func (p *plot) add(name string, x, y float64) {
	at := slices.IndexFunc(p.lines, func(l line) bool { return l.name == name })
	if at < 0 {
		p.lines, at = append(p.lines, line{name: name}), len(p.lines)
	}
	p.lines[at].points = append(p.lines[at].points, [2]float64{x, y})
}

// svg draws the plot; it is empty without points.
func (p *plot) svg() string {
	x, y := p.axis(0, p.logX), p.axis(1, p.logY)
	if math.IsInf(x.low, 0) || math.IsInf(y.low, 0) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img"><text class="title" x="%g" y="18">%s</text>`, width, height, left, html.EscapeString(p.title))
	xTicks := p.ticks
	if xTicks == nil {
		xTicks = x.ticks()
	}
	for _, t := range xTicks {
		if t.at < x.low || t.at > x.high {
			continue
		}
		at := left + x.place(t.at)*(width-left-right)
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %gV%g"/><text class="tick" text-anchor="middle" x="%.1f" y="%g">%s</text>`, at, top, height-bottom, at, height-bottom+16, html.EscapeString(t.text))
	}
	for _, t := range y.ticks() {
		at := height - bottom - y.place(t.at)*(height-top-bottom)
		fmt.Fprintf(&b, `<path class="grid" d="M%g %.1fH%g"/><text class="tick" text-anchor="end" x="%g" y="%.1f">%s</text>`, left, at, width-right, left-6, at+4, html.EscapeString(t.text))
	}
	fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" x="%g" y="%g">%s</text>`, (left+width-right)/2, height-8, html.EscapeString(p.x))
	fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" transform="translate(14 %g) rotate(-90)">%s</text>`, (top+height-bottom)/2, html.EscapeString(p.y))
	for n, l := range p.lines {
		colour := colours[n%len(colours)]
		var path strings.Builder
		for _, point := range l.points {
			if !x.holds(point[0]) || !y.holds(point[1]) {
				continue
			}
			command := "L"
			if path.Len() == 0 {
				command = "M"
			}
			px, py := left+x.place(point[0])*(width-left-right), height-bottom-y.place(point[1])*(height-top-bottom)
			fmt.Fprintf(&path, "%s%.1f %.1f", command, px, py)
			if len(l.points) <= 30 {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`, px, py, colour)
			}
		}
		fmt.Fprintf(&b, `<path class="line" stroke="%s" d="%s"><title>%s</title></path>`, colour, path.String(), html.EscapeString(l.name))
	}
	b.WriteString("</svg>")
	return b.String() + p.legend()
}

func (p *plot) legend() string {
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for n, l := range p.lines {
		fmt.Fprintf(&b, `<span><i style="background:%s"></i>%s</span> `, colours[n%len(colours)], html.EscapeString(l.name))
	}
	b.WriteString("</p>")
	return b.String()
}

// axis is the span of values of a dimension.
type axis struct {
	low, high float64
	log       bool
}

func (p *plot) axis(dimension int, log bool) axis {
	a := axis{math.Inf(1), math.Inf(-1), log}
	for _, l := range p.lines {
		for _, point := range l.points {
			if v := point[dimension]; a.holds(v) {
				a.low, a.high = min(a.low, v), max(a.high, v)
			}
		}
	}
	switch {
	case math.IsInf(a.low, 0):
	case log:
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low))), math.Pow(10, math.Ceil(math.Log10(a.high)))
		if a.low == a.high {
			a.high *= 10
		}
	default:
		a.low = min(0, a.low)
		if a.high <= a.low {
			a.high = a.low + 1
		}
	}
	return a
}

func (a axis) holds(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0)
}

func (a axis) place(v float64) float64 {
	if a.log {
		return math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

func (a axis) ticks() []tick {
	var all []tick
	if a.log {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			all = append(all, tick{v, number(v)})
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/4)))
	for (a.high-a.low)/step > 6 {
		step *= 2
	}
	for v := math.Ceil(a.low/step) * step; v <= a.high*1.0001; v += step {
		all = append(all, tick{v, number(v)})
	}
	return all
}

// number is short: 1.5k, 2M.
func number(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return fmt.Sprintf("%.4g%s", v/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}
