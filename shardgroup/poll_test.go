package shardgroup_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// openAt opens a node with one data group and a clock that stands still, 1 s after
// the made-up blocks were created.
func openAt(t *testing.T, change func(*shardgroup.Options)) (*shardgroup.Node, *clusterv1.Map, *testClock) {
	t.Helper()
	clock := newClock(blockTime.Add(time.Second))
	node := openWith(t, func(o *shardgroup.Options) {
		o.Now = clock.now
		if change != nil {
			change(o)
		}
	})
	await(t, "the leader's claim", func() bool { return node.LeaderEpoch(dataGroup) > 0 })
	return node, rangeMap(t, node), clock
}

// From the blocks that come to those that replace them, and to the deletion of
// their objects.
func TestPollCycle(t *testing.T) {
	held := newGate()
	node, m, clock := openAt(t, held.install)
	holdTransfers(t, held) // they would make entries of their own
	var ids []string
	for serial := range 20 {
		block := testBlock(serial, "", 1, 0, "anna", "bert")
		ids = append(ids, block.GetId())
		add(t, node, m, block)
	}
	var answer *nodev1.PollCompactionResponse
	wantEntries(t, node, 1, func() { answer = poll(t, node, 3) })
	if got := answer.GetPoll(); len(got.GetCompactionJobs())+len(got.GetAssignments()) != 0 {
		t.Fatalf("the poll that creates a job also hands it out: %v", got)
	}
	if b := answer.GetBacklog(); len(b) != 1 || b[0].GetLevel() != 0 || b[0].GetJobsWaiting() != 1 || b[0].GetBlocksQueued() != 0 {
		t.Errorf("backlog %v", b)
	}
	wantEntries(t, node, 1, func() { answer = poll(t, node, 3) })
	jobs, assignments := answer.GetPoll().GetCompactionJobs(), answer.GetPoll().GetAssignments()
	if len(jobs) != 1 || len(assignments) != 1 || assignments[0].GetName() != jobs[0].GetName() || assignments[0].GetToken() == 0 {
		t.Fatalf("got %v", answer.GetPoll())
	}
	job, assignment := jobs[0], assignments[0]
	if !slices.Equal(job.GetSourceBlocks(), ids) || job.GetShard() != 1 || job.GetTenant() != "" || job.GetCompactionLevel() != 0 {
		t.Errorf("job %v", job)
	}
	if got, want := assignment.GetLeaseExpiresAt(), clock.now().Add(15*time.Second).UnixNano(); got != want {
		t.Errorf("the lease ends at %d, want %d", got, want)
	}
	clock.advance(10 * time.Second)
	wantEntries(t, node, 1, func() { answer = poll(t, node, 2, inProgress(assignment)) })
	renewed := answer.GetPoll().GetAssignments()
	if len(renewed) != 1 || renewed[0].GetToken() != assignment.GetToken() || renewed[0].GetLeaseExpiresAt() <= assignment.GetLeaseExpiresAt() || answer.GetFreed() != 0 {
		t.Errorf("got %v", answer)
	}
	sources, err := sourcesOf(t.Context(), t, node, m, job)
	if err != nil || len(sources) != 20 {
		t.Fatalf("%d sources, %v", len(sources), err)
	}
	done := success(assignment, merge(job, sources))
	wantEntries(t, node, 1, func() { answer = poll(t, node, 0, done) })
	if len(answer.GetPoll().GetAssignments()) != 0 || answer.GetFreed() != 0 {
		t.Errorf("got %v", answer)
	}
	counts, err := sourcesFound(t.Context(), node, m, "anna", "bert")
	if err != nil || len(counts) != 40 {
		t.Fatalf("%d sources found, %v", len(counts), err)
	}
	for source, n := range counts {
		if n != 1 {
			t.Errorf("%s was found %d times", source, n)
		}
	}
	if left, err := sourcesOf(t.Context(), t, node, m, job); err != nil || len(left) != 0 {
		t.Errorf("%d sources are left, %v", len(left), err)
	}
	// The answer may have been lost: the same again is nothing new, and no slot.
	wantEntries(t, node, 0, func() { answer = poll(t, node, 0, done) })
	if answer.GetFreed() != 0 {
		t.Errorf("got %v", answer)
	}
	if add(t, node, m, testBlock(0, "", 1, 0, "anna", "bert")) {
		t.Error("a block that was compacted came back")
	}
	wantDeletion(t, node, clock, ids)
	// Nothing is left to do: no entry.
	wantEntries(t, node, 0, func() { answer = poll(t, node, 3) })
	if len(answer.GetBacklog()) != 0 {
		t.Errorf("backlog %v", answer.GetBacklog())
	}
}

