package dlq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

var (
	// ErrInvalid is wrapped by Cluster.Add for a block that can never be added.
	ErrInvalid = errors.New("invalid metadata")
	// ErrMoved is wrapped by Cluster.Add if the block's group has another leader or
	// the point another owner: who that is recovers the entry.
	ErrMoved = errors.New("another node is responsible")
)

// Cluster is what the recovery needs of its node. Methods may be called
// concurrently.
type Cluster interface {
	// Owner returns the group that owns a point; false if no map is known yet.
	Owner(keyspace clusterv1.Keyspace, point uint64) (group uint64, known bool)
	// Add adds a block, given also as it is encoded, to the group that owns it, and
	// returns once it is durable. Adding one again is no error.
	Add(ctx context.Context, block *metastorev1.BlockMeta, encoded []byte) error
	// Room returns why no blocks can be taken now; nil if they can.
	Room() error
}

// Options are the settings of a recovery. The zero value of every field but
// Interval and TombstoneDelay is replaced by its default.
type Options struct {
	// Time between two sweeps. Must be positive.
	Interval time.Duration
	// An older entry's block may have been indexed, compacted and forgotten
	// meanwhile: it is added only if its object exists.
	TombstoneDelay time.Duration
	// Operations on objects that the process has under way at a time, shared evenly by
	// the groups that have entries. Four times as many entries may wait for being
	// added. Default 256.
	Workers int
	// Bytes of metadata in memory, shared likewise. A larger entry is worked on
	// alone. Default 128 MiB.
	Bytes int64
	// Bounds of reading an object, adding a block, and of changing an object, with
	// what the object store repeats by itself. Default 30 s.
	Timeout time.Duration
	// Bounds the time until a list tells the next name. Default 45 s.
	ListTimeout time.Duration
	// An entry that fails waits for that long, twice as long each time. Default one
	// and 40 intervals.
	BackoffMin, BackoffMax time.Duration
	// Folders that one sweep of a group goes through; the next one goes on. Default
	// 4,096.
	Folders int
	// Default time.Now.
	Now func() time.Time
}

const (
	defaultWorkers = 256
	defaultBytes   = 128 << 20
	// Bounds of one group's share of the workers.
	groupWorkersMin, groupWorkersMax = 4, 64
	// Entries of a group that are taken up, for each of its workers: adding waits for a
	// disk, and the more wait together, the fewer syncs there are.
	entriesPerWorker = 4
	defaultFolders   = 4096
	// Entries whose failures a group remembers.
	troublesMax = 10_000
	// Between two lists at least, however often somebody asks.
	listPause = 500 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = defaultWorkers
	}
	if o.Bytes == 0 {
		o.Bytes = defaultBytes
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.ListTimeout == 0 {
		o.ListTimeout = 45 * time.Second
	}
	if o.BackoffMin == 0 {
		o.BackoffMin = o.Interval
	}
	if o.BackoffMax == 0 {
		o.BackoffMax = 40 * o.Interval
	}
	if o.Folders == 0 {
		o.Folders = defaultFolders
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Recovery recovers the dead letters of the groups that a process leads. Its
// methods may be called concurrently.
type Recovery struct {
	bucket  objects.Bucket
	cluster Cluster
	options Options
	metrics *metrics
	log     *zap.Logger
	kick    chan struct{}

	mu    sync.Mutex
	lanes map[uint64]*lane
	// Of the last list.
	listedAt time.Time
	listErr  error
}

// New returns a recovery that does nothing before Run.
func New(bucket objects.Bucket, cluster Cluster, options Options, log *zap.Logger, registerer prometheus.Registerer) (*Recovery, error) {
	if options.Interval <= 0 {
		return nil, fmt.Errorf("the interval of dead letter recovery is %s, must be positive", options.Interval)
	}
	r := &Recovery{
		bucket: bucket, cluster: cluster, options: options.withDefaults(), log: log,
		kick: make(chan struct{}, 1), lanes: map[uint64]*lane{},
	}
	r.metrics = newMetrics(r)
	return r, r.metrics.register(registerer)
}

// Close takes the metrics back. Run and all Leads must have returned.
func (r *Recovery) Close() { r.metrics.unregister() }

// Lead recovers the entries of a group until the context ends: it is that of the
// group's leadership. It returns when nothing is under way any more.
func (r *Recovery) Lead(ctx context.Context, group uint64) {
	l := newLane(ctx, r, group)
	r.mu.Lock()
	r.lanes[group] = l
	r.mu.Unlock()
	// While nobody led the group, writers had reason to leave entries.
	r.Kick()
	<-ctx.Done()
	r.mu.Lock()
	if r.lanes[group] == l {
		delete(r.lanes, group)
	}
	r.mu.Unlock()
	l.close()
}

// Kick asks for a sweep now of the lanes that are due.
func (r *Recovery) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Sweep asks for a sweep now that tries all entries, also those that failed a
// moment ago. It returns the number of groups that are swept.
func (r *Recovery) Sweep() int {
	lanes := r.all()
	for _, l := range lanes {
		l.forgive()
	}
	r.Kick()
	return len(lanes)
}

// Run lists the queue once in an interval, and hands what is there to the lanes,
// until the context ends.
func (r *Recovery) Run(ctx context.Context) {
	timer := time.NewTimer(r.options.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			for _, l := range r.all() {
				l.interval()
			}
			timer.Reset(r.options.Interval)
		case <-r.kick:
		}
		r.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(listPause, r.options.Interval)):
		}
	}
}

// sweep lists once and starts the lanes that are due.
func (r *Recovery) sweep(ctx context.Context) {
	lanes := r.ready()
	if len(lanes) == 0 {
		return
	}
	if err := r.cluster.Room(); err != nil {
		r.metrics.sweeps.WithLabelValues("no_room").Inc()
		r.listed(err)
		return
	}
	p := &plan{recovery: r, lanes: lanes, found: newFound()}
	err := p.make(ctx)
	if ctx.Err() != nil {
		return
	}
	r.listed(err)
	if err != nil {
		r.metrics.sweeps.WithLabelValues("list_failed").Inc()
		r.log.Warn("listing dead letters failed, will try again", zap.Duration("in", r.options.Interval), zap.Error(err))
	}
	share := max(1, len(p.folders))
	workers := min(max(r.options.Workers/share, groupWorkersMin), groupWorkersMax)
	for _, l := range lanes {
		l.start(p.folders[l], p.full[l], err == nil, workers, max(1, r.options.Bytes/int64(share)))
	}
}

func (r *Recovery) listed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listErr = err; err == nil {
		r.listedAt = r.options.Now()
	}
}

// all returns the lanes.
func (r *Recovery) all() []*lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	lanes := make([]*lane, 0, len(r.lanes))
	for _, l := range r.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}

// ready returns the lanes to be swept now, by group.
func (r *Recovery) ready() map[uint64]*lane {
	lanes := map[uint64]*lane{}
	for _, l := range r.all() {
		if l.ready() {
			lanes[l.group] = l
		}
	}
	return lanes
}
