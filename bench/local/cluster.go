package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/skerrydb/skerry/bench/usage"
)

// Options say what runs.
type Options struct {
	// The skerry command.
	Executable string
	// Folder of everything that the processes write.
	Dir string
	// One is a server, more are a cluster of nodes: 3 or 5.
	Nodes, Groups int
	// Groups that share the streams, to which segments go; 0 for skerry's choice.
	StreamGroups int
	// Further arguments of all.
	Args []string
	// Where a single server has its data already; empty for a folder in Dir.
	DataDir string
}

// Cluster is the processes. It is not safe for concurrent use.
type Cluster struct {
	options Options
	nodes   []*node
	made    int // nodes, also those that were replaced
	founded bool
}

// node is one process with its addresses, which are part of its data.
type node struct {
	*process
	name, dir              string
	api, raft, public, web string
}

// New prepares processes; nothing runs yet. Close must be called.
func New(o Options) (*Cluster, error) {
	c := &Cluster{options: o, founded: o.Nodes == 1}
	if o.Nodes < 1 || o.Nodes%2 == 0 {
		return nil, fmt.Errorf("%d nodes: want 1, 3 or 5", o.Nodes)
	}
	for range o.Nodes {
		if _, err := c.addNode(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// addNode prepares one more.
func (c *Cluster) addNode() (*node, error) {
	c.made++
	number := c.made
	n := &node{name: "node " + strconv.Itoa(number), dir: filepath.Join(c.options.Dir, "node-"+strconv.Itoa(number))}
	if c.options.DataDir != "" {
		n.dir = c.options.DataDir
	}
	for _, address := range []*string{&n.api, &n.raft, &n.public, &n.web} {
		var err error
		if *address, err = freeAddress(number); err != nil {
			return nil, err
		}
	}
	n.process = &process{executable: c.options.Executable, http: n.web}
	n.args = []string{
		"serve", "-data-dir", n.dir, "-storage.filesystem.dir", filepath.Join(c.options.Dir, "objects"),
		"-grpc.address", n.public, "-http.address", n.web, "-node.address", n.api, "-raft.address", n.raft,
	}
	if c.options.Nodes == 1 {
		n.args = append(n.args, c.layout()...)
	} else {
		n.args[0] = "node"
		n.args = append(n.args, "-zone", "zone-"+strconv.Itoa(number))
	}
	n.args = append(n.args, c.options.Args...)
	c.nodes = append(c.nodes, n)
	return n, nil
}

// freeAddress is one that nobody uses. Each node has an IP of its own, where the system has them: connections that go
// out take ports of another, so that a node finds its own free when it comes back.
func freeAddress(number int) (string, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 1+number))
	if err != nil {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// Start starts what does not run and waits until all are ready; the first time it makes nodes a cluster.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.nodes {
		if n.running() {
			continue
		}
		if err := n.start(); err != nil {
			return err
		}
	}
	if !c.founded {
		if err := c.command(ctx, append([]string{"init", "-nodes", c.join(), "-timeout", "60s"}, c.layout()...)...); err != nil {
			return err
		}
		c.founded = true
	}
	return c.Ready(ctx)
}

func (c *Cluster) layout() []string {
	return []string{"-groups", strconv.Itoa(c.options.Groups), "-streams.groups", strconv.Itoa(c.options.StreamGroups)}
}

// Ready waits until all processes that run are ready.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		if err := n.ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func (c *Cluster) join() string {
	var list []string
	for _, n := range c.nodes[:c.options.Nodes] {
		list = append(list, n.api)
	}
	return strings.Join(list, ",")
}

// command runs another command of the binary to its end.
func (c *Cluster) command(ctx context.Context, args ...string) error {
	said, err := exec.CommandContext(ctx, c.options.Executable, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("skerry %s: %w: %s", args[0], err, said)
	}
	return nil
}

// Stop asks all to stop, at once.
func (c *Cluster) Stop() error { return c.all(func(n *node) error { return n.stop() }) }

// Kill kills all, at once.
func (c *Cluster) Kill() error { return c.all(func(n *node) error { return n.kill() }) }

func (c *Cluster) all(do func(*node) error) error {
	faults := make([]error, len(c.nodes))
	var running sync.WaitGroup
	for i, n := range c.nodes {
		running.Go(func() {
			if err := do(n); err != nil {
				faults[i] = fmt.Errorf("%s: %w", n.name, err)
			}
		})
	}
	running.Wait()
	return errors.Join(faults...)
}

// KillNode kills one, by its index.
func (c *Cluster) KillNode(at int) error { return c.nodes[at].kill() }

// StartNode starts one, and does not wait until it is ready.
func (c *Cluster) StartNode(at int) error { return c.nodes[at].start() }

// Addresses are where those that run serve clients.
func (c *Cluster) Addresses() []string {
	var list []string
	for _, n := range c.nodes {
		if n.running() {
			list = append(list, n.public)
		}
	}
	return list
}

// Commands are how all were started.
func (c *Cluster) Commands() (all []string) {
	for i, n := range c.nodes {
		if i > 0 {
			all = append(all, "&")
		}
		all = append(all, append([]string{"skerry"}, n.args...)...)
	}
	return all
}

// Usage is what all take together.
func (c *Cluster) Usage() (usage.Usage, error) {
	var sum usage.Usage
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		u, err := usage.Measure(n.pid(), n.dir)
		if err != nil {
			return sum, err
		}
		sum.Memory, sum.Peak, sum.Anonymous, sum.CPU, sum.Disk = sum.Memory+u.Memory, sum.Peak+u.Peak, sum.Anonymous+u.Anonymous, sum.CPU+u.CPU, sum.Disk+u.Disk
	}
	objects, err := usage.Folder(filepath.Join(c.options.Dir, "objects"))
	sum.Disk += objects
	return sum, err
}

// CPU is the time of processors that each process took so far, by its id.
func (c *Cluster) CPU() map[int]float64 {
	taken := map[int]float64{}
	for _, n := range c.nodes {
		if n.running() {
			taken[n.pid()] = usage.CPUSeconds(n.pid())
		}
	}
	return taken
}

// ResetPeak lets the most memory begin anew.
func (c *Cluster) ResetPeak() {
	for _, n := range c.nodes {
		if n.running() {
			usage.ResetPeak(n.pid())
		}
	}
}

// forget takes a node out of the list, whose place another has taken.
func (c *Cluster) forget(n *node) {
	c.nodes = slices.DeleteFunc(c.nodes, func(other *node) bool { return other == n })
}

// Close kills what runs. Folders stay.
func (c *Cluster) Close() error { return c.Kill() }

// remove removes a node's data.
func (n *node) remove() error { return os.RemoveAll(n.dir) }
