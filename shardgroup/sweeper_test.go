package shardgroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner/retention"
)

// The first sweep comes after a whole interval, each next one an interval later;
// the end of leadership ends them.
func TestSweepsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := &sweeper{interval: time.Hour, metrics: newMetrics(prometheus.NewRegistry()).compaction, log: zap.NewNop()}
		begin := retention.Place{Shard: 3}
		s.once = func(_ context.Context, epoch uint64, after retention.Place) (retention.Place, error) {
			at = append(at, time.Since(start))
			switch {
			case epoch != 5:
				t.Errorf("epoch %d", epoch)
			case len(at) == 1 && after != (retention.Place{}), len(at) > 1 && after != begin:
				t.Errorf("sweep %d begins at %v", len(at), after)
			case len(at) == 2:
				return retention.Place{}, errors.New("lost") // begins at the same place again
			}
			return begin, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.run(ctx, 5) }()
		time.Sleep(3*time.Hour + time.Minute)
		cancel()
		<-ended
		if len(at) != 3 || at[0] != time.Hour || at[2] != 3*time.Hour {
			t.Errorf("sweeps at %v", at)
		}
		s.interval = -1
		s.run(t.Context(), 5) // returns at once
	})
}

// Duties begin with the claim and end with the tenure.
func TestLeadershipHasDuties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newTestLeadership()
		var running []uint64
		l.duties = func(ctx context.Context, epoch uint64) {
			running = append(running, epoch)
			<-ctx.Done()
			running = running[:len(running)-1]
		}
		l.observe(elected(1, 2))
		synctest.Wait()
		if len(running) != 0 {
			t.Error("duties without a claim")
		}
		log.answers <- nil
		synctest.Wait()
		if len(running) != 1 || running[0] != 20 {
			t.Errorf("running under %v", running)
		}
		l.observe(elected(7, 3))
		synctest.Wait()
		if len(running) != 0 {
			t.Error("duties after the tenure")
		}
		l.observe(elected(1, 4))
		log.answers <- nil
		synctest.Wait()
		l.stop()
		if len(running) != 0 {
			t.Error("duties after the stop")
		}
	})
}
