package shardgroup_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/statemachine"
)

var (
	fleetSeed   = flag.Uint64("fleet.seed", 1, "seed of TestFleet's workers; 0 for another one each time")
	fleetBlocks = flag.Int("fleet.blocks", 100, "blocks that TestFleet adds")
)

var fleetTenants = []string{"anna", "bert", "carl"}

// fleet is workers that crash, are late and repeat themselves, writers, and
// readers who check what they see, over three nodes whose leaders change.
type fleet struct {
	*testing.T
	c *cluster
	m *clusterv1.Map

	mu     sync.Mutex
	added  map[string]bool // sources whose add was acknowledged
	tokens map[uint64]string
	stats  struct{ jobs, lost, crashed, late, repeated, bad, reads int }

	// Everything was added; workers behave from now on.
	calm atomic.Bool
}

// quick is the planner's configuration at another speed.
func quick() schedule.Config {
	config := schedule.Defaults()
	config.Compaction.Levels = []compaction.Level{{BlocksMax: 20, AgeMax: 100 * time.Millisecond}, {BlocksMax: 10, AgeMax: 200 * time.Millisecond}, {BlocksMax: 10, AgeMax: 300 * time.Millisecond}}
	config.Compaction.TombstoneDelay = 500 * time.Millisecond
	config.Lease = 400 * time.Millisecond
	config.GiveUpAfter = 100 * time.Millisecond
	config.BackoffMin, config.BackoffMax = 20*time.Millisecond, 200*time.Millisecond
	config.AttemptsMax = 0
	return config
}

// A fleet of workers compacts everything, whatever happens to them and to the
// leaders: each source is replaced once, queries find it once at any moment, no
// token is handed out twice, and all replicas end in the same state.
func TestFleet(t *testing.T) {
	seed := *fleetSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	c := foundWith(t, 3, 1, 10*time.Millisecond, func(o *shardgroup.Options) { o.Compaction = quick() })
	f := &fleet{T: t, c: c, m: rangeMapSoon(t, c.node(0)), added: map[string]bool{}, tokens: map[uint64]string{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var others, writers sync.WaitGroup
	for id := range 4 {
		others.Go(func() { f.work(ctx, rand.New(rand.NewPCG(seed, uint64(id)))) })
	}
	others.Go(func() { f.read(ctx, rand.New(rand.NewPCG(seed, 100))) })
	for id := range 2 {
		writers.Go(func() { f.write(ctx, id, rand.New(rand.NewPCG(seed, 200+uint64(id)))) })
	}
	disturbing, calm := context.WithCancel(ctx)
	var transfers int
	others.Go(func() { transfers = f.transfer(disturbing) })
	writers.Wait()
	pace(ctx, 2*time.Second) // of troubles with nothing but old blocks
	calm()
	f.calm.Store(true)
	await(t, "the end of compaction", func() bool {
		got := compactionStatus(t, c.node(0))
		return len(got.GetLevels()) == 0 && got.GetTombstones() == 0 && waitingTransfers(t, c.node(0), dataGroup) == 0
	})
	stop()
	others.Wait()
	f.finish()
	t.Logf("%d transfers of leadership, %+v, %d tokens", transfers, f.stats, len(f.tokens))
	// Which faults a short run meets is up to the scheduler; some it must meet.
	if s := f.stats; transfers == 0 || s.crashed+s.late+s.repeated+s.bad+s.lost < 5 || s.reads < 5 {
		t.Error("too little happened to tell anything")
	}
}

// write adds segments, and blocks of tenants.
func (f *fleet) write(ctx context.Context, id int, random *rand.Rand) {
	for n := range *fleetBlocks / 2 {
		serial := 2*n + id
		shard := uint32(1 + random.IntN(2))
		block := testBlock(serial, "", shard, 0, fleetTenants[:1+random.IntN(3)]...)
		if random.IntN(2) == 0 {
			block = testBlock(serial, fleetTenants[random.IntN(3)], shard, 1)
		}
		for ctx.Err() == nil {
			call, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := f.c.node(random.IntN(3)).Service().AddBlock(call, addRequest(f, f.m, proto.CloneOf(block)))
			cancel()
			if err == nil {
				break
			}
			f.transient("add", err)
		}
		f.mu.Lock()
		for _, dataset := range block.GetDatasets() {
			f.added[block.StringAt(dataset.GetLabels()[4])] = true
		}
		f.mu.Unlock()
		pace(ctx, time.Duration(random.IntN(20))*time.Millisecond)
	}
}

// transient demands that an error is one that passes.
func (f *fleet) transient(what string, err error) {
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
	default:
		f.Errorf("%s: %v", what, err)
	}
}

// read demands that each source that was acknowledged before is found once, and
// no other more than once.
func (f *fleet) read(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		f.mu.Lock()
		expected := make([]string, 0, len(f.added))
		for source := range f.added {
			expected = append(expected, source)
		}
		f.mu.Unlock()
		counts, err := sourcesFound(ctx, f.c.node(random.IntN(3)), f.m, fleetTenants...)
		if err != nil {
			f.transient("query", err)
			continue
		}
		f.check(expected, counts)
		pace(ctx, 10*time.Millisecond)
		f.mu.Lock()
		f.stats.reads++
		f.mu.Unlock()
	}
}

