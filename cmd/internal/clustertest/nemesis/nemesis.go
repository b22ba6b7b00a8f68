// Package nemesis does to a cluster what machines, networks, disks, clocks and
// operators do, in an order that a seed decides, while others use it.
//
//	deck of all kinds ─► strike ─► hold ─► undo ─► pause ─► next
//	                       └─ at times something of another class meanwhile
//
// Whatever it does, a majority of each group's disks stays whole: nothing that was
// acknowledged may be lost, and once all is undone everything must work again.
package nemesis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Options of a nemesis.
type Options struct {
	// Decides the order of faults, whom they hit and for how long. What is there to
	// be hit is not decided by it: two runs are alike, not equal.
	Seed uint64
	// Kinds of faults to draw from; empty for all.
	Kinds []string
	// Gets a line of JSON for each fault; nil for none.
	Log io.Writer
	// Mean pause between two faults. Default 700 ms.
	Pause time.Duration
	// How far clocks may be ahead. Default 12 minutes: less than the time for which
	// groups remember blocks that were replaced; see Remembered.
	Ahead time.Duration
}

// Remembered is how long, by its leader's clock, a group refuses to add a block
// again that compaction has replaced. A clock that is ahead by more makes it forget:
// a client that repeats its addition then adds it for a second time.
const Remembered = 15 * time.Minute

// Nemesis strikes a cluster. Its methods must not be called concurrently, but for
// Counts and Faults.
type Nemesis struct {
	cluster *clustertest.Cluster
	options Options
	random  *rand.Rand
	begun   time.Time
	deck    []kind
	ids     map[*clustertest.Node]string   // of the members
	owed    map[string]clusterv1.NodeState // what the directory must still be told

	mu     sync.Mutex
	counts map[string]int
	faults []string
}

// New returns a nemesis of a cluster whose first nodes have founded it.
func New(cluster *clustertest.Cluster, founders int, options Options) (*Nemesis, error) {
	if options.Pause == 0 {
		options.Pause = 700 * time.Millisecond
	}
	if options.Ahead == 0 {
		options.Ahead = 12 * time.Minute
	}
	n := &Nemesis{
		cluster: cluster, options: options, random: rand.New(rand.NewPCG(options.Seed, 1)), begun: time.Now(),
		ids: map[*clustertest.Node]string{}, owed: map[string]clusterv1.NodeState{}, counts: map[string]int{},
	}
	for _, name := range options.Kinds {
		if !slices.ContainsFunc(kinds(), func(k kind) bool { return k.name == name }) {
			return nil, fmt.Errorf("there is no fault %q: want one of %s", name, strings.Join(Kinds(), ", "))
		}
	}
	for _, node := range cluster.Nodes[:founders] {
		n.ids[node] = ""
	}
	return n, nil
}

// Kinds are the names of all faults.
func Kinds() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Counts are the faults so far, by kind. Those that came to nothing, since
// somebody refused or nothing was there to be hit, are counted as such.
func (n *Nemesis) Counts() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.counts)
}

// Faults are what nodes did that nothing explains.
func (n *Nemesis) Faults() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.faults)
}

func (n *Nemesis) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.mu.Lock()
	n.faults = append(n.faults, text)
	n.mu.Unlock()
	n.write(event{Fault: "unexplained", Result: text})
}

// event is a line of the log.
type event struct {
	At     time.Time     `json:"at"`
	Since  string        `json:"since_start"`
	Fault  string        `json:"fault"`
	On     string        `json:"on,omitempty"`
	Hold   time.Duration `json:"hold_ns,omitempty"`
	Result string        `json:"result,omitempty"`
}

func (n *Nemesis) write(e event) {
	if n.options.Log == nil {
		return
	}
	e.At = time.Now().UTC()
	e.Since = e.At.Sub(n.begun).Round(time.Millisecond).String()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = n.options.Log.Write(append(line, '\n'))
	}
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.faults = append(n.faults, "write the log: "+err.Error())
		n.options.Log = nil
	}
}

// Run strikes until the context ends, and returns with everything undone but what
// operators did. An error is one of the tools, not of the cluster.
func (n *Nemesis) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := n.tend(ctx); err != nil {
			return err
		}
		if err := n.strike(ctx, n.draw()); err != nil {
			return err
		}
		sleep(ctx, n.between(n.options.Pause/2, n.options.Pause*3/2))
	}
	return nil
}

