package sim

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/retention"
)

// TestRetentionSweeps runs sweeps over random index shards and compares each removal,
// and what is left in the end, with the plain rules.
func TestRetentionSweeps(t *testing.T) {
	for s := range *seeds {
		if err := sweeps(s+1, func(s *shards) retention.View { return s }); err != nil {
			t.Fatalf("seed %d: %v", s+1, err)
		}
	}
}

// TestRetentionRulesCanFail breaks what a sweep sees. Each must be noticed.
func TestRetentionRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		want string
		view func(*shards) retention.View
	}{
		{"not in order", func(s *shards) retention.View { return forgetful{s} }},
		{"not expired", func(s *shards) retention.View { return shortSighted{s} }},
	} {
		noticed := false
		for s := uint64(1); s < 300 && !noticed; s++ {
			err := sweeps(s, c.view)
			noticed = err != nil && strings.Contains(err.Error(), c.want)
		}
		if !noticed {
			t.Errorf("nobody noticed: %s", c.want)
		}
	}
}

// forgetful knows of no older partitions.
type forgetful struct{ *shards }

func (forgetful) OldestLive(string, uint32) (planner.Time, bool, error) { return 0, false, nil }

// shortSighted sees only one tenant of segments.
type shortSighted struct{ *shards }

func (s shortSighted) TenantsOf(partition planner.Time, shard uint32) iter.Seq2[retention.TenantEnd, error] {
	return func(yield func(retention.TenantEnd, error) bool) {
		for tenant, err := range s.shards.TenantsOf(partition, shard) {
			yield(tenant, err)
			return
		}
	}
}

func sweeps(seed uint64, view func(*shards) retention.View) error {
	random := rand.New(rand.NewPCG(seed, 2))
	s := &shards{config: retention.Defaults(), tenants: map[retention.Place][]retention.TenantEnd{}}
	periods := []time.Duration{0, time.Hour, 24 * time.Hour, 72 * time.Hour}
	s.config.Periods = retention.Periods{Default: periods[random.IntN(4)], Overrides: map[string]time.Duration{
		"a": periods[random.IntN(4)], "b": periods[random.IntN(4)],
	}}
	s.config.RowsMax, s.config.RemovalsMax, s.config.BlocksMax = 1+random.IntN(20), 1+random.IntN(10), uint64(1+random.IntN(20))
	seen := map[retention.Place]bool{}
	for range random.IntN(60) {
		partition := start.Add(time.Duration(random.IntN(30)) * retention.PartitionDuration)
		dataEnd := func() int64 { return int64(partition.Add(time.Duration(random.IntN(40))*time.Hour)) / 1e6 }
		place := retention.Place{Partition: partition, Shard: uint32(random.IntN(2))}
		row := retention.Row{Place: place, Blocks: uint64(random.IntN(4)), DataEnd: dataEnd()}
		if random.IntN(3) > 0 {
			row.Tenant = []string{"a", "b", "c"}[random.IntN(3)]
		}
		if seen[row.Place] {
			continue
		}
		seen[row.Place] = true
		if row.Tenant == "" {
			for _, tenant := range []string{"a", "b", "c"}[random.IntN(3):] {
				s.tenants[row.Place] = append(s.tenants[row.Place], retention.TenantEnd{Tenant: tenant, DataEnd: dataEnd()})
			}
		}
		s.add(row)
	}
	now := start
	for range 60 {
		now = now.Add(time.Duration(random.IntN(12)) * time.Hour)
		if err := sweep(s, view(s), now); err != nil {
			return err
		}
	}
	s.next = retention.Place{}
	for range 2 * (len(s.rows) + 2) {
		if err := sweep(s, view(s), now); err != nil {
			return err
		}
	}
	for i, row := range s.rows {
		if mayGo(s, row, now) && olderLive(s.rows[:i], row) == nil {
			return fmt.Errorf("left: %s", retention.TombstoneName(row.Place))
		}
	}
	return nil
}

// sweep applies one sweep, checking each removal.
func sweep(s *shards, view retention.View, now planner.Time) error {
	plan, err := retention.Make(view, s.config, now, s.next)
	if err != nil {
		return err
	}
	if len(plan.Remove) > s.config.RemovalsMax {
		return fmt.Errorf("%d removals of at most %d", len(plan.Remove), s.config.RemovalsMax)
	}
	s.next = plan.Next
	for _, removal := range plan.Remove {
		for i, row := range s.rows {
			if row.Place != removal.Place {
				continue
			}
			if !mayGo(s, row, now) {
				return fmt.Errorf("not expired: %s", removal.Tombstone)
			}
			if older := olderLive(s.rows[:i], row); older != nil {
				return fmt.Errorf("not in order: %s before %s", removal.Tombstone, retention.TombstoneName(older.Place))
			}
			s.rows = append(s.rows[:i:i], s.rows[i+1:]...)
			break
		}
	}
	return nil
}

func olderLive(older []retention.Row, row retention.Row) *retention.Row {
	for _, other := range older {
		if other.Tenant == row.Tenant && other.Shard == row.Shard && other.Blocks > 0 {
			return &other
		}
	}
	return nil
}

// mayGo is the rule, plainly.
func mayGo(s *shards, row retention.Row, now planner.Time) bool {
	closes := row.Partition.Add(retention.PartitionDuration + s.config.Grace)
	past := func(tenant string, dataEnd int64) bool {
		period, overridden := s.config.Periods.Overrides[tenant]
		if !overridden {
			period = s.config.Periods.Default
		}
		marker := now.Add(-period)
		return period > 0 && marker > closes && planner.Time(dataEnd*1e6) < marker
	}
	if row.Tenant != "" {
		return past(row.Tenant, row.DataEnd)
	}
	if row.Blocks == 0 {
		return now > closes.Add(s.config.EmptyAfter)
	}
	for _, tenant := range s.tenants[row.Place] {
		if !past(tenant.Tenant, tenant.DataEnd) {
			return false
		}
	}
	return true
}
