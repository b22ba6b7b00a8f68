// Package config reads the settings of the server commands: defaults, then a
// YAML file, then flags, each overriding the one before.
//
//	settings ─┬─► flags and help
//	          ├─► YAML in (strict keys, ${ENV} in values)
//	          └─► YAML out (-print-config; can be fed back)
//
// One table per command feeds all of these, so a setting cannot be known to one
// and unknown to another. The package starts nothing.
package config

import (
	"path/filepath"
	"slices"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Serve holds the settings of a node that runs everything in one process.
type Serve struct {
	// Folder of the Raft log and the database.
	DataDir string
	// Public, admin and node API. Port 0 picks a free one.
	GRPCAddress string
	// Metrics, health and profiling. Port 0 picks a free one.
	HTTPAddress string
	// Raft transport. Other nodes dial it, so host and port must be given.
	RaftAddress string
	// Data groups of a new cluster; ignored if the data folder has one.
	Groups int
	// Groups that share the streams of a new cluster; 0 means automatic. See
	// StreamGroupCount.
	StreamGroups int
	// Folder used as object store; empty means inside DataDir. See ObjectsPath.
	ObjectsDir string
	// debug, info, warn or error.
	LogLevel string
	// console or json.
	LogFormat string
	// How long a stop may take before it is forced.
	ShutdownTimeout time.Duration
	// Pebble's block cache, shared by all groups of the node.
	CacheBytes int64
	// Size of one Pebble memtable.
	MemtableBytes int64
	// A multiple of a millisecond: it is Raft's tick.
	RaftRTT time.Duration
	// Public calls served at a time; more are refused.
	InflightRequestsMax int
	// Whether DeleteTenant deletes.
	AllowTenantDeletion bool
	// Reads that work in the node's store at a time.
	ReadsMax int
	// Bytes of all answers that the node builds at a time.
	AnswersBytesMax int64
	// Time that one read may work in a group's store.
	QueryTimeout time.Duration
	// From which time on queries are logged; 0 for never.
	SlowQuery time.Duration
	// Strings and label sets of index shards, shared by all groups of the node.
	IndexCacheBytes int64
	// What compaction and retention follow.
	Compaction Compaction
	Retention  Retention
}

// DefaultServe returns the settings that apply where nothing else is said.
func DefaultServe() Serve {
	return Serve{
		DataDir:             "./data",
		GRPCAddress:         "127.0.0.1:9095",
		HTTPAddress:         "127.0.0.1:9096",
		RaftAddress:         "127.0.0.1:9099",
		Groups:              4,
		LogLevel:            "info",
		LogFormat:           "console",
		ShutdownTimeout:     10 * time.Second,
		CacheBytes:          256 << 20,
		MemtableBytes:       64 << 20,
		RaftRTT:             50 * time.Millisecond,
		InflightRequestsMax: 1024,
		ReadsMax:            64,
		AnswersBytesMax:     512 << 20,
		QueryTimeout:        15 * time.Second,
		SlowQuery:           2 * time.Second,
		IndexCacheBytes:     64 << 20,
		Compaction:          defaultCompaction(),
		Retention:           defaultRetention(),
	}
}

// ObjectsPath is the folder used as object store.
func (s Serve) ObjectsPath() string {
	if s.ObjectsDir != "" {
		return s.ObjectsDir
	}
	return filepath.Join(s.DataDir, "objects")
}

// StreamGroupCount is the number of groups that share the streams of a new
// cluster.
func (s Serve) StreamGroupCount() int {
	if s.StreamGroups > 0 {
		return s.StreamGroups
	}
	return clusterv1.DefaultStreamGroups(s.Groups)
}

// settings is the table: names, documentation and checks, bound to s.
func (s *Serve) settings() settings {
	return slices.Concat(s.node(), s.Compaction.settings(), s.Retention.settings())
}

func (s *Serve) node() settings {
	return settings{
		{"data-dir", "DIR", "folder that keeps everything of this node; created if missing",
			(*text)(&s.DataDir), filled(&s.DataDir)},
		{"grpc.address", "HOST:PORT", "where to serve the gRPC APIs; port 0 picks a free one",
			(*text)(&s.GRPCAddress), listenAddress(&s.GRPCAddress)},
		{"http.address", "HOST:PORT", "where to serve metrics, health and profiling; port 0 picks a free one",
			(*text)(&s.HTTPAddress), listenAddress(&s.HTTPAddress)},
		{"raft.address", "HOST:PORT", "where to serve Raft; other nodes dial this very address",
			(*text)(&s.RaftAddress), dialAddress(&s.RaftAddress)},
		{"groups", "N", "number of data groups, 1 to 1024; used only when the data folder is new",
			(*number)(&s.Groups), between(&s.Groups, 1, 1024)},
		{"streams.groups", "N", "number of groups that share the streams, up to all of them; used only when the data folder is new; 0 is automatic: 1, or 2 from 8 groups up",
			(*number)(&s.StreamGroups), between(&s.StreamGroups, 0, s.Groups)},
		{"objects.dir", "DIR", "folder used as object store; empty is the folder objects inside -data-dir",
			(*text)(&s.ObjectsDir), nil},
		{"log.level", "LEVEL", "least severe level to log: debug, info, warn or error",
			(*text)(&s.LogLevel), oneOf(&s.LogLevel, "debug", "info", "warn", "error")},
		{"log.format", "FORMAT", "console or json",
			(*text)(&s.LogFormat), oneOf(&s.LogFormat, "console", "json")},
		{"shutdown.timeout", "DURATION", "how long a stop may take before it is forced",
			(*duration)(&s.ShutdownTimeout), between(&s.ShutdownTimeout, time.Millisecond, time.Hour)},
		{"store.cache-bytes", "BYTES", "memory for cached database blocks, shared by all groups; 1MiB or more",
			(*byteCount)(&s.CacheBytes), between(&s.CacheBytes, 1<<20, 1<<50)},
		{"store.memtable-bytes", "BYTES", "memory of one database memtable, 1MiB to 1GiB",
			(*byteCount)(&s.MemtableBytes), between(&s.MemtableBytes, 1<<20, 1<<30)},
		{"store.index-cache-bytes", "BYTES", "memory for cached strings and label sets of the index, shared by all groups; 1MiB or more",
			(*byteCount)(&s.IndexCacheBytes), between(&s.IndexCacheBytes, 1<<20, 1<<50)},
		{"raft.rtt", "DURATION", "round trip between nodes, in whole milliseconds; elections and heartbeats are multiples of it",
			(*duration)(&s.RaftRTT), wholeMilliseconds(&s.RaftRTT, 10*time.Second)},
		{"tenants.allow-delete", "BOOL", "let clients delete tenants by the public API, which asks nobody who they are",
			(*toggle)(&s.AllowTenantDeletion), nil},
		{"limits.max-inflight-requests", "N", "public calls served at a time, 1 to 1048576; more are refused",
			(*number)(&s.InflightRequestsMax), between(&s.InflightRequestsMax, 1, 1<<20)},
		{"limits.max-reads", "N", "reads that work in the node's store at a time, 1 to 65536; others wait, up to 16 times as many, then more are refused",
			(*number)(&s.ReadsMax), between(&s.ReadsMax, 1, 1<<16)},
		{"limits.max-answers-bytes", "BYTES", "memory for all answers that the node builds at a time, 100MiB or more; more are refused",
			(*byteCount)(&s.AnswersBytesMax), between(&s.AnswersBytesMax, 100<<20, 1<<50)},
		{"limits.query-timeout", "DURATION", "how long one query may work in a group's store; longer ones are refused",
			(*duration)(&s.QueryTimeout), between(&s.QueryTimeout, time.Millisecond, time.Hour)},
		{"log.slow-query", "DURATION", "log queries that take this long, with what they cost; 0 for never",
			(*duration)(&s.SlowQuery), between(&s.SlowQuery, 0, 24*time.Hour)},
	}
}

// Validate reports every fault, not only the first.
func (s Serve) Validate() error {
	faults := s.settings().validate()
	faults = append(faults, distinctAddresses(map[string]string{
		"grpc.address": s.GRPCAddress, "http.address": s.HTTPAddress, "raft.address": s.RaftAddress,
	})...)
	return joinFaults(faults)
}
