package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func compactionCommands() []command {
	return []command{
		{
			name: "compaction status", summary: "show what waits for compaction, how old it is, and why",
			detail: `Jobs wait for a worker; blocks wait to become a job. Returned blocks are those of
jobs that failed. The age is that of the block that waits longest.

` + groupsHelp,
			setup: func(set *flag.FlagSet) action { return setUpCompaction(set, writeCompactionStatus) },
		},
		{
			name: "compaction jobs", summary: "list compaction jobs, and why nobody has them",
			detail: groupsHelp,
			setup:  func(set *flag.FlagSet) action { return setUpCompaction(set, writeCompactionJobs) },
		},
		controlCommand("compaction retry", "JOB", "forget a job's failures, so that any worker may have it", nodev1.ControlCompactionRequest_ACTION_RETRY_JOB),
		controlCommand("compaction cancel", "JOB", "take a job apart; its blocks wait again", nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB),
		controlCommand("compaction pause", "", "create and assign no jobs; results of workers still count", nodev1.ControlCompactionRequest_ACTION_PAUSE),
		controlCommand("compaction resume", "", "end a pause", nodev1.ControlCompactionRequest_ACTION_RESUME),
	}
}

// setUpCompaction is for both views of the one answer.
func setUpCompaction(set *flag.FlagSet, write func(io.Writer, compactionView, *adminv1.CompactionStatusResponse, uint) error) action {
	c := clientFlags(set)
	g := groupLists(set)
	return func(ctx context.Context, std streams, args []string) error {
		answer, err := askOperator(ctx, c, g, args, adminv1.AdminServiceClient.CompactionStatus, func(ids []uint64) *adminv1.CompactionStatusRequest {
			return &adminv1.CompactionStatusRequest{GroupIds: ids, Limit: uint32(g.limit)}
		})
		if err != nil {
			return err
		}
		view := newCompactionView(answer)
		return show(std, c, view, func(w io.Writer) error { return write(w, view, answer, g.limit) }, view.silent.err())
	}
}

// askOperator makes a call of the operator's API about groups.
func askOperator[Request, Response any](ctx context.Context, c *client, g *groupFlags, args []string,
	method func(adminv1.AdminServiceClient, context.Context, *Request, ...grpc.CallOption) (*Response, error), request func([]uint64) *Request,
) (*Response, error) {
	if len(args) > 0 {
		return nil, flags.Usagef("unexpected argument %q", args[0])
	}
	ids, err := g.ids()
	if err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := adminv1.NewAdminServiceClient(conn)
	return call(ctx, c, func(ctx context.Context, request *Request, options ...grpc.CallOption) (*Response, error) {
		return method(client, ctx, request, options...)
	}, request(ids))
}

// compactionView is the answer in the order of fields that JSON output promises.
type compactionView struct {
	Levels []levelView           `json:"levels"`
	Groups []groupCompactionView `json:"groups"`
	silent *silence
}

type levelView struct {
	Level          uint32 `json:"level"`
	JobsWaiting    uint64 `json:"jobs_waiting"`
	JobsInProgress uint64 `json:"jobs_in_progress"`
	BlocksQueued   uint64 `json:"blocks_queued"`
	BlocksReturned uint64 `json:"blocks_returned"`
	Oldest         string `json:"oldest,omitempty"`
}

type groupCompactionView struct {
	GroupID           uint64      `json:"group_id"`
	Error             string      `json:"error,omitempty"`
	Paused            bool        `json:"paused"`
	Now               string      `json:"now,omitempty"`
	Levels            []levelView `json:"levels"`
	Queue             []queueView `json:"queue"`
	Jobs              []jobView   `json:"jobs"`
	Tombstones        uint64      `json:"tombstones"`
	TombstonesWaiting uint64      `json:"tombstones_waiting"`
	Truncated         bool        `json:"truncated"`
}

