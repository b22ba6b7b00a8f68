package sim

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
)

// Tables is a group's state, as far as planning is concerned. It satisfies
// schedule.View.
type Tables struct {
	// Log time.
	Now planner.Time
	// Reads counts what views read.
	Reads Reads
	// Trust makes Apply skip the preconditions, to see what they are for.
	Trust bool
	// Streams whose outbox is full.
	Full map[uint32]bool

	levels    []compaction.Level
	queues    map[queueID]*queue
	oldest    []sorted[compaction.Key]
	full      []sorted[compaction.Key]
	returned  []sorted[compaction.Batch]
	free      sorted[compaction.Tombstone]
	jobs      map[string]*jobRow
	order     sorted[schedule.Job]
	known     map[string]bool   // blocks ever added
	completed map[string]uint64 // jobs that succeeded, with their tokens
	lastToken uint64
	revisions uint64
}

type queueID struct {
	level  uint32
	tenant string
	shard  uint32
}

type queue struct {
	key    compaction.Key
	places sorted[compaction.Place]
}

type jobRow struct {
	state      schedule.Job
	plan       compaction.Job
	tombstones []compaction.Tombstone
}

var _ schedule.View = (*Tables)(nil)

// NewTables makes empty tables for levels.
func NewTables(levels []compaction.Level) *Tables {
	t := &Tables{
		levels: levels, Full: map[uint32]bool{}, queues: map[queueID]*queue{}, jobs: map[string]*jobRow{},
		known: map[string]bool{}, completed: map[string]uint64{},
	}
	for range levels {
		t.oldest = append(t.oldest, sorted[compaction.Key]{compare: compareKeys, reads: &t.Reads})
		t.full = append(t.full, sorted[compaction.Key]{compare: compareKeys, reads: &t.Reads})
		t.returned = append(t.returned, sorted[compaction.Batch]{compare: compareBatches, reads: &t.Reads})
	}
	t.free = sorted[compaction.Tombstone]{compare: compareTombstones, reads: &t.Reads}
	t.order = sorted[schedule.Job]{compare: compareJobs, reads: &t.Reads}
	return t
}

func compareKeys(a, b compaction.Key) int {
	return cmp.Or(cmp.Compare(a.Oldest, b.Oldest), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Tenant, b.Tenant))
}

func comparePlaces(a, b compaction.Place) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.ID, b.ID))
}

func compareBatches(a, b compaction.Batch) int {
	return cmp.Or(cmp.Compare(a.NotBefore, b.NotBefore), cmp.Compare(a.Blocks[0], b.Blocks[0]))
}

func compareTombstones(a, b compaction.Tombstone) int {
	return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Name, b.Name))
}

func compareJobs(a, b schedule.Job) int {
	return cmp.Or(
		cmp.Compare(a.Level, b.Level), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Failures, b.Failures),
		cmp.Compare(jobTime(a), jobTime(b)), cmp.Compare(a.Name, b.Name),
	)
}

func jobTime(job schedule.Job) planner.Time {
	if job.Status == schedule.InProgress {
		return job.LeaseExpiresAt
	}
	return job.CreatedAt
}

// OldestKeys is for planning.
func (t *Tables) OldestKeys(level uint32) iter.Seq2[compaction.Key, error] {
	return t.oldest[level].from(0)
}

// FullKeys is for planning.
func (t *Tables) FullKeys(level uint32, blocksMin int, from planner.Time) iter.Seq2[compaction.Key, error] {
	if blocksMin != t.levels[level].BlocksMax {
		return func(yield func(compaction.Key, error) bool) {
			yield(compaction.Key{}, fmt.Errorf("full keys are kept for %d blocks, not %d", t.levels[level].BlocksMax, blocksMin))
		}
	}
	at, _ := t.full[level].find(compaction.Key{Oldest: from})
	return t.full[level].from(at)
}

