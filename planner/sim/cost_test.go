package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// shape is a way in which many blocks can be queued.
type shape struct {
	name string
	// Blocks of one key, and the level.
	perKey int
	level  uint32
}

var shapes = []shape{
	{"one stream", 1 << 30, 0},
	{"full keys", 25, 1},
	{"a block for each tenant", 1, 1},
}

// queued makes tables with n blocks in a shape, and as many failed jobs, leases and
// tombstones as there ever are. All is due at the time returned, and little was a
// second after start.
func queued(n int, s shape) (*Tables, schedule.Config, planner.Time) {
	config := schedule.Defaults()
	config.Compaction.JobsMax = 0
	t := NewTables(config.Compaction.Levels)
	// Written in order, as a table would have them: adding a million blocks one by one
	// takes long with the race detector.
	var row *queue
	for i := range n {
		t.Now = start + planner.Time(i)
		if i%s.perKey == 0 {
			key := compaction.Key{Shard: uint32(1 + i/s.perKey%4), Level: s.level, Oldest: t.Now, Blocks: min(s.perKey, n-i)}
			if s.level > 0 {
				key.Tenant = fmt.Sprintf("tenant-%07d", i/s.perKey)
			}
			row = &queue{key: key, places: sorted[compaction.Place]{compare: comparePlaces, reads: &t.Reads}}
			t.queues[queueID{key.Level, key.Tenant, key.Shard}] = row
			t.oldest[s.level].rows = append(t.oldest[s.level].rows, key)
			if key.Blocks >= config.Compaction.Levels[s.level].BlocksMax {
				t.full[s.level].rows = append(t.full[s.level].rows, key)
			}
		}
		row.places.rows = append(row.places.rows, compaction.Place{At: t.Now, ID: BlockID(start, uint64(i))})
	}
	now := t.Now.Add(time.Hour)
	for i := range n / 20 {
		t.revisions++
		state := schedule.Job{Name: fmt.Sprintf("%x-T-S1-L2", i), Level: 2, Status: schedule.InProgress, Token: uint64(i), Revision: t.revisions}
		state.LeaseExpiresAt, state.Failures = now.Add(time.Second), uint32(i%4)
		t.jobs[state.Name] = &jobRow{state: state, plan: compaction.Job{Name: state.Name, Shard: 1, Level: 2}}
		t.order.rows = append(t.order.rows, state)
		t.free.rows = append(t.free.rows, compaction.Tombstone{Name: fmt.Sprint(i), Shard: 1, Since: start.Add(-time.Hour) + planner.Time(i)})
	}
	slices.SortFunc(t.order.rows, compareJobs)
	t.Reads = Reads{}
	return t, config, now
}

// TestCost demands that a poll reads no more with 1,000,000 blocks in the queue than
// with 1,000, whatever they are; and for each job no more than its blocks, the next
// one, its key, and its tombstones.
func TestCost(t *testing.T) {
	counts := []int{1_000, 100_000, 1_000_000}
	if testing.Short() {
		counts = counts[:2]
	}
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var first [2]Reads
			for i, n := range counts {
				tables, config, later := queued(n, s)
				for j, now := range []planner.Time{later, start.Add(time.Second)} {
					tables.Reads = Reads{}
					created := costOf(t, tables, config, now, s.level)
					t.Logf("%8d blocks, %d jobs: %d seeks, %d rows", n, created, tables.Reads.Seeks, tables.Reads.Rows)
					if i == 0 {
						first[j] = tables.Reads
					} else if tables.Reads != first[j] {
						t.Errorf("%d blocks: read %+v, with %d blocks %+v", n, tables.Reads, counts[0], first[j])
					}
				}
			}
		})
	}
}

// costOf bounds what one poll reads.
func costOf(t *testing.T, tables *Tables, config schedule.Config, now planner.Time, level uint32) (created int) {
	const capacity = 8
	d, err := schedule.Poll(tables, config, now, schedule.Request{Capacity: capacity})
	if err != nil {
		t.Fatal(err)
	}
	perJob := 1 + config.Compaction.Levels[level].BlocksMax + 1 + config.Compaction.TombstonesMax
	if most := len(d.Create)*perJob + 40; tables.Reads.Rows > most {
		t.Errorf("read %d rows for %d jobs, more than %d", tables.Reads.Rows, len(d.Create), most)
	}
	if most := capacity + 50; tables.Reads.Seeks > most {
		t.Errorf("%d seeks, more than %d", tables.Reads.Seeks, most)
	}
	return len(d.Create)
}

// TestCostOfBlockedStreams demands that streams with a full outbox, many as they
// may be, are passed over within a bound.
func TestCostOfBlockedStreams(t *testing.T) {
	config := schedule.Defaults()
	tables := NewTables(config.Compaction.Levels)
	for i := range 3 * config.Compaction.SkipsMax {
		tables.Now = start + planner.Time(i)
		tables.Add(BlockID(start, uint64(i)), "", uint32(i), 0)
		tables.Full[uint32(i)] = true
	}
	tables.Add(BlockID(start, 1<<20), "acme", 1, 1)
	d, err := schedule.Poll(tables, config, start.Add(time.Hour), schedule.Request{Capacity: 4})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Create) != 1 || d.Create[0].Tenant != "acme" || d.Stopped.Code != planner.SkipLimit {
		t.Errorf("created %+v, stopped: %v", d.Create, d.Stopped)
	}
	if most := config.Compaction.SkipsMax + 20; tables.Reads.Rows > most {
		t.Errorf("read %d rows, more than %d", tables.Reads.Rows, most)
	}
}

// BenchmarkPoll is one poll by what is queued: of a worker with 8 free slots and 8
// running jobs, and one that is idle.
func BenchmarkPoll(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		for _, s := range shapes {
			tables, config, now := queued(n, s)
			request := schedule.Request{Capacity: 8}
			for i := range 8 {
				job := tables.order.rows[i]
				request.Updates = append(request.Updates, schedule.Update{
					Name: job.Name, Token: job.Token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS,
				})
			}
			b.Run(fmt.Sprintf("%s/blocks=%d", s.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := schedule.Poll(tables, config, now, request); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		tables, config, now := queued(n, shapes[2])
		tables.free.rows = nil
		config.Compaction.Levels[1].AgeMax = 2 * time.Hour
		b.Run(fmt.Sprintf("nothing due/blocks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := schedule.Poll(tables, config, now, schedule.Request{Capacity: 8}); err != nil || !d.Empty() {
					b.Fatal(err, d)
				}
			}
		})
	}
}
