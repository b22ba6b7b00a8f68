package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	"github.com/skerrydb/skerry/cmd/internal/clustertest/faultproxy"
)

// class is what a fault breaks. Two of one class would undo each other.
type class int

const (
	process class = iota
	network
	disk
	clock
	operator
)

// together tells whether faults of two classes may last at the same time: nobody
// can be killed whose disk hangs.
func (c class) together(other class) bool {
	return c != other && c+other != process+disk
}

// kind is a kind of fault.
type kind struct {
	name  string
	class class
	// It may not happen during another fault: it judges how nodes bear it.
	alone bool
	// How long it lasts.
	least, most time.Duration
	// It returns whom it hit and how to undo it.
	strike func(context.Context, *Nemesis) (on string, undo func() error, err error)
}

const (
	ms     = time.Millisecond
	second = time.Second
)

func kinds() []kind {
	return []kind{
		{name: "kill one", class: process, least: 100 * ms, most: 4 * second, strike: killing(func(members int) int { return 1 })},
		{name: "kill majority", class: process, least: 100 * ms, most: 2 * second, strike: killing(func(members int) int { return members/2 + 1 })},
		{name: "kill all", class: process, least: 50 * ms, most: second, strike: killing(func(members int) int { return members })},
		{name: "kill router", class: process, least: 50 * ms, most: second, strike: killRouter},
		{name: "pause", class: process, least: second, most: 8 * second, strike: pause},
		{name: "partition", class: network, least: 500 * ms, most: 6 * second, strike: partition},
		{name: "partition one way", class: network, least: 500 * ms, most: 6 * second, strike: oneWay},
		{name: "bridge", class: network, least: 500 * ms, most: 6 * second, strike: bridge},
		{name: "cut router off", class: network, least: 500 * ms, most: 4 * second, strike: cutRouterOff},
		{name: "slow network", class: network, least: second, most: 5 * second, strike: slowNetwork},
		{name: "reset connections", class: network, least: 0, most: 100 * ms, strike: resetConnections},
		{name: "restart all in turn", class: process, alone: true, least: 0, most: 100 * ms, strike: restartAll},
		{name: "move", class: process, alone: true, least: 0, most: second, strike: move},
		{name: "jump of clock", class: clock, least: 500 * ms, most: 5 * second, strike: jumpClock},
		{name: "disk full", class: disk, least: second, most: 6 * second, strike: fillDisk},
		{name: "disk full at once", class: disk, least: second, most: 4 * second, strike: fillDiskUp},
		{name: "disk frozen", class: disk, least: 500 * ms, most: 8 * second, strike: freezeDisk},
		{name: "disk fails", class: disk, least: second, most: 5 * second, strike: failDisk},
		{name: "loss of power", class: disk, least: 50 * ms, most: 2 * second, strike: losePower},
		{name: "transfer leader", class: operator, strike: transferLeader},
		{name: "drain", class: operator, least: second, most: 4 * second, strike: drain},
		{name: "join", class: operator, strike: join},
		{name: "decommission", class: operator, strike: decommission},
		{name: "replace", class: operator, alone: true, strike: replace},
		{name: "split", class: operator, strike: split},
		{name: "merge", class: operator, strike: merge},
		{name: "create group", class: operator, strike: createGroup},
	}
}

func each(nodes []*clustertest.Node, do func(*clustertest.Node) error) error {
	var faults []error
	for _, node := range nodes {
		if err := do(node); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", node.Name, err))
		}
	}
	return errors.Join(faults...)
}

func kill(node *clustertest.Node) error { return node.Process.Kill() }

func start(node *clustertest.Node) error {
	if node.Process.Running() {
		return nil
	}
	return node.Start()
}

func killing(count func(members int) int) func(context.Context, *Nemesis) (string, func() error, error) {
	return func(_ context.Context, n *Nemesis) (string, func() error, error) {
		hit := n.some(count(len(n.ids)))
		return names(hit), func() error { return each(hit, start) }, each(hit, kill)
	}
}

func killRouter(_ context.Context, n *Nemesis) (string, func() error, error) {
	return clustertest.RouterHost, n.cluster.Router.Start, n.cluster.Router.Kill()
}

// pause stops a process, or two.
func pause(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(1 + n.random.IntN(2))
	undo := func() error { return each(hit, func(node *clustertest.Node) error { return node.Process.Continue() }) }
	return names(hit), undo, each(hit, func(node *clustertest.Node) error { return node.Process.Stop() })
}

func (n *Nemesis) heal() error {
	n.cluster.Network.Heal()
	return nil
}