// wantDeletion demands that objects are handed out for deletion after the delay,
// and not before.
func wantDeletion(t *testing.T, node *shardgroup.Node, clock *testClock, ids []string) {
	t.Helper()
	clock.advance(14 * time.Minute)
	wantEntries(t, node, 0, func() { poll(t, node, 3) })
	if listed := tombstones(t, node); len(listed) != 1 || listed[0].GetJob() != "" {
		t.Fatalf("tombstones %v", listed)
	}
	clock.advance(2 * time.Minute)
	poll(t, node, 3) // creates
	if listed := tombstones(t, node); len(listed) != 1 || listed[0].GetJob() == "" {
		t.Errorf("tombstones %v", listed)
	}
	answer := poll(t, node, 3).GetPoll()
	if len(answer.GetCompactionJobs()) != 1 || len(answer.GetCompactionJobs()[0].GetTombstones()) != 1 {
		t.Fatalf("got %v", answer)
	}
	if got := answer.GetCompactionJobs()[0].GetTombstones()[0].GetBlocks(); !slices.Equal(got.GetBlocks(), ids) || got.GetShard() != 1 || got.GetCompactionLevel() != 0 {
		t.Errorf("tombstone %v", got)
	}
	poll(t, node, 0, success(answer.GetAssignments()[0], &metastorev1.CompactedBlocks{SourceBlocks: &metastorev1.BlockList{}}))
	if listed := tombstones(t, node); len(listed) != 0 {
		t.Errorf("tombstones %v", listed)
	}
}

func tombstones(t *testing.T, node *shardgroup.Node) []*nodev1.TombstoneInfo {
	t.Helper()
	response, err := node.Service().ListTombstones(t.Context(), &nodev1.ListTombstonesRequest{GroupId: dataGroup})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetTombstones()
}

