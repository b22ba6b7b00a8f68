package compaction

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Plan is what to create. It holds as long as its sources are where it found them:
// whoever applies it refuses it otherwise.
type Plan struct {
	// In the order of creation: lowest level first, then oldest first.
	Jobs []Job
	// Why there are no more: CapacityUsed, NothingDue, OutboxFull or SkipLimit.
	Stopped planner.Reason
}

// Job is a compaction job to create.
type Job struct {
	// See metastorev1.JobName.
	Name string
	// Tenant (empty for segments), data shard and level of all sources.
	Tenant string
	Shard  uint32
	Level  uint32
	// Block ids, ascending, so that the first is the oldest. Empty for jobs that only
	// delete.
	Sources []string
	// Names of the tombstones it carries; each is on this job only.
	Tombstones []string
	// The sources are a batch that a failed job gave back, with this many attempts;
	// 0 if they are queued blocks.
	Attempts uint32
	Reason   planner.Reason
}

// Make plans at most jobsMax jobs.
func Make(view View, config Config, now planner.Time, jobsMax int) (Plan, error) {
	m := maker{view: view, config: config, now: now, jobsMax: jobsMax}
	m.plan.Stopped = planner.Reason{Code: planner.NothingDue}
	for level := range config.Levels {
		if m.full() {
			break
		}
		if err := m.level(uint32(level)); err != nil {
			return Plan{}, fmt.Errorf("plan level %d: %w", level, err)
		}
	}
	if err := m.tombstones(); err != nil {
		return Plan{}, fmt.Errorf("plan deletions: %w", err)
	}
	if m.full() {
		m.plan.Stopped = planner.Reason{Code: planner.CapacityUsed, Want: int64(jobsMax)}
	}
	return m.plan, nil
}

type maker struct {
	view    View
	config  Config
	now     planner.Time
	jobsMax int
	plan    Plan

	// State of the level at hand.
	rules Level
	// Due batches of failed jobs, the oldest first.
	returned []Batch
	// Keys that have given a job and are due with more.
	open openKeys
	// Rows passed over for their outbox, and what was found of each stream.
	skipped    int
	outboxFull map[uint32]bool
}

func (m *maker) full() bool { return len(m.plan.Jobs) >= m.jobsMax }

func (m *maker) level(level uint32) error {
	m.rules = m.config.Levels[level]
	m.open, m.skipped, m.outboxFull = nil, 0, map[uint32]bool{}
	if err := m.readReturned(level); err != nil {
		return err
	}
	// Keys below the cutoff are aged and those of the second list are not, so the
	// two lists together are in the order of the oldest block.
	cutoff := m.now.Add(-m.rules.AgeMax)
	for key, err := range m.view.OldestKeys(level) {
		if err != nil {
			return err
		}
		if key.Oldest >= cutoff {
			break
		}
		if more, err := m.visit(key); err != nil || !more {
			return err
		}
	}
	for key, err := range m.view.FullKeys(level, m.rules.BlocksMax, cutoff) {
		if err != nil {
			return err
		}
		if more, err := m.visit(key); err != nil || !more {
			return err
		}
	}
	return m.drain(nil)
}

func (m *maker) readReturned(level uint32) error {
	m.returned = nil
	for batch, err := range m.view.Returned(level) {
		if err != nil {
			return err
		}
		if batch.NotBefore > m.now || len(m.plan.Jobs)+len(m.returned) >= m.jobsMax {
			break
		}
		if blocked, err := m.blocked(level, batch.Shard); err != nil {
			return err
		} else if blocked {
			if m.skip() {
				break
			}
			continue
		}
		m.returned = append(m.returned, batch)
	}
	return nil
}

// blocked tells whether a stream's outbox forbids new jobs. Only segments have one.
func (m *maker) blocked(level, shard uint32) (bool, error) {
	if level != 0 {
		return false, nil
	}
	full, known := m.outboxFull[shard]
	if !known {
		var err error
		if full, err = m.view.OutboxFull(shard); err != nil {
			return false, err
		}
		m.outboxFull[shard] = full
	}
	if full {
		m.plan.Stopped = planner.Reason{Code: planner.OutboxFull, Have: int64(shard)}
	}
	return full, nil
}

// skip counts a row passed over, and tells whether it was the last.
func (m *maker) skip() (last bool) {
	m.skipped++
	if m.skipped < m.config.SkipsMax {
		return false
	}
	m.plan.Stopped = planner.Reason{Code: planner.SkipLimit, Have: int64(m.skipped)}
	return true
}

