package clustertest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Ports of each address. Those of the node and Raft APIs move up by portsEach
// whenever the node's addresses change.
const (
	publicPort = 20000 + iota
	httpPort
	apiPort
	advertisedAPIPort
	raftPort
	advertisedRaftPort

	portsEach = 10
)

// Node is a place for a node: an address, a disk and a process. Methods may be
// called concurrently, but for those that start and stop the process.
type Node struct {
	// Also what the network calls it.
	Name    string
	IP      netip.Addr
	Process *Process
	// nil without a file system of its own.
	Disk *Disk

	cluster *Cluster
	folder  string // of what is not on the disk

	mu         sync.Mutex
	generation int // of its addresses
}

func newNode(c *Cluster, name string, ip netip.Addr) (*Node, error) {
	n := &Node{Name: name, IP: ip, cluster: c, folder: filepath.Join(c.options.Dir, name)}
	if err := os.MkdirAll(n.folder, 0o755); err != nil {
		return nil, err
	}
	n.Process = &Process{
		Name: name, Path: c.options.Binary, LogPath: filepath.Join(c.options.Dir, name+".log"), ReadyURL: "http://" + n.at(httpPort, 0) + "/readyz",
		Env: []string{ClockFileVariable + "=" + n.clockFile()},
	}
	c.Network.Name(ip, name)
	if err := n.listen(); err != nil {
		return nil, err
	}
	if c.options.DiskBytes > 0 {
		var err error
		n.Disk, err = NewDisk(n.folder, c.options.DiskBytes)
		return n, err
	}
	return n, nil
}

func (n *Node) at(port, generation int) string {
	if port != publicPort && port != httpPort {
		port += generation * portsEach
	}
	return fmt.Sprintf("%s:%d", n.IP, port)
}

func (n *Node) address(port int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at(port, n.generation)
}

// Public is where the node serves clients.
func (n *Node) Public() string { return n.address(publicPort) }

// API is where the node serves the node API, without a proxy.
func (n *Node) API() string { return n.address(apiPort) }

// Advertised is where others reach the node API.
func (n *Node) Advertised() string { return n.address(advertisedAPIPort) }

// listen has the network pass on what is for the present addresses.
func (n *Node) listen() error {
	for advertised, target := range map[int]int{advertisedAPIPort: apiPort, advertisedRaftPort: raftPort} {
		if _, err := n.cluster.Network.Listen(n.Name, n.address(advertised), n.address(target)); err != nil {
			return err
		}
	}
	return nil
}

// Move changes the addresses of the node and Raft APIs, from the next start on.
// Nobody listens at the old ones then.
func (n *Node) Move() error {
	n.mu.Lock()
	n.generation++
	n.mu.Unlock()
	return n.listen()
}

// DataDir is the node's data directory.
func (n *Node) DataDir() string {
	if n.Disk != nil {
		return filepath.Join(n.Disk.Path, "data")
	}
	return filepath.Join(n.folder, "data")
}

// Start begins a life of the node. An empty one joins the cluster or waits for it.
func (n *Node) Start() error {
	n.Process.Args = append([]string{
		"node", "-data-dir", n.DataDir(), "-node.address", n.API(), "-node.advertise-address", n.Advertised(),
		"-raft.address", n.address(raftPort), "-raft.advertise-address", n.address(advertisedRaftPort),
		"-grpc.address", n.Public(), "-http.address", n.address(httpPort), "-dial.local-ip", n.IP.String(), "-join", joinList(n.cluster.Nodes, n),
		"-zone", n.Name, "-raft.rtt", n.cluster.options.RTT.String(),
		"-store.memtable-bytes", "1MiB", "-store.cache-bytes", "8MiB", "-disk.low-bytes", "0", "-disk.full-bytes", "0",
		"-metastore.compaction-job-lease-duration", "1s", "-metastore.compaction-max-failures", "0", "-metastore.index.cleanup-interval", "0",
	}, n.cluster.options.Args...)
	return n.Process.Start()
}

// stopPatience is what a node may take to stop: its own limit, and some.
const stopPatience = 20 * time.Second

// Stop ends the process as operators do. Any end but a good one is an error.
func (n *Node) Stop() error {
	err := n.Process.Terminate(stopPatience)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", n.Name, err)
	}
	return nil
}

// Wipe removes the node's data, for good. The process must not run.
func (n *Node) Wipe() error {
	if n.Process.Running() {
		return fmt.Errorf("%s runs", n.Name)
	}
	return os.RemoveAll(n.DataDir())
}

// Blackout makes the node lose its power, with all that it did not sync. It stays
// down. Only with a Disk.
func (n *Node) Blackout() error {
	return errors.Join(n.Process.Kill(), n.Disk.Lose(), n.Replug())
}

// Replug ends the process and repairs a disk that failed. The node stays down.
func (n *Node) Replug() error {
	return errors.Join(n.Process.Kill(), n.Disk.Unmount(), n.Disk.Mount())
}

// ClockFileVariable names, in the environment, the file that holds by how much a
// process's clock is off, in builds for tests.
const ClockFileVariable = "SKERRY_FAULT_CLOCK_FILE"

func (n *Node) clockFile() string { return filepath.Join(n.folder, "clock") }

// SetClock lets the clock of the node be off by an amount, within 100 ms and
// through restarts.
func (n *Node) SetClock(off time.Duration) error {
	temporary := n.clockFile() + ".new"
	return errors.Join(os.WriteFile(temporary, []byte(off.String()), 0o644), os.Rename(temporary, n.clockFile()))
}
