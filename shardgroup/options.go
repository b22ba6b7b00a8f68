package shardgroup

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"go.opentelemetry.io/otel/trace"

	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup/disk"
	"github.com/skerrydb/skerry/shardgroup/overrides"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// Options are a node's settings. The zero value of every field but DataDir is
// replaced by its default.
type Options struct {
	// Folder of the node's identity, Raft log and store. Created if missing.
	DataDir string
	// Where other nodes reach this node's Raft transport. Default 127.0.0.1:9099.
	RaftAddress string
	// Where the Raft transport listens, if that is another address.
	RaftListenAddress string
	// Where routers and other nodes reach this node's API; recorded in the directory.
	APIAddress string
	// Failure domain of the node; recorded in the directory.
	Zone string
	// Of the build, for people; recorded in the directory.
	Version string
	// An empty data directory becomes a cluster of one node. Otherwise it waits
	// until somebody founds a cluster with it (NodeService.Found), or until it can
	// join one through Join.
	Found bool
	// Node API addresses to look for the cluster at.
	Join []string
	// Peers returns the client of the node at an API address. It must not block.
	// Default: a cluster of one node.
	Peers func(address string) (nodev1.NodeServiceClient, error)
	// Raft's transport. Default: dragonboat's own.
	Transport config.TransportFactory
	// When the disk counts as slow, stalled, almost full and full.
	Disk disk.Options
	// Time between two reports to the directory's leader. Default 1 s.
	HeartbeatInterval time.Duration
	// Number of data groups of a new cluster. Default 4.
	Groups int
	// Number of groups that share the streams of a new cluster. Default
	// clusterv1.DefaultStreamGroups.
	StreamGroups int
	// The first map of a new cluster of several nodes, the same on all of them
	// (see NewFounding), and which of its nodes this is. They must start at the
	// same time. Later starts do not need it. Default: a cluster of one node.
	Founding *clusterv1.RangeMap
	NodeID   string
	// Raft's unit of time; elections start after 12 to 20 of them. Default 50 ms.
	RTT time.Duration
	// Bytes of the store's block cache, shared by all groups. 0: the store's default.
	CacheBytes int64
	// Bytes of the store's memtable, shared by all groups. 0: the store's default.
	MemTableBytes int64
	// Bytes of the cache of index shards' strings and label sets, shared by all
	// groups. Default 64 MiB.
	IndexCacheBytes int
	// Reads of data that work in the store at a time. Default 64.
	MaxReads int
	// Reads of data that wait for that; more are refused. Default 1,024.
	MaxQueuedReads int
	// Bytes of all answers under construction together. Default 512 MiB; must
	// hold one answer of the largest size, 100 MiB.
	MaxAnswersBytes int64
	// Time that one read of data may work in the store. Default 15 s.
	QueryTimeout time.Duration
	// Gets spans of reads and proposals. Default none.
	Tracing trace.TracerProvider
	// What compaction follows. Blocks of a job, by level, must be those that the
	// queue keeps order for (queue.Full). The zero value is replaced by
	// schedule.Defaults as a whole: begin with these to change some.
	Compaction schedule.Config
	// What retention follows; Periods are those of tenants without overrides, unless
	// there is another source below. The zero value is replaced by
	// retention.Defaults as a whole.
	Retention retention.Config
	// Time between two sweeps of a group for expired data, and before the first one.
	// Default 15 minutes; negative: nothing expires.
	RetentionInterval time.Duration
	// Pyroscope's runtime overrides file, with the retention periods of tenants. Until
	// it was once right, nothing expires. Default none.
	OverridesPath string
	// How often to look whether the file changed. Default overrides.Interval, 10 s.
	OverridesInterval time.Duration
	// Another source of the periods, asked for before each sweep; an error means that
	// nothing expires. It takes the place of the file. Default none.
	Periods func() (retention.Periods, error)
	// The clock that log time follows. Default time.Now.
	Now func() time.Time
	// Applied from one round of snapshot records to the next, set by tests.
	recordWork int64
	// Called between the steps of a removal, by tests.
	removal func(step string) error
	// Called at each step of a transfer that the node takes, by tests.
	transfer func(step string)
}

const (
	defaultRaftAddress = "127.0.0.1:9099"
	defaultGroups      = 4
	defaultRTT         = 50 * time.Millisecond
	defaultIndexCache  = 64 << 20
	maxGroups          = 1024

	defaultMaxReads        = 64
	defaultMaxQueuedReads  = 1024
	defaultMaxAnswersBytes = 512 << 20
	defaultQueryTimeout    = 15 * time.Second

	defaultRetentionInterval = 15 * time.Minute
	defaultHeartbeatInterval = time.Second
)

