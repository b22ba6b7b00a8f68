package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func pollJobs(ctx context.Context, r *Router, capacity uint32, updates ...*metastorev1.CompactionJobStatusUpdate) (*metastorev1.PollCompactionJobsResponse, error) {
	return (&compactionService{router: r}).PollCompactionJobs(ctx, &metastorev1.PollCompactionJobsRequest{JobCapacity: capacity, StatusUpdates: updates})
}

// mustPoll also demands what every answer promises: an assignment for each job,
// none twice.
func mustPoll(t testing.TB, r *Router, capacity uint32, updates ...*metastorev1.CompactionJobStatusUpdate) *metastorev1.PollCompactionJobsResponse {
	t.Helper()
	answer, err := pollJobs(t.Context(), r, capacity, updates...)
	if err != nil {
		t.Fatal(err)
	}
	assigned := map[string]bool{}
	for _, assignment := range answer.GetAssignments() {
		if assigned[assignment.GetName()] {
			t.Errorf("%s is assigned twice", assignment.GetName())
		}
		assigned[assignment.GetName()] = true
	}
	for _, job := range answer.GetCompactionJobs() {
		if !assigned[job.GetName()] {
			t.Errorf("%s has no assignment", job.GetName())
		}
	}
	return answer
}

// dead makes calls to a group fail, whichever replica is asked.
func dead(groups ...uint64) func(entry) error {
	return func(e entry) error {
		if slices.Contains(groups, e.group) {
			return status.Error(codes.Unavailable, "connection refused")
		}
		return nil
	}
}

func counted(t testing.TB, counter prometheus.Counter) float64 {
	t.Helper()
	var metric dto.Metric
	if err := counter.Write(&metric); err != nil {
		t.Fatal(err)
	}
	return metric.GetCounter().GetValue()
}

func TestReportsGoToTheirGroups(t *testing.T) {
	c := newFakeCluster(t, 8, 2, 1)
	r := c.start(t, Options{})
	want, groups := map[string]uint64{}, map[string]uint64{}
	var updates []*metastorev1.CompactionJobStatusUpdate
	for i := range 64 {
		tenant := fmt.Sprintf("tenant-%d", i/2)
		if i%4 == 0 {
			tenant = ""
		}
		group, update := c.running(tenant, uint32(i))
		if want[update.Name], groups[update.Name] = update.Token, group; i%2 == 0 {
			update = succeeded(update)
			delete(want, update.Name)
		}
		updates = append(updates, update)
	}
	answer := mustPoll(t, r, 0, updates...)
	for _, assignment := range answer.Assignments {
		if want[assignment.Name] != assignment.Token {
			t.Errorf("%s was answered with token %d, want %d", assignment.Name, assignment.Token, want[assignment.Name])
		}
		delete(want, assignment.Name)
	}
	if len(want) > 0 || len(answer.CompactionJobs) > 0 {
		t.Errorf("no answer for %v; jobs without capacity: %v", want, answer.CompactionJobs)
	}
	seen := map[uint64]bool{}
	for _, e := range c.calls(reportCall) {
		if seen[e.group] {
			t.Errorf("group %d was called twice", e.group)
		}
		seen[e.group] = true
		request := e.request.(*nodev1.PollCompactionRequest)
		if !request.ReportsOnly || request.Poll.JobCapacity != 0 {
			t.Errorf("reports came with an offer: %v", request)
		}
		for _, update := range request.Poll.StatusUpdates {
			if groups[update.Name] != e.group {
				t.Errorf("%s went to group %d, want %d", update.Name, e.group, groups[update.Name])
			}
		}
	}
	if others := len(c.calls(probeCall)) + len(c.calls(offerCall)); others > 0 {
		t.Errorf("%d calls for no slots", others)
	}
}

// twoGroups finds jobs of two tenants that live in different groups.
func twoGroups(c *fakeCluster) (groups [2]uint64, updates [2]*metastorev1.CompactionJobStatusUpdate) {
	groups[0], updates[0] = c.running("tenant", 1)
	for i := 0; updates[1] == nil || groups[1] == groups[0]; i++ {
		groups[1], updates[1] = c.running(fmt.Sprintf("other-%d", i), 1)
	}
	return groups, updates
}

func TestResultForADeadGroupFailsThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		groups, updates := twoGroups(c)
		c.queue(groups[0], 0, 5, 1)
		c.setBefore(dead(groups[1]))
		start := time.Now()
		_, err := pollJobs(t.Context(), r, 4, updates[0], succeeded(updates[1]))
		if s := wantCode(t, err, codes.Unavailable); !strings.Contains(s.Message(), updates[1].Name) || !strings.Contains(s.Message(), "report them again") {
			t.Errorf("the error does not help: %v", err)
		}
		if waited := time.Since(start); waited > 4*time.Second {
			t.Errorf("the worker was answered after %v", waited)
		}
		// The healthy group renewed the lease, and nothing was assigned in vain.
		if len(c.calls(reportCall)) < 2 || len(c.calls(offerCall)) > 0 {
			t.Errorf("%d reports, %d offers", len(c.calls(reportCall)), len(c.calls(offerCall)))
		}
		renewed := slices.ContainsFunc(c.calls(reportCall), func(e entry) bool { return e.group == groups[0] })
		if !renewed {
			t.Error("the healthy group did not get its report")
		}
		// The repeat is taken.
		c.setBefore(nil)
		mustPoll(t, r, 0, updates[0], succeeded(updates[1]))
	})
}

func TestJobsOfADeadGroupAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		registry := prometheus.NewRegistry()
		r, err := New(Options{}, c, c.seeds, nil, registry)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Maps().Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		groups, updates := twoGroups(c)
		c.queue(groups[0], 0, 5, 1)
		c.setBefore(dead(groups[1]))
		start := time.Now()
		answer := mustPoll(t, r, 2, updates[0], updates[1])
		if waited := time.Since(start); waited > 4*time.Second {
			t.Errorf("the worker was answered after %v", waited)
		}
		kept := slices.ContainsFunc(answer.Assignments, func(a *metastorev1.CompactionJobAssignment) bool {
			return a.Name == updates[1].Name && a.Token == updates[1].Token
		})
		if !kept {
			t.Errorf("the worker loses its job: %v", answer.Assignments)
		}
		if len(answer.CompactionJobs) != 2 {
			t.Errorf("got %d jobs for 2 slots", len(answer.CompactionJobs))
		}
		if got := counted(t, r.fanout.metrics.polls.WithLabelValues("degraded")); got != 1 {
			t.Errorf("counted %v degraded polls", got)
		}
		if got := counted(t, r.fanout.metrics.jobs.WithLabelValues("0")); got != 2 {
			t.Errorf("counted %v jobs", got)
		}
		if got := counted(t, r.fanout.metrics.unreachable.WithLabelValues("report")); got != 1 {
			t.Errorf("counted %v unreachable groups", got)
		}
	})
}

// A group that fails at once does not end the report to a slower one.
func TestReportsStandForThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		groups, updates := twoGroups(c)
		var ended error
		c.mu.Lock()
		c.beforePoll = func(ctx context.Context, group uint64) error {
			if group == groups[1] {
				return status.Error(codes.Internal, "broken")
			}
			time.Sleep(100 * time.Millisecond)
			ended = ctx.Err()
			return nil
		}
		c.mu.Unlock()
		_, err := pollJobs(t.Context(), r, 0, updates[0], succeeded(updates[1]))
		wantCode(t, err, codes.Unavailable)
		if ended != nil {
			t.Errorf("the slower call was ended: %v", ended)
		}
	})
}

// Groups that give nothing are not asked again by every poll.
func TestIdleGroupsAreNotAskedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		r := c.start(t, Options{})
		c.queue(2, 0, 10, 1)
		c.work(2).paused = true
		for range 20 {
			mustPoll(t, r, 4)
		}
		if got := len(c.calls(offerCall)); got != 1 {
			t.Errorf("a paused group was asked %d times in one second", got)
		}
	})
}

