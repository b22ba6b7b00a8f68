// Package generate makes blocks out of nothing: the i-th one is a function of
// settings and i alone, so that ten millions take no memory, every machine makes
// the same, and what an answer must hold is calculated rather than remembered.
//
//	0 … Blocks-1           spread evenly over Span, up to End: what is there before
//	Blocks, Blocks+1, …    one each millisecond from End on: what is written now
//
// It knows no server and does no input or output.
package generate

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Settings determine all blocks, byte for byte.
type Settings struct {
	Seed  uint64 `json:"seed"`
	Shape Shape  `json:"shape"`
	// Blocks before the fresh ones, 1 to 10^9.
	Blocks uint64 `json:"blocks"`
	// Days over which they are spread, 0.001 to 200.
	Days float64 `json:"days"`
	// Their end, Unix milliseconds.
	End int64 `json:"end_ms"`
	// 0 for those of the shape.
	Tenants int `json:"tenants"`
	Shards  int `json:"shards"`
}

// DefaultEnd is the begin of the present day: it stays the same for a day, and
// fresh blocks are not in the future for long.
func DefaultEnd(now time.Time) int64 { return now.UTC().Truncate(24 * time.Hour).UnixMilli() }

const (
	blocksMax  = 1_000_000_000
	daysMax    = 200
	tenantsMax = 100_000
	shardsMax  = 10_000
)

// WithDefaults fills in what is zero.
func (s Settings) WithDefaults(now time.Time) Settings {
	if s.Shape == "" {
		s.Shape = Standard
	}
	f, _ := s.Shape.form()
	if s.Days == 0 {
		s.Days = 7
		if s.Shape == Real {
			s.Days = 30
		}
	}
	if s.End == 0 {
		s.End = DefaultEnd(now)
	}
	if s.Tenants == 0 {
		s.Tenants = f.tenants
	}
	if s.Shards == 0 {
		s.Shards = f.shards
	}
	return s
}

// Validate reports every fault of settings with defaults filled in.
func (s Settings) Validate() error {
	var faults []error
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	_, known := s.Shape.form()
	demand(known, "shape is %q: want %s or %s", s.Shape, Standard, Real)
	demand(s.Blocks >= 1 && s.Blocks <= blocksMax, "blocks is %d: want 1 to %d", s.Blocks, blocksMax)
	demand(s.Days >= 0.001 && s.Days <= daysMax, "days is %g: want 0.001 to %d", s.Days, daysMax)
	demand(s.Tenants >= 1 && s.Tenants <= tenantsMax, "tenants is %d: want 1 to %d", s.Tenants, tenantsMax)
	demand(s.Shards >= 1 && s.Shards <= shardsMax, "shards is %d: want 1 to %d", s.Shards, shardsMax)
	demand(s.End >= daysMax*24*3600*1000 && s.End < 1<<47, "end is %d: want Unix milliseconds", s.End)
	return errors.Join(faults...)
}

// Generator makes blocks. It is safe for concurrent use.
type Generator struct {
	settings Settings
	form     form
	span     uint64 // milliseconds
	names    []string
	services []string

	tenants, serviceOf, levels, members weights
	datasets                            [3]weights
}

// New demands settings that are valid.
func New(settings Settings) (*Generator, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	f, _ := settings.Shape.form()
	g := &Generator{
		settings: settings, form: f, span: uint64(math.Round(settings.Days * 24 * 3600 * 1000)),
		tenants: zipf(settings.Tenants, f.tenantSkew), serviceOf: zipf(f.services, f.serviceSkew),
		levels: newWeights(f.levels), members: newWeights(f.members),
	}
	for level := range f.levels {
		g.datasets[level] = newWeights(f.datasets[level])
	}
	for n := range settings.Tenants {
		g.names = append(g.names, fmt.Sprintf("tenant-%02d", n))
	}
	for n := range f.services {
		g.services = append(g.services, fmt.Sprintf(f.serviceFormat, trades[n%len(trades)], n))
	}
	return g, nil
}

var trades = []string{"checkout", "catalog", "payment", "search", "gateway", "billing", "session", "shipping", "profile", "reports"}

// Settings returns those that it was made with.
func (g *Generator) Settings() Settings { return g.settings }

// Tenants are the names that blocks may have, the most frequent first.
func (g *Generator) Tenants() []string { return g.names[:len(g.names):len(g.names)] }

// Services are the names of services of each tenant, the most frequent first.
func (g *Generator) Services() []string { return g.services[:len(g.services):len(g.services)] }

// Begin is the time of the first block, Unix milliseconds.
func (g *Generator) Begin() int64 { return g.settings.End - int64(g.span) }
