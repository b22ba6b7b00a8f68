package planner

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestReasonsHaveWords(t *testing.T) {
	seen := map[string]Code{}
	for _, span := range [][2]Code{{BatchFull, Paused}, {AssignedNew, Evicted}, {Expired, BudgetUsed}} {
		for code := span[0]; code <= span[1]; code++ {
			text := Reason{Code: code}.String()
			if strings.HasPrefix(text, "unknown") {
				t.Errorf("code %d has no text", code)
			}
			if other, twice := seen[text]; twice {
				t.Errorf("codes %d and %d both say %q", code, other, text)
			}
			seen[text] = code
		}
	}
	if got := (Reason{}).String(); got != "unknown reason 0" {
		t.Errorf("the zero reason says %q", got)
	}
}

func TestTime(t *testing.T) {
	for _, c := range []struct {
		t    Time
		d    time.Duration
		want Time
	}{
		{5, 3, 8}, {5, -8, -3}, {Never, -1, Never}, {Never - 1, 2, Never},
		{math.MinInt64 + 1, -2, math.MinInt64}, {Never - 1, 1, Never},
	} {
		if got := c.t.Add(c.d); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.t, c.d, got, c.want)
		}
	}
	if got := Time(math.MinInt64).Sub(1); got != math.MinInt64 {
		t.Errorf("wrapped to %d", got)
	}
	if got := Never.Sub(-1); got != math.MaxInt64 {
		t.Errorf("wrapped to %d", got)
	}
	for moment, want := range map[Time]string{0: "not set", Never: "never", 1_500_000_000: "1970-01-01T00:00:01.5Z"} {
		if got := moment.String(); got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
}
