package statemachine_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// tables is what compaction keeps, as naively as possible: where each block is,
// and what each job has.
type tables struct {
	// Blocks in the index, and those of them in the outbox.
	blocks map[string]*metastorev1.BlockMeta
	outbox map[string]bool
	// Blocks that wait, with their log time; batches by first block.
	queued   map[string]int64
	returned map[string]*raftlogv1.BlockBatch
	jobs     map[string]*raftlogv1.JobState
	// By name.
	tombstones map[string]*raftlogv1.Tombstone
	lastToken  uint64
	now        int64
	serial     int
}

func newTables() *tables {
	return &tables{
		blocks: map[string]*metastorev1.BlockMeta{}, outbox: map[string]bool{}, queued: map[string]int64{},
		returned: map[string]*raftlogv1.BlockBatch{}, jobs: map[string]*raftlogv1.JobState{}, tombstones: map[string]*raftlogv1.Tombstone{},
	}
}

// fresh makes a block with a new id. All are of one data shard.
func (m *tables) fresh(tenant string, level uint32) *metastorev1.BlockMeta {
	m.serial++
	id := ulid.ULID{0, 1, 2}
	id[14], id[15] = byte(m.serial>>8), byte(m.serial)
	block := newBlock(id.String(), 1, 3, 4)
	block.CompactionLevel = level
	if tenant != "" {
		block.Tenant = int32(slices.Index(block.StringTable, tenant))
	}
	return block
}

func (m *tables) enqueue(block *metastorev1.BlockMeta) {
	m.blocks[block.Id] = block
	if block.CompactionLevel < queue.Levels {
		m.queued[block.Id] = m.now
	}
}

// described is all of it as text.
func (m *tables) described() string {
	var b strings.Builder
	fmt.Fprintln(&b, "token", m.lastToken, "jobs", len(m.jobs))
	for _, id := range slices.Sorted(maps.Keys(m.blocks)) {
		fmt.Fprintln(&b, "block", id, m.outbox[id])
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.queued), func(a, c string) int { return cmp.Or(cmp.Compare(m.queued[a], m.queued[c]), cmp.Compare(a, c)) }) {
		block := m.blocks[id]
		fmt.Fprintln(&b, "queued", block.CompactionLevel, block.TenantName(), id, m.queued[id])
	}
	for _, first := range slices.Sorted(maps.Keys(m.returned)) {
		fmt.Fprintln(&b, "returned", m.returned[first])
	}
	for _, name := range slices.Sorted(maps.Keys(m.jobs)) {
		j := m.jobs[name]
		fmt.Fprintln(&b, "job", name, j.InProgress, j.Token, j.LeaseExpiresAt, j.Failures, j.Job.Sources, j.Job.Tombstones)
	}
	for _, name := range slices.Sorted(maps.Keys(m.tombstones)) {
		t := m.tombstones[name]
		fmt.Fprintln(&b, "tombstone", name, t.Job, t.Since, t.Token, t.Blocks)
	}
	return b.String()
}

// stored is the same, read from a replica through the views.
func stored(t *testing.T, r *replica) string {
	t.Helper()
	m := newTables()
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		m.lastToken = v.LastToken
		if v.JobsCount < 0 {
			return fmt.Errorf("%d jobs", v.JobsCount)
		}
		for level := range uint32(queue.Levels) {
			for key, err := range v.Queue.Oldest(level) {
				if err != nil {
					return err
				}
				n := 0
				for place, err := range v.Queue.Blocks(key.Key, queue.Place{}) {
					if err != nil {
						return err
					}
					if n == 0 && place.At != key.Oldest {
						return fmt.Errorf("%+v begins at %d", key, place.At)
					}
					n++
					m.queued[place.ID.String()] = place.At
					m.blocks[place.ID.String()] = m.fresh(key.Tenant, level)
				}
				if n != key.Blocks {
					return fmt.Errorf("%+v has %d blocks", key, n)
				}
			}
			full := 0
			for key, err := range v.Queue.FullKeys(level, 0) {
				if err != nil {
					return err
				}
				if full++; key.Blocks < queue.Full[level] {
					return fmt.Errorf("%+v is not full", key)
				}
			}
			for key := range v.Queue.Oldest(level) {
				if key.Blocks >= queue.Full[level] {
					full--
				}
			}
			if full != 0 {
				return fmt.Errorf("full keys of level %d: %d too many", level, full)
			}
			for batch, err := range v.Queue.Returned(level) {
				if err != nil {
					return err
				}
				m.returned[batch.GetBlocks()[0]] = batch.BlockBatch
			}
			for _, inProgress := range []bool{false, true} {
				for state, err := range v.Jobs.List(level, inProgress, 0) {
					if err != nil {
						return err
					}
					m.jobs[state.Job.Name] = state
				}
			}
		}
		if len(m.jobs) != v.JobsCount {
			return fmt.Errorf("%d jobs are listed, %d counted", len(m.jobs), v.JobsCount)
		}
		waiting := 0
		for tombstone, err := range v.Tombstones.Waiting() {
			if err != nil {
				return err
			}
			if waiting++; tombstone.Job != "" {
				return fmt.Errorf("%v waits", tombstone)
			}
		}
		return v.Tombstones.All(func(tombstone *raftlogv1.Tombstone) bool {
			m.tombstones[tombstone.Name] = tombstone
			return true
		})
	}})
	return m.described()
}

