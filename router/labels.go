package router

import (
	"cmp"
	"slices"
	"strings"

	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// mergeLabels sorts label sets and drops repeats. The slice is consumed.
func mergeLabels(sets []*typesv1.Labels) []*typesv1.Labels {
	slices.SortFunc(sets, compareLabels)
	return slices.CompactFunc(sets, func(a, b *typesv1.Labels) bool { return compareLabels(a, b) == 0 })
}

// compareLabels compares pair by pair, name before value; of two sets that
// agree as far as both go the shorter comes first.
func compareLabels(a, b *typesv1.Labels) int {
	return slices.CompareFunc(a.GetLabels(), b.GetLabels(), func(a, b *typesv1.LabelPair) int {
		return cmp.Or(strings.Compare(a.GetName(), b.GetName()), strings.Compare(a.GetValue(), b.GetValue()))
	})
}
