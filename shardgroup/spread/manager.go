package spread

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Cluster is what a manager needs of the node that it runs on.
type Cluster interface {
	// Nodes returns the ids of the nodes that may count.
	Nodes() []string
	// Samples asks one of them.
	Samples(ctx context.Context, node string, request *nodev1.PlacementSamplesRequest) (*nodev1.PlacementSamplesResponse, error)
	// Leads returns nil if, at some moment since the call began, nobody else
	// had become manager yet.
	Leads(ctx context.Context) error
	// Overrides returns what tenants have of their own. An error means that
	// nobody knows, and that no rules must be made.
	Overrides() (map[string]adaptive.Override, error)
}

// Manager makes rules, again and again, as long as it is the cluster's only one.
type Manager struct {
	options Options
	cluster Cluster
	node    string
	log     *zap.Logger
	metrics *Metrics
	// A clock that never goes back, and when the manager began.
	clock func() planner.Time
	since planner.Time

	// Of the goroutine of Run.
	gathered *gathered
	stats    *adaptive.Statistics
	ruler    *adaptive.Ruler // nil until the bucket was read
	created  planner.Time    // never falls, whatever the clocks of nodes say
	dropped  [2]uint64       // as counted: of rates, of rules
	told     string          // the last failure
	sampled  planner.Time    // when something came last; 0 for never

	mu        sync.Mutex
	published *published
	wrote     planner.Time
	fault     error
	idle      bool
}

// NewManager returns the manager of a tenure. The clock is looked at once.
func NewManager(options Options, cluster Cluster, node string, now func() time.Time, log *zap.Logger, metrics *Metrics) *Manager {
	options = options.WithDefaults()
	began, started := now(), time.Now()
	m := &Manager{
		options: options, cluster: cluster, node: node, log: log, metrics: metrics,
		clock: func() planner.Time { return planner.Time(began.UnixNano()).Add(time.Since(started)) },
		since: planner.Time(began.UnixNano()), stats: adaptive.NewStatistics(options.Config),
	}
	m.gathered = newGathered(cluster, m.clock)
	return m
}

// Run makes rules until the context ends: the tenure, or the process. What it is
// about to write then is not written any more: a successor writes it.
func (m *Manager) Run(ctx context.Context) {
	m.metrics.show(m)
	defer m.metrics.hide(m)
	ticker := time.NewTicker(m.options.Interval)
	defer ticker.Stop()
	// What was counted before is only known not to be new.
	m.gather(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		result, err := m.update(ctx)
		m.conclude(ctx, result, err)
	}
}

// outcome of an update: a label of its metric.
type outcome string

const (
	written    outcome = "ok"
	incomplete outcome = "partial" // without what some nodes counted
	waiting    outcome = "waits"
	idle       outcome = "idle" // nothing is added here
	failed     outcome = "failed"
	superseded outcome = "superseded"
)

// conclude counts an update, and tells of what went wrong for the first time.
func (m *Manager) conclude(ctx context.Context, result outcome, err error) {
	if ctx.Err() != nil {
		result, err = superseded, nil
	}
	m.metrics.updates.WithLabelValues(string(result)).Inc()
	m.mu.Lock()
	m.fault, m.idle = err, result == idle
	m.mu.Unlock()
	if err == nil {
		m.told = ""
	} else if text := err.Error(); text != m.told {
		m.told = text
		m.log.Warn("adaptive placement: an update is not as it should be, will try again", zap.String("result", string(result)),
			zap.Duration("in", m.options.Interval), zap.Error(err))
	}
}

// update makes rules once, and writes them.
func (m *Manager) update(ctx context.Context) (outcome, error) {
	missed := m.gather(ctx)
	if m.ruler == nil {
		if err := m.load(ctx); err != nil {
			return failed, err
		}
	}
	overrides, err := m.cluster.Overrides()
	if err != nil {
		return failed, fmt.Errorf("the limits of tenants are not known: %w", err)
	}
	now := m.clock()
	m.created = max(m.created, now)
	p := &published{created: m.created, stats: m.stats.Build(now, m.created), unit: m.options.Limits.UnitBytes, overrides: overrides}
	p.rules = m.ruler.Build(p.stats.DistributionStats, now, func(tenant string) adaptive.Limits {
		return m.options.Limits.With(overrides[tenant])
	})
	m.publish(p)
	switch {
	case now.Sub(m.since) < max(m.options.Confidence, m.options.PutTimeout):
		return waiting, missed
	case m.sampled == 0 || now.Sub(m.sampled) > m.options.Config.StatsRetention:
		// Perhaps it all goes to another metastore, which writes rules of it: a cluster
		// that is only being filled must not put empty ones in their place.
		return idle, missed
	}
	switch err := m.write(ctx, p); {
	case err != nil:
		return failed, errors.Join(err, missed)
	case missed != nil:
		return incomplete, missed
	}
	return written, nil
}

func (m *Manager) publish(p *published) {
	p.rates = m.stats.Len()
	p.dropped = m.stats.Dropped() + m.ruler.Dropped()
	for i, dropped := range []uint64{m.stats.Dropped(), m.ruler.Dropped()} {
		m.metrics.dropped.WithLabelValues([]string{"rate", "rule"}[i]).Add(float64(dropped - m.dropped[i]))
		m.dropped[i] = dropped
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.published = p
}

// gather adds what nodes counted since they were asked last. Who does not answer is
// asked again; nothing is lost by that.
func (m *Manager) gather(ctx context.Context) error {
	answered, failed, err := m.gathered.ask(ctx, min(m.options.Interval, gatherTimeout), func(by string, key adaptive.Key, bytes uint64, from, to planner.Time) {
		m.sampled = max(m.sampled, to)
		m.stats.Add(by, key, bytes, from, to)
	})
	m.metrics.pulls.WithLabelValues("ok").Add(float64(answered))
	m.metrics.pulls.WithLabelValues("failed").Add(float64(failed))
	m.gathered.forget(m.options.Config.StatsRetention)
	return err
}

// load begins with what is in the bucket. What cannot be decoded counts as missing:
// distributors cannot start with it, so it is better replaced.
func (m *Manager) load(ctx context.Context) error {
	rules, stats := &adaptiveplacement.PlacementRules{}, &adaptiveplacement.DistributionStats{}
	if err := m.read(ctx, rulesName, rules.UnmarshalVT, rules.Reset); err != nil {
		return err
	}
	if err := m.read(ctx, statsName, stats.UnmarshalVT, stats.Reset); err != nil {
		return err
	}
	m.created = planner.Time(max(rules.GetCreatedAt(), stats.GetCreatedAt()))
	m.stats.Resume(stats, m.since)
	m.ruler = adaptive.NewRuler(m.options.Config, rules, m.clock())
	m.log.Info("adaptive placement: going on with the rules that were found", zap.Int("rules", len(rules.GetDatasets())),
		zap.Stringer("created", planner.Time(rules.GetCreatedAt())), zap.Int("rates", m.stats.Len()))
	return nil
}
