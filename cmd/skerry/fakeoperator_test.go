package main

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakeNow is the groups' log time.
const fakeNow = 1_735_787_045_000_000_000

func ago(d time.Duration) int64 { return fakeNow - int64(d) }

// asked tells whether a request is about a group of the fake cluster: 2 is busy,
// 3 is idle and paused, 4 does not answer.
func asked(ids []uint64, group uint64) bool { return len(ids) == 0 || slices.Contains(ids, group) }

const fakeFault = "group 4: node bbbb:\n\x1b[2Jconnection refused"

func (f *fakeRouter) CompactionStatus(_ context.Context, request *adminv1.CompactionStatusRequest) (*adminv1.CompactionStatusResponse, error) {
	answer := &adminv1.CompactionStatusResponse{}
	if asked(request.GetGroupIds(), 2) {
		levels := []*nodev1.LevelBacklog{
			{Level: 0, JobsWaiting: 1, JobsInProgress: 1, BlocksQueued: 1234, Oldest: ago(41 * time.Second)},
			{Level: 2, JobsWaiting: 1, BlocksReturned: 10, Oldest: ago(26 * time.Hour)},
		}
		answer.Levels = levels
		answer.Groups = append(answer.Groups, &adminv1.GroupCompaction{GroupId: 2, Status: &nodev1.CompactionStatusResponse{
			Levels: levels, Now: fakeNow, Tombstones: 12, TombstonesWaiting: 7, Truncated: request.GetLimit() < 1000,
			Keys: []*nodev1.QueueKey{
				{Shard: 3, Blocks: 1234, Oldest: ago(41 * time.Second), Reason: "waits for a poll of a worker"},
				{Tenant: "acme\x1b[2J", Shard: 1, Level: 2, Blocks: 10, Oldest: ago(26 * time.Hour), Reason: "failed 3 times,\nis tried again in 2h"},
			},
			Jobs: []*nodev1.JobInfo{
				{Name: "72de16b5c00e7f76-T-S3-L0", Shard: 3, Sources: 20, Tombstones: 2, InProgress: true, Token: 17, LeaseExpiresAt: fakeNow + 9e9, CreatedAt: ago(time.Minute)},
				{Name: "4648c461f0c7e331-T-S3-L0", Shard: 3, Sources: 20, Failures: 1, CreatedAt: ago(2 * time.Minute), LeaseExpiresAt: ago(75 * time.Second), Reason: "waits for a poll of a worker"},
				{Name: "8002ef2e40f85368-Tacme-S1-L2", Tenant: "acme", Shard: 1, Level: 2, Sources: 10, Failures: 3, CreatedAt: ago(3 * time.Hour), Reason: "failed 3 times"},
			},
		}})
	}
	if asked(request.GetGroupIds(), 3) {
		answer.Groups = append(answer.Groups, &adminv1.GroupCompaction{GroupId: 3, Status: &nodev1.CompactionStatusResponse{Now: fakeNow, Paused: f.paused}})
	}
	if asked(request.GetGroupIds(), 4) {
		answer.Groups = append(answer.Groups, &adminv1.GroupCompaction{GroupId: 4, Error: fakeFault})
	}
	return answer, nil
}

func (f *fakeRouter) ListTombstones(_ context.Context, request *adminv1.ListTombstonesRequest) (*adminv1.ListTombstonesResponse, error) {
	answer := &adminv1.ListTombstonesResponse{}
	if asked(request.GetGroupIds(), 2) {
		answer.Groups = append(answer.Groups, &adminv1.GroupTombstones{GroupId: 2, List: &nodev1.ListTombstonesResponse{
			Truncated: request.GetLimit() < 1000,
			Tombstones: []*nodev1.TombstoneInfo{
				{Since: ago(0), Job: "72de16b5c00e7f76-T-S3-L0", Tombstone: &metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{
					Name: "x", Shard: 3, Blocks: []string{"01JGJFGR480000000000000000", "01JGJFGR48040G2081040G2081"},
				}}},
				{Since: ago(time.Hour), Tombstone: &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{
					Name: "y", Tenant: "acme", Shard: 1, Timestamp: 1_735_776_000_000_000_000, Duration: int64(6 * time.Hour),
				}}},
				{},
			},
		}})
	}
	if asked(request.GetGroupIds(), 4) {
		answer.Groups = append(answer.Groups, &adminv1.GroupTombstones{GroupId: 4, Error: fakeFault})
	}
	return answer, nil
}

// TransferStatus shows outboxes of group 2; what is young is always there.
func (f *fakeRouter) TransferStatus(_ context.Context, request *adminv1.TransferStatusRequest) (*adminv1.TransferStatusResponse, error) {
	f.fakeCluster.mutex.Lock()
	defer f.fakeCluster.mutex.Unlock()
	if f.fault != nil {
		return nil, f.fault
	}
	answer := &adminv1.TransferStatusResponse{Now: fakeNow}
	if asked(request.GetGroupIds(), 2) {
		group := &adminv1.GroupTransfers{GroupId: 2, Destinations: []uint64{3, 2}, Status: &nodev1.TransferStatusResponse{
			Transfers: 1240, Blocks: 1300, Oldest: ago(26 * time.Hour), Truncated: request.GetLimit() < 1000,
			Outboxes: []*nodev1.OutboxInfo{
				{Stream: 7, Tenant: "acme\x1b[2J", Transfers: 1234, Blocks: 1290, Oldest: ago(26 * time.Hour), Error: "node bbbb:\n\x1b[2Jconnection refused"},
				{Stream: 3, Tenant: "globex", Transfers: 5, Blocks: 9, Oldest: ago(26 * time.Hour)},
				{Stream: 9, Tenant: "initech", Transfers: 1, Blocks: 1, Oldest: ago(2 * time.Second)},
			},
		}}
		if !f.late {
			group.Status.Transfers, group.Status.Blocks, group.Status.Oldest, group.Status.Truncated = 1, 1, ago(2*time.Second), false
			group.Status.Outboxes, group.Destinations = group.Status.Outboxes[2:], []uint64{3}
		}
		answer.Groups = append(answer.Groups, group)
	}
	if asked(request.GetGroupIds(), 3) {
		answer.Groups = append(answer.Groups, &adminv1.GroupTransfers{GroupId: 3, Status: &nodev1.TransferStatusResponse{}})
	}
	if asked(request.GetGroupIds(), 4) {
		answer.Groups = append(answer.Groups, &adminv1.GroupTransfers{GroupId: 4, Error: fakeFault})
	}
	return answer, nil
}

