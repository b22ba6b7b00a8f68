package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Voters that do not take a group over are asked a bounded number of times.
func TestHandOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []uint64
		var gone atomic.Bool
		always := func() bool { return !gone.Load() }
		refuse := func(voter uint64) error {
			asked = append(asked, voter)
			return fmt.Errorf("refusal %d", voter)
		}
		begin := time.Now()
		err := handOver(t.Context(), []uint64{2, 3}, always, refuse)
		if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "refusal 3") {
			t.Errorf("nobody takes it: %v", err)
		}
		if took := time.Since(begin); !slices.Equal(asked, []uint64{2, 3, 2, 3}) || took != 4*time.Second {
			t.Errorf("asked %v in %s", asked, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := handOver(ctx, []uint64{2, 3}, always, refuse); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no time is left: %v", err)
		}
		if err := handOver(t.Context(), nil, always, refuse); err != nil {
			t.Errorf("nobody can be asked: %v", err)
		}
		asked = nil
		err = handOver(t.Context(), []uint64{2, 3}, always, func(voter uint64) error {
			asked = append(asked, voter)
			if voter == 3 {
				time.AfterFunc(10*time.Millisecond, func() { gone.Store(true) })
			}
			return nil
		})
		if err != nil || !slices.Equal(asked, []uint64{2, 3}) {
			t.Errorf("the second one takes it: asked %v, %v", asked, err)
		}
	})
}