type queueView struct {
	Level  uint32 `json:"level"`
	Tenant string `json:"tenant"`
	Shard  uint32 `json:"shard"`
	Blocks uint64 `json:"blocks"`
	Oldest string `json:"oldest,omitempty"`
	Reason string `json:"reason"`
}

type jobView struct {
	Name           string `json:"name"`
	Level          uint32 `json:"level"`
	Tenant         string `json:"tenant"`
	Shard          uint32 `json:"shard"`
	State          string `json:"state"`
	Sources        uint32 `json:"sources"`
	Tombstones     uint32 `json:"tombstones"`
	Failures       uint32 `json:"failures"`
	Token          uint64 `json:"token"`
	LeaseExpiresAt string `json:"lease_expires_at,omitempty"`
	CreatedAt      string `json:"created_at,omitempty"`
	Reason         string `json:"reason,omitempty"`
}

func newCompactionView(answer *adminv1.CompactionStatusResponse) compactionView {
	view := compactionView{Levels: levelViews(answer.GetLevels()), Groups: []groupCompactionView{}, silent: newSilence()}
	for _, group := range answer.GetGroups() {
		status := group.GetStatus()
		view.silent.heard(group.GetGroupId(), group.GetError())
		g := groupCompactionView{
			GroupID: group.GetGroupId(), Error: group.GetError(), Paused: status.GetPaused(), Now: moment(status.GetNow()),
			Levels: levelViews(status.GetLevels()), Queue: []queueView{}, Jobs: []jobView{},
			Tombstones: status.GetTombstones(), TombstonesWaiting: status.GetTombstonesWaiting(), Truncated: status.GetTruncated(),
		}
		for _, key := range status.GetKeys() {
			g.Queue = append(g.Queue, queueView{key.GetLevel(), key.GetTenant(), key.GetShard(), key.GetBlocks(), moment(key.GetOldest()), key.GetReason()})
		}
		for _, job := range status.GetJobs() {
			g.Jobs = append(g.Jobs, jobView{
				job.GetName(), job.GetLevel(), job.GetTenant(), job.GetShard(), jobState(job), job.GetSources(), job.GetTombstones(), job.GetFailures(),
				job.GetToken(), moment(job.GetLeaseExpiresAt()), moment(job.GetCreatedAt()), job.GetReason(),
			})
		}
		view.Groups = append(view.Groups, g)
	}
	return view
}

func levelViews(levels []*nodev1.LevelBacklog) []levelView {
	views := []levelView{}
	for _, l := range levels {
		views = append(views, levelView{l.GetLevel(), l.GetJobsWaiting(), l.GetJobsInProgress(), l.GetBlocksQueued(), l.GetBlocksReturned(), moment(l.GetOldest())})
	}
	return views
}

func jobState(job *nodev1.JobInfo) string {
	if job.GetInProgress() {
		return "in progress"
	}
	return "waiting"
}

