package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"go.uber.org/zap"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// leadership follows who leads a group. When it is this replica, it claims a
// new leader epoch through the log before anything may be planned under it.
type leadership struct {
	group  *Group
	nodeID string
	log    *zap.Logger

	mu     sync.Mutex
	info   raftio.LeaderInfo
	cancel context.CancelFunc // of the running tenure
	closed bool
	done   sync.WaitGroup
}

func newLeadership(g *Group, nodeID string, log *zap.Logger) *leadership {
	return &leadership{group: g, nodeID: nodeID, log: log.With(zap.Uint64("group", g.id))}
}

// observe takes a leader event. It is called inline by dragonboat and must not
// block: the claim runs in a goroutine of the tenure.
func (l *leadership) observe(info raftio.LeaderInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	led := l.leads()
	sameTerm := info.Term == l.info.Term
	l.info = info
	if l.closed || l.leads() == led && sameTerm {
		return
	}
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	l.group.leaderEpoch.Store(0)
	l.group.metrics.leading(l.leads())
	if !l.leads() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		l.tenure(ctx)
	}()
}

func (l *leadership) leads() bool {
	return l.info.LeaderID != 0 && l.info.LeaderID == l.group.replicaID
}

const claimRetry = 100 * time.Millisecond

// tenure claims the leader epoch, and tries again until it has it or the
// tenure ends.
func (l *leadership) tenure(ctx context.Context) {
	for {
		epoch, err := l.claim(ctx)
		if err == nil {
			l.log.Debug("claimed leadership", zap.Uint64("epoch", epoch))
			l.publish(ctx, epoch)
			return
		}
		if !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrAmbiguous) && ctx.Err() == nil {
			l.log.Warn("claiming leadership failed, will retry", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(claimRetry):
		}
	}
}

func (l *leadership) claim(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	answer, err := l.group.Read(ctx, statemachine.ReadStatus{})
	if err != nil {
		return 0, err
	}
	payload, err := (&raftlogv1.ClaimLeadership{NodeId: l.nodeID, PreviousEpoch: answer.(statemachine.Status).LeaderEpoch}).MarshalVT()
	if err != nil {
		return 0, err
	}
	result, err := l.group.Propose(ctx, &raftlogv1.Command{
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

// publish makes the epoch visible, unless the tenure ended meanwhile.
func (l *leadership) publish(ctx context.Context, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil {
		l.group.leaderEpoch.Store(epoch)
	}
}

// stop ends the tenure and waits for its goroutine.
func (l *leadership) stop() {
	l.mu.Lock()
	l.closed = true
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	l.mu.Unlock()
	l.done.Wait()
}
