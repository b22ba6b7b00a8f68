package placement

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/planner"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Picture is the cluster as the controller sees it at one moment. Times are its own
// clock. Nothing in it is changed.
type Picture struct {
	Map *clusterv1.RangeMap
	// By node id. A node that is missing was not heard of since Since.
	Nodes map[string]NodeView
	Now   planner.Time
	// Since when the controller gathers reports: silence counts from there on.
	Since planner.Time
}

// NodeView is what was heard of a node.
type NodeView struct {
	LastHeard planner.Time
	// Since when it reports without a gap; 0 if that is not known, which counts as
	// long ago.
	HeardSince planner.Time
	// The last report.
	Report *nodev1.NodeReport
}

// Config is what a plan follows; see Defaults. What operators change while the
// cluster runs are the Settings of the map.
type Config struct {
	// A node that was heard of within that time lives.
	AliveWithin time.Duration
	// A learner whose node is silent for that long is given up.
	LearnerSilence time.Duration
	// Nothing new is begun for that long after Picture.Since, so that everybody can
	// report first. What was begun goes on.
	Settle time.Duration
	// Leaders are not balanced to a node that reports for less than that.
	Seasoned time.Duration
	// Log entries that a replica may be behind its leader to become a voter or to lead.
	GapMax uint64
	// Learners that catch up at the same time in the whole cluster.
	AddsMax int
	// Leaders moved in one plan: off nodes that must not lead, and for balance.
	EvacuationsMax int
	BalanceMax     int
}

// Defaults suit nodes that report every second.
func Defaults() Config {
	return Config{
		AliveWithin:    5 * time.Second,
		LearnerSilence: time.Minute,
		Settle:         10 * time.Second,
		Seasoned:       30 * time.Second,
		GapMax:         1000,
		AddsMax:        2,
		EvacuationsMax: 16,
		BalanceMax:     2,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.AliveWithin <= 0, "nodes must be allowed to be silent between two reports, not %v", c.AliveWithin)
	fault(c.LearnerSilence < 0 || c.Settle < 0 || c.Seasoned < 0, "negative waiting time")
	fault(c.AddsMax < 1, "at least 1 replica must be allowed to catch up, not %d", c.AddsMax)
	fault(c.EvacuationsMax < 1, "at least 1 leader must be allowed to move in one plan, not %d", c.EvacuationsMax)
	fault(c.BalanceMax < 0, "negative number of leaders to balance, %d", c.BalanceMax)
	return errors.Join(faults...)
}

// DirectoryGroup is the group that keeps the map.
const DirectoryGroup = clusterv1.DirectoryGroup

// Factor is the number of voters wanted of a group, nodes permitting.
func Factor(s *clusterv1.Settings, group uint64) int {
	if group == DirectoryGroup {
		return s.DirectoryReplicasOrDefault()
	}
	return s.ReplicationFactorOrDefault()
}
