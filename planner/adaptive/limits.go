package adaptive

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

// Balancing is what an operator wants of a tenant's datasets.
type Balancing string

const (
	// Dynamic lets the spread of a dataset over its shards decide. Once it is
	// round-robin it stays so.
	Dynamic Balancing = "dynamic"
	// Fingerprint keeps a series in one shard.
	Fingerprint Balancing = "fingerprint"
	// RoundRobin spreads each series.
	RoundRobin Balancing = "round-robin"
)

// fixed returns what was configured, or UNSPECIFIED for Dynamic.
func (b Balancing) fixed() adaptiveplacement.LoadBalancing {
	switch b {
	case Fingerprint:
		return adaptiveplacement.LoadBalancing_LOAD_BALANCING_FINGERPRINT
	case RoundRobin:
		return adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN
	default:
		return adaptiveplacement.LoadBalancing_LOAD_BALANCING_UNSPECIFIED
	}
}

// Limits are those of one tenant.
type Limits struct {
	// Shards that a tenant's data may be spread over; 0 for no limit.
	TenantShards uint64
	// Shards of a dataset. A minimum above the maximum counts as the maximum.
	MinDatasetShards, MaxDatasetShards uint64
	// Bytes per second that one shard is to take of a dataset. 0: the minimum of
	// shards stands, whatever comes.
	UnitBytes uint64
	// Growth that follows another one within this time is a burst, and gets more
	// than it asks for.
	BurstWindow time.Duration
	// A dataset shrinks to the most that it needed in the last one to two windows.
	DecayWindow   time.Duration
	LoadBalancing Balancing
}

// DefaultLimits are Pyroscope's.
func DefaultLimits() Limits {
	return Limits{
		MinDatasetShards: 1, MaxDatasetShards: 1024, UnitBytes: 128 << 10,
		BurstWindow: 17 * time.Minute, DecayWindow: 19 * time.Minute, LoadBalancing: Dynamic,
	}
}

// MaxShards bounds every number of shards: Pyroscope knows shards by 32 bits.
const MaxShards = 1 << 31

// Validate reports every fault.
func (l Limits) Validate() error {
	var faults []error
	if l.TenantShards > MaxShards || l.MinDatasetShards > MaxShards || l.MaxDatasetShards > MaxShards {
		faults = append(faults, fmt.Errorf("at most %d shards are possible", uint64(MaxShards)))
	}
	if l.MaxDatasetShards < 1 {
		faults = append(faults, errors.New("a dataset needs at least 1 shard"))
	}
	if l.MinDatasetShards > l.MaxDatasetShards {
		faults = append(faults, fmt.Errorf("the least number of a dataset's shards, %d, exceeds the largest, %d", l.MinDatasetShards, l.MaxDatasetShards))
	}
	if l.BurstWindow < 0 || l.DecayWindow < 0 {
		faults = append(faults, errors.New("windows cannot be negative"))
	}
	switch l.LoadBalancing {
	case Dynamic, Fingerprint, RoundRobin:
	default:
		faults = append(faults, fmt.Errorf("load balancing is %.32q, must be %s, %s or %s", l.LoadBalancing, Dynamic, Fingerprint, RoundRobin))
	}
	return errors.Join(faults...)
}

// Override is what a tenant has of its own; nil inherits.
type Override struct {
	TenantShards, IngestionTenantShards *uint64
	MinDatasetShards, MaxDatasetShards  *uint64
	UnitBytes                           *uint64
	BurstWindow, DecayWindow            *time.Duration
	LoadBalancing                       *Balancing
}

// With returns limits with a tenant's own in their place. The shards of a tenant are
// at least those that ingestion gives it, or Pyroscope's distributors would be told
// of fewer than they use.
func (l Limits) With(o Override) Limits {
	set(&l.TenantShards, o.TenantShards)
	set(&l.MinDatasetShards, o.MinDatasetShards)
	set(&l.MaxDatasetShards, o.MaxDatasetShards)
	set(&l.UnitBytes, o.UnitBytes)
	set(&l.BurstWindow, o.BurstWindow)
	set(&l.DecayWindow, o.DecayWindow)
	set(&l.LoadBalancing, o.LoadBalancing)
	if o.IngestionTenantShards != nil {
		l.TenantShards = max(l.TenantShards, *o.IngestionTenantShards)
	}
	return l
}

func set[T any](to *T, own *T) {
	if own != nil {
		*to = *own
	}
}