func (f *fleet) check(expected []string, counts map[string]int) {
	for _, source := range expected {
		if counts[source] != 1 {
			f.Errorf("%s was found %d times", source, counts[source])
		}
	}
	for source, n := range counts {
		if n > 1 {
			f.Errorf("%s was found %d times", source, n)
		}
	}
}

// transfer moves leadership until the context ends.
func (f *fleet) transfer(ctx context.Context) (transfers int) {
	for ctx.Err() == nil {
		leader, follower := f.c.leader(f, dataGroup)
		if transfers%2 == 1 {
			follower = (leader + 2) % 3
		}
		if f.c.node(leader).TransferLeadership(dataGroup, rangeMapReplica(f.T, f.c, dataGroup, follower)) == nil {
			transfers++
		}
		pace(ctx, 300*time.Millisecond)
	}
	return transfers
}

// held is a job that a worker has.
type held struct {
	*metastorev1.CompactionJob
	assignment *metastorev1.CompactionJobAssignment
	result     *metastorev1.CompactedBlocks // set when the work is done
	polls      int                          // that it still takes
}

// work is one worker, and those that take its place after it crashed.
func (f *fleet) work(ctx context.Context, random *rand.Rand) {
	jobs := map[string]*held{}
	var old []*metastorev1.CompactionJobStatusUpdate // reported before
	for ctx.Err() == nil {
		pace(ctx, time.Duration(10+random.IntN(40))*time.Millisecond)
		trouble := random.IntN(30)
		if f.calm.Load() {
			trouble = -1
		}
		switch trouble {
		case 0:
			f.count(&f.stats.crashed)
			jobs = map[string]*held{}
		case 1:
			f.count(&f.stats.late)
			pace(ctx, 600*time.Millisecond) // longer than a lease
		case 2:
			if len(old) > 0 {
				f.count(&f.stats.repeated)
				f.poll(ctx, random, 0, old[random.IntN(len(old))])
			}
		}
		var updates []*metastorev1.CompactionJobStatusUpdate
		for _, job := range jobs {
			if job.polls--; job.polls > 0 {
				updates = append(updates, inProgress(job.assignment))
				continue
			}
			if update := f.done(ctx, random, job, trouble); update != nil {
				updates = append(updates, update)
			}
		}
		answer := f.poll(ctx, random, uint32(max(0, 4-len(jobs))), updates...)
		if answer == nil {
			continue // everything is sent again
		}
		if trouble == 3 {
			f.count(&f.stats.lost) // as if it had not come
			continue
		}
		next := map[string]*held{}
		for _, assignment := range answer.GetAssignments() {
			if job := jobs[assignment.GetName()]; job != nil {
				job.assignment = assignment
				next[assignment.GetName()] = job
			}
		}
		for _, job := range answer.GetCompactionJobs() {
			for _, assignment := range answer.GetAssignments() {
				if assignment.GetName() == job.GetName() {
					next[job.GetName()] = &held{CompactionJob: job, assignment: assignment, polls: 1 + random.IntN(3)}
				}
			}
		}
		for _, update := range updates {
			if update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS {
				f.count(&f.stats.jobs)
				old = append(old, update)
			}
		}
		jobs = next
	}
}

