package config

import (
	"errors"
	"time"
)

// Node holds the settings of a process that keeps data.
type Node struct {
	// Folder of the Raft log and the database.
	DataDir string
	// Node and admin API. Port 0 picks a free one.
	NodeAddress string
	// How others reach that; empty for NodeAddress itself.
	NodeAdvertiseAddress string
	// Raft transport.
	RaftAddress string
	// How others reach that; empty for RaftAddress itself. See RaftAdvertised.
	RaftAdvertiseAddress string
	// Failure domain; empty for none.
	Zone string
	// Where the object store is.
	Objects
	// Pebble's block cache, shared by all groups of the node.
	CacheBytes int64
	// Size of one Pebble memtable.
	MemtableBytes int64
	// Strings and label sets of index shards, shared by all groups of the node.
	IndexCacheBytes int64
	// A multiple of a millisecond: it is Raft's tick.
	RaftRTT time.Duration
	// Reads that work in the node's store at a time.
	ReadsMax int
	// Bytes of all answers that the node builds at a time.
	AnswersBytesMax int64
	// Time that one read may work in a group's store.
	QueryTimeout time.Duration
	// What the node does as its disk fills up or fails.
	Disk Disk
	// What compaction and retention follow.
	Compaction Compaction
	Retention  Retention
	// What the node does about dead letters.
	DeadLetters DeadLetters
	// Over how many shards datasets are spread.
	Spread Spread
}

// Disk holds the limits of the data folder's disk.
type Disk struct {
	// Free bytes below which the node refuses new blocks, and below which it
	// suspends its replicas; 0 means automatic.
	LowBytes, FullBytes int64
	// A write that takes longer ends the process.
	StallTimeout time.Duration
}

// Founding holds what a cluster begins with. It means nothing to one that exists.
type Founding struct {
	// Data groups.
	Groups int
	// Groups that share the streams; 0 means automatic. See StreamGroupCount.
	StreamGroups int
}

func defaultNode() Node {
	return Node{
		DataDir:         "./data",
		NodeAddress:     "127.0.0.1:9097",
		RaftAddress:     "127.0.0.1:9099",
		CacheBytes:      256 << 20,
		MemtableBytes:   64 << 20,
		IndexCacheBytes: 64 << 20,
		RaftRTT:         50 * time.Millisecond,
		ReadsMax:        64,
		AnswersBytesMax: 512 << 20,
		QueryTimeout:    15 * time.Second,
		Objects:         defaultObjects(),
		Disk:            Disk{StallTimeout: 10 * time.Second},
		Compaction:      defaultCompaction(),
		Retention:       defaultRetention(),
		DeadLetters:     defaultDeadLetters(),
		Spread:          defaultSpread(),
	}
}

func defaultFounding() Founding { return Founding{Groups: 4} }

// RaftAdvertised is the address at which others reach the node's Raft transport.
func (n Node) RaftAdvertised() string {
	if n.RaftAdvertiseAddress != "" {
		return n.RaftAdvertiseAddress
	}
	return n.RaftAddress
}

// StreamGroupCount is the number of groups that share the streams of a new
// cluster of one process. Two are read at the same time, and an entry of one
// process costs little; the nodes of a cluster do more with longer entries
// (clusterv1.DefaultStreamGroups).
func (f Founding) StreamGroupCount() int {
	if f.StreamGroups > 0 {
		return f.StreamGroups
	}
	return min(2, f.Groups)
}

func (n *Node) storage() settings {
	return settings{
		{"data-dir", "DIR", "folder that keeps everything of this node; created if missing",
			(*text)(&n.DataDir), filled(&n.DataDir)},
	}
}

// cluster is where and what a node is to others.
func (n *Node) cluster() settings {
	return settings{
		{"node.address", "HOST:PORT", "where to serve the APIs for routers, other nodes and operators; port 0 picks a free one",
			(*text)(&n.NodeAddress), both(listenAddress(&n.NodeAddress), reachable(&n.NodeAddress, &n.NodeAdvertiseAddress, "node.advertise-address"))},
		{"node.advertise-address", "HOST:PORT", "how others reach -node.address, if by another address",
			(*text)(&n.NodeAdvertiseAddress), optional(&n.NodeAdvertiseAddress, dialAddress)},
		{"raft.address", "HOST:PORT", "where to serve Raft",
			(*text)(&n.RaftAddress), raftAddress(n)},
		{"raft.advertise-address", "HOST:PORT", "how other nodes reach -raft.address, if by another address",
			(*text)(&n.RaftAdvertiseAddress), optional(&n.RaftAdvertiseAddress, dialAddress)},
		{"zone", "ZONE", "failure domain of the node, such as a data centre or a rack: replicas are spread over zones",
			(*text)(&n.Zone), zoneName(&n.Zone)},
	}
}

