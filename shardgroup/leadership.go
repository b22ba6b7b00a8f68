package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"go.uber.org/zap"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// leadership follows who leads a group. When it is this replica, it claims a
// new leader epoch through the log before anything may be planned under it.
type leadership struct {
	replicaID uint64
	// claimTerm proposes the claim of a term and returns the epoch it got.
	claimTerm func(ctx context.Context, term uint64) (uint64, error)
	// duties run under an epoch that was claimed, until the tenure ends; may be nil.
	duties  func(ctx context.Context, epoch uint64)
	metrics *groupMetrics
	log     *zap.Logger

	// The epoch that this replica claimed as leader, 0 if it does not lead or
	// has not claimed it yet.
	epoch atomic.Uint64

	mu     sync.Mutex
	info   raftio.LeaderInfo
	heard  chan struct{}      // closed when the next leader is known; nil if nobody asked
	cancel context.CancelFunc // of the running tenure
	closed bool
	done   sync.WaitGroup
}

// observe takes a leader event. Events of all groups of the node come from one
// goroutine, so it must not wait: the claim runs in a goroutine of the tenure.
func (l *leadership) observe(info raftio.LeaderInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	led := l.leads()
	sameTerm := info.Term == l.info.Term
	l.info = info
	if info.LeaderID != 0 && l.heard != nil {
		close(l.heard)
		l.heard = nil
	}
	if l.closed || l.leads() == led && sameTerm {
		return
	}
	l.endTenure()
	l.metrics.leading(l.leads())
	if !l.leads() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.done.Go(func() { l.tenure(ctx, info.Term) })
}

// another returns a channel that is closed when a leader of another term is
// known: what was sent to the one of now may be lost without a word.
func (l *leadership) another() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard == nil {
		l.heard = make(chan struct{})
	}
	return l.heard
}

// known reports whether the group is known to have a leader.
func (l *leadership) known() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info.LeaderID != 0
}

func (l *leadership) leads() bool {
	return l.info.LeaderID != 0 && l.info.LeaderID == l.replicaID
}

func (l *leadership) endTenure() {
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	l.epoch.Store(0)
}

const claimRetry = 100 * time.Millisecond

// tenure claims the leader epoch, tries again until it has it or the tenure
// ends, and then does the leader's duties. A claim that is refused is not repeated: a leader of a later
// term has claimed, and this one is about to hear of it.
func (l *leadership) tenure(ctx context.Context, term uint64) {
	for {
		attempt, cancel := context.WithTimeout(ctx, proposalTimeout)
		epoch, err := l.claimTerm(attempt, term)
		cancel()
		switch {
		case err == nil:
			if l.publish(ctx, epoch) && l.duties != nil {
				l.duties(ctx, epoch)
			}
			return
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrRefused):
			l.log.Info("a later leader claimed the group first", zap.Uint64("term", term), zap.Error(err))
			return
		}
		l.log.Debug("claiming leadership failed, will retry", zap.Uint64("term", term), zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(claimRetry):
		}
	}
}

// publish makes the epoch visible, unless the tenure ended meanwhile: then it
// reports false.
func (l *leadership) publish(ctx context.Context, epoch uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	l.epoch.Store(epoch)
	return true
}

// stop ends the tenure and waits for its goroutine.
func (l *leadership) stop() {
	l.mu.Lock()
	l.closed = true
	l.endTenure()
	l.mu.Unlock()
	l.done.Wait()
}

// claim proposes the claim of a term for a node.
func (g *Group) claim(nodeID string) func(context.Context, uint64) (uint64, error) {
	return func(ctx context.Context, term uint64) (uint64, error) {
		payload, err := (&raftlogv1.ClaimLeadership{NodeId: nodeID, Term: term}).MarshalVT()
		if err != nil {
			return 0, err
		}
		result, err := g.Propose(ctx, &raftlogv1.Command{
			Kind: raftlogv1.Kind_KIND_CLAIM_LEADERSHIP, RequestId: newRequestID(), Payload: payload,
		})
		if err != nil {
			return 0, err
		}
		switch result.GetStatus() {
		case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
			return result.GetLeaderEpoch(), nil
		default:
			return 0, fmt.Errorf("%w: %s", ErrRefused, result.GetMessage())
		}
	}
}