func TestReportsFollowTheirRange(t *testing.T) {
	for _, hints := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeCluster(t, 4, 1, 1)
			r := c.start(t, Options{})
			c.noHints = !hints
			group, first := c.running("acme", 1)
			_, second := c.running("acme", 2)
			target := group%4 + 2
			keyspace, point := clusterv1.BlockPoint("acme", 1)
			c.move(t, keyspace, point, target)
			if !hints {
				c.publish()
			}
			c.mu.Lock()
			c.work(target).jobs = c.work(group).jobs
			c.mu.Unlock()
			answer := mustPoll(t, r, 0, succeeded(first), second)
			if len(answer.Assignments) != 1 || answer.Assignments[0].Name != second.Name {
				t.Errorf("hints %v: got %v", hints, answer.Assignments)
			}
			calls := c.calls(reportCall)
			if last := calls[len(calls)-1]; last.group != target {
				t.Errorf("hints %v: the reports ended at group %d, want %d", hints, last.group, target)
			}
		})
	}
}

func TestStrangeNames(t *testing.T) {
	c := newFakeCluster(t, 4, 1, 1)
	r := c.start(t, Options{})
	var updates []*metastorev1.CompactionJobStatusUpdate
	// Tenants that look like parts of names, and worse.
	tenants := []string{"a-S1-L0", "-T", "a/../b", "%", "%41", ".", "naïve", "a\x00b", "-L-S-T", strings.Repeat("x", 150)}
	for i, tenant := range tenants {
		_, update := c.running(tenant, uint32(i))
		updates = append(updates, update)
	}
	names := []string{"", "x", "-T-S-L", "1-Tacme-S1", "1-Tacme-S1-L", "1-Tacme-S99999999999-L0", "1-T%zz-S1-L0", "1-T%4-S1-L0", "1-T%61-S1-L0", "\xff-Tacme-S1-L0", strings.Repeat("x", 1<<16)}
	for _, name := range names {
		updates = append(updates, &metastorev1.CompactionJobStatusUpdate{Name: name, Token: 1, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS})
	}
	p := newPoll(r, updates)
	if p.freed != len(names) {
		t.Errorf("%d slots are free, want those of %d unknown jobs", p.freed, len(names))
	}
	answer := mustPoll(t, r, 0, updates...)
	if len(answer.Assignments) != len(tenants) {
		t.Errorf("got %d assignments, want %d", len(answer.Assignments), len(tenants))
	}
	// The slots of unknown results are free in the worker's own count; a name
	// given twice has one slot.
	for _, update := range updates {
		update.Status = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS
	}
	if p := newPoll(r, updates); p.freed != 0 {
		t.Errorf("%d slots are counted twice", p.freed)
	}
	twice := &metastorev1.CompactionJobStatusUpdate{Name: "x"}
	if p := newPoll(r, []*metastorev1.CompactionJobStatusUpdate{twice, twice}); p.freed != 1 {
		t.Errorf("%d slots of one name are free", p.freed)
	}
}

func TestUnreadableResultIsIgnored(t *testing.T) {
	c := newFakeCluster(t, 2, 1, 1)
	r := c.start(t, Options{})
	_, bad := c.running("acme", 1)
	_, good := c.running("acme", 2)
	bad = succeeded(bad)
	bad.CompactedBlocks.NewBlocks = []*metastorev1.BlockMeta{{Id: blockID(1), StringTable: []string{"", "\xff"}}}
	mustPoll(t, r, 0, bad, succeeded(good))
	for _, e := range c.calls(reportCall) {
		for _, update := range e.request.(*nodev1.PollCompactionRequest).Poll.StatusUpdates {
			if update.Name == bad.Name {
				t.Error("a result that no node can decode was sent on")
			}
		}
	}
}

func TestManyUpdates(t *testing.T) {
	c := newFakeCluster(t, 16, 2, 1)
	r := c.start(t, Options{MaxUpdates: 10_000})
	const jobs = 10_000
	var updates []*metastorev1.CompactionJobStatusUpdate
	for i := range jobs {
		tenant := fmt.Sprintf("tenant-%d", i)
		updates = append(updates, &metastorev1.CompactionJobStatusUpdate{
			Name: metastorev1.JobName([]string{blockID(i)}, tenant, 1, 1), Token: 1, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS,
		})
	}
	start := time.Now()
	mustPoll(t, r, 0, updates...)
	t.Logf("%d reports to %d groups in %v", jobs, len(c.calls(reportCall)), time.Since(start))
	reported := 0
	for _, e := range c.calls(reportCall) {
		reported += len(e.request.(*nodev1.PollCompactionRequest).Poll.StatusUpdates)
	}
	if calls := len(c.calls(reportCall)); reported != jobs || calls > 16 {
		t.Errorf("%d reports in %d calls", reported, calls)
	}
	_, err := pollJobs(t.Context(), r, 0, append(updates, updates[0])...)
	wantCode(t, err, codes.InvalidArgument)
}

func TestLowestLevelFirstAcrossGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		start := time.Now().UnixNano()
		// Blocks that nobody made jobs of yet, the highest level the oldest.
		c.queue(2, 2, 8, start-int64(9*time.Hour))
		c.queue(3, 1, 8, start-int64(time.Hour))
		c.queue(4, 0, 5, start-int64(2*time.Minute))
		c.queue(5, 0, 5, start-int64(3*time.Minute))
		var levels []uint32
		for range 4 {
			for _, job := range mustPoll(t, r, 8).CompactionJobs {
				levels = append(levels, job.CompactionLevel)
			}
		}
		if len(levels) != 26 || !slices.IsSorted(levels) {
			t.Errorf("jobs came in the order of levels %v", levels)
		}
	})
}

func TestOldestFirstWithinALevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		start := time.Now().UnixNano()
		for group := uint64(2); group <= 5; group++ {
			c.queue(group, 0, 1, start-int64(group)*int64(time.Minute))
		}
		for want := uint64(5); want >= 2; want-- {
			if jobs := mustPoll(t, r, 1).CompactionJobs; len(jobs) != 1 || c.assigned(want, 0) != 1 {
				t.Fatalf("group %d with the oldest blocks did not get the slot", want)
			}
		}
	})
}

// Whatever groups say and do, a worker never gets more than it asked for.
func TestNeverMoreThanCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 8, 2, 1)
		r := c.start(t, Options{})
		random := rand.New(rand.NewPCG(1, 2))
		c.work(3).generous = true
		c.work(4).paused = true
		total := 0
		for i := range 300 {
			if random.IntN(2) == 0 {
				c.queue(2+random.Uint64N(8), random.Uint32N(3), random.IntN(20), 1)
			}
			c.setBefore(nil)
			if random.IntN(4) == 0 {
				c.setBefore(dead(2+random.Uint64N(8), 2+random.Uint64N(8)))
			}
			capacity := random.Uint32N(12)
			answer := mustPoll(t, r, capacity)
			if got := len(answer.CompactionJobs); got > int(capacity) || got != len(answer.Assignments) {
				t.Fatalf("poll %d: %d jobs and %d assignments for %d slots", i, got, len(answer.Assignments), capacity)
			}
			total += len(answer.CompactionJobs)
			time.Sleep(time.Duration(random.IntN(3)) * time.Second)
		}
		if total < 300 {
			t.Errorf("only %d jobs in 300 polls", total)
		}
	})
}

// Reports that make the worker drop jobs free their slots.
func TestFreedSlotsAreOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		group, update := c.running("acme", 1)
		update.Token++ // somebody else's
		c.queue(group, 0, 5, 1)
		answer := mustPoll(t, r, 0, update)
		if len(answer.CompactionJobs) != 1 {
			t.Errorf("got %d jobs for one slot that became free", len(answer.CompactionJobs))
		}
	})
}

// No group with work waits for ever, however urgent the work of others is.
func TestNoGroupStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups, capacity = 40, 4
		c := newFakeCluster(t, groups, 1, 1)
		r := c.start(t, Options{})
		for group := uint64(3); group < groups+2; group++ {
			c.queue(group, 1, 3, 0)
		}
		served := map[uint64]int{}
		polls := 0
		// Patience, then at least one slot of four for who waits longest.
		bound := int(patience/time.Second) + 2*groups
		for ; polls < bound && len(served) < groups-1; polls++ {
			c.queue(2, 0, capacity, 1) // more than workers can do
			mustPoll(t, r, capacity)
			for group := uint64(3); group < groups+2; group++ {
				if _, known := served[group]; !known && c.assigned(group, 1) > 0 {
					served[group] = polls
				}
			}
			time.Sleep(time.Second)
		}
		if len(served) < groups-1 {
			t.Errorf("%d of %d groups were served in %d polls", len(served), groups-1, polls)
		}
		urgent := c.assigned(2, 0)
		if urgent < polls*capacity/2 {
			t.Errorf("urgent work got %d of %d slots", urgent, polls*capacity)
		}
		t.Logf("all groups served after %d polls; %d of %d slots went to urgent work", polls, urgent, polls*capacity)
	})
}

