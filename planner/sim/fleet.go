package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Planner decides a poll: schedule.Poll, or what a test puts in its place.
type Planner func(schedule.View, schedule.Config, planner.Time, schedule.Request) (schedule.Decision, error)

// Options describe a run.
type Options struct {
	Seed uint64
	// Things that happen before the fleet recovers.
	Steps  int
	Config schedule.Config
	Poll   Planner
	// See Tables.Trust.
	Trust bool
}

// Run lets a fleet work through a bad time and then recover, and returns the first
// violation of an invariant.
func Run(o Options) error {
	f := newFleet(o)
	for step := range o.Steps {
		if err := f.step(); err != nil {
			return fmt.Errorf("seed %d, step %d: %w", o.Seed, step, err)
		}
	}
	if err := f.recover(); err != nil {
		return fmt.Errorf("seed %d, recovery: %w", o.Seed, err)
	}
	return nil
}

type fleet struct {
	Options
	random  *rand.Rand
	tables  *Tables
	clock   planner.Time
	numbers uint64
	workers []*worker
	release release
	// Decisions of deposed or slow leaders, still to be applied.
	late []schedule.Decision
	// Requests that may arrive once more.
	old     []schedule.Request
	blocks  []added
	witness *witness
	// Whether the tables changed in this step.
	changed bool
}

type added struct {
	id, tenant   string
	shard, level uint32
}

// release is what the workers' software does to jobs.
type release uint8

const (
	healthy  release = iota
	silent           // drops every job
	nonsense         // reports results that are refused
	empty            // reports success without blocks
	releases
)

const start = planner.Time(1_767_225_600_000_000_000) // 2026-01-01

func newFleet(o Options) *fleet {
	f := &fleet{Options: o, random: rand.New(rand.NewPCG(o.Seed, 1)), clock: start, tables: NewTables(o.Config.Compaction.Levels)}
	f.tables.Trust, f.tables.Now = o.Trust, start
	f.witness = newWitness(f)
	for range 2 + f.random.IntN(3) {
		f.workers = append(f.workers, &worker{capacity: 1 + f.random.IntN(4)})
	}
	return f
}

// chance is true once in n times.
func (f *fleet) chance(n int) bool { return f.random.IntN(n) == 0 }

func (f *fleet) between(low, high time.Duration) time.Duration {
	return low + time.Duration(f.random.Int64N(int64(high-low)))
}

func (f *fleet) step() error {
	f.changed = false
	if err := f.event(); err != nil || !f.changed {
		return err
	}
	return f.witness.state()
}

// event is one thing that happens.
func (f *fleet) event() error {
	switch n := f.random.IntN(100); {
	case n < 30:
		f.add(1 + f.random.IntN(6))
	case n < 75:
		return f.poll(f.workers[f.random.IntN(len(f.workers))], f.fate())
	case n < 87:
		f.clock = f.clock.Add(f.between(0, 20*time.Second))
	case n < 90:
		f.clock = f.clock.Add(f.between(-time.Minute, 20*time.Minute))
	case n < 91:
		f.clock = f.clock.Add(f.between(0, 8*time.Hour))
	case n < 93:
		f.workers[f.random.IntN(len(f.workers))].held = nil // a crash
	case n < 95:
		shard := uint32(1 + f.random.IntN(3))
		f.tables.Full[shard] = !f.tables.Full[shard]
	case n < 97:
		f.release = release(f.random.IntN(int(releases)))
	case n < 98:
		if len(f.old) > 0 {
			return f.decide(f.old[f.random.IntN(len(f.old))], lost, nil)
		}
	default:
		if len(f.late) > 0 {
			late := f.late[0]
			f.late = f.late[1:]
			return f.apply(late, true)
		}
	}
	return nil
}

// add adds blocks, some of them once more.
func (f *fleet) add(n int) {
	f.tables.Now, f.changed = max(f.tables.Now, f.clock), true
	for range n {
		if len(f.blocks) > 0 && f.chance(10) {
			again := f.blocks[f.random.IntN(len(f.blocks))]
			f.tables.Add(again.id, again.tenant, again.shard, again.level)
			continue
		}
		f.numbers++
		block := added{id: BlockID(f.clock, f.numbers), shard: uint32(1 + f.random.IntN(3))}
		switch {
		case f.chance(20):
			block.id = BlockID(f.clock.Add(-f.between(0, 12*time.Hour)), f.numbers)
		case f.chance(5):
			block.tenant, block.level = f.tenant(), uint32(1+f.random.IntN(3))
		}
		f.blocks = append(f.blocks, block)
		f.tables.Add(block.id, block.tenant, block.shard, block.level)
		f.witness.added(block.id, block.level)
	}
}

func (f *fleet) tenant() string { return string(rune('a' + f.random.IntN(3))) }

// fate is what the network and the leaders do to a poll.
type fate uint8

const (
	fine    fate = iota
	dropped      // decided by a leader that was deposed
	lost         // applied, but the answer is lost
	delayed      // applied later, if then it still may
)

func (f *fleet) fate() fate {
	if f.chance(5) {
		return fate(1 + f.random.IntN(3))
	}
	return fine
}

