package sim

import (
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var errDisk = errors.New("disk")

// failing fails at one read: the opening of a list, a row, or a look-up.
type failing struct {
	*Tables
	left int
}

func (f *failing) fails() bool { f.left--; return f.left == -1 }

func list[T any](f *failing, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if f.fails() {
			yield(none, errDisk)
			return
		}
		for row, err := range rows {
			if f.fails() {
				yield(none, errDisk)
				return
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func look[T any](f *failing, value T, err error) (T, error) {
	if f.fails() {
		return value, errDisk
	}
	return value, err
}

func (f *failing) OldestKeys(level uint32) iter.Seq2[compaction.Key, error] {
	return list(f, f.Tables.OldestKeys(level))
}

func (f *failing) FullKeys(level uint32, blocksMin int, from planner.Time) iter.Seq2[compaction.Key, error] {
	return list(f, f.Tables.FullKeys(level, blocksMin, from))
}

func (f *failing) Blocks(level uint32, tenant string, shard uint32, after compaction.Place) iter.Seq2[compaction.Place, error] {
	return list(f, f.Tables.Blocks(level, tenant, shard, after))
}

func (f *failing) Returned(level uint32) iter.Seq2[compaction.Batch, error] {
	return list(f, f.Tables.Returned(level))
}

func (f *failing) OutboxFull(shard uint32) (bool, error) {
	full, err := f.Tables.OutboxFull(shard)
	return look(f, full, err)
}

func (f *failing) Tombstones() iter.Seq2[compaction.Tombstone, error] {
	return list(f, f.Tables.Tombstones())
}

func (f *failing) Job(name string) (schedule.Job, bool, error) {
	job, found, err := f.Tables.Job(name)
	job, err = look(f, job, err)
	return job, found, err
}

func (f *failing) JobPlan(name string) (compaction.Job, error) {
	plan, err := f.Tables.JobPlan(name)
	return look(f, plan, err)
}

func (f *failing) Completed(name string) (uint64, bool, error) {
	token, found, err := f.Tables.Completed(name)
	token, err = look(f, token, err)
	return token, found, err
}

func (f *failing) Jobs(level uint32, status schedule.Status, failuresMin uint32) iter.Seq2[schedule.Job, error] {
	return list(f, f.Tables.Jobs(level, status, failuresMin))
}

func (f *failing) JobsCount() (int, error) {
	count, err := f.Tables.JobsCount()
	return look(f, count, err)
}

func (f *failing) LastToken() (uint64, error) {
	token, err := f.Tables.LastToken()
	return look(f, token, err)
}

// TestPollReadErrors lets each read of a busy poll fail in turn: none may be taken for
// the end of a list, since half a decision looks like one.
func TestPollReadErrors(t *testing.T) {
	o := options(3)
	f := newFleet(o)
	for range o.Steps {
		if err := f.step(); err != nil {
			t.Fatal(err)
		}
	}
	clear(f.tables.Full)
	now := max(f.tables.Now, f.clock).Add(time.Hour)
	request := schedule.Request{Capacity: 20, Updates: []schedule.Update{
		{Name: "unknown", Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS},
	}}
	for i, job := range f.tables.order.rows {
		status := metastorev1.CompactionJobStatus(1 + i%2)
		if i < 4 && job.Status == schedule.InProgress {
			request.Updates = append(request.Updates, schedule.Update{Name: job.Name, Token: job.Token, Status: status})
		}
	}
	want, err := schedule.Poll(f.tables, o.Config, now, request)
	if err != nil || len(want.Create) == 0 || len(want.Assign) == 0 || len(want.Complete) == 0 {
		t.Fatalf("not a busy poll: %+v, %v", want, err)
	}
	for n := range 10_000 {
		d, err := schedule.Poll(&failing{f.tables, n}, o.Config, now, request)
		if err == nil {
			if n < 50 {
				t.Fatalf("only %d reads", n)
			}
			return
		}
		if !errors.Is(err, errDisk) || !d.Empty() {
			t.Fatalf("read %d failed: %v, %+v", n, err, d)
		}
	}
	t.Fatal("never succeeded")
}

// failingShards is failing for retention.
type failingShards struct {
	*shards
	failing
}

func (f *failingShards) Rows(after retention.Place) iter.Seq2[retention.Row, error] {
	return list(&f.failing, f.shards.Rows(after))
}

func (f *failingShards) TenantsOf(partition planner.Time, shard uint32) iter.Seq2[retention.TenantEnd, error] {
	return list(&f.failing, f.shards.TenantsOf(partition, shard))
}

func (f *failingShards) OldestLive(tenant string, shard uint32) (planner.Time, bool, error) {
	at, found, err := f.shards.OldestLive(tenant, shard)
	at, err = look(&f.failing, at, err)
	return at, found, err
}

func TestSweepReadErrors(t *testing.T) {
	place := retention.Place{Partition: start, Shard: 1}
	s := &shards{tenants: map[retention.Place][]retention.TenantEnd{place: {{Tenant: "a"}}}}
	s.add(retention.Row{Place: place, Blocks: 1})
	s.add(retention.Row{Place: retention.Place{Partition: start, Tenant: "a", Shard: 1}, Blocks: 1})
	now := start.Add(1000 * time.Hour)
	for n := range 100 {
		plan, err := retention.Make(&failingShards{s, failing{left: n}}, retention.Defaults(), now, retention.Place{})
		if err == nil {
			if n < 5 || len(plan.Remove) != 2 {
				t.Fatalf("after %d reads: %+v", n, plan)
			}
			return
		}
		if !errors.Is(err, errDisk) || len(plan.Remove) > 0 {
			t.Fatalf("read %d failed: %v, %+v", n, err, plan)
		}
	}
	t.Fatal("never succeeded")
}
