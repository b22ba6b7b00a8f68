package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/skerrydb/skerry/planner/adaptive"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup/spread"
	"github.com/skerrydb/skerry/statemachine"
)

// spreading is the node's part in adaptive placement. It does nothing until SpreadDatasets
// is called.
type spreading struct {
	options spread.Options // read only once begun is closed
	begun   chan struct{}
	start   sync.Once
	// What is added; nil until begun.
	counters atomic.Pointer[spread.Counters]
	// The directory's leader has one.
	manager atomic.Pointer[spread.Manager]
}

// SpreadDatasets lets the node take part in adaptive placement: it counts what it adds,
// and while it leads the directory it tells Pyroscope's distributors over how many
// shards to spread each dataset. It works once.
func (n *Node) SpreadDatasets(options spread.Options) error {
	if options.Bucket == nil {
		return fmt.Errorf("%w: adaptive placement needs a bucket", ErrBadRequest)
	}
	if err := options.Validate(); err != nil {
		return fmt.Errorf("%w: adaptive placement: %w", ErrBadRequest, err)
	}
	err := fmt.Errorf("%w: adaptive placement is on already", ErrBadRequest)
	n.spreading.start.Do(func() {
		n.spreading.options = options
		counters := spread.NewCounters(n.processID, n.options.Now, n.metrics.spread)
		n.metrics.spread.Watch(counters)
		n.spreading.counters.Store(counters)
		close(n.spreading.begun)
		err = nil
	})
	return err
}

// direct does the duties of the directory's leader, until its tenure ends.
func (n *Node) direct(ctx context.Context, epoch uint64) {
	var duties sync.WaitGroup
	duties.Go(func() { n.control(ctx, epoch) })
	duties.Go(func() { n.spread(ctx, epoch) })
	duties.Wait()
}

// counting returns what counts a block once it was added newly, nil if nothing does.
func (n *Node) counting(block *metastorev1.BlockMeta) func(*raftlogv1.Result) {
	counters := n.spreading.counters.Load()
	sample := counters.Sample(block)
	if sample == nil {
		return nil
	}
	return func(result *raftlogv1.Result) {
		if result.GetStatus() == raftlogv1.Result_STATUS_OK {
			counters.Count(sample)
		}
	}
}

// spread manages adaptive placement while this replica leads the directory.
func (n *Node) spread(ctx context.Context, epoch uint64) {
	select {
	case <-ctx.Done():
		return
	case <-n.spreading.begun:
	}
	g := n.group(clusterv1.DirectoryGroup)
	if g == nil {
		return
	}
	m := spread.NewManager(n.spreading.options, spreadCluster{n, g, epoch}, n.ID(), n.options.Now, n.log.Named("spread"), n.metrics.spread)
	n.spreading.manager.Store(m)
	defer n.spreading.manager.CompareAndSwap(m, nil)
	m.Run(ctx)
}

// spreadFindings tells what is wrong with adaptive placement, if this node manages it.
func (n *Node) spreadFindings() []*nodev1.Finding {
	if m := n.spreading.manager.Load(); m != nil {
		if finding := m.Finding(); finding != nil {
			return []*nodev1.Finding{finding}
		}
	}
	return nil
}

// spreadCluster is the cluster as a manager sees it that began under an epoch of
// the directory.
type spreadCluster struct {
	node      *Node
	directory *Group
	epoch     uint64
}

func (c spreadCluster) Nodes() []string {
	var nodes []string
	for _, node := range c.node.maps.known().Proto().GetNodes() {
		if !node.Gone() {
			nodes = append(nodes, node.GetNodeId())
		}
	}
	return nodes
}

func (c spreadCluster) Samples(ctx context.Context, node string, request *nodev1.PlacementSamplesRequest) (*nodev1.PlacementSamplesResponse, error) {
	if node == c.node.ID() {
		return service{node: c.node}.PlacementSamples(ctx, request)
	}
	client, err := c.node.peer(node)
	if err != nil {
		return nil, err
	}
	return client.PlacementSamples(ctx, request)
}

// Leads reads the directory linearizably: a successor claims its epoch there before it
// does anything.
func (c spreadCluster) Leads(ctx context.Context) error {
	answer, err := c.directory.Read(ctx, statemachine.ReadStatus{})
	if err != nil {
		return fmt.Errorf("it is not certain that this node still leads the directory: %w", err)
	}
	if now := answer.(statemachine.Status).LeaderEpoch; now != c.epoch {
		return fmt.Errorf("%w: another leader of the directory took over", ErrNotReady)
	}
	return nil
}

func (c spreadCluster) Overrides() (map[string]adaptive.Override, error) {
	if c.node.overrides == nil {
		return nil, nil
	}
	return c.node.overrides.Placement()
}

// PlacementSamples tells what the node counted.
func (s service) PlacementSamples(_ context.Context, request *nodev1.PlacementSamplesRequest) (*nodev1.PlacementSamplesResponse, error) {
	counters := s.node.spreading.counters.Load()
	if counters == nil {
		return nil, toStatus(errSpreadOff, clusterv1.DirectoryGroup)
	}
	return counters.Page(request), nil
}

var errSpreadOff = errors.New("adaptive placement is off on this node: give all nodes the bucket that Pyroscope uses")

// DescribePlacement tells what the manager made.
func (s service) DescribePlacement(_ context.Context, request *nodev1.DescribePlacementRequest) (*nodev1.DescribePlacementResponse, error) {
	switch m := s.node.spreading.manager.Load(); {
	case m != nil:
		return m.Describe(request), nil
	case s.node.spreading.counters.Load() == nil && s.node.controller.Load() != nil:
		return nil, toStatus(errSpreadOff, clusterv1.DirectoryGroup)
	default:
		return nil, toStatus(s.node.notLeader(clusterv1.DirectoryGroup), clusterv1.DirectoryGroup)
	}
}
