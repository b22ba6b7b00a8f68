package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/faultproxy"
)

// ClusterOptions are what a cluster consists of. Zero values of numbers are
// replaced by small defaults.
type ClusterOptions struct {
	// Folder of all that the processes write. Must exist.
	Dir string
	// The command; see Build.
	Binary string
	// Nodes that found the cluster, 1, 3 or 5; and places for nodes that may join it
	// later, besides these. Default 3 and 0.
	Founders, Spares int
	// Data groups. Default 2.
	Groups int
	// Raft's unit of time. Default 20 ms.
	RTT time.Duration
	// Size of each node's own file system; 0 for plain folders.
	DiskBytes int64
	// Further arguments of all nodes.
	Args []string
}

// Cluster is some places for nodes and one router, each with an address of its
// own, behind one Network. Methods may be called concurrently unless they say
// otherwise.
type Cluster struct {
	options ClusterOptions
	Network *faultproxy.Network
	// Founders first.
	Nodes  []*Node
	Router *Process
	// The router's public API.
	RouterAddress string

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// RouterHost is the router in the network.
const RouterHost = "router"

// clusters counts those of this process: each has addresses of its own.
var clusters atomic.Uint32

// hostsEach bounds the addresses of a cluster.
const hostsEach = 16

// addresses returns the prefix of the cluster's addresses, and the first host in
// it.
func addresses() (prefix [3]byte, first int) {
	pid, count := os.Getpid(), int(clusters.Add(1)-1)
	return [3]byte{127, byte(64 + (pid>>8)%128), byte(pid)}, 1 + count%15*hostsEach
}

// NewCluster prepares a cluster: nothing runs yet. Close must be called.
func NewCluster(options ClusterOptions) (*Cluster, error) {
	if options.Founders == 0 {
		options.Founders = 3
	}
	if options.Groups == 0 {
		options.Groups = 2
	}
	if options.RTT == 0 {
		options.RTT = 20 * time.Millisecond
	}
	if count := options.Founders + options.Spares; count >= hostsEach {
		return nil, fmt.Errorf("%d nodes, want fewer than %d", count, hostsEach)
	}
	c := &Cluster{options: options, Network: faultproxy.New(), conns: map[string]*grpc.ClientConn{}}
	prefix, first := addresses()
	for i := range options.Founders + options.Spares {
		ip := netip.AddrFrom4([4]byte{prefix[0], prefix[1], prefix[2], byte(first + 1 + i)})
		n, err := newNode(c, "n"+strconv.Itoa(i+1), ip)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.Nodes = append(c.Nodes, n)
	}
	ip := netip.AddrFrom4([4]byte{prefix[0], prefix[1], prefix[2], byte(first)})
	c.Network.Name(ip, RouterHost)
	c.RouterAddress = fmt.Sprintf("%s:%d", ip, publicPort)
	http := fmt.Sprintf("%s:%d", ip, httpPort)
	c.Router = &Process{
		Name: RouterHost, Path: options.Binary, LogPath: filepath.Join(options.Dir, "router.log"), ReadyURL: "http://" + http + "/readyz",
		Args: []string{"router", "-grpc.address", c.RouterAddress, "-http.address", http, "-dial.local-ip", ip.String(), "-join", joinList(c.Nodes, nil)},
	}
	return c, nil
}

// joinList is the addresses of nodes but one, for -join. All are named there, not only the
// founders: they may all have left the cluster one day.
func joinList(nodes []*Node, but *Node) string {
	var list []string
	for _, n := range nodes {
		if n != but {
			list = append(list, n.Advertised())
		}
	}
	return strings.Join(list, ",")
}

// Found starts the founders, makes them a cluster, starts the router and waits
// until all serve.
func (c *Cluster) Found(ctx context.Context) error {
	for _, n := range c.Nodes[:c.options.Founders] {
		if err := n.Start(); err != nil {
			return err
		}
	}
	command := exec.CommandContext(ctx, c.options.Binary, "init", "-nodes", joinList(c.Nodes[:c.options.Founders], nil), "-groups", strconv.Itoa(c.options.Groups), "-timeout", "30s")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("found the cluster: %w: %s", err, output)
	}
	if err := c.Router.Start(); err != nil {
		return err
	}
	for _, n := range c.Nodes[:c.options.Founders] {
		if err := n.Process.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return c.Router.AwaitReady(ctx)
}

// Public is the addresses at which clients find the founders and the router.
func (c *Cluster) Public() []string {
	list := []string{c.RouterAddress}
	for _, n := range c.Nodes[:c.options.Founders] {
		list = append(list, n.Public())
	}
	return list
}

// Processes are all of them, whether they run or not.
func (c *Cluster) Processes() []*Process {
	list := []*Process{c.Router}
	for _, n := range c.Nodes {
		list = append(list, n.Process)
	}
	return list
}

// Close kills everything and takes the disks away. Logs stay.
func (c *Cluster) Close() error {
	var faults []error
	for _, n := range c.Nodes {
		if n.Disk != nil {
			faults = append(faults, n.Disk.Thaw()) // nobody dies while a write hangs
		}
		faults = append(faults, n.Process.Kill())
	}
	if c.Router != nil {
		faults = append(faults, c.Router.Kill())
	}
	c.Network.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		faults = append(faults, conn.Close())
	}
	for _, n := range c.Nodes {
		if n.Disk != nil {
			faults = append(faults, n.Disk.Close())
		}
	}
	return errors.Join(faults...)
}

// Crashes are the panics and the like of all processes, but for those that the
// disk caused.
func (c *Cluster) Crashes() ([]string, error) {
	var found []string
	for _, p := range c.Processes() {
		crashes, err := p.Crashes()
		if err != nil {
			return nil, err
		}
		for _, crash := range crashes {
			if !ofDisk(crash) {
				found = append(found, crash)
			}
		}
	}
	return found, nil
}

// ofDisk tells whether a failing disk explains a crash.
func ofDisk(crash string) bool {
	for _, cause := range []string{"no space left on device", "read-only file system", "input/output error", "structure needs cleaning"} {
		if strings.Contains(crash, cause) {
			return true
		}
	}
	return false
}
