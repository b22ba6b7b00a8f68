package shardgroup

import (
	"context"
	"errors"
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
	// One step, and how many may be under way, for all groups and for those that one
	// node leads.
	stepTimeout  = 2 * time.Second
	stepsAtOnce  = 64
	stepsPerNode = 16
	// How often the same failure is told, and how many are remembered.
	toldAgain = 30 * time.Second
	toldMax   = 4096
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
	since planner.Time
	log   *zap.Logger
	wake  chan struct{}

	mu    sync.Mutex
	views map[string]placement.NodeView
	// Of the last plan.
	notes []string
	// Groups whose leader was asked to hand over, and when.
	transfers map[uint64]transfer
	// Steps under way, by the node that takes them.
	running   map[work]string
	directory cached[statemachine.Directory]
	// When a failure was told last.
	told map[string]time.Time

	steps sync.WaitGroup
}

type transfer struct {
	at     time.Time
	leader string // node that was asked: as soon as another one leads, it is over
}

// control runs while this replica leads the directory.
func (n *Node) control(ctx context.Context, _ uint64) {
	g := n.group(clusterv1.DirectoryGroup)
	if g == nil {
		return
	}
	c := &controller{
		node: n, group: g, since: planner.Time(time.Now().UnixNano()), log: n.log.Named("controller"),
		wake: make(chan struct{}, 1), views: map[string]placement.NodeView{}, transfers: map[uint64]transfer{},
		running: map[work]string{}, told: map[string]time.Time{},
	}
	defer c.steps.Wait()
	n.controller.Store(c)
	defer n.controller.CompareAndSwap(c, nil)
	wait := controlInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			pause(ctx, controlPause)
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
	if err := outlived(m, report.GetNode()); err != nil {
		return err
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
	directory, err := c.directory.get(c.group, statemachine.ReadDirectory{})
	if err != nil {
		return placement.Picture{}, nil, err
	}
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

// step does what can be done now, and reports whether the directory changed.
func (c *controller) step(ctx context.Context) bool {
	picture, operations, err := c.picture()
	if err != nil {
		return false
	}
	for _, operation := range operations {
		if operation.GetState() == clusterv1.Operation_STATE_RUNNING {
			c.launch(ctx, work{operation: operation.GetOperationId()}, leaderOf(picture, operation.GetGroupId()), func(ctx context.Context) bool {
				err := c.runOperation(ctx, operation)
				return c.count("operation", fmt.Sprint(operation.GetOperationId()), "operation "+fmt.Sprint(operation.GetOperationId()), err)
			})
		}
	}
	actions, notes := placement.Plan(picture, c.placement())
	c.mu.Lock()
	c.notes = notes
	c.mu.Unlock()
	version, done := picture.Map.GetCluster().GetMapVersion(), false
	for _, action := range actions {
		switch {
		case ctx.Err() != nil:
			return done
		case c.settling(picture, action):
		case directoryChange(action) == nil:
			c.launch(ctx, work{group: action.Group}, leaderOf(picture, action.Group), func(ctx context.Context) bool {
				_, err := c.act(ctx, picture, action, 0)
				return c.taken(action, err)
			})
		default:
			// One after the other: each stands on the map that the one before left.
			attempt, cancel := context.WithTimeout(ctx, stepTimeout)
			next, err := c.act(attempt, picture, action, version)
			cancel()
			if c.taken(action, err) {
				version, done = next, true
				continue
			}
			if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrBadRequest) {
				return done // the directory does not answer
			}
			if now, _, err := c.picture(); err == nil && now.Map.GetCluster().GetMapVersion() != version {
				return true // others changed it: what was planned stands on an old map
			}
		}
	}
	return done
}

// work is what at most one step is under way for: a group, or an operation.
type work struct{ group, operation uint64 }

// launch takes a step on a node beside all others, within bounds of time and number,
// so that a node that hangs holds up its own groups only. A step that is under way
// already, or finds no room, is left to the next plan. The leader of the directory hands over
// when nothing else is under way: the controller goes with it.
func (c *controller) launch(ctx context.Context, w work, nodeID string, take func(context.Context) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := 0
	for _, on := range c.running {
		if on == nodeID {
			here++
		}
	}
	_, runs := c.running[w]
	if runs || here >= stepsPerNode || len(c.running) >= stepsAtOnce || w.group == clusterv1.DirectoryGroup && len(c.running) > 0 {
		return
	}
	c.running[w] = nodeID
	c.steps.Go(func() {
		attempt, cancel := context.WithTimeout(ctx, stepTimeout)
		done := take(attempt)
		cancel()
		c.mu.Lock()
		delete(c.running, w)
		c.mu.Unlock()
		if done {
			wake(c.wake)
		}
	})
}

// taken counts a step, and reports whether it succeeded. A step that fails again and
// again is told of now and then.
func (c *controller) taken(action placement.Action, err error) bool {
	return c.count(action.Kind.String(), fmt.Sprint(action.Group, action.Replica, action.Node), action.String(), err)
}

// count counts a step of a kind. The subject tells apart steps of one kind.
func (c *controller) count(kind, subject, action string, err error) bool {
	if err == nil {
		c.node.metrics.actions.WithLabelValues(kind, "ok").Inc()
		c.log.Info("a step was taken", zap.String("action", action))
		return true
	}
	c.node.metrics.actions.WithLabelValues(kind, "failed").Inc()
	key := kind + subject
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) > toldMax {
		clear(c.told)
	}
	if time.Since(c.told[key]) > toldAgain {
		c.told[key] = time.Now()
		c.log.Info("a step failed, will plan anew", zap.String("action", action), zap.Error(err))
	}
	return false
}

// settling tells whether a group's leader was asked to hand over, and it is not
// known yet whether it did.
func (c *controller) settling(picture placement.Picture, action placement.Action) bool {
	if action.Kind != placement.TransferLeader {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.transfers[action.Group]
	if !ok {
		return false
	}
	if leader := leaderOf(picture, action.Group); leader != "" && leader != t.leader || time.Since(t.at) > transferPatience {
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
	response.Findings = append(doctor.Diagnose(picture, operations, c.placement()), c.node.spreadFindings()...)
	return response, nil
}
