package server

import (
	"context"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/build"
	"github.com/skerrydb/skerry/cmd/internal/config"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/shardgroup/disk"
	"github.com/skerrydb/skerry/storage/objects"
)

// clusterNode is what the process needs of its node.
type clusterNode interface {
	// Service answers in every phase of the node's life.
	Service() nodev1.NodeServiceServer
	// Ready returns nil if the node can serve, else why not, for people.
	Ready() error
	// Drain gives leaders away, as far as the context lets it.
	Drain(ctx context.Context) error
	// Failed tells of a fault after which the process must exit.
	Failed() <-chan error
	// ClusterID is empty until the node has a cluster.
	ClusterID() string
	ID() string
	// RecoverDeadLetters lets the node recover what writers left in the object store.
	RecoverDeadLetters(bucket objects.Bucket, interval time.Duration) error
	Close() error
}

func (s *server) startNode(ctx context.Context) error {
	options, err := s.nodeOptions()
	if err != nil {
		return err
	}
	node, err := shardgroup.Open(ctx, options, s.log, s.metrics)
	if err != nil {
		return err
	}
	s.node = node
	if err := s.openObjects(); err != nil {
		return err
	}
	if err := node.RecoverDeadLetters(s.objects, s.settings.DeadLetters.Interval); err != nil {
		return err
	}
	if !s.settings.SpreadsDatasets() {
		return nil
	}
	spreading := s.settings.Spread.Options()
	spreading.Bucket = s.objects
	return node.SpreadDatasets(spreading)
}

// nodeOptions translates the settings.
func (s *server) nodeOptions() (shardgroup.Options, error) {
	raft, err := s.security.raftTransport(s.settings, s.log, s.metrics)
	if err != nil {
		return shardgroup.Options{}, err
	}
	return shardgroup.Options{
		DataDir: s.settings.DataDir, RaftAddress: s.settings.RaftAdvertised(), RaftListenAddress: s.settings.RaftAddress,
		APIAddress: s.ports.nodeAdvertised, Zone: s.settings.Zone, Version: build.Read().Version,
		Found: s.settings.Command == config.CommandServe, Join: s.settings.Join, Peers: s.pool.Client, Transport: raft,
		Disk:   diskOptions(s.settings.Disk),
		Groups: s.settings.Groups, StreamGroups: s.settings.StreamGroupCount(),
		RTT: s.settings.RaftRTT, CacheBytes: s.settings.CacheBytes, MemTableBytes: s.settings.MemtableBytes,
		MaxReads: s.settings.ReadsMax, MaxQueuedReads: 16 * s.settings.ReadsMax,
		MaxAnswersBytes: s.settings.AnswersBytesMax, QueryTimeout: s.settings.QueryTimeout,
		IndexCacheBytes: int(s.settings.IndexCacheBytes), Tracing: s.tracing,
		Compaction: s.settings.Compaction.Schedule(), Retention: s.settings.Retention.Plan(), RetentionInterval: sweepInterval(s.settings.Retention.Interval),
		OverridesPath: s.settings.Retention.OverridesFile, OverridesInterval: s.settings.Retention.OverridesReload,
		Now: clock(),
	}, nil
}

// diskOptions lets a disk be slow some time before it counts as stalled.
func diskOptions(settings config.Disk) disk.Options {
	return disk.Options{
		StallAfter: settings.StallTimeout, SlowAfter: min(2*time.Second, settings.StallTimeout/2),
		SoftBytes: uint64(settings.LowBytes), HardBytes: uint64(settings.FullBytes),
	}
}

// sweepInterval translates a setting in which 0 means never.
func sweepInterval(interval time.Duration) time.Duration {
	if interval == 0 {
		return -1
	}
	return interval
}
