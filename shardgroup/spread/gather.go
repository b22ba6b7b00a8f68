package spread

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/adaptive"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	gatherTimeout = 5 * time.Second
	// Nodes that are asked at a time. Each answer may have several megabytes.
	gatherAtOnce = 8
	// Pages of one node: its bounds allow no more.
	maxPages = 2 * (maxCounters/pageCounters + (maxNamesBytes+64*maxCounters)/pageBytes)
)

// gathered is how far the counters of each process were read. It is not safe for
// concurrent use.
type gathered struct {
	cluster Cluster
	clock   func() planner.Time
	// When nodes were first asked; 0 if they were not.
	first     planner.Time
	processes map[string]*counted
}

// counted is one process as it was last read.
type counted struct {
	at    planner.Time
	bytes map[uint64]uint64 // by number of the counter
}

func newGathered(cluster Cluster, clock func() planner.Time) *gathered {
	return &gathered{cluster: cluster, clock: clock, processes: map[string]*counted{}}
}

// answer is all that one node told.
type answer struct {
	process     string
	at          planner.Time
	countingFor time.Duration
	counters    []*nodev1.PlacementCounter
}

type addSample func(by string, key adaptive.Key, bytes uint64, from, to planner.Time)

// ask adds what is new in all nodes. It returns how many answered, how many did not,
// and why.
func (g *gathered) ask(ctx context.Context, patience time.Duration, add addSample) (answered, failed int, err error) {
	if g.first == 0 {
		g.first = g.clock()
	}
	nodes := g.cluster.Nodes()
	var (
		all     sync.WaitGroup
		slots   = make(chan struct{}, gatherAtOnce)
		answers = make([]answer, len(nodes))
		faults  = make([]error, len(nodes))
	)
	for i, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if answers[i], faults[i] = g.askOne(limited, node); faults[i] != nil {
				faults[i] = fmt.Errorf("node %s does not say what it counted: %w", node, faults[i])
			}
		})
	}
	all.Wait()
	for i, a := range answers {
		if faults[i] != nil {
			failed++
			continue
		}
		answered++
		g.take(a, add)
	}
	return answered, failed, errors.Join(faults...)
}

func (g *gathered) askOne(ctx context.Context, node string) (answer, error) {
	var all answer
	after := uint64(0)
	for range maxPages {
		page, err := g.cluster.Samples(ctx, node, &nodev1.PlacementSamplesRequest{After: after})
		if err != nil {
			return answer{}, err
		}
		if all.process == "" {
			all.process, all.at, all.countingFor = page.GetProcessId(), g.clock(), time.Duration(page.GetCountingFor())
		}
		if page.GetProcessId() != all.process || all.process == "" {
			return answer{}, errors.New("it was started again meanwhile")
		}
		all.counters = append(all.counters, page.GetCounters()...)
		if !page.GetMore() {
			return all, nil
		}
		last := len(page.GetCounters()) - 1
		if last < 0 || page.GetCounters()[last].GetNumber() <= after {
			return answer{}, errors.New("a page does not go on where the one before ended")
		}
		after = page.GetCounters()[last].GetNumber()
	}
	return answer{}, fmt.Errorf("it has more than %d pages", maxPages)
}

// take adds what a node's counters have grown by. Of a process that is asked for the
// first time only what it can have counted since others were asked is new.
func (g *gathered) take(a answer, add addSample) {
	before := g.processes[a.process]
	if before == nil {
		before = &counted{at: a.at}
		if began := a.at.Add(-a.countingFor); began >= g.first {
			before = &counted{at: began, bytes: map[uint64]uint64{}}
		}
	}
	now := &counted{at: a.at, bytes: make(map[uint64]uint64, len(a.counters))}
	for _, c := range a.counters {
		now.bytes[c.GetNumber()] = c.GetBytes()
		if seen := before.bytes[c.GetNumber()]; before.bytes != nil && c.GetBytes() > seen {
			key := adaptive.Key{Tenant: c.GetTenant(), Dataset: c.GetDataset(), Shard: c.GetShard(), Owner: c.GetOwner()}
			add(a.process, key, c.GetBytes()-seen, before.at, a.at)
		}
	}
	g.processes[a.process] = now
}

// forget drops processes that have not answered for some time.
func (g *gathered) forget(after time.Duration) {
	now := g.clock()
	for process, c := range g.processes {
		if now.Sub(c.at) > after {
			delete(g.processes, process)
		}
	}
}
