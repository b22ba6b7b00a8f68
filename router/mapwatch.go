package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// How often the watched node is asked whether it lives. Its stream says
	// nothing as long as nothing changes.
	watchPing = 5 * time.Second
	// Bounds one such question.
	watchPingTimeout = 2 * time.Second
	// A watch that lasted so long ended for a new reason.
	watchStable = 10 * time.Second
	// While a node is watched the map is also read from another one, once in so
	// many intervals.
	watchedPollTurns = 10
	// A node that failed is the last choice for that long.
	watchShun = time.Minute
	// What a watched node may be behind the map in use.
	watchLag = 2 * time.Second
)

// watchPace is the wait before the next node is watched.
func watchPace() pace { return pace{50 * time.Millisecond, 5 * time.Second} }

// Reasons why a watch ends, besides errors of the stream.
var (
	errSilentWatch = errors.New("the watched node does not answer")
	errLateWatch   = errors.New("the watched node's map is late")
)

// watchState is what the rest of the source knows of the watch.
type watchState struct {
	// Ends the stream under way; nil if there is none.
	end context.CancelCauseFunc
	// The last version that the stream brought.
	version uint64
	// When the map was last known to be up to date, as far as a node knew.
	fresh time.Time
}

// watching tells whether a stream of changes is open.
func (s *MapSource) watching() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watch.end != nil
}

// suspectWatch ends the stream under way if it does not bring what was learnt
// elsewhere.
func (s *MapSource) suspectWatch() {
	s.mu.Lock()
	end, have, m := s.watch.end, s.watch.version, s.Map()
	s.mu.Unlock()
	if end == nil || m == nil || have >= m.Version() || wait(s.life, watchLag) != nil {
		return
	}
	s.mu.Lock()
	late := s.watch.version < m.Version()
	s.mu.Unlock()
	if late {
		end(errLateWatch)
	}
}

// age is a metric: for how long the map has not been confirmed.
func (s *MapSource) age() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "skerry_router_map_age_seconds",
		Help: "Time since a node last said that it has no newer range map, or gave one; -1 before the first.",
	}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watch.fresh.IsZero() {
			return -1
		}
		return time.Since(s.watch.fresh).Seconds()
	})
}

// watchNodes follows the map of one node after another, each as long as it can.
func (s *MapSource) watchNodes() {
	defer s.work.Done()
	var (
		candidates []candidate
		base       *clusterv1.RangeMap // the directory's map, without hints
		failures   int
		failed     = map[string]time.Time{} // node id → when
	)
	for s.life.Err() == nil {
		if len(candidates) == 0 {
			candidates = s.candidates(failed)
		}
		start, err := time.Now(), ErrNoMap
		if len(candidates) > 0 {
			base, err = s.watchNode(candidates[0].open, base)
			failed[candidates[0].node] = time.Now()
			candidates = candidates[1:]
		}
		if s.life.Err() != nil {
			return
		}
		s.metrics.watchEnds.WithLabelValues(watchEnd(err)).Inc()
		s.log.Info("the range map is watched elsewhere", zap.Error(err))
		failures++
		if time.Since(start) >= watchStable {
			failures, candidates = 1, nil
		}
		if wait(s.life, watchPace().nth(failures)) != nil {
			return
		}
	}
}

// candidate is a node that may be watched.
type candidate struct {
	node string // empty if its address is all that is known
	open func() (nodev1.NodeServiceClient, error)
}

// candidates are the node of this process, the nodes of the map in any order, so
// that routers spread, and the seeds; those that failed lately come last. Those
// that failed long ago are forgotten.
func (s *MapSource) candidates(failed map[string]time.Time) []candidate {
	var all []candidate
	add := func(node string, client nodev1.NodeServiceClient) {
		all = append(all, candidate{node, func() (nodev1.NodeServiceClient, error) { return client, nil }})
	}
	own := ""
	if n, ok := s.nodes.(homed); ok {
		if id, client := n.home(); client != nil {
			own = id
			add(id, client)
		}
	}
	if m := s.Map(); m != nil {
		nodes := slices.Clone(m.Proto().GetNodes())
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		for _, node := range nodes {
			if id := node.GetNodeId(); id != own && node.GetState() != clusterv1.NodeState_NODE_STATE_REMOVED {
				all = append(all, candidate{id, func() (nodev1.NodeServiceClient, error) { return s.nodes.NodeClient(node) }})
			}
		}
	}
	for _, client := range s.seeds() {
		add("", client)
	}
	maps.DeleteFunc(failed, func(node string, at time.Time) bool { return node == "" || time.Since(at) > watchShun })
	slices.SortStableFunc(all, func(a, b candidate) int { return failed[a.node].Compare(failed[b.node]) })
	return all
}