// indexed lists the blocks that queries find, in the index and in the outbox.
func indexed(t *testing.T, r *replica) []string {
	t.Helper()
	var ids []string
	for _, block := range (request{[]string{"acme", "other", "b", ""}, 0, 9000, `{}`, nil}).blocks(t, r) {
		ids = append(ids, block.Id)
	}
	slices.Sort(ids)
	return ids
}

// Decisions at random, good ones and such that come too late or are nonsense,
// beside adds and repeats: each is applied as a whole or changes nothing, and the
// tables, the views and the index are at any time what the model says.
func TestCompactionAgainstModel(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := newDecider(t, seed)
			for round := range 300 {
				d.m.now += d.random.Int64N(5)
				d.step()
				if round%10 == 0 {
					d.compare()
					d.r.check()
				}
				if round%50 == 0 {
					if err := d.r.machine.Sync(); err != nil {
						t.Fatal(err)
					}
					d.r.crash()
				}
			}
			d.compare()
		})
	}
}

type decider struct {
	t      *testing.T
	random *rand.Rand
	m      *tables
	r      *replica
	epoch  uint64
}

func newDecider(t *testing.T, seed uint64) *decider {
	d := &decider{t: t, random: rand.New(rand.NewPCG(seed, 5)), m: newTables(), r: newReplica(t)}
	d.r.apply(initCommand())
	d.epoch = d.r.apply(claim("node-a", 1)).GetLeaderEpoch()
	return d
}

// jobs returns the jobs that the replica has.
func (d *decider) jobs() map[string]*raftlogv1.JobState {
	found := map[string]*raftlogv1.JobState{}
	d.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		return v.Jobs.All(func(state *raftlogv1.JobState) error {
			found[state.Job.Name] = state
			return nil
		})
	}})
	return found
}

// blind proposes what fits what the replica has, whatever the model thinks; the
// answer does not matter.
func (d *decider) blind() {
	d.m.jobs = d.jobs()
	d.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		d.m.lastToken = v.LastToken
		clear(d.m.queued)
		clear(d.m.returned)
		for level := range uint32(queue.Levels) {
			for key := range v.Queue.Oldest(level) {
				for place := range v.Queue.Blocks(key.Key, queue.Place{}) {
					block := d.m.fresh(key.Tenant, level)
					block.Id, block.Shard = place.ID.String(), key.Shard
					d.m.blocks[block.Id], d.m.queued[block.Id] = block, place.At
				}
			}
			for batch := range v.Queue.Returned(level) {
				d.m.returned[batch.Blocks[0]] = batch.BlockBatch
				block := d.m.fresh(batch.Tenant, level)
				block.Id, block.Shard = batch.Blocks[0], batch.Shard
				d.m.blocks[block.Id] = block
			}
		}
		clear(d.m.tombstones)
		return v.Tombstones.All(func(t *raftlogv1.Tombstone) bool {
			d.m.tombstones[t.Name] = t
			return true
		})
	}})
	for range d.random.IntN(4) {
		block := d.m.fresh([]string{"", "", "acme"}[d.random.IntN(3)], uint32(d.random.IntN(queue.Levels+1)))
		if block.TenantName() == "" {
			block.CompactionLevel = 0
		}
		d.r.applyEntry(d.entry(addCommand(block)))
	}
	d.r.applyEntry(d.entry(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, d.decide())))
}