// A group that says nothing is found, in few polls of the only worker.
func TestQuietGroupsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 200
		c := newFakeCluster(t, groups, 1, 1)
		r := c.start(t, Options{})
		for range 10 {
			mustPoll(t, r, 1)
			time.Sleep(5 * time.Second)
		}
		random := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			group := 2 + random.Uint64N(groups)
			before := c.assigned(group, 2)
			c.queue(group, 2, 1, time.Now().UnixNano())
			polls := 0
			for ; polls < 50 && c.assigned(group, 2) == before; polls++ {
				mustPoll(t, r, 1)
				time.Sleep(5 * time.Second)
			}
			if bound := (groups+probesMax-1)/probesMax + 1; polls > bound {
				t.Errorf("group %d was served after %d polls, want %d", group, polls, bound)
			}
		}
	})
}

// Workers that poll at the same moment are sent to different groups.
func TestConcurrentPollsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups, workers, slots = 8, 16, 4
		c := newFakeCluster(t, groups, 1, 1)
		r := c.start(t, Options{})
		for group := uint64(2); group < groups+2; group++ {
			c.queue(group, 0, 2*slots, 1)
		}
		mustPoll(t, r, 1) // knows the groups
		c.setBefore(func(entry) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		before := len(c.calls(offerCall))
		var all sync.WaitGroup
		got := make([]int, workers)
		for i := range workers {
			all.Go(func() {
				answer := mustPoll(t, r, slots)
				got[i] = len(answer.CompactionJobs)
			})
		}
		all.Wait()
		asked := map[uint64]int{}
		for _, e := range c.calls(offerCall)[before:] {
			asked[e.group]++
		}
		total := 0
		for _, n := range got {
			total += n
		}
		for group, n := range asked {
			if n > 12 {
				t.Errorf("group %d was asked %d times by %d workers", group, n, workers)
			}
		}
		if len(asked) < groups || total < groups*slots {
			t.Errorf("%d groups were asked, %d jobs handed out: %v", len(asked), total, got)
		}
		t.Logf("asked %v, got %v", asked, got)
	})
}

// Real time and real parallelism, for the race detector: no job is handed out
// twice, and all are.
func TestConcurrentWorkers(t *testing.T) {
	const groups, workers, jobs = 6, 8, 60
	c := newFakeCluster(t, groups, 2, 3)
	r := c.start(t, Options{})
	for group := uint64(2); group < groups+2; group++ {
		c.queue(group, uint32(group%3), jobs, 1)
	}
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		seen = map[string]bool{}
	)
	for range workers {
		all.Go(func() {
			deadline := time.Now().Add(20 * time.Second)
			for time.Now().Before(deadline) {
				answer, err := pollJobs(t.Context(), r, 5)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, job := range answer.CompactionJobs {
					if seen[job.Name] {
						t.Errorf("%s was handed out twice", job.Name)
					}
					seen[job.Name] = true
				}
				done := len(seen) == groups*jobs
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	all.Wait()
	if len(seen) != groups*jobs {
		t.Errorf("%d of %d jobs were handed out", len(seen), groups*jobs)
	}
}

// Groups whose work cannot be had do not keep slots from others.
func TestIdleWorkDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 30
		c := newFakeCluster(t, groups, 1, 1)
		r := c.start(t, Options{})
		for group := uint64(2); group < groups+2; group++ {
			c.queue(group, 0, 100, 1)
			c.work(group).paused = true
		}
		c.work(groups + 1).paused = false
		c.queue(groups+1, 1, 100, 1)
		total := 0
		for range 10 {
			total += len(mustPoll(t, r, 4).CompactionJobs)
			time.Sleep(time.Second)
		}
		if total < 20 {
			t.Errorf("got %d jobs for 40 slots beside paused groups", total)
		}
	})
}

