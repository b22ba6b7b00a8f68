package disk

import (
	"errors"
	"fmt"
	"time"
)

// Options are the settings of a watchdog; zero values stand for the defaults.
type Options struct {
	// Interval is the time between the begins of two probes, and of two looks at the
	// free space. Default 1 s.
	Interval time.Duration
	// A disk is slow, or stalled, while a probe takes longer. Defaults 2 s and 10 s.
	SlowAfter, StallAfter time.Duration
	// SoftBytes and HardBytes are the limits of free space below which a disk is low
	// and full. Defaults: 2 % of the disk, from 256 MiB to 5 GiB; a quarter of the
	// soft limit, at least 64 MiB.
	SoftBytes, HardBytes uint64
	// FS is the file system. Default: the operating system's.
	FS FS
}

const (
	defaultInterval   = time.Second
	defaultSlowAfter  = 2 * time.Second
	defaultStallAfter = 10 * time.Second

	softShare    = 50 // 2 % of the disk
	softBytesMin = 256 << 20
	softBytesMax = 5 << 30
	hardShare    = 4 // a quarter of the soft limit
	hardBytesMin = 64 << 20
)

// Validate reports every fault of the settings.
func (o Options) Validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", o.Interval}, {"time to be slow", o.SlowAfter}, {"time to be stalled", o.StallAfter}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("the %s of disk probes is %s, must be positive", d.name, d.value))
		}
	}
	full := o.withDefaults()
	if full.SlowAfter > full.StallAfter {
		errs = append(errs, fmt.Errorf("a disk would be stalled after %s, before it is slow after %s", full.StallAfter, full.SlowAfter))
	}
	if o.SoftBytes > 0 && o.HardBytes > o.SoftBytes {
		errs = append(errs, fmt.Errorf("a disk would be full below %d free bytes, before it is low below %d", o.HardBytes, o.SoftBytes))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.Interval, defaultInterval}, {&o.SlowAfter, defaultSlowAfter}, {&o.StallAfter, defaultStallAfter}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if o.FS == nil {
		o.FS = systemFS{}
	}
	return o
}

// limits returns the soft and the hard limit for a disk; the hard one is not
// larger.
func (o Options) limits(total uint64) (soft, hard uint64) {
	if soft = o.SoftBytes; soft == 0 {
		soft = max(min(total/softShare, softBytesMax), softBytesMin, o.HardBytes)
	}
	if hard = o.HardBytes; hard == 0 {
		hard = min(max(soft/hardShare, hardBytesMin), soft)
	}
	return soft, hard
}

// level judges free space. A disk gets better only with a quarter more than the
// limit that it fell below, so that its level does not flutter.
func (o Options) level(before Level, free, total uint64) Level {
	soft, hard := o.limits(total)
	below := func(limit uint64, already bool) bool {
		if already {
			return free <= limit+limit/4
		}
		return free < limit
	}
	switch {
	case below(hard, before == Full):
		return Full
	case below(soft, before != Normal):
		return Low
	default:
		return Normal
	}
}
