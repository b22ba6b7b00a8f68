package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// ErrNoMap tells that no node has given a range map yet.
var ErrNoMap = errors.New("no range map")

// errClosed ends what waits for a map when the router closes.
var errClosed = errors.New("router is closed")

// MapSource keeps the range map: it watches the map of a node, reads it if it
// knows no better, learns what the groups say about themselves, and never goes
// back to an older descriptor. It may be used from any number of goroutines.
type MapSource struct {
	seeds Seeds
	nodes Nodes
	// Id of the cluster; empty: that of the first map.
	cluster string
	timeout time.Duration
	log     *zap.Logger
	metrics *metrics

	current atomic.Pointer[clusterv1.Map]

	life context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex // guards changes of current, and:
	flight *flight    // the refresh under way, or nil
	start  int        // the seed to ask first: the last one that answered
	closed bool
	watch  watchState
}

// flight is one refresh that any number of callers wait for.
type flight struct {
	done chan struct{}
	err  error
}

func newMapSource(seeds Seeds, nodes Nodes, options Options, log *zap.Logger, metrics *metrics) *MapSource {
	s := &MapSource{seeds: seeds, nodes: nodes, cluster: options.ClusterID, timeout: options.RefreshTimeout, log: log, metrics: metrics}
	s.life, s.stop = context.WithCancel(context.Background())
	return s
}

// Map returns the map in use, or nil.
func (s *MapSource) Map() *clusterv1.Map { return s.current.Load() }

// Ready tells whether a map is loaded. Once true it stays true: an old map
// still leads to the groups, which correct it.
func (s *MapSource) Ready() bool { return s.Map() != nil }

// Refresh reads the map from a node. Callers at the same time share one read.
// It returns the context's error if that ends first; the read goes on.
func (s *MapSource) Refresh(ctx context.Context) error {
	f := s.join()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Await returns the map, after waiting for the first one if need be.
func (s *MapSource) Await(ctx context.Context) (*clusterv1.Map, error) {
	var pauses backoff
	for {
		if m := s.Map(); m != nil {
			return m, nil
		}
		err := s.Refresh(ctx)
		if err == nil {
			continue
		}
		if errors.Is(err, errClosed) || pauses.retry(ctx) != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoMap, err)
		}
	}
}

// Learn takes in what a group said about itself.
func (s *MapSource) Learn(hints []*clusterv1.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.Map()
	if current == nil || len(hints) == 0 {
		return
	}
	learnt, err := learn(current, hints)
	if err != nil {
		// Say, the owner is a group younger than the map. The caller sees that
		// nothing changed and refreshes.
		s.log.Info("cannot use a group's descriptors", zap.Error(err))
		return
	}
	if learnt != current {
		s.metrics.hints.Inc()
		s.current.Store(learnt)
	}
}

func (s *MapSource) join() *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	f := &flight{done: make(chan struct{})}
	if s.closed {
		f.err = errClosed
		close(f.done)
		return f
	}
	s.flight = f
	s.work.Add(1)
	go s.fly(f)
	return f
}

func (s *MapSource) fly(f *flight) {
	defer s.work.Done()
	err := s.ask()
	result := "ok"
	if err != nil {
		result = "failed"
	}
	s.metrics.refreshes.WithLabelValues(result).Inc()
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
	f.err = err
	close(f.done)
}

// ask tries the seeds, then the nodes of the map, until one answers. All
// together get a few times one node's time: the next refresh starts elsewhere.
func (s *MapSource) ask() (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.metrics.panics.Inc()
			s.log.Error("panic while reading the range map", zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("read the range map: panic: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(s.life, 4*s.timeout)
	defer cancel()
	seeds := s.seeds()
	var faults []error
	for i := range seeds {
		at := (s.start + i) % len(seeds)
		if err := s.askNode(ctx, seeds[at]); err != nil {
			faults = append(faults, err)
			continue
		}
		s.start = at
		return nil
	}
	if len(seeds) > 0 {
		s.start = (s.start + 1) % len(seeds)
	}
	if m := s.Map(); m != nil {
		nodes := m.Proto().GetNodes()
		first := rand.IntN(max(1, len(nodes)))
		for i := range nodes {
			client, err := s.nodes.NodeClient(nodes[(first+i)%len(nodes)])
			if err == nil {
				err = s.askNode(ctx, client)
			}
			if err == nil {
				return nil
			}
			faults = append(faults, err)
		}
	}
	return fmt.Errorf("no node gave a range map: %w", errors.Join(faults...))
}

func (s *MapSource) askNode(ctx context.Context, client nodev1.NodeServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	request := &nodev1.RangeMapRequest{}
	if m := s.Map(); m != nil {
		request.MinVersion = m.Version()
	}
	answer, err := client.RangeMap(ctx, request)
	if err != nil {
		return err
	}
	return s.adopt(answer.GetMap())
}

// adopt takes in a directory's map, of whatever age.
func (s *MapSource) adopt(source *clusterv1.RangeMap) error {
	fetched, err := clusterv1.NewMap(source)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := source.GetCluster().GetClusterId(); s.cluster != "" && id != s.cluster {
		return fmt.Errorf("%w: %q, want %q", ErrOtherCluster, id, s.cluster)
	}
	merged, err := succeed(s.Map(), fetched)
	if err != nil {
		return err
	}
	s.current.Store(merged)
	s.metrics.mapVersion.Set(float64(merged.Version()))
	return nil
}

// failuresMin are so many in a row, over some ten seconds, that are not worth a
// line: nodes that start elect leaders first, and groups correct an old map.
const failuresMin = 7

// poll keeps the map from growing old when no group has reason to complain and no
// node can be watched. While one is, it finds out now and then whether that one
// lives behind the times.
func (s *MapSource) poll(interval time.Duration) {
	defer s.work.Done()
	var failures int
	for turn := 0; ; turn++ {
		var err error
		if turn%watchedPollTurns == 0 || !s.watching() {
			err = s.Refresh(s.life)
			s.suspectWatch()
		}
		if tidy, ok := s.nodes.(tidier); ok && s.Ready() {
			tidy.retain(s.Map())
		}
		next := interval - rand.N(interval/4+1)
		if err != nil {
			failures++
			next = min(next, pace{100 * time.Millisecond, 5 * time.Second}.nth(failures))
			level := zapcore.WarnLevel
			if failures < failuresMin {
				level = zapcore.DebugLevel
			}
			s.log.Log(level, "cannot refresh the range map", zap.Error(err), zap.Int("failures", failures))
		} else {
			failures = 0
		}
		if wait(s.life, next) != nil {
			return
		}
	}
}

func (s *MapSource) begin(interval time.Duration) {
	s.work.Add(2)
	go s.poll(interval)
	go s.watchNodes()
}

// background runs work that ends with the router; false if that has closed.
func (s *MapSource) background(work func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(func() { work(s.life) })
	return true
}

// close ends reads under way and waits for them.
func (s *MapSource) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
}
