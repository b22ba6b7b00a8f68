//go:build !race

package kv

// raceEnabled makes faults of callers show that would otherwise be luck.
const raceEnabled = false
