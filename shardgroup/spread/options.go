package spread

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/storage/objects"
)

// Options are the settings of adaptive placement. The zero value turns it off.
type Options struct {
	// Where distributors read the rules; nil: nothing is counted, nothing written.
	// All nodes must have the same.
	Bucket objects.Bucket
	// Time between two updates of the rules. Default 15 s.
	Interval time.Duration
	// How long a new manager makes rules without writing them.
	Confidence time.Duration
	// How long writing an object may take, and how long a new manager leaves the
	// objects alone, for the one before it may still be writing. Default 10 s.
	PutTimeout time.Duration
	// The zero value is replaced by adaptive.Defaults as a whole.
	Config adaptive.Config
	// Of tenants without overrides. The zero value is replaced by
	// adaptive.DefaultLimits as a whole.
	Limits adaptive.Limits
	// Metrics with a series for each dataset, or each of its shards.
	ExportLimits, ExportUsage, ExportBreakdown bool
}

const (
	defaultInterval   = 15 * time.Second
	defaultPutTimeout = 10 * time.Second
)

// WithDefaults replaces what is not set.
func (o Options) WithDefaults() Options {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.PutTimeout == 0 {
		o.PutTimeout = defaultPutTimeout
	}
	if o.Config == (adaptive.Config{}) {
		o.Config = adaptive.Defaults()
	}
	if o.Limits == (adaptive.Limits{}) {
		o.Limits = adaptive.DefaultLimits()
	}
	return o
}

// Validate reports every fault.
func (o Options) Validate() error {
	o = o.WithDefaults()
	var faults []error
	if o.Interval < time.Millisecond || o.Confidence < 0 || o.PutTimeout < 0 {
		faults = append(faults, fmt.Errorf("the interval is %s, must be at least 1ms; the confidence period and timeouts cannot be negative", o.Interval))
	}
	return errors.Join(append(faults, o.Config.Validate(), o.Limits.Validate())...)
}
