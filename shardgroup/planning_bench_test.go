package shardgroup

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
)

// BenchmarkPlanning decides polls on the tables as they are stored, without
// carrying anything out: 8 renewals, 8 assignments and 8 new jobs of 20 segments;
// and one where nothing is due.
func BenchmarkPlanning(b *testing.B) {
	for _, queued := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("queued=%d", queued), func(b *testing.B) {
			machine := filledMachine(b, queued)
			for _, poll := range []struct {
				name string
				ask  schedule.Request
				jobs int
			}{{"jobs=8", schedule.Request{Capacity: 8, Updates: renewals()}, 8}, {"idle", schedule.Request{}, 0}} {
				b.Run(poll.name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := machine.Lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
							d, err := schedule.Poll(planView{v}, schedule.Defaults(), planner.Time(time.Hour), poll.ask)
							if err == nil && (len(d.Assign) != poll.jobs || len(d.Create) != poll.jobs || len(d.Renew) != poll.jobs) {
								err = fmt.Errorf("%d assigned, %d created, %d renewed", len(d.Assign), len(d.Create), len(d.Renew))
							}
							if err != nil {
								return err
							}
							if _, err = d.Answer(planView{v}.workerJob); err != nil {
								return err
							}
							_, err = backlog(v, groupTime(v, time.Now), schedule.Defaults().Compaction)
							return err
						}}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

func jobName(n int) string { return fmt.Sprintf("%016x-T-S1-L0", n) }

// The first 8 jobs are in progress, 8 more wait.
func renewals() []schedule.Update {
	var updates []schedule.Update
	for n := range 8 {
		updates = append(updates, schedule.Update{
			Name: jobName(n), Token: uint64(n + 1), Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS,
		})
	}
	return updates
}

func filledMachine(b *testing.B, queued int) *statemachine.Machine {
	b.Helper()
	engine, err := kv.OpenEngine(b.TempDir(), kv.EngineOptions{Durability: kv.NoWAL})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := engine.Close(); err != nil {
			b.Error(err)
		}
	})
	db, err := engine.DB(2)
	if err != nil {
		b.Fatal(err)
	}
	const step = 10_000
	for from := 0; from < queued; from += step {
		if err := db.Update(func(tx *kv.Tx) error { return fill(tx, from, min(queued, from+step), uint32(min(1000, queued/20))) }); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Update(func(tx *kv.Tx) error {
		w, err := jobs.NewWriter(tx)
		for n := 0; err == nil && n < 16; n++ {
			state := &raftlogv1.JobState{Job: &raftlogv1.CompactionJob{Name: jobName(n), Shard: 1}, Revision: 1}
			for range 20 {
				state.Job.Sources = append(state.Job.Sources, ulid.ULID{byte(n)}.String())
			}
			if n < 8 {
				state.InProgress, state.Token, state.LeaseExpiresAt = true, uint64(n+1), int64(2*time.Hour)
			}
			err = w.Put(nil, state)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return statemachine.NewData(db, statemachine.NewCache(1<<20))
}

func fill(tx *kv.Tx, from, to int, shards uint32) error {
	w, err := queue.NewWriter(tx, nil)
	if err != nil {
		return err
	}
	for n := from; n < to; n++ {
		var id ulid.ULID
		binary.BigEndian.PutUint64(id[8:], uint64(n))
		if err := w.Push(queue.Key{Shard: uint32(n) % shards}, id, int64(n)*1000); err != nil {
			return err
		}
	}
	return w.Flush()
}
