package statemachine_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
)

var mixedSeeds = flag.Int("mixed", 3, "seeds of TestMixedHistories")

// mixed is a replica under everything that can happen to it at once: entries of
// several commands of all kinds, good ones and such that come too late.
type mixed struct {
	t      *testing.T
	random *rand.Rand
	r      *replica
	now    int64 // log time
	epoch  uint64
	term   uint64
	serial int
	added  []*metastorev1.BlockMeta
	log    []*raftlogv1.Entry
}

var mixedTenants = []string{"", "acme", "other", "b"}

func (m *mixed) id(ms uint64) string {
	var id ulid.ULID
	if err := id.SetTime(ms); err != nil {
		panic(err)
	}
	m.serial++
	id[14], id[15] = byte(m.serial>>8), byte(m.serial)
	id[13] = byte(m.serial >> 16)
	return id.String()
}

func (m *mixed) block(id, tenant string, shard, level uint32) *metastorev1.BlockMeta {
	b := randomBlock(m.random)
	b.Id, b.Shard, b.CompactionLevel = id, shard, level
	table := []string{"", "acme", "other", "b", "svc", "x", "y", "cpu", fmt.Sprint("v", m.random.IntN(200)), fmt.Sprint("w", m.random.IntN(5))}
	b.StringTable = table
	b.Tenant = int32(slices.Index(mixedTenants, tenant))
	b.CreatedBy = int32(m.random.IntN(len(table)))
	ref := func() int32 { return int32(m.random.IntN(len(table))) }
	b.Datasets = nil
	for range 1 + m.random.IntN(3) {
		d := &metastorev1.Dataset{Tenant: b.Tenant, Name: ref(), MinTime: int64(m.random.IntN(4000000)), MaxTime: int64(m.random.IntN(9000000))}
		if tenant == "" {
			d.Tenant = int32(m.random.IntN(4))
		}
		for range m.random.IntN(3) {
			n := m.random.IntN(3)
			d.Labels = append(d.Labels, int32(n))
			for range 2 * n {
				d.Labels = append(d.Labels, ref())
			}
		}
		b.Datasets = append(b.Datasets, d)
	}
	b.MinTime, b.MaxTime = 0, 9000000
	return b
}

func (m *mixed) command() *raftlogv1.Command {
	switch k := m.random.IntN(31); {
	case k < 12:
		if len(m.added) > 0 && m.random.IntN(6) == 0 {
			return addCommand(m.added[m.random.IntN(len(m.added))])
		}
		tenant := mixedTenants[max(0, m.random.IntN(7)-3)]
		level := uint32(m.random.IntN(queue.Levels + 1))
		if tenant == "" {
			level = 0
		}
		ms := uint64(m.now/1e6) - m.random.Uint64N(3*6*3600*1000)
		b := m.block(m.id(ms), tenant, uint32(1+m.random.IntN(2)), level)
		m.added = append(m.added, b)
		return addCommand(b)
	case k < 24:
		return command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, m.decide())
	case k < 26:
		d := &raftlogv1.RetentionDecision{LeaderEpoch: m.epoch}
		for _, info := range listed(m.t, m.r) {
			if m.random.IntN(12) == 0 {
				d.Shards = append(d.Shards, &raftlogv1.ExpiredShard{Partition: info.Partition, Tenant: info.Tenant, Shard: info.Shard, Revision: info.Record.Revision,
					Tombstone: fmt.Sprintf("p%d %s %d", info.Partition, info.Tenant, info.Shard)})
			}
		}
		return command(raftlogv1.Kind_KIND_DECIDE_RETENTION, d)
	case k < 28:
		cmd := command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{Tenant: mixedTenants[1+m.random.IntN(3)], Until: uint64(m.now/1e6) - m.random.Uint64N(2)*m.random.Uint64N(12*3600*1000)})
		cmd.Range = wholeSpans()[m.random.IntN(2)]
		return cmd
	case k == 30:
		tenant := mixedTenants[m.random.IntN(len(mixedTenants))]
		tombstone := &raftlogv1.Tombstone{Name: fmt.Sprint("imported: ", m.random.IntN(9)), Tenant: tenant, Shard: uint32(1 + m.random.IntN(2))}
		if m.random.IntN(2) == 0 {
			tombstone.Partition = uint64(m.now/1e9)/index.PartitionSeconds*index.PartitionSeconds - uint64(m.random.IntN(5))*index.PartitionSeconds
		} else {
			tombstone.Blocks = []string{m.id(uint64(m.now / 1e6))}
			if len(m.added) > 0 {
				tombstone.Blocks[0] = m.added[m.random.IntN(len(m.added))].Id
			}
		}
		return importCommand(tombstone)
	case k < 29:
		control := &raftlogv1.ControlCompaction{Action: raftlogv1.ControlCompaction_Action(1 + m.random.IntN(4))}
		if names := slices.Sorted(maps.Keys(m.jobs())); len(names) > 0 {
			control.Job = names[m.random.IntN(len(names))]
		}
		return command(raftlogv1.Kind_KIND_CONTROL_COMPACTION, control)
	default:
		if m.random.IntN(3) > 0 {
			return addCommand(randomBlock(m.random))
		}
		m.term++
		return claim("node", m.term)
	}
}

