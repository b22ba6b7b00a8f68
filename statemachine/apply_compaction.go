package statemachine

import (
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/statemachine/tombstones"
)

// compaction is the tables that compaction changes, opened when a command first
// needs them.
type compaction struct {
	queue      *queue.Writer
	tombstones *tombstones.Writer
	// nil as long as only blocks were added; see openWaiting.
	jobs   *jobs.Writer
	outbox *outbox.Writer
}

func (u *update) openCompaction() (*compaction, error) {
	c, err := u.openWaiting()
	if err != nil || c.outbox != nil {
		return c, err
	}
	if c.jobs, err = jobs.NewWriter(u.tx); err != nil {
		return nil, err
	}
	c.outbox, err = outbox.NewWriter(u.tx)
	return c, err
}

// openWaiting opens what an added block needs: most updates do nothing else. The first
// of all makes all tables.
func (u *update) openWaiting() (*compaction, error) {
	if u.tables != nil {
		return u.tables, nil
	}
	c := &compaction{}
	var err error
	if c.queue, err = queue.NewWriter(u.tx, u.knownQueue); err != nil {
		return nil, err
	}
	if c.tombstones, err = tombstones.NewWriter(u.tx, u.knownTombstones); err != nil {
		return nil, err
	}
	u.tables = c
	if u.made {
		return c, nil
	}
	u.made = true
	return u.openCompaction()
}

// stale refuses what another leader than the present one decided.
func (u *update) stale(epoch uint64) *raftlogv1.Result {
	if epoch == u.header.leaderEpoch {
		return nil
	}
	return &raftlogv1.Result{
		Status:      raftlogv1.Result_STATUS_STALE_LEADER,
		Message:     fmt.Sprintf("decided by leader epoch %d, now %d", epoch, u.header.leaderEpoch),
		LeaderEpoch: u.header.leaderEpoch,
	}
}

// decideCompaction applies what one poll of a worker does: as a whole, or, if
// the state is not that which the decision saw, not at all.
func decideCompaction(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	decision := &raftlogv1.CompactionDecision{}
	if err := decision.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	if refused := u.stale(decision.GetLeaderEpoch()); refused != nil {
		return refused, nil
	}
	if decision.GetLastToken() != u.header.lastToken {
		return conflict("decided after token %d, now %d", decision.GetLastToken(), u.header.lastToken), nil
	}
	if u.header.paused && len(decision.GetAssign())+len(decision.GetCreate()) > 0 {
		return conflict("compaction is paused"), nil
	}
	tables, err := u.openCompaction()
	if err != nil {
		return nil, err
	}
	d := &decided{update: u, compaction: tables, seen: map[string]*raftlogv1.JobState{}}
	if refused, err := d.check(decision); refused != nil || err != nil {
		return refused, err
	}
	if err := d.apply(decision); err != nil {
		return nil, err
	}
	return ok(), nil
}

// decided applies one decision.
type decided struct {
	*update
	*compaction
	// Jobs that the decision names, as they were before.
	seen map[string]*raftlogv1.JobState
}

// check looks at every precondition before anything changes. Its refusals are
// results: a decision that was right when it was made may come too late.
func (d *decided) check(decision *raftlogv1.CompactionDecision) (*raftlogv1.Result, error) {
	for _, ref := range refs(decision) {
		if d.seen[ref.GetName()] != nil {
			return invalid(fmt.Errorf("job %q is named twice", ref.GetName())), nil
		}
		state, err := d.jobs.Get(ref.GetName())
		if err != nil {
			return nil, err
		}
		if state == nil || state.GetRevision() != ref.GetRevision() {
			return conflict("job %q has changed", ref.GetName()), nil
		}
		d.seen[ref.GetName()] = state
	}
	if err := checkTokens(decision, d.seen); err != nil {
		return invalid(err), nil
	}
	for _, completion := range decision.GetComplete() {
		if err := checkCompletion(d.seen[completion.GetJob().GetName()], completion); err != nil {
			return invalid(err), nil
		}
	}
	for _, release := range decision.GetRelease() {
		if err := sourcesOf(d.seen[release.GetJob().GetName()].GetJob()).giveBack(release.GetReturn()); err != nil {
			return invalid(err), nil
		}
	}
	return d.checkCreate(decision.GetCreate())
}

func refs(decision *raftlogv1.CompactionDecision) []*raftlogv1.JobRef {
	var all []*raftlogv1.JobRef
	for _, lease := range slices.Concat(decision.GetRenew(), decision.GetAssign()) {
		all = append(all, lease.GetJob())
	}
	for _, completion := range decision.GetComplete() {
		all = append(all, completion.GetJob())
	}
	for _, failure := range decision.GetFail() {
		all = append(all, failure.GetJob())
	}
	for _, release := range decision.GetRelease() {
		all = append(all, release.GetJob())
	}
	return all
}

