package retention

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/planner"
)

// Config is what a sweep follows; see Defaults.
type Config struct {
	Periods Periods
	// How long a partition stays after its end and its period, for what comes late.
	Grace time.Duration
	// Segments that were all compacted away leave an empty index shard. It goes so long
	// after the end of its partition, plus Grace; 0 keeps it as if it held its data.
	// Its tombstone deletes what else lies in the folder: it must exceed the time in
	// which segments that were never indexed are recovered.
	EmptyAfter time.Duration
	// Work of one sweep: index shards removed, blocks in them, and rows read (of
	// tenants in segments, too). At least 1 each; one index shard is always judged.
	RemovalsMax int
	BlocksMax   uint64
	RowsMax     int
	// Keep the reason of each index shard that stays: for a dry run.
	Explain bool
}

// Defaults are Pyroscope's where it has the notion.
func Defaults() Config {
	return Config{
		Periods:     Periods{Default: 31 * 24 * time.Hour},
		Grace:       6 * time.Hour,
		EmptyAfter:  7 * 24 * time.Hour,
		RemovalsMax: 1024,
		BlocksMax:   100_000,
		RowsMax:     100_000,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	faults := []error{c.Periods.Validate()}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Grace < 0, "negative grace period %v", c.Grace)
	fault(c.EmptyAfter < 0, "negative period of empty index shards %v", c.EmptyAfter)
	fault(c.RemovalsMax < 1 || c.BlocksMax < 1 || c.RowsMax < 1, "a sweep must be allowed to remove and read at least 1")
	return errors.Join(faults...)
}

// Plan is one sweep. A removal holds as long as its index shard has its revision;
// others are refused one by one.
type Plan struct {
	Now planner.Time
	// In the order of removal: oldest partition first.
	Remove []Removal
	// With Explain only: what was looked at and stays.
	Keep []Kept
	// Rows read, for metrics.
	RowsRead int
	// Where the next sweep goes on, and why this one stopped; the zero place if it saw
	// all there is to see.
	Next    Place
	Stopped planner.Reason
}

// Removal is an index shard to remove, with everything that waits for its blocks.
type Removal struct {
	Row
	// Name of the tombstone to add; its span is PartitionDuration from the partition on.
	Tombstone string
	Reason    planner.Reason
}

// Kept is an index shard that stays.
type Kept struct {
	Row
	Reason planner.Reason
}

// Make plans a sweep over the index shards after a place, see Plan.Next.
func Make(view View, config Config, now planner.Time, after Place) (Plan, error) {
	s := sweep{view: view, config: config, chains: map[chain]progress{}, Plan: Plan{Now: now}}
	last, some := s.horizon()
	if !some {
		s.Stopped = planner.Reason{Code: planner.KeptForEver}
		return s.Plan, nil
	}
	for row, err := range view.Rows(after) {
		if err != nil {
			return Plan{}, fmt.Errorf("read index shards: %w", err)
		}
		if end := s.closes(row.Partition); end >= last {
			s.Stopped = planner.Reason{Code: planner.PartitionOpen, At: end}
			return s.Plan, nil
		}
		if s.exhausted(row) {
			s.Next, s.Stopped = after, planner.Reason{Code: planner.BudgetUsed}
			return s.Plan, nil
		}
		s.RowsRead++
		if err := s.judge(row); err != nil {
			return Plan{}, fmt.Errorf("judge tenant %q, shard %d, partition %v: %w", row.Tenant, row.Shard, row.Partition, err)
		}
		after = row.Place
	}
	return s.Plan, nil
}

type sweep struct {
	view   View
	config Config
	Plan
	blocks uint64
	chains map[chain]progress
}

// chain is the partitions of one tenant and data shard: they go in order.
type chain struct {
	tenant string
	shard  uint32
}

// progress of a chain in this sweep.
type progress struct {
	// Whether a partition with live blocks stays, and which.
	stuck bool
	at    planner.Time
}

// horizon is the latest marker there is: partitions that close later all stay.
func (s *sweep) horizon() (last planner.Time, some bool) {
	shortest := s.config.Periods.Shortest()
	if empty := s.config.EmptyAfter; empty > 0 && (shortest == 0 || empty < shortest) {
		shortest = empty
	}
	return marker(s.Now, shortest)
}