// An offer is repeated only if the first surely did nothing.
func TestOffersAreNotRepeated(t *testing.T) {
	for reason, want := range map[clusterv1.RouteError_Reason]int{
		clusterv1.RouteError_REASON_NOT_READY: 3, clusterv1.RouteError_REASON_AMBIGUOUS: 1, clusterv1.RouteError_REASON_OVERLOADED: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeCluster(t, 1, 1, 3)
			r := c.start(t, Options{})
			c.queue(2, 0, 10, 1)
			c.setBefore(func(e entry) error {
				if e.call == offerCall {
					return routeFault(codes.Unavailable, reason)
				}
				return nil
			})
			if jobs := mustPoll(t, r, 4).CompactionJobs; len(jobs) > 0 {
				t.Errorf("got %v", jobs)
			}
			if got := len(c.calls(offerCall)); got != want {
				t.Errorf("%v: %d offers, want %d", reason, got, want)
			}
		})
	}
}

// Groups that hang cost a poll a bounded time, and the next ones less.
func TestHangingGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		c.queue(5, 0, 20, 1)
		c.hang(2, 3)
		for i := range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			start := time.Now()
			answer, err := pollJobs(ctx, r, 2)
			cancel()
			if err != nil || len(answer.CompactionJobs) != 2 {
				t.Fatalf("poll %d: %v, %v", i, answer, err)
			}
			if waited := time.Since(start); waited > time.Second {
				t.Errorf("poll %d took %v", i, waited)
			}
		}
	})
}

func TestPollEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 1)
		r := c.start(t, Options{})
		_, update := c.running("acme", 1)
		c.setBefore(dead(2, 3))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := pollJobs(ctx, r, 1, succeeded(update))
		wantCode(t, err, codes.Canceled)
		// A deadline before the budget leaves time for the answer.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = pollJobs(ctx, r, 1, succeeded(update))
		wantCode(t, err, codes.Unavailable)
		if ctx.Err() != nil {
			t.Error("the caller was not answered in time")
		}
	})
}

// Nodes of an older release do not know polls: workers must not believe that
// their results were taken.
func TestNodesWithoutCompaction(t *testing.T) {
	c := newFakeCluster(t, 2, 1, 1)
	r := c.start(t, Options{})
	c.setBefore(func(entry) error { return status.Error(codes.Unimplemented, "unknown method") })
	_, update := c.running("acme", 1)
	_, err := pollJobs(t.Context(), r, 1, succeeded(update))
	wantCode(t, err, codes.Unimplemented)
	_, err = pollJobs(t.Context(), r, 1)
	wantCode(t, err, codes.Unimplemented)
	mustPoll(t, r, 0)
}

func TestShare(t *testing.T) {
	for _, test := range []struct {
		wants []int
		slots int
		want  []int
	}{
		{[]int{200, 5, 1}, 8, []int{4, 3, 1}},
		{[]int{1, 1}, 8, []int{1, 1}},
		{[]int{3, 3, 3}, 2, []int{1, 1, 0}},
		{[]int{1000}, 7, []int{7}},
		{nil, 7, []int{}},
	} {
		var wants []want
		for i, n := range test.wants {
			wants = append(wants, want{group: uint64(i), slots: n})
		}
		got := make([]int, len(wants))
		share(wants, test.slots, func(group uint64, n int) { got[group] += n })
		if !slices.Equal(got, test.want) {
			t.Errorf("%d slots for %v: got %v, want %v", test.slots, test.wants, got, test.want)
		}
	}
}

// What choosing groups for 8 slots costs a router, with work in every group that
// none gives away, and without.
func BenchmarkPoll(b *testing.B) {
	for _, groups := range []int{4, 64, 1024} {
		for _, work := range []bool{true, false} {
			b.Run(fmt.Sprintf("groups=%d/work=%v", groups, work), func(b *testing.B) {
				c := newFakeCluster(b, groups, 2, 1)
				r := c.start(b, Options{})
				for group := range uint64(groups) {
					if work {
						c.queue(group+2, 0, 1, 1)
						c.work(group + 2).paused = true
					}
				}
				for range groups/probesMax + 1 {
					mustPoll(b, r, 1)
				}
				for b.Loop() {
					mustPoll(b, r, 8)
				}
			})
		}
	}
}