func (o Options) withDefaults() Options {
	if o.RaftAddress == "" {
		o.RaftAddress = defaultRaftAddress
	}
	if o.Groups == 0 {
		o.Groups = defaultGroups
	}
	if o.StreamGroups == 0 {
		o.StreamGroups = clusterv1.DefaultStreamGroups(o.Groups)
	}
	if o.RTT == 0 {
		o.RTT = defaultRTT
	}
	if o.OverridesInterval == 0 {
		o.OverridesInterval = overrides.Interval
	}
	if o.recordWork == 0 {
		o.recordWork = defaultRecordWork
	}
	if o.IndexCacheBytes == 0 {
		o.IndexCacheBytes = defaultIndexCache
	}
	if o.MaxReads == 0 {
		o.MaxReads = defaultMaxReads
	}
	if o.MaxQueuedReads == 0 {
		o.MaxQueuedReads = defaultMaxQueuedReads
	}
	if o.MaxAnswersBytes == 0 {
		o.MaxAnswersBytes = defaultMaxAnswersBytes
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = defaultQueryTimeout
	}
	if reflect.ValueOf(o.Compaction).IsZero() {
		o.Compaction = schedule.Defaults()
	}
	if reflect.ValueOf(o.Retention).IsZero() {
		o.Retention = retention.Defaults()
	}
	if o.RetentionInterval == 0 {
		o.RetentionInterval = defaultRetentionInterval
	}
	if o.HeartbeatInterval == 0 {
		o.HeartbeatInterval = defaultHeartbeatInterval
	}
	if o.Peers == nil {
		o.Peers = func(address string) (nodev1.NodeServiceClient, error) {
			return nil, fmt.Errorf("%w: no way to reach the node at %s is configured", ErrNotReady, address)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Validate reports every fault.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	if o.DataDir == "" {
		errs = append(errs, errors.New("the data directory is not set"))
	}
	if _, _, err := net.SplitHostPort(o.RaftAddress); err != nil {
		errs = append(errs, fmt.Errorf("the Raft address %q is not HOST:PORT: %w", o.RaftAddress, err))
	}
	if o.Groups < 1 || o.Groups > maxGroups {
		errs = append(errs, fmt.Errorf("the number of groups is %d, must be 1 to %d", o.Groups, maxGroups))
	}
	if o.StreamGroups < 1 || o.StreamGroups > o.Groups {
		errs = append(errs, fmt.Errorf("the number of stream groups is %d, must be 1 to the number of groups (%d)", o.StreamGroups, o.Groups))
	}
	if o.Founding != nil {
		if err := checkFounding(o.Founding, o.NodeID); err != nil {
			errs = append(errs, err)
		}
	}
	if o.HeartbeatInterval < time.Millisecond {
		errs = append(errs, fmt.Errorf("the heartbeat interval is %s, must be at least 1ms", o.HeartbeatInterval))
	}
	if o.RTT < time.Millisecond {
		errs = append(errs, fmt.Errorf("the Raft round trip time is %s, must be at least 1ms", o.RTT))
	}
	if o.CacheBytes < 0 || o.MemTableBytes < 0 || o.IndexCacheBytes < 0 {
		errs = append(errs, errors.New("cache and memtable sizes cannot be negative"))
	}
	if o.MaxReads < 1 || o.MaxQueuedReads < 1 || o.QueryTimeout < 0 {
		errs = append(errs, errors.New("the limits of reads and their time cannot be negative"))
	}
	if o.MaxAnswersBytes < maxAnswerBytes {
		errs = append(errs, fmt.Errorf("the bound of all answers is %d bytes, must hold one of %d", o.MaxAnswersBytes, maxAnswerBytes))
	}
	if err := o.Disk.Validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, o.validateCompaction()...)
	return errors.Join(errs...)
}

func (o Options) validateCompaction() []error {
	var errs []error
	if err := o.Compaction.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("compaction: %w", err))
	}
	if err := o.Retention.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("retention: %w", err))
	}
	levels := o.Compaction.Compaction.Levels
	if len(levels) > queue.Levels {
		return append(errs, fmt.Errorf("compaction: %d levels, the queue has %d", len(levels), queue.Levels))
	}
	for level, rules := range levels {
		if want := queue.Full[level]; rules.BlocksMax != want {
			errs = append(errs, fmt.Errorf("compaction: level %d: %d blocks in a job, must be %d: all replicas keep the queue's order for that number", level, rules.BlocksMax, want))
		}
	}
	return errs
}