// checkTokens demands that tokens only grow: one that is renewed is the job's
// own, and one that is new is above all that were handed out.
func checkTokens(decision *raftlogv1.CompactionDecision, jobs map[string]*raftlogv1.JobState) error {
	for _, lease := range decision.GetRenew() {
		if state := jobs[lease.GetJob().GetName()]; !state.GetInProgress() || state.GetToken() != lease.GetToken() {
			return fmt.Errorf("job %q is not held with token %d", lease.GetJob().GetName(), lease.GetToken())
		}
	}
	last := decision.GetLastToken()
	for _, lease := range decision.GetAssign() {
		if lease.GetToken() <= last {
			return fmt.Errorf("token %d is handed out after %d", lease.GetToken(), last)
		}
		last = lease.GetToken()
	}
	return nil
}

// checkCompletion demands that what is replaced belongs to the job, and that
// results are blocks that can be stored.
func checkCompletion(state *raftlogv1.JobState, completion *raftlogv1.JobCompletion) error {
	job := state.GetJob()
	if !state.GetInProgress() || state.GetToken() != completion.GetToken() {
		return fmt.Errorf("job %q is not held with token %d", job.GetName(), completion.GetToken())
	}
	left := sourcesOf(job)
	if err := left.take(completion.GetSources()); err != nil {
		return err
	}
	if err := left.take(completion.GetMissing()); err != nil {
		return err
	}
	if (len(completion.GetBlocks()) > 0) != (len(completion.GetSources()) > 0) {
		return fmt.Errorf("job %q replaces %d sources by %d blocks", job.GetName(), len(completion.GetSources()), len(completion.GetBlocks()))
	}
	results := map[string]bool{}
	for _, block := range completion.GetBlocks() {
		if err := metastorev1.ValidateBlock(block); err != nil {
			return fmt.Errorf("job %q: %w", job.GetName(), err)
		}
		foreign := job.GetTenant() != "" && block.TenantName() != job.GetTenant()
		if foreign || block.GetShard() != job.GetShard() || block.GetCompactionLevel() != job.GetLevel()+1 {
			return fmt.Errorf("job %q: block %s of tenant %q, shard %d, level %d", job.GetName(), block.GetId(),
				block.TenantName(), block.GetShard(), block.GetCompactionLevel())
		}
		// Objects lie under their tenants: only there an id must be of one block.
		name := block.TenantName() + "/" + block.GetId()
		if results[name] || block.TenantName() == job.GetTenant() && slices.Contains(job.GetSources(), block.GetId()) {
			return fmt.Errorf("job %q: block %s is a source, or comes twice", job.GetName(), block.GetId())
		}
		results[name] = true
	}
	return left.giveBack(completion.GetReturn())
}

// unclaimed is the sources of a job that no part of a decision names yet.
type unclaimed struct {
	job  string
	left map[string]bool
}

func sourcesOf(job *raftlogv1.CompactionJob) unclaimed {
	u := unclaimed{job.GetName(), map[string]bool{}}
	for _, id := range job.GetSources() {
		u.left[id] = true
	}
	return u
}

func (u unclaimed) take(ids []string) error {
	for _, id := range ids {
		if !u.left[id] {
			return fmt.Errorf("job %q has no source %.64q, or it is named twice", u.job, id)
		}
		delete(u.left, id)
	}
	return nil
}

// giveBack takes the sources of batches. Attempts tell a batch from queued
// blocks: there must be some.
func (u unclaimed) giveBack(batches []*raftlogv1.BlockBatch) error {
	for _, batch := range batches {
		if batch.GetAttempts() == 0 || len(batch.GetBlocks()) == 0 {
			return fmt.Errorf("job %q gives back %d blocks after %d attempts", u.job, len(batch.GetBlocks()), batch.GetAttempts())
		}
		if err := u.take(batch.GetBlocks()); err != nil {
			return err
		}
	}
	return nil
}