// draw takes the next kind: each comes once before any comes twice.
func (n *Nemesis) draw() kind {
	if len(n.deck) == 0 {
		for _, k := range kinds() {
			if len(n.options.Kinds) == 0 || slices.Contains(n.options.Kinds, k.name) {
				n.deck = append(n.deck, k)
			}
		}
		n.random.Shuffle(len(n.deck), func(i, j int) { n.deck[i], n.deck[j] = n.deck[j], n.deck[i] })
	}
	k := n.deck[0]
	n.deck = n.deck[1:]
	return k
}

// companions is how many strikes there are for each one that has another in its
// midst.
const companions = 2

func (n *Nemesis) strike(ctx context.Context, k kind) error {
	undo, err := n.begin(ctx, k)
	if undo == nil {
		return err
	}
	hold := n.between(k.least, k.most)
	began := time.Now()
	var beside func() error
	if !k.alone && n.random.IntN(companions) == 0 {
		if companion := n.companion(k.class); companion.name != "" {
			beside, err = n.begin(ctx, companion)
		}
	}
	sleep(ctx, hold-time.Since(began))
	if beside != nil {
		err = errors.Join(err, beside())
	}
	err = errors.Join(err, undo())
	n.write(event{Fault: k.name, Result: "over"})
	return err
}

// companion is a fault that may happen while one of a class lasts.
func (n *Nemesis) companion(beside class) kind {
	var all []kind
	for _, k := range kinds() {
		if k.class.together(beside) && !k.alone && (len(n.options.Kinds) == 0 || slices.Contains(n.options.Kinds, k.name)) {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return kind{}
	}
	return all[n.random.IntN(len(all))]
}

// begin returns how to undo it; nil if it came to nothing.
func (n *Nemesis) begin(ctx context.Context, k kind) (func() error, error) {
	on, undo, err := k.strike(ctx, n)
	e := event{Fault: k.name, On: on}
	name := k.name
	var nothing *nothingError
	switch {
	case errors.As(err, &nothing):
		e.Result, err, undo, name = nothing.why, nil, nil, k.name+", to no effect"
	case err != nil:
		e.Result = err.Error()
		err = fmt.Errorf("%s on %s: %w", k.name, on, err)
	case undo == nil:
		undo = func() error { return nil }
	}
	n.mu.Lock()
	n.counts[name]++
	n.mu.Unlock()
	n.write(e)
	return undo, err
}

// nothingError says why a fault came to nothing.
type nothingError struct{ why string }

func (e *nothingError) Error() string { return e.why }

func nothing(format string, args ...any) error { return &nothingError{fmt.Sprintf(format, args...)} }

// Heal undoes what is left, so that the cluster has no excuse any more: everything
// runs, every node is wanted, or gone.
func (n *Nemesis) Heal(ctx context.Context) error {
	n.cluster.Network.Heal()
	for _, node := range n.cluster.Nodes {
		if err := n.repair(node); err != nil {
			return err
		}
	}
	if !n.cluster.Router.Running() {
		if err := n.cluster.Router.Start(); err != nil {
			return err
		}
	}
	return n.tend(ctx)
}

// repair makes a machine whole.
func (n *Nemesis) repair(node *clustertest.Node) error {
	err := node.SetClock(0)
	if node.Disk != nil {
		err = errors.Join(err, node.Disk.Thaw(), node.Disk.Empty())
	}
	return err
}

// between draws a duration.
func (n *Nemesis) between(least, most time.Duration) time.Duration {
	return least + time.Duration(n.random.Int64N(int64(most-least)+1))
}

// members are the places of nodes that belong to the cluster, in order.
func (n *Nemesis) members() []*clustertest.Node {
	return slices.SortedFunc(maps.Keys(n.ids), func(a, b *clustertest.Node) int { return cmp.Compare(a.Name, b.Name) })
}

// some are so many members, in any order.
func (n *Nemesis) some(count int) []*clustertest.Node {
	all := n.members()
	n.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(count, len(all))]
}

// spare is a place without a node, nil if there is none.
func (n *Nemesis) spare() *clustertest.Node {
	for _, node := range n.cluster.Nodes {
		if _, member := n.ids[node]; !member {
			return node
		}
	}
	return nil
}

func names(nodes []*clustertest.Node) string {
	var list []string
	for _, node := range nodes {
		list = append(list, node.Name)
	}
	return strings.Join(list, ",")
}

func hosts(nodes []*clustertest.Node) []string {
	var list []string
	for _, node := range nodes {
		list = append(list, node.Name)
	}
	return list
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
