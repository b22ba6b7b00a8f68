package shardgroup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"

	"github.com/skerrydb/skerry/shardgroup/delivery"
	"github.com/skerrydb/skerry/statemachine"
)

const (
	// Between looks at outboxes although nothing was told, and at empty ones: what
	// fills them tells.
	outboxInterval, outboxIdle = time.Second, 5 * time.Second
	// Between plans at least, if nothing happens: a plan of long outboxes sees a part
	// of them.
	outboxPause = 10 * time.Millisecond
	// A plan is followed by a rest of so many times what it took: what comes meanwhile
	// is planned for together.
	outboxRest = 3
	// What one batch may take: a proposal, and the way there.
	handoverTimeout = proposalTimeout + time.Second
	// Between two lines of the log about failures of one group.
	courierLog = 30 * time.Second
)

// courier delivers what waits in a group's outboxes while this replica leads it.
// The leader epoch does not matter: any number of couriers of a group may work at
// the same time, since destinations know transfers by their numbers.
type courier struct {
	node    *Node
	group   *Group
	metrics *transferMetrics
	log     *zap.Logger
	// Filled when a completion was applied here.
	kick chan struct{}
	// Of the tenure; nil while another replica leads.
	tour atomic.Pointer[tour]
}

func (n *Node) newCourier(g *Group) *courier {
	return &courier{
		node: n, group: g, metrics: n.metrics.transfers, log: n.log.With(zap.Uint64("group", g.id)), kick: make(chan struct{}, 1),
	}
}

// duties are what the leader of a group of data does.
func (n *Node) duties(g *Group) func(context.Context, uint64) {
	sweeper := n.newSweeper(g)
	return func(ctx context.Context, epoch uint64) {
		var others sync.WaitGroup
		others.Go(func() { g.outbox.run(ctx) })
		others.Go(func() { n.recoverLetters(ctx, g.id) })
		sweeper.run(ctx, epoch)
		others.Wait()
	}
}

// completed tells that there may be more in the outboxes; the directory has none.
func (c *courier) completed() {
	if c != nil {
		c.node.reached("completed")
		wake(c.kick)
	}
}

// trouble words why transfers wait, as far as this replica knows.
func (c *courier) trouble(stream uint32, tenant string) string {
	t := c.tour.Load()
	m := c.node.maps.known()
	if t == nil || m == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	pair := delivery.Pair{Stream: stream, Tenant: tenant}
	group, _, _ := t.hints.Route(m)(pair)
	if err := t.loop.Trouble(pair, group); err != nil {
		return err.Error()
	}
	return ""
}

// run delivers until the context ends.
func (c *courier) run(ctx context.Context) {
	config := delivery.Defaults()
	config.Random = rand.Float64
	t := &tour{
		courier: c, ctx: ctx, loop: delivery.New(config), attempts: map[uint64]int{},
		// There is a place for each that may be under way.
		ended: make(chan func(), config.Concurrency+1),
	}
	c.tour.Store(t)
	defer c.tour.CompareAndSwap(t, nil)
	defer t.working.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		wait := t.step()
		planned := time.Now()
		timer.Reset(wait)
		var back func()
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.kick:
		case back = <-t.ended:
		}
		pause(ctx, min(outboxRest*planned.Sub(began), outboxInterval)-time.Since(planned))
		t.take(back)
	}
}

// tour is the work of one tenure:
//
//	outboxes ─► plan ─► batches ─► AcceptTransfers at the tenants' groups ─┐
//	              ▲ └─► acks ─► the group itself                           │
//	              └──────────── accepted up to ◄───────────────────────────┘
type tour struct {
	*courier
	ctx     context.Context
	working sync.WaitGroup
	// What came back, each to be taken by the goroutine that plans.
	ended chan func()
	said  time.Time // of the log

	mu    sync.Mutex
	loop  *delivery.Loop
	hints delivery.Hints
	// Failures by group: another replica is asked next time.
	attempts map[uint64]int
}

// take takes what has come back: the first, if it is known, and what follows.
func (t *tour) take(back func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if back != nil {
			back()
		}
		select {
		case back = <-t.ended:
		default:
			return
		}
	}
}