func (m *mixed) jobs() map[string]*raftlogv1.JobState {
	found := map[string]*raftlogv1.JobState{}
	m.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		return v.Jobs.All(func(s *raftlogv1.JobState) error { found[s.Job.Name] = s; return nil })
	}})
	return found
}

func (m *mixed) halves(ids []string, attempts uint32) []*raftlogv1.BlockBatch {
	var batches []*raftlogv1.BlockBatch
	for _, half := range [][]string{ids[:len(ids)/2], ids[len(ids)/2:]} {
		if len(half) > 0 {
			batches = append(batches, &raftlogv1.BlockBatch{Blocks: half, Attempts: attempts + 1, NotBefore: m.now + m.random.Int64N(100)})
		}
	}
	return batches
}

func (m *mixed) decide() *raftlogv1.CompactionDecision {
	var decision *raftlogv1.CompactionDecision
	m.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		decision = &raftlogv1.CompactionDecision{LeaderEpoch: v.LeaderEpoch, LastToken: v.LastToken}
		token := v.LastToken
		jobs := map[string]*raftlogv1.JobState{}
		if err := v.Jobs.All(func(s *raftlogv1.JobState) error { jobs[s.Job.Name] = s; return nil }); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(jobs)) {
			s := jobs[name]
			ref := &raftlogv1.JobRef{Name: name, Revision: s.Revision}
			switch choice := m.random.IntN(6); {
			case choice == 0 && s.InProgress:
				decision.Renew = append(decision.Renew, &raftlogv1.JobLease{Job: ref, Token: s.Token, ExpiresAt: m.now + 15, Failures: s.Failures})
			case choice <= 2 && s.InProgress:
				decision.Complete = append(decision.Complete, m.completion(s, ref))
			case choice == 3 && s.InProgress:
				decision.Fail = append(decision.Fail, &raftlogv1.JobFailure{Job: ref, Failures: s.Failures + 1})
			case choice == 4 && s.Failures > 0:
				decision.Release = append(decision.Release, &raftlogv1.JobRelease{Job: ref, Return: m.halves(s.Job.Sources, s.Job.Attempts)})
			case choice == 5 && !s.InProgress:
				token++
				decision.Assign = append(decision.Assign, &raftlogv1.JobLease{Job: ref, Token: token, ExpiresAt: m.now + 15})
			}
		}
		add := func(key queue.Key, sources []string, attempts uint32) {
			slices.Sort(sources)
			decision.Create = append(decision.Create, &raftlogv1.CompactionJob{Name: metastorev1.JobName(sources, key.Tenant, key.Shard, key.Level),
				Tenant: key.Tenant, Shard: key.Shard, Level: key.Level, Sources: sources, Attempts: attempts})
		}
		for level := range uint32(queue.Levels) {
			for w, err := range v.Queue.Oldest(level) {
				if err != nil {
					return err
				}
				if m.random.IntN(2) == 0 {
					continue
				}
				var ids []string
				for p, err := range v.Queue.Blocks(w.Key, queue.Place{}) {
					if err != nil {
						return err
					}
					ids = append(ids, p.ID.String())
				}
				add(w.Key, ids[:1+m.random.IntN(len(ids))], 0)
			}
			for b, err := range v.Queue.Returned(level) {
				if err != nil {
					return fmt.Errorf("returned: %w", err)
				}
				if m.random.IntN(3) == 0 {
					add(b.Key, b.GetBlocks(), b.GetAttempts())
				}
			}
		}
		for t, err := range v.Tombstones.Waiting() {
			if err != nil {
				return err
			}
			if len(decision.Create) > 0 && m.random.IntN(2) == 0 {
				j := decision.Create[m.random.IntN(len(decision.Create))]
				j.Tombstones = append(j.Tombstones, t.Name)
			}
		}
		return nil
	}})
	return decision
}

func (m *mixed) completion(s *raftlogv1.JobState, ref *raftlogv1.JobRef) *raftlogv1.JobCompletion {
	done := &raftlogv1.JobCompletion{Job: ref, Token: s.Token}
	sources := slices.Clone(s.Job.Sources)
	if m.random.IntN(5) == 0 || len(sources) == 0 {
		if len(sources) > 0 && m.random.IntN(2) == 0 {
			done.Missing, sources = sources[:1], sources[1:]
		}
		done.Return = m.halves(sources, s.Job.Attempts)
		return done
	}
	if m.random.IntN(3) == 0 {
		n := 1 + m.random.IntN(len(sources))
		done.Return = m.halves(sources[n:], s.Job.Attempts)
		sources = sources[:n]
	}
	done.Sources = sources
	tenants := []string{s.Job.Tenant}
	if s.Job.Tenant == "" {
		tenants = [][]string{{"acme"}, {"acme", "other"}, {"", "b"}}[m.random.IntN(3)]
	}
	first := ulid.MustParse(sources[0]).Time()
	for _, tenant := range tenants {
		done.Blocks = append(done.Blocks, m.block(m.id(first), tenant, s.Job.Shard, s.Job.Level+1))
	}
	return done
}

