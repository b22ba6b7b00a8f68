package retention

import (
	"math"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
)

// R-RET-2: which period a tenant has.
func TestPeriods(t *testing.T) {
	p := Periods{Default: 24 * time.Hour, Overrides: map[string]time.Duration{"free": 0, "short": time.Hour, "same": 24 * time.Hour}}
	for tenant, want := range map[string]time.Duration{"": 24 * time.Hour, "other": 24 * time.Hour, "free": 0, "short": time.Hour, "same": 24 * time.Hour} {
		if got := p.Of(tenant); got != want {
			t.Errorf("tenant %q: %v, want %v", tenant, got, want)
		}
	}
	if got := p.Shortest(); got != time.Hour {
		t.Errorf("shortest is %v", got)
	}
	if got := (Periods{Overrides: map[string]time.Duration{"free": 0}}).Shortest(); got != 0 {
		t.Errorf("shortest is %v", got)
	}
	if (Periods{Default: -1}).Validate() == nil || (Periods{Overrides: map[string]time.Duration{"a": -1}}).Validate() == nil {
		t.Error("negative periods pass")
	}
}

// R-RET-3: data times are milliseconds, markers nanoseconds; comparing them must
// neither mix the units nor overflow.
func TestEndsBefore(t *testing.T) {
	for _, c := range []struct {
		millis int64
		moment planner.Time
		want   bool
	}{
		{999, 1_000_000_000, true}, {1000, 1_000_000_000, false}, {1000, 1_000_000_001, true},
		{0, 0, false}, {-1, 0, true}, {-1, -1_000_000, false}, {-2, -1_000_000, true}, {-1, -999_999, true},
		{math.MaxInt64, planner.Never, false}, {math.MinInt64, math.MinInt64, true},
		{math.MaxInt64, 0, false}, {math.MinInt64, 0, true},
	} {
		if got := endsBefore(c.millis, c.moment); got != c.want {
			t.Errorf("%d ms before %d ns: %v", c.millis, c.moment, got)
		}
	}
	if fromMillis(math.MaxInt64) < 0 || fromMillis(math.MinInt64) > 0 || fromMillis(5) != 5_000_000 {
		t.Error("printing overflows")
	}
}

func TestConfig(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Grace: -1, EmptyAfter: -1}).Validate(); err == nil {
		t.Error("nonsense passes")
	}
}