func (f *fleet) count(what *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*what++
}

// done is the report of a job whose work is done, nil if it cannot be done now.
func (f *fleet) done(ctx context.Context, random *rand.Rand, job *held, trouble int) *metastorev1.CompactionJobStatusUpdate {
	if job.result == nil {
		sources, err := sourcesOf(ctx, f, f.c.node(random.IntN(3)), f.m, job.CompactionJob)
		if err != nil {
			f.transient("sources", err)
			return inProgress(job.assignment)
		}
		job.result = merge(job.CompactionJob, sources)
	}
	if trouble == 4 && len(job.result.GetNewBlocks()) > 0 {
		f.count(&f.stats.bad)
		bad := proto.CloneOf(job.result)
		bad.NewBlocks[0].CompactionLevel++
		return success(job.assignment, bad)
	}
	return success(job.assignment, job.result)
}

// poll asks one node after the other, as the router does; nil if none answers.
func (f *fleet) poll(ctx context.Context, random *rand.Rand, capacity uint32, updates ...*metastorev1.CompactionJobStatusUpdate) *metastorev1.PollCompactionJobsResponse {
	first := random.IntN(3)
	for turn := range 3 {
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		answer, err := f.c.node((first+turn)%3).Service().PollCompaction(call, pollRequest(capacity, updates...))
		cancel()
		if err != nil {
			f.transient("poll", err)
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, job := range answer.GetPoll().GetCompactionJobs() {
			renewed := len(answer.GetPoll().GetAssignments()) - len(answer.GetPoll().GetCompactionJobs())
			token := answer.GetPoll().GetAssignments()[renewed+i].GetToken()
			if before, known := f.tokens[token]; known {
				f.Errorf("token %d of %s was handed out before, for %s", token, job.GetName(), before)
			}
			f.tokens[token] = job.GetName()
		}
		if jobs := len(answer.GetPoll().GetCompactionJobs()); jobs > int(capacity)+int(answer.GetFreed()) {
			f.Errorf("%d jobs for %d slots and %d freed", jobs, capacity, answer.GetFreed())
		}
		return answer.GetPoll()
	}
	return nil
}

// finish checks what is left in the end.
func (f *fleet) finish() {
	for node := range 3 {
		counts := retried(f, func() (map[string]int, error) { return sourcesFound(f.Context(), f.c.node(node), f.m, fleetTenants...) })
		if len(counts) != len(f.added) {
			f.Errorf("node %d finds %d sources, %d were added", node, len(counts), len(f.added))
		}
		for source := range f.added {
			if counts[source] != 1 {
				f.Errorf("%s was found %d times", source, counts[source])
			}
		}
	}
	// Nothing of what was added is left as it came: all of it was replaced.
	query := everything(f.m)
	query.Tenants = fleetTenants
	answer := retried(f, func() (*nodev1.QueryBlocksResponse, error) {
		return f.c.node(0).Service().QueryBlocks(f.Context(), query)
	})
	for serial := range *fleetBlocks {
		id := testBlock(serial, "", 1, 0, "anna").GetId()
		if slices.ContainsFunc(answer.GetBlocks(), func(b *nodev1.EncodedBlock) bool { return b.GetId() == id }) {
			f.Errorf("block %s was not replaced", id)
		}
	}
	await(f, "replicas of the same state", func() bool {
		var states []string
		for node := range 3 {
			at, err := f.c.node(node).Read(f.Context(), dataGroup, statemachine.ReadStatus{})
			if err != nil {
				return false
			}
			hash, err := f.c.node(node).Read(f.Context(), dataGroup, statemachine.ReadHash{})
			if err != nil {
				return false
			}
			states = append(states, fmt.Sprintf("%d %x", at.(statemachine.Status).Applied, hash))
		}
		return states[0] == states[1] && states[1] == states[2]
	})
}
