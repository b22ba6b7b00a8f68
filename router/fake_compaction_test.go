package router

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakeWork is what a group of the fake cluster compacts. Each key that is
// queued becomes one job.
type fakeWork struct {
	keys  []fakeKey
	jobs  []*fakeJob
	token uint64
	// Nothing is assigned or created, though it waits.
	paused bool
	// Gives one job more than it may.
	generous bool
}

// fakeKey is what waits to become a job.
type fakeKey struct {
	level  uint32
	tenant string
	shard  uint32
	oldest int64
}

type fakeJob struct {
	name  string
	level uint32
	// 0 if no worker has it.
	token uint64
	done  bool
}

// work returns a group's. The lock is held.
func (c *fakeCluster) work(group uint64) *fakeWork {
	if c.works == nil {
		c.works = map[uint64]*fakeWork{}
	}
	if c.works[group] == nil {
		c.works[group] = &fakeWork{}
	}
	return c.works[group]
}

// queue makes keys of a level wait in a group; their points need not lie there.
func (c *fakeCluster) queue(group uint64, level uint32, keys int, oldest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.work(group)
	for range keys {
		c.serial++
		w.keys = append(w.keys, fakeKey{level, fmt.Sprintf("tenant-%d", c.serial), uint32(c.serial), oldest})
	}
}

// running makes a job that a worker has, in the group that owns its point.
func (c *fakeCluster) running(tenant string, shard uint32) (group uint64, update *metastorev1.CompactionJobStatusUpdate) {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	c.mu.Lock()
	defer c.mu.Unlock()
	group = c.truth.Lookup(keyspace, point).GetGroupId()
	w := c.work(group)
	c.serial++
	w.token++
	job := &fakeJob{name: metastorev1.JobName([]string{blockID(c.serial)}, tenant, shard, 0), token: w.token}
	w.jobs = append(w.jobs, job)
	return group, &metastorev1.CompactionJobStatusUpdate{
		Name: job.name, Token: job.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS,
	}
}

func succeeded(update *metastorev1.CompactionJobStatusUpdate) *metastorev1.CompactionJobStatusUpdate {
	return &metastorev1.CompactionJobStatusUpdate{
		Name: update.GetName(), Token: update.GetToken(), Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS,
		CompactedBlocks: &metastorev1.CompactedBlocks{SourceBlocks: &metastorev1.BlockList{}},
	}
}