// closes is when a partition takes no more blocks, for all that is known.
func (s *sweep) closes(partition planner.Time) planner.Time {
	return partition.Add(PartitionDuration).Add(s.config.Grace)
}

func (s *sweep) exhausted(row Row) bool {
	return s.RowsRead >= s.config.RowsMax || len(s.Remove) >= s.config.RemovalsMax ||
		len(s.Remove) > 0 && s.blocks+row.Blocks > s.config.BlocksMax
}

func (s *sweep) judge(row Row) error {
	remove, reason, err := s.expired(row)
	if err != nil {
		return err
	}
	link := chain{row.Tenant, row.Shard}
	if remove {
		before, err := s.before(link, row.Partition)
		if err != nil {
			return err
		}
		if before.stuck {
			remove, reason = false, planner.Reason{Code: planner.OlderPartition, At: before.at}
		}
	}
	if remove {
		s.blocks += row.Blocks
		s.Remove = append(s.Remove, Removal{Row: row, Tombstone: TombstoneName(row.Place), Reason: reason})
		return nil
	}
	if row.Blocks > 0 && !s.chains[link].stuck {
		s.chains[link] = progress{stuck: true, at: row.Partition}
	}
	if s.config.Explain {
		s.Keep = append(s.Keep, Kept{Row: row, Reason: reason})
	}
	return nil
}

// before tells whether a partition must wait for an older one. What this sweep saw
// is in chains; what lies before its first place it asks for, once for each chain.
func (s *sweep) before(link chain, partition planner.Time) (progress, error) {
	known, asked := s.chains[link]
	if asked {
		return known, nil
	}
	oldest, found, err := s.view.OldestLive(link.tenant, link.shard)
	if err != nil {
		return progress{}, err
	}
	state := progress{stuck: found && oldest < partition, at: oldest}
	s.chains[link] = state
	return state, nil
}

func (s *sweep) expired(row Row) (bool, planner.Reason, error) {
	switch {
	case row.Tenant != "":
		expired, reason := s.tenantExpired(row.Partition, row.Tenant, row.DataEnd)
		return expired, reason, nil
	case row.Blocks == 0 && s.config.EmptyAfter > 0:
		closes := s.closes(row.Partition)
		if goes := closes.Add(s.config.EmptyAfter); goes >= s.Now {
			return false, planner.Reason{Code: planner.PartitionOpen, At: goes}, nil
		}
		return true, planner.Reason{Code: planner.NothingLive, At: closes}, nil
	}
	return s.segmentsExpired(row)
}

// tenantExpired judges the data of one tenant in a partition.
func (s *sweep) tenantExpired(partition planner.Time, tenant string, dataEnd int64) (bool, planner.Reason) {
	period := s.config.Periods.Of(tenant)
	marker, ends := marker(s.Now, period)
	closes := s.closes(partition)
	switch {
	case !ends:
		return false, planner.Reason{Code: planner.KeptForEver, Name: tenant}
	case marker <= closes:
		return false, planner.Reason{Code: planner.PartitionOpen, At: closes.Add(period)}
	case !endsBefore(dataEnd, marker):
		return false, planner.Reason{Code: planner.RecentData, Name: tenant, At: fromMillis(dataEnd), For: period}
	}
	return true, planner.Reason{Code: planner.Expired, At: marker, For: period}
}

// segmentsExpired demands that no tenant in the segments would keep its data.
func (s *sweep) segmentsExpired(row Row) (bool, planner.Reason, error) {
	var reason planner.Reason
	for tenant, err := range s.view.TenantsOf(row.Partition, row.Shard) {
		if err != nil {
			return false, reason, err
		}
		s.RowsRead++
		var expired bool
		if expired, reason = s.tenantExpired(row.Partition, tenant.Tenant, tenant.DataEnd); !expired {
			return false, reason, nil
		}
	}
	if reason.Code == planner.Unknown {
		// Segments without datasets: by the default period, as nobody's data.
		expired, reason := s.tenantExpired(row.Partition, "", row.DataEnd)
		return expired, reason, nil
	}
	return true, reason, nil
}