func (d *decider) compare() {
	d.t.Helper()
	got, want := stored(d.t, d.r), d.m.described()
	want = strings.Join(slices.DeleteFunc(strings.SplitAfter(want, "\n"), func(line string) bool { return strings.HasPrefix(line, "block ") }), "")
	got = strings.Join(slices.DeleteFunc(strings.SplitAfter(got, "\n"), func(line string) bool { return strings.HasPrefix(line, "block ") }), "")
	if got != want {
		d.t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := indexed(d.t, d.r), slices.Sorted(maps.Keys(d.m.blocks)); !slices.Equal(got, want) {
		d.t.Fatalf("indexed %v, want %v", got, want)
	}
}

func (d *decider) propose(kind raftlogv1.Kind, payload interface{ MarshalVT() ([]byte, error) }, want raftlogv1.Result_Status) {
	d.t.Helper()
	result := d.r.applyEntry(d.entry(command(kind, payload)))
	if result.GetStatus() != want {
		d.t.Fatalf("%v: %v, want %s", payload, result, want)
	}
}

func (d *decider) step() {
	switch d.random.IntN(5) {
	case 0, 1:
		d.add()
	case 2:
		d.spoiled()
	default:
		decision := d.decide()
		d.propose(raftlogv1.Kind_KIND_DECIDE_COMPACTION, decision, raftlogv1.Result_STATUS_OK)
		d.applyToModel(decision)
	}
}

// add adds blocks, and now and then one that is there, or was compacted.
func (d *decider) add() {
	for range 1 + d.random.IntN(12) {
		if gone := d.compacted(); len(gone) > 0 && d.random.IntN(8) == 0 {
			block := d.m.fresh("", 0)
			block.Id = gone[d.random.IntN(len(gone))]
			wantStatus(d.t, d.r.applyEntry(d.entry(addCommand(block))), raftlogv1.Result_STATUS_ALREADY)
			continue
		}
		block := d.m.fresh([]string{"", "", "acme"}[d.random.IntN(3)], uint32(d.random.IntN(queue.Levels+1)))
		if block.TenantName() == "" {
			block.CompactionLevel = 0
		}
		wantStatus(d.t, d.r.applyEntry(d.entry(addCommand(block))), raftlogv1.Result_STATUS_OK)
		wantStatus(d.t, d.r.applyEntry(d.entry(addCommand(block))), raftlogv1.Result_STATUS_ALREADY)
		d.m.enqueue(block)
	}
}

// compacted lists segments that a tombstone remembers.
func (d *decider) compacted() []string {
	var ids []string
	for _, name := range slices.Sorted(maps.Keys(d.m.tombstones)) {
		if t := d.m.tombstones[name]; t.Tenant == "" && t.Level == 0 {
			ids = append(ids, t.Blocks...)
		}
	}
	return ids
}

func (d *decider) entry(c *raftlogv1.Command) *raftlogv1.Entry {
	return &raftlogv1.Entry{ProposedAt: uint64(d.m.now), Commands: []*raftlogv1.Command{c}}
}

// decide makes a decision that fits the model.
func (d *decider) decide() *raftlogv1.CompactionDecision {
	decision := &raftlogv1.CompactionDecision{LeaderEpoch: d.epoch, LastToken: d.m.lastToken}
	token := d.m.lastToken
	for _, name := range slices.Sorted(maps.Keys(d.m.jobs)) {
		state := d.m.jobs[name]
		ref := &raftlogv1.JobRef{Name: name, Revision: d.revision(name)}
		switch choice := d.random.IntN(6); {
		case choice == 0 && state.InProgress:
			decision.Renew = append(decision.Renew, &raftlogv1.JobLease{Job: ref, Token: state.Token, ExpiresAt: d.m.now + 15, Failures: state.Failures})
		case choice <= 2 && state.InProgress:
			decision.Complete = append(decision.Complete, d.completion(state, ref))
		case choice == 3 && state.InProgress:
			decision.Fail = append(decision.Fail, &raftlogv1.JobFailure{Job: ref, Failures: state.Failures + 1})
		case choice == 4 && state.Failures > 0:
			decision.Release = append(decision.Release, &raftlogv1.JobRelease{Job: ref, Return: d.halves(state.Job.Sources, state.Job.Attempts)})
		case choice == 5 && !state.InProgress:
			token += 1 + d.random.Uint64N(3)
			decision.Assign = append(decision.Assign, &raftlogv1.JobLease{Job: ref, Token: token, ExpiresAt: d.m.now + 15, Failures: state.Failures})
		}
	}
	decision.Create = d.newJobs()
	return decision
}

func (d *decider) revision(name string) (revision uint64) {
	d.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		state, err := v.Jobs.Get(name)
		revision = state.GetRevision()
		return err
	}})
	return revision
}

