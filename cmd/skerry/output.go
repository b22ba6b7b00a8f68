package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// writeJSON writes one document.
func writeJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// grid is a table for people: columns apart by spaces, no lines.
type grid struct {
	writer table.Writer
	rows   []table.Row
}

func newGrid(columns ...any) *grid {
	writer := table.NewWriter()
	style := table.StyleDefault
	style.Format.Header = text.FormatDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	writer.SetStyle(style)
	writer.SuppressTrailingSpaces()
	writer.AppendHeader(columns)
	return &grid{writer: writer}
}

// row adds a row. Text of others is made harmless.
func (g *grid) row(cells ...any) {
	for i, cell := range cells {
		if words, ok := cell.(string); ok {
			cells[i] = printable(words)
		}
	}
	g.rows = append(g.rows, cells)
}

// append adds the rows of another grid.
func (g *grid) append(other *grid) { g.rows = append(g.rows, other.rows...) }

func (g *grid) write(w io.Writer) error {
	g.writer.AppendRows(g.rows)
	_, err := fmt.Fprintln(w, g.writer.Render())
	return err
}

// printable shows nothing as a dash, and quotes what a terminal might obey. New
// lines part the lines of a cell.
func printable(text string) string {
	if text == "" {
		return "-"
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}

var sizeUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

func sizeText(bytes uint64) string {
	value, unit := float64(bytes), 0
	for value >= 1024 && unit+1 < len(sizeUnits) {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, sizeUnits[unit])
}

// thousands writes 1234567 as 1,234,567.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), ",")
}