// PollCompaction refuses reports about jobs whose points the group does not own.
func (n *fakeNode) PollCompaction(ctx context.Context, in *nodev1.PollCompactionRequest) (*nodev1.PollCompactionResponse, error) {
	call := offerCall
	if in.GetReportsOnly() {
		call = probeCall
	}
	var refs []*clusterv1.RangeRef
	for _, update := range in.GetPoll().GetStatusUpdates() {
		call = reportCall
		tenant, shard, _, err := metastorev1.ParseJobName(update.GetName())
		if err != nil {
			return nil, err
		}
		at := pointSpan(tenant, shard)
		n.cluster.mu.Lock()
		epoch := n.cluster.truth.Lookup(at.keyspace, at.lo).GetEpoch()
		n.cluster.mu.Unlock()
		refs = append(refs, &clusterv1.RangeRef{Keyspace: at.keyspace, Lo: at.lo, Hi: at.hi, Epoch: epoch})
	}
	if err := n.check(ctx, call, in.GetGroupId(), in, refs...); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	before := n.cluster.beforePoll
	n.cluster.mu.Unlock()
	if before != nil {
		if err := before(ctx, in.GetGroupId()); err != nil {
			return nil, err
		}
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	w := n.cluster.work(in.GetGroupId())
	out := &nodev1.PollCompactionResponse{Poll: &metastorev1.PollCompactionJobsResponse{}}
	for _, update := range in.GetPoll().GetStatusUpdates() {
		w.report(update, out)
	}
	if !in.GetReportsOnly() && !w.paused {
		w.fill(int(in.GetPoll().GetJobCapacity()), out)
	}
	out.Backlog = w.backlog()
	return out, nil
}

func (w *fakeWork) report(update *metastorev1.CompactionJobStatusUpdate, out *nodev1.PollCompactionResponse) {
	success := update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS
	for _, job := range w.jobs {
		if job.name != update.GetName() || job.token != update.GetToken() {
			continue
		}
		if success {
			job.done = true
		} else if !job.done {
			out.Poll.Assignments = append(out.Poll.Assignments, &metastorev1.CompactionJobAssignment{Name: job.name, Token: job.token, LeaseExpiresAt: 1})
		}
		return
	}
	if !success {
		out.Freed++
	}
}

// fill assigns the jobs that wait, lowest level first, then creates others.
func (w *fakeWork) fill(slots int, out *nodev1.PollCompactionResponse) {
	give := slots
	if w.generous {
		give++
	}
	slices.SortStableFunc(w.jobs, func(a, b *fakeJob) int { return cmp.Compare(a.level, b.level) })
	for _, job := range w.jobs {
		if give > 0 && job.token == 0 {
			give--
			w.token++
			job.token = w.token
			out.Poll.CompactionJobs = append(out.Poll.CompactionJobs, &metastorev1.CompactionJob{Name: job.name, CompactionLevel: job.level})
			out.Poll.Assignments = append(out.Poll.Assignments, &metastorev1.CompactionJobAssignment{Name: job.name, Token: job.token, LeaseExpiresAt: 1})
		}
	}
	slices.SortStableFunc(w.keys, func(a, b fakeKey) int { return cmp.Compare(a.level, b.level) })
	for ; slots > 0 && len(w.keys) > 0; slots-- {
		key := w.keys[0]
		w.keys = w.keys[1:]
		w.jobs = append(w.jobs, &fakeJob{name: metastorev1.JobName([]string{key.tenant}, key.tenant, key.shard, key.level), level: key.level})
	}
}

func (w *fakeWork) backlog() []*nodev1.LevelBacklog {
	var levels []*nodev1.LevelBacklog
	// The highest first: the order is not promised.
	for level := uint32(3); level > 0; level-- {
		l := &nodev1.LevelBacklog{Level: level - 1}
		for _, job := range w.jobs {
			switch {
			case job.level != l.Level || job.done:
			case job.token == 0:
				l.JobsWaiting++
			default:
				l.JobsInProgress++
			}
		}
		for _, key := range w.keys {
			if key.level == l.Level {
				l.BlocksQueued++
				if l.Oldest == 0 || key.oldest < l.Oldest {
					l.Oldest = key.oldest
				}
			}
		}
		if l.JobsWaiting+l.JobsInProgress+l.BlocksQueued > 0 {
			levels = append(levels, l)
		}
	}
	return levels
}

// assigned counts the jobs that workers got, by group and level.
func (c *fakeCluster) assigned(group uint64, level uint32) (jobs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, job := range c.work(group).jobs {
		if job.level == level && job.token > 0 {
			jobs++
		}
	}
	return jobs
}

// hang makes the polls of groups end only with their context.
func (c *fakeCluster) hang(groups ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beforePoll = func(ctx context.Context, group uint64) error {
		if slices.Contains(groups, group) {
			<-ctx.Done()
		}
		return ctx.Err()
	}
}

func (n *fakeNode) CompactionStatus(ctx context.Context, in *nodev1.CompactionStatusRequest) (*nodev1.CompactionStatusResponse, error) {
	if err := n.check(ctx, "CompactionStatus", in.GetGroupId(), in); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return &nodev1.CompactionStatusResponse{Levels: n.cluster.work(in.GetGroupId()).backlog()}, nil
}

func (n *fakeNode) ListTombstones(ctx context.Context, in *nodev1.ListTombstonesRequest) (*nodev1.ListTombstonesResponse, error) {
	if err := n.check(ctx, "ListTombstones", in.GetGroupId(), in); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return &nodev1.ListTombstonesResponse{Tombstones: []*nodev1.TombstoneInfo{{Job: n.cluster.tombstone}}}, nil
}

func (n *fakeNode) PlanRetention(ctx context.Context, in *nodev1.PlanRetentionRequest) (*nodev1.PlanRetentionResponse, error) {
	if err := n.check(ctx, "PlanRetention", in.GetGroupId(), in); err != nil {
		return nil, err
	}
	return &nodev1.PlanRetentionResponse{Stopped: "seen all"}, nil
}

// ControlCompaction pauses groups; of jobs it only checks the owner.
func (n *fakeNode) ControlCompaction(ctx context.Context, in *nodev1.ControlCompactionRequest) (*nodev1.ControlCompactionResponse, error) {
	var refs []*clusterv1.RangeRef
	if tenant, shard, _, err := metastorev1.ParseJobName(in.GetJob()); err == nil {
		at := pointSpan(tenant, shard)
		n.cluster.mu.Lock()
		epoch := n.cluster.truth.Lookup(at.keyspace, at.lo).GetEpoch()
		n.cluster.mu.Unlock()
		refs = append(refs, &clusterv1.RangeRef{Keyspace: at.keyspace, Lo: at.lo, Hi: at.hi, Epoch: epoch})
	}
	if err := n.check(ctx, controlCall, in.GetGroupId(), in, refs...); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	w := n.cluster.work(in.GetGroupId())
	pause := in.GetAction() == nodev1.ControlCompactionRequest_ACTION_PAUSE
	changed := w.paused != pause
	w.paused = pause
	return &nodev1.ControlCompactionResponse{Changed: changed}, nil
}
