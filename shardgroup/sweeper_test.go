package shardgroup

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner/retention"
)

// The first sweep comes after a whole interval, each next one an interval later,
// or soon if there was more to do than one may; the end of leadership ends them.
func TestSweepsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := &sweeper{interval: time.Hour, metrics: newMetrics(prometheus.NewRegistry()).compaction, log: zap.NewNop()}
		begin := retention.Place{Shard: 3}
		s.once = func(_ context.Context, epoch uint64, after retention.Place) (retention.Place, error) {
			at = append(at, time.Since(start))
			wants := []retention.Place{{}, begin, begin, {}}
			if epoch != 5 || after != wants[min(len(at), len(wants))-1] {
				t.Errorf("sweep %d of epoch %d begins at %v", len(at), epoch, after)
			}
			switch len(at) {
			case 1:
				return begin, nil // there is more
			case 2:
				return retention.Place{}, errors.New("lost") // begins at the same place again
			}
			return retention.Place{}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.run(ctx, 5) }()
		time.Sleep(3*time.Hour + time.Minute)
		cancel()
		<-ended
		soon := time.Hour + sweepPause
		if want := []time.Duration{time.Hour, soon, soon + time.Hour, soon + 2*time.Hour}; !slices.Equal(at, want) {
			t.Errorf("sweeps at %v, want %v", at, want)
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
