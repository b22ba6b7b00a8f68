package retention

import (
	"fmt"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner"
)

// Periods says how long tenants keep their data. A period of 0 is for ever.
type Periods struct {
	// For tenants without an override.
	Default time.Duration
	// By tenant. An override of 0 keeps for ever; one that equals the default changes
	// nothing.
	Overrides map[string]time.Duration
}

// Of is the period of a tenant; 0 is for ever.
func (p Periods) Of(tenant string) time.Duration {
	if period, overridden := p.Overrides[tenant]; overridden {
		return period
	}
	return p.Default
}

// Shortest is the shortest period that ends; 0 if none does.
func (p Periods) Shortest() time.Duration {
	shortest := p.Default
	for _, period := range p.Overrides {
		if period > 0 && (shortest == 0 || period < shortest) {
			shortest = period
		}
	}
	return shortest
}

// Validate reports negative periods.
func (p Periods) Validate() error {
	if p.Default < 0 {
		return fmt.Errorf("negative default retention period %v", p.Default)
	}
	var tenants []string
	for tenant, period := range p.Overrides {
		if period < 0 {
			tenants = append(tenants, tenant)
		}
	}
	if len(tenants) > 0 {
		slices.Sort(tenants)
		return fmt.Errorf("negative retention period of tenants %.64q", tenants)
	}
	return nil
}

// marker is the moment before which data with a period is past it; none for 0.
func marker(now planner.Time, period time.Duration) (at planner.Time, ends bool) {
	return now.Add(-period), period > 0
}

// endsBefore tells whether data up to a time in Unix milliseconds, inclusive, lies
// before a moment. Data times come from clients: they may be anything.
func endsBefore(millis int64, moment planner.Time) bool {
	const perMilli = int64(time.Millisecond)
	whole, rest := int64(moment)/perMilli, int64(moment)%perMilli
	if rest > 0 {
		whole++
	}
	return millis < whole
}

// fromMillis is for printing: beyond what Time can tell, its ends.
func fromMillis(millis int64) planner.Time {
	const last = int64(planner.Never) / int64(time.Millisecond)
	return planner.Time(min(max(millis, -last), last) * int64(time.Millisecond))
}