func (d *decider) completion(state *raftlogv1.JobState, ref *raftlogv1.JobRef) *raftlogv1.JobCompletion {
	c := &raftlogv1.JobCompletion{Job: ref, Token: state.Token}
	sources := slices.Clone(state.Job.Sources)
	if d.random.IntN(5) == 0 || len(sources) == 0 { // the worker found nothing
		if len(sources) > 0 && d.random.IntN(2) == 0 {
			c.Missing, sources = sources[:1], sources[1:]
		}
		c.Return = d.halves(sources, state.Job.Attempts)
		return c
	}
	if d.random.IntN(3) == 0 {
		n := 1 + d.random.IntN(len(sources))
		c.Return = d.halves(sources[n:], state.Job.Attempts)
		sources = sources[:n]
	}
	c.Sources = sources
	tenants := []string{state.Job.Tenant}
	if state.Job.Tenant == "" {
		tenants = [][]string{{"acme"}, {"acme", "other"}, {"", "b"}}[d.random.IntN(3)]
	}
	for _, tenant := range tenants {
		c.Blocks = append(c.Blocks, d.m.fresh(tenant, state.Job.Level+1))
	}
	return c
}

func (d *decider) halves(ids []string, attempts uint32) []*raftlogv1.BlockBatch {
	var batches []*raftlogv1.BlockBatch
	for _, half := range [][]string{ids[:len(ids)/2], ids[len(ids)/2:]} {
		if len(half) > 0 {
			batches = append(batches, &raftlogv1.BlockBatch{Blocks: half, Attempts: attempts + 1, NotBefore: d.m.now + d.random.Int64N(100)})
		}
	}
	return batches
}

