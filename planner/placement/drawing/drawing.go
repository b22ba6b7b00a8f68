package drawing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Now is the moment of every drawing.
const Now = planner.Time(1_800_000_000 * int64(time.Second))

// Applied index of leaders, and of those that lag behind by nothing.
const applied = 100_000

// ConfigID of members.
const configID = 10

// Drawing is what was read.
type Drawing struct {
	placement.Picture
	Operations []*clusterv1.Operation
}

// Read reads lines; empty ones, and those that begin with #, are skipped.
func Read(text string) (*Drawing, error) {
	d := &Drawing{Picture: placement.Picture{
		Now: Now, Since: Now.Add(-24 * time.Hour), Nodes: map[string]placement.NodeView{},
		Map: &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{NextReplicaId: 1000, ActiveVersion: 1, Settings: &clusterv1.Settings{}}},
	}}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := d.line(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return d, nil
}

func (d *Drawing) line(words []string) error {
	switch words[0] {
	case "cluster":
		return each(words[1:], d.cluster)
	case "node":
		return d.node(words[1], words[2:])
	case "group":
		return d.group(words[1], words[2:])
	case "operation":
		return d.operation(words[1], words[2:])
	}
	return fmt.Errorf("unknown word %q", words[0])
}

// each reads words of the form key=value, or key.
func each(words []string, read func(key, value string) error) error {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if err := read(key, value); err != nil {
			return fmt.Errorf("%s: %w", word, err)
		}
	}
	return nil
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func ago(s string) planner.Time { return Now.Add(-span(s)) }

func span(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}

func (d *Drawing) cluster(key, value string) error {
	c := d.Map.Cluster
	switch key {
	case "factor":
		c.Settings.ReplicationFactor = uint32(number(value))
	case "directory":
		c.Settings.DirectoryReplicas = uint32(number(value))
	case "repair":
		c.Settings.RepairAfter = int64(span(value))
	case "balance":
		c.Settings.LeaderBalanceOff = value == "off"
	case "next":
		c.NextReplicaId = number(value)
	case "format":
		c.ActiveVersion = uint32(number(value))
	case "age": // of the controller
		d.Since = ago(value)
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

func (d *Drawing) node(id string, words []string) error {
	row := &clusterv1.Node{NodeId: id, State: clusterv1.NodeState_NODE_STATE_UP, MinFormat: 1, MaxFormat: 1, Version: "v1"}
	view := placement.NodeView{LastHeard: Now, Report: &nodev1.NodeReport{Node: row, Disk: &nodev1.DiskReport{FreeBytes: 60 << 30, TotalBytes: 100 << 30}}}
	disk, never := view.Report.Disk, false
	err := each(words, func(key, value string) error {
		upper := strings.ToUpper(value)
		switch key {
		case "zone":
			row.Zone = value
		case "state":
			row.State = clusterv1.NodeState(clusterv1.NodeState_value["NODE_STATE_"+upper])
		case "for": // in this state
			row.StateSince = int64(ago(value))
		case "reason":
			row.StateReason = value
		case "silent":
			view.LastHeard = ago(value)
		case "heard":
			view.HeardSince = ago(value)
		case "disk":
			disk.Level = nodev1.DiskReport_Level(nodev1.DiskReport_Level_value["LEVEL_"+upper])
			disk.FreeBytes = 3 << 30
		case "health":
			disk.Health = nodev1.DiskReport_Health(nodev1.DiskReport_Health_value["HEALTH_"+upper])
		case "stopping":
			view.Report.Stopping = true
		case "never": // heard of
			never = true
		case "version":
			row.Version = value
		case "max":
			row.MaxFormat = uint32(number(value))
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return nil
	})
	d.Map.Nodes = append(d.Map.Nodes, row)
	if !never {
		d.Nodes[id] = view
	}
	return err
}

func (d *Drawing) operation(id string, words []string) error {
	o := &clusterv1.Operation{OperationId: number(id), State: clusterv1.Operation_STATE_RUNNING}
	d.Operations = append(d.Operations, o)
	return each(words, func(key, value string) error {
		switch key {
		case "split", "merge":
			o.Kind = clusterv1.Operation_Kind(clusterv1.Operation_Kind_value["KIND_"+strings.ToUpper(key)])
		case "done":
			o.State = clusterv1.Operation_STATE_DONE
		case "group":
			o.GroupId = number(value)
		case "age":
			o.StartedAt = int64(ago(value))
		default:
			return fmt.Errorf("unknown key %q", key)
		}
		return nil
	})
}
