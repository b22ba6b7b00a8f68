package placement

import (
	"fmt"
	"maps"
	"slices"
)

// Ids of groups in one sentence.
const idsMax = 8

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func are(n int, what string) string {
	if n == 1 {
		return count(n, what) + " is"
	}
	return count(n, what) + " are"
}

// have is the subject of a sentence about groups, with its verb.
func have(groups []uint64) string {
	if len(groups) > 1 {
		return named(groups) + " have"
	}
	return named(groups) + " has"
}

// named lists groups, the first few of many.
func named(groups []uint64) string {
	out := "group"
	if len(groups) > 1 {
		out = "groups"
	}
	for i, id := range groups {
		switch {
		case i == idsMax:
			return fmt.Sprintf("%s and %d more", out, len(groups)-i)
		case i > 0:
			out += ","
		}
		out += fmt.Sprintf(" %d", id)
	}
	return out
}

func survive(failures int) string {
	switch failures {
	case 0:
		return "none may fail"
	case 1:
		return "1 may fail"
	}
	return fmt.Sprintf("%d may fail", failures)
}

func sortedChanges(in map[[2]int][]uint64) [][2]int {
	return slices.SortedFunc(maps.Keys(in), func(a, b [2]int) int {
		if c := compare(a[0], b[0]); c != 0 {
			return c
		}
		return compare(a[1], b[1])
	})
}
