package statemachine

import (
	"time"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// minRepairAfter keeps a restart from looking like a death.
const minRepairAfter = int64(10 * time.Second)

// changeSettings replaces the settings as a whole.
func (c *directoryChange) changeSettings(settings, before *clusterv1.Settings) (step, error) {
	odd := func(n uint32) bool { return n == 0 || n%2 == 1 && n <= clusterv1.MaxReplicas }
	switch {
	case settings == nil:
		return badChange("no settings")
	case !odd(settings.GetReplicationFactor()) || !odd(settings.GetDirectoryReplicas()):
		return badChange("the number of replicas must be odd, from 1 to 9, or 0 for the default")
	case settings.GetRepairAfter() > 0 && settings.GetRepairAfter() < minRepairAfter:
		return badChange("the time until repair must be at least 10s, or 0 for the default, or negative for never")
	case proto.Equal(settings, c.cluster.GetSettings()), c.cluster.GetSettings() == nil && proto.Equal(settings, &clusterv1.Settings{}):
		return step{}, nil
	case before != nil && !proto.Equal(before, c.cluster.GetSettings()) && (c.cluster.GetSettings() != nil || !proto.Equal(before, &clusterv1.Settings{})):
		return refuse("somebody else has changed the settings meanwhile: look at them, and change them again")
	}
	return step{apply: func() error {
		c.cluster.Settings = settings
		return nil
	}}, nil
}

// activateFormat raises the data format, once all nodes work with it. Builds do
// not ask themselves: replicas of different releases must decide alike.
func (c *directoryChange) activateFormat(format uint32) (step, error) {
	if format == 0 {
		return badChange("no data format")
	}
	switch active := c.cluster.FormatOrFirst(); {
	case format == active:
		return step{}, nil
	case format < active:
		return refuse("the cluster uses data format %d and cannot go back to %d", active, format)
	}
	nodes, err := c.w.Nodes()
	if err != nil {
		return step{}, err
	}
	for _, node := range nodes {
		if !node.Gone() && !node.WorksWith(format) {
			return refuse("node %s runs release %q, which works with data formats %d to %d, not with %d: upgrade it first",
				node.GetNodeId(), node.GetVersion(), max(node.GetMinFormat(), clusterv1.FirstFormat), max(node.GetMaxFormat(), clusterv1.FirstFormat), format)
		}
	}
	return step{apply: func() error {
		c.cluster.ActiveVersion = format
		return nil
	}}, nil
}
