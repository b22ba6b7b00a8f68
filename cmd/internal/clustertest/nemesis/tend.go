package nemesis

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// tend does what operators do after others: it takes away nodes that were removed,
// says again what was not heard, and starts what ended. Whatever ended without a
// cause is a fault.
func (n *Nemesis) tend(ctx context.Context) error {
	for _, node := range n.members() {
		n.id(ctx, node)
	}
	if err := n.pay(ctx); err != nil {
		return err
	}
	state, err := n.state(ctx)
	if err != nil {
		state = nil // another time
	}
	for _, node := range n.members() {
		if id := n.ids[node]; id != "" && state != nil && gone(stateOf(state, id)) {
			if err := errors.Join(node.Process.Kill(), n.repair(node), node.Wipe()); err != nil {
				return err
			}
			delete(n.ids, node)
			n.write(event{Fault: "removed", On: node.Name})
			continue
		}
		if node.Process.Running() || ctx.Err() != nil {
			continue
		}
		if !ofDisk(node.Process.Tail(causeLines)) && !n.left(ctx, node) {
			n.fault("%s ended by itself: %v\n%s", node.Name, node.Process.End(), node.Process.Tail(40))
		}
		n.write(event{Fault: "started again", On: node.Name})
		if err := errors.Join(n.repair(node), node.Start()); err != nil {
			return err
		}
	}
	return nil
}

func gone(state clusterv1.NodeState) bool {
	return state == clusterv1.NodeState_NODE_STATE_REMOVED || state == clusterv1.NodeState_NODE_STATE_LOST
}

// left tells whether the directory has removed a node.
func (n *Nemesis) left(ctx context.Context, node *clustertest.Node) bool {
	id := n.ids[node]
	if id == "" {
		return false
	}
	state, err := n.state(ctx)
	return err == nil && gone(stateOf(state, id))
}

// causeLines are the last lines of a log, in which the cause of an end is.
const causeLines = 60

// ofDisk tells whether the disk ended a process.
func ofDisk(log string) bool {
	for _, cause := range []string{"no space left on device", "read-only file system", "input/output error", "the disk of "} {
		if strings.Contains(log, cause) {
			return true
		}
	}
	return false
}

// exitPatience is how long a process that is about to end may take.
const exitPatience = 500 * time.Millisecond

// settleExit waits for the end of a process that may be about to end since its
// disk hung, and starts it again.
func (n *Nemesis) settleExit(node *clustertest.Node) error {
	select {
	case <-node.Process.Exited():
		return node.Start()
	case <-time.After(exitPatience):
		return nil // tend sees to it
	}
}
