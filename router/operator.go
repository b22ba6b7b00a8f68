package router

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// listLimitMax bounds what an operator may ask one group to list.
const listLimitMax = 10_000

// CompactionStatus tells what waits for compaction, group by group.
func (s *adminService) CompactionStatus(ctx context.Context, request *adminv1.CompactionStatusRequest) (*adminv1.CompactionStatusResponse, error) {
	answers, err := askGroups(ctx, s.router, "CompactionStatus", request.GetGroupIds(), request.GetLimit(),
		func(ctx context.Context, node nodev1.NodeServiceClient, id uint64) (*nodev1.CompactionStatusResponse, error) {
			return node.CompactionStatus(ctx, &nodev1.CompactionStatusRequest{GroupId: id, Limit: request.GetLimit()})
		})
	if err != nil {
		return nil, err
	}
	response, levels := &adminv1.CompactionStatusResponse{}, map[uint32]*nodev1.LevelBacklog{}
	for _, a := range answers {
		response.Groups = append(response.Groups, &adminv1.GroupCompaction{GroupId: a.group, Status: a.answer, Error: a.fault})
		for _, level := range a.answer.GetLevels() {
			sum := levels[level.GetLevel()]
			if sum == nil {
				sum = &nodev1.LevelBacklog{Level: level.GetLevel()}
				levels[level.GetLevel()] = sum
			}
			sum.JobsWaiting += level.GetJobsWaiting()
			sum.JobsInProgress += level.GetJobsInProgress()
			sum.BlocksQueued += level.GetBlocksQueued()
			sum.BlocksReturned += level.GetBlocksReturned()
			if at := level.GetOldest(); at != 0 && (sum.Oldest == 0 || at < sum.Oldest) {
				sum.Oldest = at
			}
		}
	}
	for _, level := range slices.Sorted(maps.Keys(levels)) {
		response.Levels = append(response.Levels, levels[level])
	}
	return response, nil
}

// ListTombstones lists objects that are to be deleted, group by group.
func (s *adminService) ListTombstones(ctx context.Context, request *adminv1.ListTombstonesRequest) (*adminv1.ListTombstonesResponse, error) {
	answers, err := askGroups(ctx, s.router, "ListTombstones", request.GetGroupIds(), request.GetLimit(),
		func(ctx context.Context, node nodev1.NodeServiceClient, id uint64) (*nodev1.ListTombstonesResponse, error) {
			return node.ListTombstones(ctx, &nodev1.ListTombstonesRequest{GroupId: id, Limit: request.GetLimit()})
		})
	if err != nil {
		return nil, err
	}
	response := &adminv1.ListTombstonesResponse{}
	for _, a := range answers {
		response.Groups = append(response.Groups, &adminv1.GroupTombstones{GroupId: a.group, List: a.answer, Error: a.fault})
	}
	return response, nil
}

// TransferStatus tells what waits in the outboxes of streams, group by group, and
// for whom.
func (s *adminService) TransferStatus(ctx context.Context, request *adminv1.TransferStatusRequest) (*adminv1.TransferStatusResponse, error) {
	answers, err := askGroups(ctx, s.router, waitingCall, request.GetGroupIds(), request.GetLimit(),
		func(ctx context.Context, node nodev1.NodeServiceClient, id uint64) (*nodev1.TransferStatusResponse, error) {
			return node.TransferStatus(ctx, &nodev1.TransferStatusRequest{GroupId: id, Limit: request.GetLimit(), FromLeader: true})
		})
	if err != nil {
		return nil, err
	}
	m, err := s.router.source.Await(ctx)
	if err != nil {
		return nil, asStatus(err).Err()
	}
	response := &adminv1.TransferStatusResponse{Now: time.Now().UnixNano()}
	for _, a := range answers {
		group := &adminv1.GroupTransfers{GroupId: a.group, Status: a.answer, Error: a.fault}
		for _, waiting := range a.answer.GetOutboxes() {
			keyspace, point := clusterv1.BlockPoint(waiting.GetTenant(), waiting.GetStream())
			group.Destinations = append(group.Destinations, m.Lookup(keyspace, point).GetGroupId())
		}
		response.Groups = append(response.Groups, group)
	}
	return response, nil
}

// PlanRetention tells what the next sweeps would remove, group by group.
func (s *adminService) PlanRetention(ctx context.Context, request *adminv1.PlanRetentionRequest) (*adminv1.PlanRetentionResponse, error) {
	answers, err := askGroups(ctx, s.router, "PlanRetention", request.GetGroupIds(), request.GetLimit(),
		func(ctx context.Context, node nodev1.NodeServiceClient, id uint64) (*nodev1.PlanRetentionResponse, error) {
			return node.PlanRetention(ctx, &nodev1.PlanRetentionRequest{GroupId: id, Limit: request.GetLimit()})
		})
	if err != nil {
		return nil, err
	}
	response := &adminv1.PlanRetentionResponse{}
	for _, a := range answers {
		response.Groups = append(response.Groups, &adminv1.GroupRetention{GroupId: a.group, Plan: a.answer, Error: a.fault})
	}
	return response, nil
}

