package shardgroup

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// claims is a log that answers claims one by one, when it is told to.
type claims struct {
	terms   []uint64
	answers chan error
}

// claim returns ten times the term as epoch, so that epochs tell their origin.
func (c *claims) claim(ctx context.Context, term uint64) (uint64, error) {
	c.terms = append(c.terms, term)
	select {
	case err := <-c.answers:
		return 10 * term, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func newTestLeadership() (*leadership, *claims) {
	c := &claims{answers: make(chan error)}
	return &leadership{replicaID: 1, claimTerm: c.claim, metrics: newMetrics(prometheus.NewRegistry()).group(2), log: zap.NewNop()}, c
}

func elected(replica, term uint64) raftio.LeaderInfo {
	return raftio.LeaderInfo{ShardID: 2, ReplicaID: 1, LeaderID: replica, Term: term}
}

func wantEpoch(t *testing.T, l *leadership, want uint64) {
	t.Helper()
	synctest.Wait()
	if got := l.epoch.Load(); got != want {
		t.Errorf("epoch %d, want %d", got, want)
	}
}

func TestLeadershipClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newTestLeadership()
		l.observe(elected(7, 1)) // somebody else leads
		wantEpoch(t, l, 0)
		l.observe(elected(1, 2))
		wantEpoch(t, l, 0)
		log.answers <- ErrNotReady // tried again
		log.answers <- nil
		wantEpoch(t, l, 20)
		l.observe(elected(1, 2)) // said twice
		wantEpoch(t, l, 20)
		l.observe(elected(1, 5)) // elected again, in a later term
		wantEpoch(t, l, 0)
		log.answers <- nil
		wantEpoch(t, l, 50)
		l.observe(elected(7, 6))
		wantEpoch(t, l, 0)
		if len(log.terms) != 3 || log.terms[0] != 2 || log.terms[1] != 2 || log.terms[2] != 5 {
			t.Errorf("claimed terms %v", log.terms)
		}
		l.stop()
	})
}

// A claim that succeeds after its tenure ended must not be taken for the
// current one's.
func TestLeadershipEndsWithItsTenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, _ := newTestLeadership()
		l.claimTerm = func(context.Context, uint64) (uint64, error) {
			<-release // whatever the context says
			return 20, nil
		}
		l.observe(elected(1, 2))
		synctest.Wait()
		l.observe(elected(7, 3))
		close(release)
		wantEpoch(t, l, 0)
		l.stop()
	})
}

func TestLeadershipDoesNotRepeatARefusedClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newTestLeadership()
		l.observe(elected(1, 2))
		log.answers <- errors.Join(ErrRefused)
		wantEpoch(t, l, 0)
		l.done.Wait() // the tenure's goroutine has ended by itself
		l.stop()
	})
}

// stop waits for the tenure, and nothing begins afterwards.
func TestLeadershipStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, stopped := make(chan struct{}), make(chan struct{})
		l, _ := newTestLeadership()
		l.claimTerm = func(context.Context, uint64) (uint64, error) {
			<-release
			return 20, nil
		}
		l.observe(elected(1, 2))
		go func() {
			l.stop()
			close(stopped)
		}()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("stopped while a claim was in flight")
		default:
		}
		close(release)
		<-stopped
		l.observe(elected(1, 3))
		wantEpoch(t, l, 0)
	})
}

// What waits for an answer of the leader hears of the next one, not of the loss.
func TestLeadershipTellsOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLeadership()
		closed := func(heard <-chan struct{}) bool {
			select {
			case <-heard:
				return true
			default:
				return false
			}
		}
		first := l.another()
		l.observe(elected(0, 2))
		if closed(first) {
			t.Error("told of no leader")
		}
		l.observe(elected(7, 2))
		if !closed(first) || closed(l.another()) {
			t.Error("a new leader was not told of, or told of to those who came later")
		}
		l.stop()
	})
}