func (f *fakeRouter) PlanRetention(_ context.Context, request *adminv1.PlanRetentionRequest) (*adminv1.PlanRetentionResponse, error) {
	answer := &adminv1.PlanRetentionResponse{}
	if asked(request.GetGroupIds(), 2) {
		answer.Groups = append(answer.Groups, &adminv1.GroupRetention{GroupId: 2, Plan: &nodev1.PlanRetentionResponse{
			Now: fakeNow, Stopped: "all partitions were seen", Truncated: request.GetLimit() < 1000,
			Remove: []*nodev1.RetentionVerdict{
				{Partition: 1_733_000_400, Tenant: "acme", Shard: 1, Blocks: 12, ObjectBytes: 3 << 20, Reason: "past its period of 31d"},
				{Partition: 1_732_978_800, Tenant: "acme", Shard: 2, Blocks: 1, ObjectBytes: 1 << 10, Reason: "past its period of 31d"},
			},
			Keep: []*nodev1.RetentionVerdict{{Partition: 1_735_776_000, Shard: 3, Blocks: 40, ObjectBytes: 9 << 20, Reason: "tenant globex keeps\x1b data for ever"}},
		}})
	}
	if asked(request.GetGroupIds(), 4) {
		answer.Groups = append(answer.Groups, &adminv1.GroupRetention{GroupId: 4, Error: fakeFault})
	}
	return answer, nil
}

func (f *fakeRouter) ControlCompaction(_ context.Context, request *adminv1.ControlCompactionRequest) (*adminv1.ControlCompactionResponse, error) {
	answer := &adminv1.ControlCompactionResponse{}
	switch request.GetJob() {
	case "":
		for group := uint64(2); group <= 4; group++ {
			if asked(request.GetGroupIds(), group) {
				answer.Groups = append(answer.Groups, &adminv1.GroupControl{GroupId: group, Changed: group == 2})
			}
			if asked(request.GetGroupIds(), group) && group == 4 {
				answer.Groups[len(answer.Groups)-1].Error = fakeFault
			}
		}
	case "72de16b5c00e7f76-T-S3-L0", "4648c461f0c7e331-T-S3-L0":
		answer.Groups = []*adminv1.GroupControl{{GroupId: 2, Changed: request.GetJob()[0] == '7'}}
	default:
		return nil, status.Errorf(codes.InvalidArgument, "job name %q: no level", request.GetJob())
	}
	return answer, nil
}

// PollCompactionJobs makes a job of each five segments of a shard, and replaces
// them by what comes back.
func (f *fakeRouter) PollCompactionJobs(_ context.Context, request *metastorev1.PollCompactionJobsRequest) (*metastorev1.PollCompactionJobsResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	answer := &metastorev1.PollCompactionJobsResponse{}
	for _, update := range request.GetStatusUpdates() {
		if f.tokens[update.GetName()] != update.GetToken() {
			continue
		}
		if update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS {
			answer.Assignments = append(answer.Assignments, &metastorev1.CompactionJobAssignment{Name: update.GetName(), Token: update.GetToken()})
			continue
		}
		sources := update.GetCompactedBlocks().GetSourceBlocks()
		for _, id := range sources.GetBlocks() {
			delete(f.blocks, blockKey{sources.GetTenant(), sources.GetShard(), id})
		}
		for _, block := range update.GetCompactedBlocks().GetNewBlocks() {
			f.blocks[blockKey{block.TenantName(), block.GetShard(), block.GetId()}] = block
		}
		delete(f.tokens, update.GetName())
	}
	segments := map[uint32][]string{}
	for key, block := range f.blocks {
		if block.GetCompactionLevel() == 0 && !f.taken[key.id] {
			segments[key.shard] = append(segments[key.shard], key.id)
		}
	}
	for shard, ids := range segments {
		slices.Sort(ids)
		for sources := range slices.Chunk(ids, 5) {
			if request.JobCapacity == 0 || len(sources) < 5 {
				continue
			}
			request.JobCapacity--
			f.token++
			job := &metastorev1.CompactionJob{Name: metastorev1.JobName(sources, "", shard, 0), Shard: shard, SourceBlocks: sources}
			for _, id := range sources {
				f.taken[id] = true
			}
			f.tokens[job.Name] = f.token
			answer.CompactionJobs = append(answer.CompactionJobs, job)
			answer.Assignments = append(answer.Assignments, &metastorev1.CompactionJobAssignment{Name: job.Name, Token: f.token})
		}
	}
	return answer, nil
}