// decide lets the leader decide a request.
func (f *fleet) decide(request schedule.Request, fate fate, answered func(schedule.Decision)) error {
	now := max(f.tables.Now, f.clock)
	d, err := f.Poll(f.tables, f.Config, now, request)
	if err != nil {
		return err
	}
	if err := f.witness.decision(d, request); err != nil {
		return err
	}
	switch fate {
	case dropped:
		return nil
	case delayed:
		f.late = append(f.late, d)
		return nil
	}
	if !d.Empty() {
		if err := f.apply(d, false); err != nil {
			return err
		}
	}
	if fate == fine {
		answered(d)
	}
	return nil
}

func (f *fleet) apply(d schedule.Decision, mayBeStale bool) error {
	before := len(f.tables.jobs)
	f.changed = true
	if err := f.tables.Apply(d); err != nil {
		if mayBeStale {
			return nil
		}
		return err
	}
	return f.witness.applied(d, before)
}

// worker is one compaction worker, with what it believes.
type worker struct {
	capacity int
	held     []held
}

type held struct {
	name   string
	token  uint64
	plan   *metastorev1.CompactionJob
	doneAt planner.Time
}

// poll is a worker's poll, and what it makes of the answer.
func (f *fleet) poll(w *worker, fate fate) error {
	if f.release == silent {
		w.held = slices.DeleteFunc(w.held, func(h held) bool { return h.doneAt <= f.clock })
	}
	request := schedule.Request{}
	for _, h := range w.held {
		request.Updates = append(request.Updates, f.report(h))
	}
	request.Capacity = uint32(max(0, w.capacity-len(w.held)))
	if len(request.Updates) > 0 && len(f.old) < 20 {
		f.old = append(f.old, request)
	}
	return f.decide(request, fate, func(d schedule.Decision) { f.hear(w, d) })
}

// hear makes the worker keep what it was granted, and nothing else.
func (f *fleet) hear(w *worker, d schedule.Decision) {
	var kept []held
	for _, grant := range d.Renew {
		for _, h := range w.held {
			if h.name == grant.Was.Name {
				h.token = grant.Token
				kept = append(kept, h)
			}
		}
	}
	for _, grant := range d.Assign {
		row := f.tables.jobs[grant.Was.Name]
		if row == nil {
			continue
		}
		took := f.between(time.Second, time.Minute)
		if f.chance(8) {
			took *= 20
		}
		plan := &metastorev1.CompactionJob{
			Name: row.plan.Name, Tenant: row.plan.Tenant, Shard: row.plan.Shard,
			CompactionLevel: row.plan.Level, SourceBlocks: row.plan.Sources,
		}
		kept = append(kept, held{grant.Was.Name, grant.Token, plan, f.clock.Add(took)})
	}
	w.held = kept
}

// report is what a worker says of a job.
func (f *fleet) report(h held) schedule.Update {
	update := schedule.Update{Name: h.name, Token: h.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS}
	if h.doneAt > f.clock {
		return update
	}
	update.Status = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS
	if len(h.plan.SourceBlocks) == 0 || f.release == empty {
		return update
	}
	update.Result = f.result(h.plan)
	if f.release == nonsense {
		update.Result.NewBlocks[0].CompactionLevel += 3
	}
	return update
}

func (f *fleet) result(job *metastorev1.CompactionJob) *metastorev1.CompactedBlocks {
	sources := job.SourceBlocks
	if len(sources) > 1 && f.release != healthy && f.chance(4) {
		sources = sources[1:] // the rest had no metadata
	}
	result := &metastorev1.CompactedBlocks{
		SourceBlocks: &metastorev1.BlockList{Tenant: job.Tenant, Shard: job.Shard, Blocks: slices.Clone(sources)},
	}
	tenants := []string{job.Tenant}
	if job.Tenant == "" {
		tenants = []string{f.tenant()}
		if f.chance(2) {
			tenants = append(tenants, "z")
		}
	}
	for _, tenant := range tenants {
		f.numbers++
		result.NewBlocks = append(result.NewBlocks, &metastorev1.BlockMeta{
			Id:    sources[0][:10] + BlockID(0, f.numbers)[10:],
			Shard: job.Shard, CompactionLevel: job.CompactionLevel + 1, Tenant: 1, StringTable: []string{"", tenant},
		})
	}
	return result
}

// recover heals everything and demands that in bounded time nothing is left to do.
func (f *fleet) recover() error {
	f.release, f.late = healthy, nil
	clear(f.tables.Full)
	for range 300 {
		if f.witness.idle() {
			return nil
		}
		f.clock = max(f.tables.Now, f.clock).Add(20 * time.Minute)
		if err := f.drain(); err != nil {
			return err
		}
	}
	return fmt.Errorf("no progress: %s", f.witness.left())
}

// drain lets all workers poll as they do, until they have nothing to do.
func (f *fleet) drain() error {
	for busy := true; busy; {
		busy = false
		for _, w := range f.workers {
			for i := range w.held {
				w.held[i].doneAt = min(w.held[i].doneAt, f.clock.Add(10*time.Second))
			}
			if err := f.poll(w, fine); err != nil {
				return err
			}
			busy = busy || len(w.held) > 0
		}
		f.clock = f.clock.Add(5 * time.Second)
	}
	return f.witness.state()
}