// Workers that poll at the same time never get the same job, and each poll that
// does something is one entry.
func TestConcurrentPolls(t *testing.T) {
	node, m, clock := openAt(t, nil)
	const keys, workers = 60, 16
	for serial := range keys {
		add(t, node, m, testBlock(serial, "", uint32(1+serial), 0, "anna"))
	}
	clock.advance(time.Minute) // all are due
	var mu sync.Mutex
	got, tokens := map[string]bool{}, map[uint64]bool{}
	before := applied(t, node)
	useful := uint64(0)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range 4 {
				answer, err := node.Service().PollCompaction(t.Context(), pollRequest(2))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, job := range answer.GetPoll().GetCompactionJobs() {
					token := answer.GetPoll().GetAssignments()[i].GetToken()
					if got[job.GetName()] || tokens[token] {
						t.Errorf("job %s, token %d: handed out twice", job.GetName(), token)
					}
					got[job.GetName()], tokens[token] = true, true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(got) != keys {
		t.Errorf("%d jobs were handed out, want %d", len(got), keys)
	}
	// 30 polls create two jobs each; those that hand jobs out are among them, but the last.
	useful = applied(t, node) - before
	if useful < keys/2 || useful > keys/2+2 {
		t.Errorf("%d Raft entries", useful)
	}
}

func TestReportsNeverFailPolls(t *testing.T) {
	node, m, clock := openAt(t, func(o *shardgroup.Options) {
		o.Compaction = schedule.Defaults()
		o.Compaction.FailuresMax = 2
	})
	for serial := range 3 {
		add(t, node, m, testBlock(serial, "anna", 1, 1))
	}
	clock.advance(time.Hour)
	poll(t, node, 1)
	answer := poll(t, node, 1).GetPoll()
	job, assignment := answer.GetCompactionJobs()[0], answer.GetAssignments()[0]
	sources, err := sourcesOf(t.Context(), t, node, m, job)
	if err != nil {
		t.Fatal(err)
	}
	// What concerns no job of the worker frees its slot and changes nothing.
	other := inProgress(assignment)
	other.Token++
	unspecified := inProgress(assignment)
	unspecified.Status = metastorev1.CompactionJobStatus_COMPACTION_STATUS_UNSPECIFIED
	for name, update := range map[string]*metastorev1.CompactionJobStatusUpdate{
		"unknown job":     {Name: "no-such-job", Token: 1, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS},
		"no name":         {},
		"very long name":  {Name: strings.Repeat("x", 1<<20), Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS},
		"another's token": other,
		"no status":       unspecified,
		"another status":  {Name: assignment.GetName(), Token: assignment.GetToken(), Status: 77},
	} {
		t.Run(name, func(t *testing.T) {
			wantEntries(t, node, 0, func() {
				if got := poll(t, node, 0, update); got.GetFreed() != 1 || len(got.GetPoll().GetAssignments()) != 0 {
					t.Errorf("got %v", got)
				}
			})
		})
	}
	// A result that is wrong takes the job from the worker; what else it reports counts.
	bad := merge(job, sources)
	bad.NewBlocks[0].Datasets[0].Name = 99
	wantEntries(t, node, 1, func() {
		if got := poll(t, node, 0, success(assignment, bad), inProgress(assignment)); got.GetFreed() != 0 || len(got.GetPoll().GetAssignments()) != 0 {
			t.Errorf("got %v", got)
		}
	})
	answer = poll(t, node, 1).GetPoll()
	if len(answer.GetAssignments()) != 1 || answer.GetAssignments()[0].GetToken() <= assignment.GetToken() {
		t.Fatalf("got %v", answer)
	}
	// Refused once more, the job is taken apart; its blocks wait in halves.
	bad = merge(job, sources)
	bad.NewBlocks[0].Shard++
	poll(t, node, 0, success(answer.GetAssignments()[0], bad))
	if got := compactionStatus(t, node); len(got.GetJobs()) != 0 || got.GetLevels()[0].GetBlocksReturned() != 3 || len(got.GetKeys()) != 2 || !strings.Contains(got.GetKeys()[0].GetReason(), "failed") {
		t.Errorf("got %v", got)
	}
	// Then they are compacted after all, with a result for a part of them only.
	clock.advance(time.Hour)
	poll(t, node, 2)
	answer = poll(t, node, 2).GetPoll()
	if len(answer.GetCompactionJobs()) != 2 {
		t.Fatalf("got %v", answer)
	}
	var updates []*metastorev1.CompactionJobStatusUpdate
	for i, job := range answer.GetCompactionJobs() {
		sources, err := sourcesOf(t.Context(), t, node, m, job)
		if err != nil {
			t.Fatal(err)
		}
		updates = append(updates, success(answer.GetAssignments()[i], merge(job, sources)))
	}
	poll(t, node, 0, updates...)
	counts, err := sourcesFound(t.Context(), node, m, "anna")
	if err != nil || len(counts) != 3 || counts["0-anna"] != 1 || counts["2-anna"] != 1 {
		t.Errorf("found %v, %v", counts, err)
	}
}

// With reports_only slots are left to other groups.
func TestReportsOnly(t *testing.T) {
	node, m, clock := openAt(t, nil)
	for serial := range 2 {
		add(t, node, m, testBlock(serial, "", uint32(1+serial), 0, "anna"))
	}
	clock.advance(time.Minute)
	poll(t, node, 2)
	held := poll(t, node, 1).GetPoll().GetAssignments()[0]
	request := pollRequest(5, inProgress(held), &metastorev1.CompactionJobStatusUpdate{Name: "gone", Token: 1, Status: 1})
	request.ReportsOnly = true
	answer, err := node.Service().PollCompaction(t.Context(), request)
	if err != nil || len(answer.GetPoll().GetCompactionJobs()) != 0 || len(answer.GetPoll().GetAssignments()) != 1 || answer.GetFreed() != 1 {
		t.Errorf("got %v, %v", answer, err)
	}
	if b := answer.GetBacklog(); len(b) != 1 || b[0].GetJobsWaiting() != 1 || b[0].GetJobsInProgress() != 1 {
		t.Errorf("backlog %v", b)
	}
}

func TestPollsAreBounded(t *testing.T) {
	node, m, _ := openAt(t, nil)
	for name, request := range map[string]*nodev1.PollCompactionRequest{
		"reports":       pollRequest(1, make([]*metastorev1.CompactionJobStatusUpdate, 1<<17)...),
		"bytes":         pollRequest(1, &metastorev1.CompactionJobStatusUpdate{Name: strings.Repeat("x", 65<<20)}),
		"the directory": {GroupId: clusterv1.DirectoryGroup},
	} {
		if _, err := node.Service().PollCompaction(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A command that the directory does not know would stop its replicas.
	block := addRequest(t, m, testBlock(1, "", 1, 0, "anna"))
	block.GroupId = clusterv1.DirectoryGroup
	if _, err := node.Service().AddBlock(t.Context(), block); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
	if _, err := node.Service().PollCompaction(t.Context(), &nodev1.PollCompactionRequest{GroupId: 99}); status.Code(err) != codes.Aborted {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := node.Service().PollCompaction(ctx, pollRequest(1)); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
}

// A poll that waits for its turn ends with its caller; many are refused.
func TestPollsWaitForTheirTurn(t *testing.T) {
	node, _, _ := openAt(t, nil)
	begun, gate := make(chan struct{}), make(chan struct{})
	node.OnDecision(dataGroup, func() { begun <- struct{}{}; <-gate })
	var first sync.WaitGroup
	first.Go(func() { poll(t, node, 1) })
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 512 {
		waiting.Go(func() {
			if _, err := node.Service().PollCompaction(ctx, pollRequest(1)); status.Code(err) != codes.Canceled {
				t.Errorf("got %v", err)
			}
		})
	}
	await(t, "the waiting polls", func() bool { return node.WaitingPolls(dataGroup) == 512 })
	if _, err := node.Service().PollCompaction(t.Context(), pollRequest(1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	cancel()
	waiting.Wait()
	close(gate)
	first.Wait()
}

// What a leader decides is worth nothing once another one has claimed the group:
// neither changes, nor the word that there is nothing to change.
func TestLeaderChangesDuringPoll(t *testing.T) {
	c := found(t, 3, 1, 10*time.Millisecond)
	m := rangeMapSoon(t, c.node(0))
	for serial := range 20 {
		retried(t, func() (*nodev1.AddBlockResponse, error) {
			return c.node(0).Service().AddBlock(t.Context(), addRequest(t, m, testBlock(serial, "", 1, 0, "anna")))
		})
	}
	noChange := pollRequest(0, &metastorev1.CompactionJobStatusUpdate{Name: "unknown", Token: 7, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS})
	noChange.ReportsOnly = true // or the slot that it frees would be filled
	for _, test := range []struct {
		name    string
		request *nodev1.PollCompactionRequest
	}{{"a decision", pollRequest(1)}, {"no change", noChange}} {
		t.Run(test.name, func(t *testing.T) {
			leader, follower := c.leader(t, dataGroup)
			compactionStatus(t, c.node(leader)) // what was added at another node is applied here, too
			if _, err := c.node(follower).Service().PollCompaction(t.Context(), test.request); !notReady(err) {
				t.Errorf("the follower says %v", err)
			}
			var once sync.Once
			c.node(leader).OnDecision(dataGroup, func() {
				once.Do(func() {
					// A transfer to a replica that lags is given up without a word, and
					// one that is under way makes others fail: it is asked for until it was done.
					await(t, "the other leader", func() bool {
						_ = c.node(leader).TransferLeadership(dataGroup, rangeMapReplica(t, c, dataGroup, follower))
						return c.node(follower).LeaderEpoch(dataGroup) > 0
					})
				})
			})
			_, err := c.node(leader).Service().PollCompaction(t.Context(), test.request)
			c.node(leader).OnDecision(dataGroup, func() {})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("the former leader says %v", err)
			}
			if got := compactionStatus(t, c.node(follower)); len(got.GetJobs()) != 0 || len(got.GetKeys()) != 1 {
				t.Errorf("it changed something: %v", got)
			}
		})
	}
}

func notReady(err error) bool {
	for _, detail := range status.Convert(err).Details() {
		if route, ok := detail.(*clusterv1.RouteError); ok {
			return status.Code(err) == codes.Unavailable && route.GetReason() == clusterv1.RouteError_REASON_NOT_READY
		}
	}
	return false
}