func (d *decider) newJobs() []*raftlogv1.CompactionJob {
	var created []*raftlogv1.CompactionJob
	byKey := map[queue.Key][]string{}
	for _, id := range slices.Sorted(maps.Keys(d.m.queued)) {
		block := d.m.blocks[id]
		key := queue.Key{Tenant: block.TenantName(), Shard: block.Shard, Level: block.CompactionLevel}
		byKey[key] = append(byKey[key], id)
	}
	add := func(key queue.Key, sources []string, attempts uint32) {
		sources = slices.Clone(sources)
		created = append(created, &raftlogv1.CompactionJob{
			Name:   metastorev1.JobName(slices.Concat(sources, []string{fmt.Sprint(d.m.serial)}), key.Tenant, key.Shard, key.Level),
			Tenant: key.Tenant, Shard: key.Shard, Level: key.Level, Sources: sources, Attempts: attempts,
		})
	}
	keys := slices.SortedFunc(maps.Keys(byKey), func(a, b queue.Key) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, key := range keys {
		if d.random.IntN(2) == 0 {
			add(key, byKey[key][:1+d.random.IntN(len(byKey[key]))], 0)
		}
	}
	for _, first := range slices.Sorted(maps.Keys(d.m.returned)) {
		if d.random.IntN(3) == 0 {
			batch := d.m.returned[first]
			block := d.m.blocks[batch.Blocks[0]]
			add(queue.Key{Tenant: block.TenantName(), Shard: block.Shard, Level: block.CompactionLevel}, batch.Blocks, batch.Attempts)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.m.tombstones)) {
		if d.m.tombstones[name].Job == "" && len(created) > 0 && d.random.IntN(2) == 0 {
			job := created[d.random.IntN(len(created))]
			job.Tombstones = append(job.Tombstones, name)
		}
	}
	return created
}

// applyToModel is what a decision means.
func (d *decider) applyToModel(decision *raftlogv1.CompactionDecision) {
	m := d.m
	lease := func(l *raftlogv1.JobLease) {
		state := m.jobs[l.Job.Name]
		state.InProgress, state.Token, state.LeaseExpiresAt, state.Failures = true, l.Token, l.ExpiresAt, l.Failures
	}
	remove := func(name string, batches []*raftlogv1.BlockBatch) {
		for _, tombstone := range m.jobs[name].Job.Tombstones {
			if held := m.tombstones[tombstone]; held != nil && held.Job == name {
				held.Job, held.Since = "", m.now
			}
		}
		for _, batch := range batches {
			m.returned[batch.Blocks[0]] = batch
		}
		delete(m.jobs, name)
	}
	for _, l := range decision.Renew {
		lease(l)
	}
	for _, c := range decision.Complete {
		job := m.jobs[c.Job.Name].Job
		for _, id := range slices.Concat(c.Sources, c.Missing) {
			delete(m.blocks, id)
		}
		if len(c.Sources) > 0 {
			m.tombstones[job.Name] = &raftlogv1.Tombstone{Name: job.Name, Tenant: job.Tenant, Level: job.Level, Blocks: c.Sources, Since: m.now, Token: c.Token}
		}
		for _, block := range c.Blocks {
			if block.TenantName() == job.Tenant {
				m.enqueue(block)
			} else {
				m.blocks[block.Id], m.outbox[block.Id] = block, true
			}
		}
		for _, tombstone := range job.Tombstones {
			delete(m.tombstones, tombstone)
		}
		remove(job.Name, c.Return)
	}
	for _, f := range decision.Fail {
		state := m.jobs[f.Job.Name]
		state.InProgress, state.LeaseExpiresAt, state.Failures = false, 0, f.Failures
	}
	for _, release := range decision.Release {
		remove(release.Job.Name, release.Return)
	}
	for _, l := range decision.Assign {
		lease(l)
		m.lastToken = l.Token
	}
	for _, job := range decision.Create {
		if job.Attempts > 0 {
			delete(m.returned, job.Sources[0])
		}
		for _, id := range job.Sources {
			delete(m.queued, id)
		}
		for _, name := range job.Tombstones {
			m.tombstones[name].Job = job.Name
		}
		m.jobs[job.Name] = &raftlogv1.JobState{Job: job}
	}
}

// spoiled proposes a good decision with one thing wrong: it is refused.
func (d *decider) spoiled() {
	good := d.decide()
	jobs := slices.Concat(good.Renew, good.Assign)
	conflict, invalid, stale := raftlogv1.Result_STATUS_CONFLICT, raftlogv1.Result_STATUS_INVALID, raftlogv1.Result_STATUS_STALE_LEADER
	want := raftlogv1.Result_STATUS_UNSPECIFIED
	switch d.random.IntN(10) {
	case 0:
		good.LeaderEpoch, want = d.epoch-1, stale
	case 1:
		good.LastToken, want = good.LastToken+1, conflict
	case 2:
		if len(jobs) > 0 {
			jobs[0].Job.Revision, want = jobs[0].Job.Revision-1, conflict
		}
	case 3:
		if len(good.Assign) > 0 {
			good.Assign[0].Token, want = d.m.lastToken, invalid
		}
	case 4:
		if len(good.Renew) > 0 {
			good.Renew[0].Token, want = good.Renew[0].Token+1, invalid
		}
	case 5:
		if len(good.Create) > 0 {
			good.Create, want = append(good.Create, good.Create[0]), conflict
		}
	case 6:
		good.Create, want = append(good.Create, &raftlogv1.CompactionJob{Name: "x", Sources: []string{d.m.fresh("", 0).Id}}), conflict
	case 7:
		if len(good.Complete) > 0 && len(good.Complete[0].Blocks) > 0 {
			good.Complete[0].Blocks[0].Shard, want = 99, invalid
		}
	case 8:
		if len(good.Complete) > 0 {
			good.Complete[0].Sources, want = slices.Concat(good.Complete[0].Sources, []string{d.m.fresh("", 0).Id}), invalid
		}
	case 9:
		good.Create, want = append(good.Create, &raftlogv1.CompactionJob{Name: "y", Tombstones: []string{"none"}}), conflict
	}
	if want == raftlogv1.Result_STATUS_UNSPECIFIED {
		return
	}
	d.propose(raftlogv1.Kind_KIND_DECIDE_COMPACTION, good, want)
	d.compare()
}