// ControlCompaction changes the group of a job, or all groups that are meant. Each
// group stands for itself: those that did not do it are listed with the reason,
// and a repeat is safe.
func (s *adminService) ControlCompaction(ctx context.Context, request *adminv1.ControlCompactionRequest) (*adminv1.ControlCompactionResponse, error) {
	control := func(ctx context.Context, node nodev1.NodeServiceClient, id uint64) (*nodev1.ControlCompactionResponse, error) {
		return node.ControlCompaction(ctx, &nodev1.ControlCompactionRequest{GroupId: id, Action: request.GetAction(), Job: request.GetJob()})
	}
	switch request.GetAction() {
	case nodev1.ControlCompactionRequest_ACTION_RETRY_JOB, nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB:
		if len(request.GetGroupIds()) > 0 {
			return nil, status.Error(codes.InvalidArgument, "the job's name tells its group: leave the groups out")
		}
		return s.controlJob(ctx, request.GetJob(), control)
	case nodev1.ControlCompactionRequest_ACTION_PAUSE, nodev1.ControlCompactionRequest_ACTION_RESUME:
		if request.GetJob() != "" {
			return nil, status.Error(codes.InvalidArgument, "groups are paused and resumed, not jobs: leave the job out")
		}
	default:
		return nil, status.Errorf(codes.InvalidArgument, "unknown action %v", request.GetAction())
	}
	answers, err := askGroups(ctx, s.router, controlCall, request.GetGroupIds(), 0, control)
	if err != nil {
		return nil, err
	}
	response := &adminv1.ControlCompactionResponse{}
	for _, a := range answers {
		response.Groups = append(response.Groups, &adminv1.GroupControl{GroupId: a.group, Changed: a.answer.GetChanged(), Error: a.fault})
	}
	return response, nil
}

// controlJob goes to the owner of the job's point, as writes do.
func (s *adminService) controlJob(ctx context.Context, job string, control groupCall[*nodev1.ControlCompactionResponse]) (*adminv1.ControlCompactionResponse, error) {
	tenant, shard, _, err := metastorev1.ParseJobName(job)
	if err == nil && !utf8.ValidString(job) {
		err = fmt.Errorf("job name %.128q: not UTF-8", job)
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	response := &adminv1.ControlCompactionResponse{}
	err = s.router.run(ctx, controlCall, s.router.options.GetBlocksBudget, []span{pointSpan(tenant, shard)},
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			answer, err := control(ctx, node, p.group)
			if err == nil {
				response.Groups = []*adminv1.GroupControl{{GroupId: p.group, Changed: answer.GetChanged()}}
			}
			return nil, err
		})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// groupCall asks a node about one group.
type groupCall[A any] func(ctx context.Context, node nodev1.NodeServiceClient, group uint64) (A, error)

// groupAnswer is what one group answered, or why it did not.
type groupAnswer[A any] struct {
	group  uint64
	answer A
	fault  string
}

// askGroups asks groups at the same time, in the answer by id. A group that cannot
// be asked is listed with the reason: an operator looks at a broken cluster, too.
func askGroups[A interface{ SizeVT() int }](ctx context.Context, r *Router, name string, ids []uint64, limit uint32, call groupCall[A]) ([]groupAnswer[A], error) {
	if limit > listLimitMax {
		return nil, status.Errorf(codes.InvalidArgument, "limit is %d, at most %d are listed", limit, listLimitMax)
	}
	inner, cancel := context.WithTimeout(ctx, r.options.GetBlocksBudget)
	defer cancel()
	m, err := r.source.Await(inner)
	if err != nil {
		return nil, r.fanout.ended(ctx, inner, name, err)
	}
	ids = slices.Clone(ids)
	for _, id := range ids {
		if m.Group(id) == nil {
			return nil, status.Errorf(codes.InvalidArgument, "there is no group %d: see the cluster's status", id)
		}
	}
	if len(ids) == 0 {
		ids = owners(m)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var (
		all     sync.WaitGroup
		size    atomic.Int64
		answers = make([]groupAnswer[A], len(ids))
		calls   = make(chan struct{}, r.options.FanOut)
	)
	for i, id := range ids {
		answers[i].group = id
		all.Go(func() {
			limited, cancel := context.WithTimeout(inner, statusTimeout)
			defer cancel()
			err := r.fanout.group(limited, name, id, calls, always, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (take, error) {
				answer, err := call(ctx, node, id)
				if err == nil {
					answers[i].answer = answer
					size.Add(int64(answer.SizeVT()))
				}
				return nil, err
			})
			if err != nil {
				answers[i].fault = cmp.Or(asStatus(err).Message(), "no reason given")
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if n := size.Load(); n > int64(r.options.MaxAnswerBytes) {
		return nil, status.Errorf(codes.InvalidArgument, "the answer would have %d bytes, at most %d are allowed: ask for fewer groups, or with a lower limit", n, r.options.MaxAnswerBytes)
	}
	return answers, nil
}

// owners returns the groups that own ranges.
func owners(m *clusterv1.Map) []uint64 {
	found := map[uint64]bool{}
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM} {
		for _, r := range m.Ranges(keyspace) {
			found[r.GetGroupId()] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