// visit plans what is older than a key, then the key.
func (m *maker) visit(key Key) (more bool, err error) {
	if err := m.drain(&key); err != nil || m.full() {
		return false, err
	}
	blocked, err := m.blocked(key.Level, key.Shard)
	if err != nil {
		return false, err
	}
	if blocked {
		return !m.skip(), nil
	}
	return true, m.take(openKey{Key: key})
}

// drain plans the open keys and returned batches that are older than a key, or all.
func (m *maker) drain(until *Key) error {
	for !m.full() {
		batchFirst := len(m.returned) > 0 && (len(m.open) == 0 || m.returned[0].NotBefore <= m.open[0].Oldest)
		switch {
		case batchFirst:
			if until != nil && m.returned[0].NotBefore > until.Oldest {
				return nil
			}
			m.retry(m.returned[0])
			m.returned = m.returned[1:]
		case len(m.open) > 0:
			if until != nil && compareKeys(m.open[0].Key, *until) > 0 {
				return nil
			}
			if err := m.take(heap.Pop(&m.open).(openKey)); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (m *maker) retry(batch Batch) {
	m.add(Job{
		Tenant: batch.Tenant, Shard: batch.Shard, Level: batch.Level,
		Sources: batch.Blocks, Attempts: batch.Attempts,
		Reason: planner.Reason{Code: planner.ReturnedDue, Have: int64(len(batch.Blocks)), Want: int64(batch.Attempts) + 1},
	})
}

// take plans the first job of what a key has left.
func (m *maker) take(key openKey) error {
	batch, next, closed, err := m.batch(key)
	if err != nil || len(batch) == 0 {
		return err
	}
	reason := planner.Reason{Have: int64(len(batch)), At: key.Oldest}
	switch {
	case len(batch) == m.rules.BlocksMax:
		reason.Code = planner.BatchFull
	case closed:
		reason.Code = planner.SpanClosed
	case m.aged(key.Oldest):
		reason.Code = planner.BatchAged
	default:
		return nil
	}
	job := Job{Tenant: key.Tenant, Shard: key.Shard, Level: key.Level, Reason: reason}
	for _, place := range batch {
		job.Sources = append(job.Sources, place.ID)
	}
	m.add(job)
	if next == nil {
		return nil
	}
	key.Blocks -= len(batch)
	key.Oldest, key.after = next.At, batch[len(batch)-1]
	if m.aged(key.Oldest) || key.Blocks >= m.rules.BlocksMax {
		heap.Push(&m.open, key)
	}
	return nil
}

func (m *maker) aged(oldest planner.Time) bool { return oldest.Add(m.rules.AgeMax) < m.now }

// batch reads the blocks of one job, and the block after them if there is one.
// closed tells that this one was created too long before or after.
func (m *maker) batch(key openKey) (batch []Place, next *Place, closed bool, err error) {
	var span span
	for place, err := range m.view.Blocks(key.Level, key.Tenant, key.Shard, key.after) {
		if err != nil {
			return nil, nil, false, err
		}
		if len(batch) == m.rules.BlocksMax {
			return batch, &place, false, nil
		}
		fits, err := span.extend(place.ID, m.config.SpanMax)
		if err != nil {
			return nil, nil, false, err
		}
		if !fits {
			return batch, &place, true, nil
		}
		batch = append(batch, place)
	}
	return batch, nil, false, nil
}

func (m *maker) add(job Job) {
	job.Sources = slices.Sorted(slices.Values(job.Sources))
	job.Name = metastorev1.JobName(job.Sources, job.Tenant, job.Shard, job.Level)
	m.plan.Jobs = append(m.plan.Jobs, job)
}

// openKey is a key of which this plan has taken the blocks up to after.
type openKey struct {
	Key
	after Place
}

// openKeys is a heap in the order of View.OldestKeys.
type openKeys []openKey

func (o openKeys) Len() int           { return len(o) }
func (o openKeys) Less(i, j int) bool { return compareKeys(o[i].Key, o[j].Key) < 0 }
func (o openKeys) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }

// Push is for package heap.
func (o *openKeys) Push(x any) { *o = append(*o, x.(openKey)) }

// Pop is for package heap.
func (o *openKeys) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}

// span is the time between the first and the last creation of some blocks.
type span struct {
	any         bool
	first, last uint64 // milliseconds
}

// extend adds a block, if it lies within limit of all others.
func (s *span) extend(id string, limit time.Duration) (fits bool, err error) {
	created, err := creation(id)
	if err != nil {
		return false, err
	}
	first, last := created, created
	if s.any {
		first, last = min(s.first, created), max(s.last, created)
	}
	if last-first > uint64(limit.Milliseconds()) {
		return false, nil
	}
	*s = span{true, first, last}
	return true, nil
}
