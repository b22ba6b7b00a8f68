package server

import (
	"context"
	"time"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
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
	Close() error
}

func (s *server) startNode(ctx context.Context) error {
	var err error
	if s.node, err = openNode(ctx, s); err != nil {
		return err
	}
	return s.openObjects()
}

func (s *server) openObjects() (err error) {
	s.objects, err = objects.OpenFolder(s.settings.ObjectsPath())
	return err
}

// nodeOptions translates the settings.
func (s *server) nodeOptions() shardgroup.Options {
	return shardgroup.Options{
		DataDir: s.settings.DataDir, RaftAddress: s.settings.RaftAdvertised(), APIAddress: s.ports.nodeAdvertised,
		Groups: s.settings.Groups, StreamGroups: s.settings.StreamGroupCount(),
		RTT: s.settings.RaftRTT, CacheBytes: s.settings.CacheBytes, MemTableBytes: s.settings.MemtableBytes,
		MaxReads: s.settings.ReadsMax, MaxQueuedReads: 16 * s.settings.ReadsMax,
		MaxAnswersBytes: s.settings.AnswersBytesMax, QueryTimeout: s.settings.QueryTimeout,
		IndexCacheBytes: int(s.settings.IndexCacheBytes), Tracing: s.tracing,
		Compaction: s.settings.Compaction.Schedule(), Retention: s.settings.Retention.Plan(), RetentionInterval: sweepInterval(s.settings.Retention.Interval),
		OverridesPath: s.settings.Retention.OverridesFile, OverridesInterval: s.settings.Retention.OverridesReload,
		Now: clock(),
	}
}

// sweepInterval translates a setting in which 0 means never.
func sweepInterval(interval time.Duration) time.Duration {
	if interval == 0 {
		return -1
	}
	return interval
}