// partition splits the members in two, with the router on either side.
func partition(_ context.Context, n *Nemesis) (string, func() error, error) {
	all := n.some(len(n.ids))
	at := 1 + n.random.IntN(len(all)-1)
	a, b := hosts(all[:at]), hosts(all[at:])
	if n.random.IntN(2) == 0 {
		a = append(a, clustertest.RouterHost)
	} else {
		b = append(b, clustertest.RouterHost)
	}
	n.cluster.Network.Partition(a, b)
	return fmt.Sprintf("%v | %v", a, b), n.heal, nil
}

// oneWay lets some not be heard by the others.
func oneWay(_ context.Context, n *Nemesis) (string, func() error, error) {
	all := n.some(len(n.ids))
	at := 1 + n.random.IntN(len(all)-1)
	a, b := hosts(all[:at]), hosts(all[at:])
	n.cluster.Network.OneWay(a, b)
	return fmt.Sprintf("%v -> %v", a, b), n.heal, nil
}

// bridge leaves one member that both sides reach.
func bridge(_ context.Context, n *Nemesis) (string, func() error, error) {
	all := n.some(len(n.ids))
	if len(all) < 3 {
		return "", nil, nothing("%d nodes", len(all))
	}
	at := 1 + n.random.IntN(len(all)-2)
	a, b := hosts(all[1:1+at]), hosts(all[1+at:])
	n.cluster.Network.Partition(a, b)
	return fmt.Sprintf("%v | %v by %s", a, b, all[0].Name), n.heal, nil
}

// cutRouterOff takes some nodes from the router, or all.
func cutRouterOff(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(1 + n.random.IntN(len(n.ids)))
	router := []string{clustertest.RouterHost}
	switch n.random.IntN(3) {
	case 0:
		n.cluster.Network.OneWay(router, hosts(hit))
	case 1:
		n.cluster.Network.OneWay(hosts(hit), router)
	default:
		n.cluster.Network.Partition(router, hosts(hit))
	}
	return names(hit), n.heal, nil
}

// slowNetwork delays what a node says to all others.
func slowNetwork(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(1)
	rule := faultproxy.Rule{Delay: n.between(5*ms, 150*ms)}
	for _, other := range n.members() {
		n.cluster.Network.Set(faultproxy.Flow{From: hit[0].Name, To: other.Name}, rule)
	}
	return fmt.Sprintf("%s by %v", hit[0].Name, rule.Delay), n.heal, nil
}

func resetConnections(_ context.Context, n *Nemesis) (string, func() error, error) {
	all := n.members()
	for i, a := range all {
		n.cluster.Network.Cut(a.Name, clustertest.RouterHost)
		for _, b := range all[:i] {
			n.cluster.Network.Cut(a.Name, b.Name)
		}
	}
	return "all", nil, nil
}

// readyPatience bounds what a node may take to serve again while all others do.
const readyPatience = 30 * second

// restartAll is what an upgrade does.
func restartAll(ctx context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(len(n.ids))
	for _, node := range hit {
		if ctx.Err() != nil {
			break
		}
		if err := node.Stop(); err != nil {
			n.fault("%v\n%s", err, node.Process.Tail(20))
			if err := node.Process.Kill(); err != nil {
				return names(hit), nil, err
			}
		}
		if err := node.Start(); err != nil {
			return names(hit), nil, err
		}
		ready, cancel := context.WithTimeout(ctx, readyPatience)
		err := node.Process.AwaitReady(ready)
		cancel()
		if err != nil && ctx.Err() == nil && !n.left(ctx, node) {
			n.fault("%s is not ready again: %v", node.Name, err)
		}
	}
	return names(hit), nil, nil
}

// move restarts a node at other addresses.
func move(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(1)[0]
	if n.random.IntN(2) == 0 {
		if err := hit.Stop(); err != nil {
			n.fault("%v\n%s", err, hit.Process.Tail(20))
		}
	}
	return hit.Name, hit.Start, errors.Join(hit.Process.Kill(), hit.Move())
}

// jumpClock lets some clocks be ahead by minutes, or behind by hours.
func jumpClock(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit := n.some(1 + n.random.IntN(len(n.ids)))
	off := n.between(0, n.options.Ahead)
	if n.random.IntN(2) == 0 {
		off = n.between(-3*time.Hour, 0)
	}
	undo := func() error {
		return each(hit, func(node *clustertest.Node) error { return node.SetClock(0) })
	}
	return fmt.Sprintf("%s by %v", names(hit), off), undo, each(hit, func(node *clustertest.Node) error { return node.SetClock(off) })
}
