package blockview

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// String writes a label set as a selector would name it, sorted by name.
func (l Labels) String() string {
	var out strings.Builder
	out.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(l)) {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(name + "=" + strconv.Quote(l[name]))
	}
	out.WriteByte('}')
	return out.String()
}

// LabelSets returns the distinct label sets of all datasets as text, sorted.
func (b Block) LabelSets() []string {
	distinct := map[string]bool{}
	for _, dataset := range b.Datasets {
		for _, set := range dataset.Labels {
			distinct[set.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(distinct))
}