// raftAddress demands a port that is known beforehand, and an address to dial.
func raftAddress(n *Node) func() error {
	if n.RaftAdvertiseAddress != "" {
		return listenAddress(&n.RaftAddress)
	}
	return both(dialAddress(&n.RaftAddress), reachable(&n.RaftAddress, &n.RaftAdvertiseAddress, "raft.advertise-address"))
}

func (f *Founding) founding() settings {
	return settings{
		{"groups", "N", "number of data groups, 1 to 1024; used only when the data folder is new",
			(*number)(&f.Groups), between(&f.Groups, 1, 1024)},
		{"streams.groups", "N", "number of groups that share the streams, up to all of them; used only when the data folder is new; 0 is automatic: 2",
			(*number)(&f.StreamGroups), between(&f.StreamGroups, 0, f.Groups)},
	}
}

func lessThanLow(d *Disk) func() error {
	return func() error {
		if d.FullBytes > 0 && d.LowBytes > 0 && d.FullBytes >= d.LowBytes {
			return errors.New("want less than disk.low-bytes")
		}
		return between(&d.FullBytes, 0, 1<<50)()
	}
}

func (n *Node) node() settings {
	return settings{
		{"disk.low-bytes", "BYTES", "free bytes of the disk below which the node refuses new blocks and gives its leaders away; 0 is automatic: 2% of the disk, from 256MiB to 5GiB",
			(*byteCount)(&n.Disk.LowBytes), between(&n.Disk.LowBytes, 0, 1<<50)},
		{"disk.full-bytes", "BYTES", "free bytes of the disk below which the node suspends its replicas, less than disk.low-bytes; 0 is automatic: a quarter of that, at least 64MiB",
			(*byteCount)(&n.Disk.FullBytes), lessThanLow(&n.Disk)},
		{"disk.stall-timeout", "DURATION", "how long a write to the disk may take before the process gives up and exits, 1s to 1h",
			(*duration)(&n.Disk.StallTimeout), between(&n.Disk.StallTimeout, time.Second, time.Hour)},
		{"store.cache-bytes", "BYTES", "memory for cached database blocks, shared by all groups; 1MiB or more",
			(*byteCount)(&n.CacheBytes), between(&n.CacheBytes, 1<<20, 1<<50)},
		{"store.memtable-bytes", "BYTES", "memory of one database memtable, 1MiB to 1GiB",
			(*byteCount)(&n.MemtableBytes), between(&n.MemtableBytes, 1<<20, 1<<30)},
		{"store.index-cache-bytes", "BYTES", "memory for cached strings and label sets of the index, shared by all groups; 1MiB or more",
			(*byteCount)(&n.IndexCacheBytes), between(&n.IndexCacheBytes, 1<<20, 1<<50)},
		{"raft.rtt", "DURATION", "round trip between nodes, in whole milliseconds; elections and heartbeats are multiples of it",
			(*duration)(&n.RaftRTT), wholeMilliseconds(&n.RaftRTT, 10*time.Second)},
		{"limits.max-reads", "N", "reads that work in the node's store at a time, 1 to 65536; others wait, up to 16 times as many, then more are refused",
			(*number)(&n.ReadsMax), between(&n.ReadsMax, 1, 1<<16)},
		{"limits.max-answers-bytes", "BYTES", "memory for all answers that the node builds at a time, 100MiB or more; more are refused",
			(*byteCount)(&n.AnswersBytesMax), between(&n.AnswersBytesMax, 100<<20, 1<<50)},
		{"limits.query-timeout", "DURATION", "how long one query may work in a group's store; longer ones are refused",
			(*duration)(&n.QueryTimeout), between(&n.QueryTimeout, time.Millisecond, time.Hour)},
	}
}
