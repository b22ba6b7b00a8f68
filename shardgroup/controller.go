package shardgroup

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/doctor"
	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
)

const (
	controlInterval = time.Second
	// After something was done, since the next step may be possible already.
	controlPause = 100 * time.Millisecond
	// One step of the controller.
	controlTimeout = 10 * time.Second
	// A group whose leader was asked to hand over is left alone until it is
	// reported, or for that long.
	transferPatience = 4 * time.Second
)

// controller is what the directory's leader does: it hears what nodes report and
// brings the cluster step by step to what the directory says. It keeps nothing
// that a successor could not find out: what is wanted is in the directory, what
// is there is in the reports.
//
//	reports ─► picture ─► planner/placement ─► actions ─► directory, groups
//	             ▲                                            │
//	             └────────────────────────────────────────────┘
type controller struct {
	node  *Node
	group *Group
	epoch uint64
	since planner.Time
	log   *zap.Logger
	wake  chan struct{}

	mu    sync.Mutex
	views map[string]placement.NodeView
	// Of the last plan.
	notes []string
	// Groups whose leader was asked to hand over, and when.
	transfers map[uint64]transfer
}

type transfer struct {
	at     time.Time
	leader string // node that was asked
}

// control runs while this replica leads the directory.
func (n *Node) control(ctx context.Context, epoch uint64) {
	g := n.group(clusterv1.DirectoryGroup)
	if g == nil {
		return
	}
	c := &controller{
		node: n, group: g, epoch: epoch, since: planner.Time(time.Now().UnixNano()), log: n.log.Named("controller"),
		wake: make(chan struct{}, 1), views: map[string]placement.NodeView{}, transfers: map[uint64]transfer{},
	}
	n.controller.Store(c)
	defer n.controller.CompareAndSwap(c, nil)
	wait := controlInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-time.After(wait):
		}
		wait = controlInterval
		if c.step(ctx) {
			wait = controlPause
		}
	}
}

// hear takes a node's report.
func (c *controller) hear(report *nodev1.NodeReport) error {
	id := report.GetNode().GetNodeId()
	m := c.node.maps.known()
	if m == nil || m.Node(id) == nil {
		return fmt.Errorf("%w: node %s is not registered yet", ErrNotReady, id)
	}
	if state := m.Node(id).GetState(); state == clusterv1.NodeState_NODE_STATE_REMOVED || state == clusterv1.NodeState_NODE_STATE_LOST {
		return fmt.Errorf("%w: node %s was removed from the cluster: to use the machine again, start it with an empty data directory", ErrUnwanted, id)
	}
	now := planner.Time(time.Now().UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.views[id]
	view := placement.NodeView{LastHeard: now, HeardSince: before.HeardSince, Report: report}
	if before.Report == nil || now.Sub(before.LastHeard) > c.placement().AliveWithin || before.Report.GetProcessId() != report.GetProcessId() {
		view.HeardSince = now
	}
	c.views[id] = view
	return nil
}

func (c *controller) placement() placement.Config {
	config := placement.Defaults()
	// Tests and small clusters report more often.
	beat := c.node.options.HeartbeatInterval
	config.AliveWithin = max(5*beat, 10*electionRTT*c.node.options.RTT/2)
	if beat < time.Second {
		scale := func(d time.Duration) time.Duration { return d * beat / time.Second }
		config.LearnerSilence, config.Settle, config.Seasoned = scale(config.LearnerSilence), scale(config.Settle), scale(config.Seasoned)
	}
	return config
}

// picture is the cluster as seen now, with the operations that run.
func (c *controller) picture() (placement.Picture, []*clusterv1.Operation, error) {
	answer, err := c.group.ReadStale(statemachine.ReadDirectory{})
	if err != nil {
		return placement.Picture{}, nil, err
	}
	directory := answer.(statemachine.Directory)
	if directory.Map == nil {
		return placement.Picture{}, nil, fmt.Errorf("%w: the directory is empty", ErrNotReady)
	}
	p := placement.Picture{Map: directory.Map, Nodes: map[string]placement.NodeView{}, Now: planner.Time(time.Now().UnixNano()), Since: c.since}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range directory.Map.GetNodes() {
		if view, ok := c.views[node.GetNodeId()]; ok {
			p.Nodes[node.GetNodeId()] = view
		}
	}
	return p, directory.Operations, nil
}

// step does what can be done now, and reports whether it did anything.
func (c *controller) step(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	picture, operations, err := c.picture()
	if err != nil {
		return false
	}
	done := false
	for _, operation := range operations {
		if operation.GetState() == clusterv1.Operation_STATE_RUNNING {
			done = c.runOperation(ctx, operation) || done
		}
	}
	actions, notes := placement.Plan(picture, c.placement())
	c.mu.Lock()
	c.notes = notes
	c.mu.Unlock()
	version := picture.Map.GetCluster().GetMapVersion()
	if done {
		// The map moved on under the plan; make another one.
		return true
	}
	for _, action := range actions {
		if ctx.Err() != nil || c.settling(action) {
			continue
		}
		next, err := c.act(ctx, picture, action, version)
		if err != nil {
			c.node.metrics.actions.WithLabelValues(action.Kind.String(), "failed").Inc()
			c.log.Info("a step failed, will plan anew", zap.Stringer("action", action), zap.Error(err))
			continue
		}
		version, done = next, true
		c.node.metrics.actions.WithLabelValues(action.Kind.String(), "ok").Inc()
		c.log.Info("a step was taken", zap.Stringer("action", action))
	}
	return done
}

// settling tells whether a group's leader was asked to hand over, and it is not
// known yet whether it did.
func (c *controller) settling(action placement.Action) bool {
	if action.Kind != placement.TransferLeader {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.transfers[action.Group]
	if !ok {
		return false
	}
	if time.Since(t.at) > transferPatience {
		delete(c.transfers, action.Group)
		return false
	}
	return true
}

// state describes the cluster for people.
func (c *controller) state(context.Context) (*nodev1.ClusterStateResponse, error) {
	picture, operations, err := c.picture()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	notes := c.notes
	c.mu.Unlock()
	response := &nodev1.ClusterStateResponse{Map: picture.Map, Operations: operations, LeaderNodeId: c.node.record.GetNodeId()}
	actions, _ := placement.Plan(picture, c.placement())
	for _, action := range actions {
		response.Plan = append(response.Plan, action.String())
	}
	response.Plan = append(response.Plan, notes...)
	for _, node := range picture.Map.GetNodes() {
		liveness := &nodev1.NodeLiveness{NodeId: node.GetNodeId(), SilentFor: -1}
		if view, ok := picture.Nodes[node.GetNodeId()]; ok {
			silent := picture.Now.Sub(view.LastHeard)
			liveness.Alive, liveness.SilentFor, liveness.Report = silent <= c.placement().AliveWithin, int64(silent), view.Report
		}
		response.Nodes = append(response.Nodes, liveness)
	}
	response.Findings = doctor.Diagnose(picture, operations, c.placement())
	return response, nil
}