// Blocks is for planning.
func (t *Tables) Blocks(level uint32, tenant string, shard uint32, after compaction.Place) iter.Seq2[compaction.Place, error] {
	queue, found := t.queues[queueID{level, tenant, shard}]
	if !found {
		return func(func(compaction.Place, error) bool) {}
	}
	at, exact := queue.places.find(after)
	if exact {
		at++
	}
	return queue.places.from(at)
}

// Returned is for planning.
func (t *Tables) Returned(level uint32) iter.Seq2[compaction.Batch, error] {
	return t.returned[level].from(0)
}

// OutboxFull is for planning.
func (t *Tables) OutboxFull(shard uint32) (bool, error) {
	t.Reads.Seeks++
	return t.Full[shard], nil
}

// Tombstones is for planning.
func (t *Tables) Tombstones() iter.Seq2[compaction.Tombstone, error] { return t.free.from(0) }

// Job is for planning.
func (t *Tables) Job(name string) (schedule.Job, bool, error) {
	t.Reads.Seeks++
	row, found := t.jobs[name]
	if !found {
		return schedule.Job{}, false, nil
	}
	return row.state, true, nil
}

// JobPlan is for planning.
func (t *Tables) JobPlan(name string) (compaction.Job, error) {
	t.Reads.Seeks++
	row, found := t.jobs[name]
	if !found {
		return compaction.Job{}, fmt.Errorf("no job %s", name)
	}
	return row.plan, nil
}

// Completed is for planning.
func (t *Tables) Completed(name string) (uint64, bool, error) {
	t.Reads.Seeks++
	token, found := t.completed[name]
	return token, found, nil
}

// Jobs is for planning.
func (t *Tables) Jobs(level uint32, status schedule.Status, failuresMin uint32) iter.Seq2[schedule.Job, error] {
	at, _ := t.order.find(schedule.Job{Level: level, Status: status, Failures: failuresMin})
	rows := t.order.from(at)
	return func(yield func(schedule.Job, error) bool) {
		for job, err := range rows {
			if err == nil && (job.Level != level || job.Status != status) || !yield(job, err) {
				return
			}
		}
	}
}

// JobsCount is for planning.
func (t *Tables) JobsCount() (int, error) {
	t.Reads.Seeks++
	return len(t.jobs), nil
}

// LastToken is for planning.
func (t *Tables) LastToken() (uint64, error) {
	t.Reads.Seeks++
	return t.lastToken, nil
}

// Add queues a block, unless it was ever added: then nothing changes. Blocks above
// the levels that are compacted are only remembered.
func (t *Tables) Add(id, tenant string, shard, level uint32) (added bool) {
	if t.known[id] {
		return false
	}
	t.known[id] = true
	if int(level) >= len(t.levels) {
		return true
	}
	key := queueID{level, tenant, shard}
	row, found := t.queues[key]
	if !found {
		row = &queue{places: sorted[compaction.Place]{compare: comparePlaces, reads: &t.Reads}}
		row.key = compaction.Key{Tenant: tenant, Shard: shard, Level: level}
		t.queues[key] = row
	}
	t.reorder(row, func() { row.places.put(compaction.Place{At: t.Now, ID: id}) })
	return true
}

// reorder keeps the order of keys across a change of a queue. An empty one
// disappears.
func (t *Tables) reorder(row *queue, change func()) {
	level := row.key.Level
	if row.key.Blocks > 0 {
		t.oldest[level].drop(row.key)
		t.full[level].drop(row.key)
	}
	change()
	row.key.Blocks = len(row.places.rows)
	if row.key.Blocks == 0 {
		delete(t.queues, queueID{level, row.key.Tenant, row.key.Shard})
		return
	}
	row.key.Oldest = row.places.rows[0].At
	t.oldest[level].put(row.key)
	if row.key.Blocks >= t.levels[level].BlocksMax {
		t.full[level].put(row.key)
	}
}

// AddTombstone adds one, unless one of the name is held.
func (t *Tables) AddTombstone(name, tenant string, shard uint32) {
	t.free.put(compaction.Tombstone{Name: name, Tenant: tenant, Shard: shard, Since: t.Now})
}