func (m *mixed) run(steps int) {
	m.apply(&raftlogv1.Entry{ProposedAt: uint64(m.now), Commands: []*raftlogv1.Command{initCommand()}})
	m.term = 1
	m.apply(&raftlogv1.Entry{ProposedAt: uint64(m.now), Commands: []*raftlogv1.Command{claim("node", 1)}})
	for step := range steps {
		m.now += m.random.Int64N(600e9)
		m.r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
			m.epoch = v.LeaderEpoch
			return nil
		}})
		e := &raftlogv1.Entry{ProposedAt: uint64(m.now)}
		for range 1 + m.random.IntN(4) {
			e.Commands = append(e.Commands, m.command())
		}
		m.apply(e)
		if step%10 == 0 {
			m.check()
		}
	}
	m.check()
}

func (m *mixed) check() {
	m.t.Helper()
	stored(m.t, m.r)
	m.r.check()
	// No block twice in an answer.
	seen := map[string]bool{}
	for _, b := range everything(m.t, m.r).GetBlocks() {
		k := fmt.Sprint(b.Tenant, "/", b.Shard, "/", b.Id)
		if seen[k] {
			m.t.Errorf("twice: %s", k)
		}
		seen[k] = true
	}
}

func everything(t *testing.T, r *replica) *nodev1.QueryBlocksResponse {
	return r.lookup(statemachine.QueryBlocks{Context: t.Context(), Ranges: wholeSpans(), Tenants: mixedTenants, Start: -1 << 62, End: 1 << 62, Labels: []string{"svc", "x"}}).(*nodev1.QueryBlocksResponse)
}

func (m *mixed) apply(e *raftlogv1.Entry) {
	m.log = append(m.log, e)
	m.r.applyEntry(e)
}

func small(bytes int) func(*kv.DB, *statemachine.Cache) *statemachine.Machine {
	return func(db *kv.DB, _ *statemachine.Cache) *statemachine.Machine {
		return statemachine.NewData(db, statemachine.NewCache(bytes))
	}
}

// Whatever comes in one entry, in one batch or in one replica's life: replicas
// end with the same rows and the same answers, and the index holds together; with
// caches of any size, readers beside the writer, crashes, and snapshots that
// leap ahead.
func TestMixedHistories(t *testing.T) {
	steps := 250
	if testing.Short() {
		steps = 80
	}
	for seed := range uint64(*mixedSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &mixed{t: t, random: rand.New(rand.NewPCG(seed, 99)), r: newReplica(t), now: 1_760_000_000e9}
			m.run(steps)
			want, answer := m.r.hash(), fmt.Sprint(everything(t, m.r).GetBlocks())
			status := m.r.status()
			t.Logf("%d entries, %d blocks, %d shards, jobs %d", status.Applied, status.Blocks, len(listed(t, m.r)), len(m.jobs()))
			check := func(t *testing.T, r *replica) {
				t.Helper()
				if r.hash() != want {
					t.Errorf("hash differs")
				}
				if fmt.Sprint(everything(t, r).GetBlocks()) != answer {
					t.Errorf("answer differs")
				}
			}
			for _, size := range []int{0, 3000, 1 << 20} {
				r := newReplicaOf(t, small(size))
				for r.applied < uint64(len(m.log)) {
					stop := make(chan struct{})
					var wg sync.WaitGroup
					for range 2 {
						wg.Go(func() {
							for {
								select {
								case <-stop:
									return
								default:
								}
								// Before the group has its ranges it refuses.
								_, _ = r.machine.Lookup(statemachine.QueryBlocks{Context: t.Context(), Ranges: wholeSpans(), Tenants: []string{"acme", ""}, Start: 0, End: 1 << 62})
							}
						})
					}
					r.update(m.log, min(1+m.random.IntN(25), len(m.log)-int(r.applied)))
					close(stop)
					wg.Wait()
					if m.random.IntN(4) == 0 {
						if err := r.machine.Sync(); err != nil {
							t.Fatal(err)
						}
					}
					switch m.random.IntN(5) {
					case 0:
						r.crash()
					case 1:
						at := m.random.IntN(len(m.log) + 1)
						if at > int(r.applied) {
							source := newReplicaOf(t, small(3000))
							source.update(m.log, at)
							s := save(t, source, func() {})
							if err := r.machine.RecoverFromSnapshot(bytes.NewReader(s), nil); err != nil {
								t.Fatal(err)
							}
							r.applied = uint64(at)
						}
					}
				}
				check(t, r)
				r.check()
			}
		})
	}
}
