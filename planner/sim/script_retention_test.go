package sim

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/retention"
)

// shards is a plain model of a group's index shards.
type shards struct {
	config  retention.Config
	started bool
	rows    []retention.Row
	tenants map[retention.Place][]retention.TenantEnd
	next    retention.Place
}

var _ retention.View = (*shards)(nil)

func comparePartitions(a, b retention.Place) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Shard, b.Shard))
}

func (s *shards) Rows(after retention.Place) iter.Seq2[retention.Row, error] {
	return func(yield func(retention.Row, error) bool) {
		for _, row := range s.rows {
			if comparePartitions(row.Place, after) > 0 && !yield(row, nil) {
				return
			}
		}
	}
}

func (s *shards) TenantsOf(partition planner.Time, shard uint32) iter.Seq2[retention.TenantEnd, error] {
	return func(yield func(retention.TenantEnd, error) bool) {
		for _, tenant := range s.tenants[retention.Place{Partition: partition, Shard: shard}] {
			if !yield(tenant, nil) {
				return
			}
		}
	}
}

func (s *shards) OldestLive(tenant string, shard uint32) (planner.Time, bool, error) {
	for _, row := range s.rows {
		if row.Tenant == tenant && row.Shard == shard && row.Blocks > 0 {
			return row.Partition, true, nil
		}
	}
	return 0, false, nil
}

// retention runs the commands about retention:
//
//	periods 24h acme=48h free=0s      default, then overrides
//	budget removals=, blocks=, rows=, empty=
//	shard PARTITION tenant shard end=TIME blocks=N        an index shard of a tenant
//	segments PARTITION shard blocks=N acme=TIME other=TIME  of segments, with their tenants
//	sweep                             plans from where the last one stopped, and removes
//	sweep dry                         plans from the start, and says why what stays stays
func (s *script) retention(word string, a arguments) error {
	r := s.shards
	if !r.started {
		r.config, r.started = retention.Defaults(), true
		r.tenants = map[retention.Place][]retention.TenantEnd{}
	}
	switch word {
	case "periods":
		r.config.Periods = retention.Periods{Overrides: map[string]time.Duration{}}
		r.config.Periods.Default, _ = time.ParseDuration(a.plain[0])
		for tenant, period := range a.named {
			r.config.Periods.Overrides[tenant], _ = time.ParseDuration(period)
		}
	case "budget":
		r.config.RemovalsMax = a.number("removals", r.config.RemovalsMax)
		r.config.BlocksMax = uint64(a.number("blocks", int(r.config.BlocksMax)))
		r.config.RowsMax = a.number("rows", r.config.RowsMax)
		if text := a.text("empty", ""); text != "" {
			r.config.EmptyAfter, _ = time.ParseDuration(text)
		}
	case "shard":
		end := a.moment("end", 0)
		var shard uint32
		fmt.Sscan(a.plain[2], &shard)
		r.add(retention.Row{
			Place:  retention.Place{Partition: a.moment("0", 0), Tenant: a.plain[1], Shard: shard},
			Blocks: uint64(a.number("blocks", 1)), DataEnd: int64(end) / 1e6,
		})
	case "segments":
		row := retention.Row{Place: retention.Place{Partition: a.moment("0", 0)}, Blocks: uint64(a.number("blocks", 1))}
		fmt.Sscan(a.plain[1], &row.Shard)
		delete(a.named, "blocks")
		for _, tenant := range sortedNames(a.named) {
			end := int64(a.moment(tenant, 0)) / 1e6
			row.DataEnd = max(row.DataEnd, end)
			r.tenants[row.Place] = append(r.tenants[row.Place], retention.TenantEnd{Tenant: strings.Trim(tenant, `"`), DataEnd: end})
		}
		r.add(row)
	case "sweep":
		return s.sweep(len(a.plain) > 0)
	default:
		return fmt.Errorf("no command %s", word)
	}
	return nil
}

func (s *shards) add(row retention.Row) {
	s.rows = append(s.rows, row)
	slices.SortFunc(s.rows, func(a, b retention.Row) int { return comparePartitions(a.Place, b.Place) })
}

func (s *script) sweep(dry bool) error {
	r := s.shards
	config, after := r.config, r.next
	if dry {
		config.Explain, after = true, retention.Place{}
	}
	plan, err := retention.Make(r, config, s.tables.Now, after)
	if err != nil {
		return err
	}
	for _, removal := range plan.Remove {
		s.printf("remove %s: %v", removal.Tombstone, removal.Reason)
	}
	for _, kept := range plan.Keep {
		s.printf("keep %s: %v", retention.TombstoneName(kept.Place), kept.Reason)
	}
	if plan.Stopped != (planner.Reason{}) {
		s.printf("stopped: %v", plan.Stopped)
	}
	if dry {
		return nil
	}
	r.next = plan.Next
	for _, removal := range plan.Remove {
		r.rows = slices.DeleteFunc(r.rows, func(row retention.Row) bool { return row.Place == removal.Place })
	}
	return nil
}