// checkCreate demands that the sources of new jobs wait, that their tombstones
// are on no job, and that nothing is in two of them.
func (d *decided) checkCreate(created []*raftlogv1.CompactionJob) (*raftlogv1.Result, error) {
	taken := map[string]bool{}
	for _, job := range created {
		key := keyOf(job)
		if job.GetName() == "" || len(job.GetName()) > maxNameBytes || job.GetLevel() >= queue.Levels || len(job.GetSources())+len(job.GetTombstones()) == 0 {
			return invalid(fmt.Errorf("job %.64q of level %d: no such level, nothing to do, or no fit name", job.GetName(), job.GetLevel())), nil
		}
		existing, err := d.jobs.Get(job.GetName())
		if err != nil {
			return nil, err
		}
		if existing != nil || taken["job "+job.GetName()] {
			return conflict("job %q exists", job.GetName()), nil
		}
		taken["job "+job.GetName()] = true
		ids, err := parseIDs(job.GetSources())
		if err != nil {
			return invalid(err), nil
		}
		waiting, err := d.waiting(key, ids, job)
		if err != nil {
			return nil, err
		}
		if !waiting {
			return conflict("sources of job %q do not wait any more", job.GetName()), nil
		}
		for _, id := range ids {
			source := fmt.Sprintf("block %q/%d/%s", key.Tenant, key.Shard, id)
			if taken[source] {
				return invalid(fmt.Errorf("block %s is in two jobs", id)), nil
			}
			taken[source] = true
		}
		for _, name := range job.GetTombstones() {
			held, err := d.tombstones.Get(name)
			if err != nil {
				return nil, err
			}
			if held == nil || held.GetJob() != "" || taken["tombstone "+name] {
				return conflict("tombstone %q does not wait any more", name), nil
			}
			taken["tombstone "+name] = true
		}
	}
	return nil, nil
}

// waiting tells whether a job's sources wait: each in the queue, or all as the
// batch that they are.
func (d *decided) waiting(key queue.Key, ids []ulid.ULID, job *raftlogv1.CompactionJob) (bool, error) {
	if job.GetAttempts() > 0 {
		if len(ids) == 0 {
			return false, nil
		}
		batch, err := d.queue.Batch(key, ids[0])
		return slices.Equal(batch.GetBlocks(), job.GetSources()), err
	}
	for _, id := range ids {
		if !d.queue.Has(key, id) {
			return false, nil
		}
	}
	return true, nil
}

func keyOf(job *raftlogv1.CompactionJob) queue.Key {
	return queue.Key{Tenant: job.GetTenant(), Shard: job.GetShard(), Level: job.GetLevel()}
}

func parseIDs(texts []string) ([]ulid.ULID, error) {
	ids := make([]ulid.ULID, len(texts))
	for i, text := range texts {
		id, err := metastorev1.ParseID(text)
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func (d *decided) apply(decision *raftlogv1.CompactionDecision) error {
	for _, lease := range decision.GetRenew() {
		if err := d.lease(lease); err != nil {
			return err
		}
	}
	for _, completion := range decision.GetComplete() {
		if err := d.complete(completion); err != nil {
			return fmt.Errorf("complete %q: %w", completion.GetJob().GetName(), err)
		}
	}
	for _, failure := range decision.GetFail() {
		if err := d.change(failure.GetJob(), func(state *raftlogv1.JobState) {
			state.InProgress, state.LeaseExpiresAt, state.Failures = false, 0, failure.GetFailures()
		}); err != nil {
			return err
		}
	}
	for _, release := range decision.GetRelease() {
		state := d.seen[release.GetJob().GetName()]
		if err := d.removeJob(state, release.GetReturn()); err != nil {
			return fmt.Errorf("release %q: %w", state.GetJob().GetName(), err)
		}
	}
	for _, lease := range decision.GetAssign() {
		if err := d.lease(lease); err != nil {
			return err
		}
		d.header.lastToken = lease.GetToken()
	}
	for _, job := range decision.GetCreate() {
		if err := d.create(job); err != nil {
			return fmt.Errorf("create %q: %w", job.GetName(), err)
		}
	}
	return nil
}

func (d *decided) lease(lease *raftlogv1.JobLease) error {
	return d.change(lease.GetJob(), func(state *raftlogv1.JobState) {
		state.InProgress, state.Token = true, lease.GetToken()
		state.LeaseExpiresAt, state.Failures = lease.GetExpiresAt(), lease.GetFailures()
	})
}

func (d *decided) change(ref *raftlogv1.JobRef, change func(*raftlogv1.JobState)) error {
	was := d.seen[ref.GetName()]
	is := proto.CloneOf(was)
	change(is)
	is.Revision = d.header.applied
	return d.jobs.Put(was, is)
}

func (d *decided) create(job *raftlogv1.CompactionJob) error {
	ids, err := parseIDs(job.GetSources())
	if err != nil {
		return err
	}
	if job.GetAttempts() > 0 {
		err = d.queue.TakeBatch(keyOf(job), ids[0])
	} else {
		err = d.queue.Take(keyOf(job), ids)
	}
	if err != nil {
		return err
	}
	for _, name := range job.GetTombstones() {
		held, err := d.tombstones.Get(name)
		if err != nil {
			return err
		}
		if err := d.tombstones.Carry(held, job.GetName()); err != nil {
			return err
		}
	}
	d.header.jobs++
	return d.jobs.Put(nil, &raftlogv1.JobState{Job: job, Revision: d.header.applied, CreatedAt: d.header.logTime})
}