// step plans once, sets going what was planned, and returns how long to wait if
// nothing happens.
func (t *tour) step() time.Duration {
	m := t.node.maps.known()
	if m == nil {
		return outboxInterval
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var plan delivery.Plan
	var acks []ackGroup
	now := time.Now()
	err := t.group.inspect(func(v statemachine.View) (err error) {
		view := outboxView{v, t.ctx}
		if plan, err = t.loop.Plan(now, view, t.hints.Route(m)); err == nil {
			acks = view.byRange(plan.Acks)
		}
		return err
	})
	if err != nil {
		t.failed("plan", err)
		return outboxInterval
	}
	for _, batch := range plan.Batches {
		attempt := t.attempts[batch.Group]
		t.working.Go(func() {
			t.node.reached("before send")
			started := time.Now()
			outcomes, err := t.send(m, batch, attempt)
			t.metrics.sent(len(batch.Transfers), time.Since(started))
			t.node.reached("answered")
			t.ended <- func() { t.delivered(batch, outcomes, err) }
		})
	}
	if len(plan.Acks) > 0 {
		t.working.Go(func() {
			err := t.ackAll(acks)
			t.ended <- func() {
				t.loop.AckEnded(plan.Acks, err)
				if err != nil {
					t.failed("ack", err)
				}
			}
		})
	}
	switch wait := plan.Again.Sub(now); {
	case plan.Empty:
		return outboxIdle
	case plan.More && len(plan.Batches) > 0:
		return outboxPause
	case plan.More:
		return 10 * outboxPause // all that was seen waits for sick groups
	case !plan.Again.IsZero() && wait < outboxInterval:
		return max(wait, outboxPause)
	}
	return outboxInterval
}

// delivered takes the answer to a batch.
func (t *tour) delivered(batch *delivery.Batch, outcomes []*raftlogv1.AcceptOutcome, err error) {
	now := time.Now()
	if err == nil {
		var accepted int
		accepted, err = t.loop.Delivered(now, batch, outcomes)
		t.metrics.delivered.Add(float64(accepted))
		t.metrics.aged(batch, outcomes, t.node.options.Now())
		delete(t.attempts, batch.Group)
		if err != nil {
			t.failed("refused", fmt.Errorf("group %d: %w", batch.Group, err))
		}
		return
	}
	reason, err := judgeHandover(err)
	if reason == "route" {
		t.hints.Learn(routeDetail(err).GetCurrent())
	}
	t.loop.Failed(now, batch, err)
	t.attempts[batch.Group]++
	t.failed(reason, fmt.Errorf("group %d: %w", batch.Group, err))
}

// judgeHandover tells what the failure of a batch means to the loop, and a word
// for it.
func judgeHandover(err error) (string, error) {
	reason := routeDetail(err).GetReason()
	switch {
	case reason == clusterv1.RouteError_REASON_NOT_OWNER, reason == clusterv1.RouteError_REASON_STALE_EPOCH:
		return "route", fmt.Errorf("%w: %w", delivery.ErrRoute, err)
	case status.Code(err) == codes.InvalidArgument:
		return "invalid", fmt.Errorf("%w: %w", delivery.ErrInvalid, err)
	}
	return "unreachable", err
}

// routeDetail returns the detail of a refusal; nil if there is none.
func routeDetail(err error) *clusterv1.RouteError {
	for _, detail := range status.Convert(err).Details() {
		if found, ok := detail.(*clusterv1.RouteError); ok {
			return found
		}
	}
	return nil
}

// failed counts a failure, and says so from time to time. The end of a tenure is
// none.
func (t *tour) failed(reason string, err error) {
	if t.ctx.Err() != nil {
		return
	}
	t.metrics.failed.WithLabelValues(reason).Inc()
	if time.Since(t.said) < courierLog {
		t.log.Debug("delivering transfers failed, will try again", zap.String("reason", reason), zap.Error(err))
		return
	}
	t.said = time.Now()
	t.log.Warn("delivering transfers failed, will try again", zap.String("reason", reason), zap.Error(err))
}

// send hands a batch over to a replica of its group, another one at each attempt.
func (t *tour) send(m *clusterv1.Map, batch *delivery.Batch, attempt int) ([]*raftlogv1.AcceptOutcome, error) {
	ctx, cancel := context.WithTimeout(t.ctx, handoverTimeout)
	defer cancel()
	answer, err := t.node.handOverTransfers(ctx, m, &nodev1.AcceptTransfersRequest{
		GroupId: batch.Group, Range: batch.Range, Transfers: &raftlogv1.AcceptTransfers{Transfers: batch.Transfers},
	}, attempt)
	return answer.GetOutcomes().GetOutcomes(), err
}

// handOverTransfers asks the node's own replica first, and others after failures.
func (n *Node) handOverTransfers(ctx context.Context, m *clusterv1.Map, request *nodev1.AcceptTransfersRequest, attempt int) (*nodev1.AcceptTransfersResponse, error) {
	var nodes []string
	if n.group(request.GetGroupId()) != nil {
		nodes = append(nodes, n.ID())
	}
	for _, replica := range m.Group(request.GetGroupId()).Voters() {
		if replica.GetNodeId() != n.ID() {
			nodes = append(nodes, replica.GetNodeId())
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: no replica of group %d is known", ErrNotReady, request.GetGroupId())
	}
	chosen := nodes[attempt%len(nodes)]
	if chosen == n.ID() {
		return service{node: n}.AcceptTransfers(ctx, request)
	}
	client, err := n.peer(chosen)
	if err != nil {
		return nil, err
	}
	return client.AcceptTransfers(ctx, request)
}
