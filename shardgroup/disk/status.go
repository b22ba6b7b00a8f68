package disk

import "time"

// State says whether a disk takes writes.
type State int

// The states of a disk, from good to bad.
const (
	Healthy State = iota // probes succeed in time
	Slow                 // a probe is under way for longer than SlowAfter
	Stalled              // a probe is under way for longer than StallAfter
	Failed               // the last probe ended with an error
)

func (s State) String() string {
	return [...]string{"healthy", "slow", "stalled", "failed"}[s]
}

// Level says how much space a disk has.
type Level int

// The levels of a disk, from good to bad.
const (
	Normal Level = iota
	Low          // free space is below the soft limit
	Full         // it is below the hard limit, or a probe found no space
)

func (l Level) String() string { return [...]string{"normal", "low", "full"}[l] }

// Status is what is known of the disk of a directory.
type Status struct {
	State State
	// Since is when the disk came into the state.
	Since time.Time
	// Err is why a disk failed, nil in other states.
	Err   error
	Level Level
	// FreeBytes is what the node may still use; TotalBytes is the size of the disk,
	// 0 while it is not known yet.
	FreeBytes, TotalBytes uint64
}