func writeCompactionStatus(w io.Writer, view compactionView, answer *adminv1.CompactionStatusResponse, limit uint) error {
	levels := newGrid("GROUP", "LEVEL", "JOBS WAITING", "JOBS IN PROGRESS", "BLOCKS QUEUED", "BLOCKS RETURNED", "OLDEST")
	addLevels := func(name string, now int64, backlog []*nodev1.LevelBacklog) {
		for _, l := range backlog {
			levels.row(name, l.GetLevel(), thousands(l.GetJobsWaiting()), thousands(l.GetJobsInProgress()),
				thousands(l.GetBlocksQueued()), thousands(l.GetBlocksReturned()), age(now, l.GetOldest()))
		}
	}
	var now int64
	queue := newGrid("LEVEL", "AGE", "TENANT", "SHARD", "BLOCKS", "GROUP", "WHY")
	rows := []listed[*nodev1.QueueKey]{}
	var truncated cut
	var tombstones, waiting uint64
	var paused []uint64
	for _, group := range answer.GetGroups() {
		status := group.GetStatus()
		now = max(now, status.GetNow())
		truncated.note(group.GetGroupId(), status.GetTruncated())
		tombstones += status.GetTombstones()
		waiting += status.GetTombstonesWaiting()
		if status.GetPaused() {
			paused = append(paused, group.GetGroupId())
		}
		for _, key := range status.GetKeys() {
			rows = append(rows, listed[*nodev1.QueueKey]{group.GetGroupId(), status.GetNow(), key})
		}
	}
	addLevels("all", now, answer.GetLevels())
	for _, group := range answer.GetGroups() {
		addLevels(fmt.Sprint(group.GetGroupId()), group.GetStatus().GetNow(), group.GetStatus().GetLevels())
	}
	slices.SortStableFunc(rows, func(a, b listed[*nodev1.QueueKey]) int {
		return cmp.Or(cmp.Compare(a.row.GetLevel(), b.row.GetLevel()), cmp.Compare(a.row.GetOldest(), b.row.GetOldest()))
	})
	for _, r := range rows {
		queue.row(r.row.GetLevel(), age(r.now, r.row.GetOldest()), r.row.GetTenant(), r.row.GetShard(), thousands(r.row.GetBlocks()), r.group, oneLine(r.row.GetReason()))
	}
	state := "running"
	switch {
	case len(paused) > 0 && len(paused) == len(answer.GetGroups()):
		state = "paused: nothing is created or assigned; resume with: skerry compaction resume"
	case len(paused) > 0:
		state = fmt.Sprintf("paused in groups %v; resume with: skerry compaction resume", paused)
	}
	_, err := fmt.Fprintf(w, "compaction  %s\ntombstones  %s held, %s on no job\n", state, thousands(tombstones), thousands(waiting))
	if err != nil {
		return err
	}
	return writeAll(w, titled("backlog", levels), titled("blocks that wait, oldest first", queue),
		func(w io.Writer) error { return truncated.write(w, limit) }, view.silent.write)
}

// listed is a row of a group, with the time there.
type listed[T any] struct {
	group uint64
	now   int64
	row   T
}

func writeCompactionJobs(w io.Writer, view compactionView, answer *adminv1.CompactionStatusResponse, limit uint) error {
	table := newGrid("LEVEL", "STATE", "AGE", "JOB", "SOURCES", "TOMBSTONES", "FAILURES", "LEASE ENDS", "GROUP", "WHY")
	rows := []listed[*nodev1.JobInfo]{}
	var truncated cut
	var total uint64
	for _, group := range answer.GetGroups() {
		truncated.note(group.GetGroupId(), group.GetStatus().GetTruncated())
		for _, level := range group.GetStatus().GetLevels() {
			total += level.GetJobsWaiting() + level.GetJobsInProgress()
		}
		for _, job := range group.GetStatus().GetJobs() {
			rows = append(rows, listed[*nodev1.JobInfo]{group.GetGroupId(), group.GetStatus().GetNow(), job})
		}
	}
	slices.SortStableFunc(rows, func(a, b listed[*nodev1.JobInfo]) int {
		return cmp.Or(cmp.Compare(a.row.GetLevel(), b.row.GetLevel()), cmp.Compare(a.row.GetCreatedAt(), b.row.GetCreatedAt()))
	})
	for _, r := range rows {
		j := r.row
		table.row(j.GetLevel(), jobState(j), age(r.now, j.GetCreatedAt()), j.GetName(), j.GetSources(), j.GetTombstones(), j.GetFailures(),
			leaseText(r.now, j.GetLeaseExpiresAt()), r.group, oneLine(j.GetReason()))
	}
	if _, err := fmt.Fprintf(w, "%d of %s\n", len(rows), plural(max(total, uint64(len(rows))), "job")); err != nil {
		return err
	}
	return writeAll(w, titled("jobs, oldest first", table),
		func(w io.Writer) error { return truncated.write(w, limit) }, view.silent.write)
}

func leaseText(now, ends int64) string {
	switch {
	case ends == 0:
		return ""
	case ends < now:
		return age(now, ends) + " ago"
	default:
		return "in " + age(ends, now)
	}
}