// watchNode follows one node's map until that ends, and returns the last map of
// the directory that it knows.
func (s *MapSource) watchNode(open func() (nodev1.NodeServiceClient, error), base *clusterv1.RangeMap) (last *clusterv1.RangeMap, err error) {
	last = base
	defer s.recoverWatch(&err)
	client, err := open()
	if err != nil {
		return base, err
	}
	ctx, end := context.WithCancelCause(s.life)
	defer end(nil)
	stream, err := client.WatchMap(ctx, &nodev1.WatchMapRequest{Version: base.GetCluster().GetMapVersion()})
	if err != nil {
		return base, err
	}
	s.watchBegins(end, base)
	defer s.watchEnds()
	s.work.Go(func() { s.attend(ctx, client, end) })
	for {
		update, err := stream.Recv()
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return last, cause
		}
		if err != nil {
			return last, err
		}
		next, err := updated(last, update)
		if err == nil {
			err = s.adopt(next)
		}
		if err != nil {
			// The next node is asked for the whole map.
			return nil, fmt.Errorf("an update of the range map cannot be used: %w", err)
		}
		last = next
		s.watchHeard(last)
	}
}

// updated returns the map that an update leads to. One without content is a sign
// of life.
func updated(base *clusterv1.RangeMap, update *clusterv1.MapUpdate) (*clusterv1.RangeMap, error) {
	switch {
	case update.GetSnapshot() != nil:
		return update.GetSnapshot(), nil
	case base == nil:
		return nil, errors.New("changes of a map that is not known")
	case update.GetDelta() != nil:
		return clusterv1.Apply(base, update.GetDelta())
	default:
		return base, nil
	}
}

// attend asks the watched node whether it lives, and ends the watch if it does
// not, or does not send what it has.
func (s *MapSource) attend(ctx context.Context, client nodev1.NodeServiceClient, end context.CancelCauseFunc) {
	var err error
	defer s.recoverWatch(&err)
	misses, late := 0, false
	for {
		hello, err := s.hello(ctx, client)
		switch code := asStatus(err).Code(); {
		case ctx.Err() != nil:
			return
		case code == codes.Unimplemented:
			return
		case err != nil:
			if misses++; misses >= 2 {
				end(errSilentWatch)
				return
			}
			continue
		}
		misses = 0
		s.mu.Lock()
		have, own := s.watch.version, s.Map()
		s.mu.Unlock()
		switch {
		case own != nil && hello.GetClusterId() != own.Proto().GetCluster().GetClusterId():
			end(fmt.Errorf("%w: %q", ErrOtherCluster, hello.GetClusterId()))
			return
		case hello.GetMapVersion() < have:
			// It restarted, say. If others know more the poll finds out.
		case hello.GetMapVersion() == have:
			late = false
			s.watchFresh()
		case late:
			end(errLateWatch)
			return
		default:
			late = true
		}
		if wait(ctx, watchPing-rand.N(watchPing/4)) != nil {
			return
		}
	}
}

func (s *MapSource) hello(ctx context.Context, client nodev1.NodeServiceClient) (*nodev1.HelloResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, watchPingTimeout)
	defer cancel()
	return client.Hello(ctx, &nodev1.HelloRequest{})
}

func (s *MapSource) watchBegins(end context.CancelCauseFunc, base *clusterv1.RangeMap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.end, s.watch.version = end, base.GetCluster().GetMapVersion()
	s.metrics.watched.Set(1)
}

func (s *MapSource) watchEnds() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.end = nil
	s.metrics.watched.Set(0)
}

func (s *MapSource) watchHeard(base *clusterv1.RangeMap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.version, s.watch.fresh = base.GetCluster().GetMapVersion(), time.Now()
}

func (s *MapSource) watchFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.fresh = time.Now()
}

// watchEnd is the label of a reason.
func watchEnd(err error) string {
	switch {
	case errors.Is(err, errSilentWatch):
		return "silent"
	case errors.Is(err, errLateWatch):
		return "late"
	case errors.Is(err, ErrOtherCluster):
		return "other_cluster"
	case asStatus(err).Code() == codes.Unimplemented:
		return "unimplemented"
	default:
		return "ended"
	}
}

// recoverWatch must be deferred itself.
func (s *MapSource) recoverWatch(err *error) {
	if r := recover(); r != nil {
		s.metrics.panics.Inc()
		s.log.Error("panic while watching the range map", zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		*err = fmt.Errorf("watch the range map: panic: %v", r)
	}
}
