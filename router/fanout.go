package router

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// After so many corrections in a row a span is no longer sent again at once:
// groups that contradict each other must not keep a router spinning.
const immediateReroutes = 3

// Calls that leaders take best, or alone.
const (
	addBlockCall  = "AddBlock"
	reportCall    = "PollCompaction/reports"
	offerCall     = "PollCompaction/offer"
	probeCall     = "PollCompaction/probe"
	controlCall   = "ControlCompaction"
	operateCall   = "Operate"
	stateCall     = "ClusterState"
	placementCall = "DescribePlacement"
	waitingCall   = "TransferStatus"
	importCall    = "ImportTombstones"
)

// once tells whether a call is never given up for another one: what it did would
// be lost.
func once(call string) bool { return call == offerCall || call == probeCall }

// leading tells whether only the leader answers a call.
func leading(call string) bool {
	switch call {
	case reportCall, offerCall, probeCall, operateCall, stateCall, placementCall:
		return true
	}
	return false
}

// led tells whether a call goes to the group's leader, if that is known. Nodes of
// older releases answer a waitingCall although they do not lead.
func led(call string) bool {
	return leading(call) || call == addBlockCall || call == controlCall || call == waitingCall || call == importCall
}

// span is a part of the hash space that a request touches.
type span struct {
	keyspace clusterv1.Keyspace
	// hi is exclusive; 0 stands for the end of the space.
	lo, hi uint64
}

// allStreams is read by every query: segments hold data of any tenant.
func allStreams() span { return span{keyspace: clusterv1.Keyspace_KEYSPACE_STREAM} }

func allTenants() span { return span{keyspace: clusterv1.Keyspace_KEYSPACE_TENANT} }

func tenantSpan(tenant string) span {
	lo, hi := clusterv1.TenantSpan(tenant)
	return span{clusterv1.Keyspace_KEYSPACE_TENANT, lo, hi}
}

// part is what one group owns of the spans.
type part struct {
	group uint64
	refs  []*clusterv1.RangeRef
}

// ask sends one call about one part. It runs concurrently with itself, and two
// replicas may be asked about the same part: so it keeps nothing, but returns what
// takes its answer in, or nil if it does not matter how often it was answered.
type ask func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error)

// take keeps an answer. It runs concurrently with other parts', once for any point.
type take func() error

// fanout sends requests to the groups that own spans.
type fanout struct {
	source   *MapSource
	nodes    Nodes
	replicas replicas
	leaders  *leaders
	tracing  tracing
	hedges   *hedges
	giveUps  giveUps
	limit    int
	log      *zap.Logger
	metrics  *metrics
}

// run asks the owner of every point of the spans, each exactly once with
// success, or returns a public error (see edge). The budget bounds all of it.
// The tally counts the calls; it may be nil.
func (f *fanout) run(ctx context.Context, name string, budget time.Duration, spans []span, tally *tally, ask ask) error {
	return f.rounds(ctx, name, budget, spans, tally, func() ([]span, error) { return nil, nil }, ask)
}

// rounds is run, and then again, within the same budget, with the spans that next
// returns, until it returns none. No answer of a round is taken in after its end.
func (f *fanout) rounds(ctx context.Context, name string, budget time.Duration, spans []span, tally *tally, next func() ([]span, error), ask ask) error {
	inner, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	j := &job{fanout: f, name: name, ask: ask, tally: tally, slots: make(chan struct{}, f.limit), first: firstBound(inner, name)}
	for len(spans) > 0 {
		err := j.serve(inner, spans, backoff{})
		if err == nil {
			spans, err = next()
		}
		if err != nil {
			return f.edge(ctx, inner, name, err)
		}
	}
	return nil
}

// settle is run for requests whose parts stand for themselves: a failure of one
// part does not end the others, and is handed to lost with the spans that stay
// unanswered. lost may be called concurrently.
func (f *fanout) settle(ctx context.Context, name string, spans []span, ask ask, lost func([]span, error)) {
	if len(spans) == 0 {
		return
	}
	j := &job{fanout: f, name: name, ask: ask, lost: lost, slots: make(chan struct{}, f.limit), first: firstBound(ctx, name)}
	if err := j.guarded(ctx, spans, backoff{}); err != nil {
		lost(spans, err)
	}
}

// group sends one call to a group as such, whatever it owns: its replicas are
// asked in turn, once each, as long as another try is allowed after an error.
func (f *fanout) group(ctx context.Context, name string, id uint64, slots chan struct{}, again func(error) bool, ask ask) (err error) {
	defer f.recover(name, &err)
	j := &job{fanout: f, name: name, ask: ask, slots: slots}
	m, err := f.source.Await(ctx)
	if err != nil {
		return &spentError{err}
	}
	var tried []string
	for {
		node, err := j.try(ctx, m, part{group: id}, attempt{tried: tried})
		v := judge(err)
		if v.action == accept {
			j.answered(id, node)
			return nil
		}
		if v.action == elsewhere || asStatus(err).Code() == codes.DeadlineExceeded {
			j.failed(m, id, node, err)
		}
		tried = append(tried, node)
		if v.action != elsewhere || !again(err) || len(tried) >= len(askable(m.Group(id))) || ctx.Err() != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
	}
}

// job is one request under way.
type job struct {
	*fanout
	name  string
	ask   ask
	tally *tally
	lost  func([]span, error) // see settle; nil if one failure fails all
	slots chan struct{}       // held during a call
	first time.Duration       // bound of the first attempts; 0 for none
}

// answered learns from an answer that only a leader can give.
func (j *job) answered(group uint64, node string) {
	if leading(j.name) {
		j.leaders.confirm(group, node)
	}
}

// serve gets the spans answered. What lies in one group goes round the loop;
// what lies in several is divided, and each part has its own loop: so a
// correction by one group never asks another one again.
func (j *job) serve(ctx context.Context, spans []span, pauses backoff) error {
	failures, reroutes := 0, 0
	var next attempt
	for {
		m, err := j.source.Await(ctx)
		if err != nil {
			return &spentError{err}
		}
		parts := cover(m, spans)
		if len(parts) > 1 {
			return j.divide(ctx, parts, pauses)
		}
		p := parts[0]
		node, err := j.try(ctx, m, p, next)
		next.again = ""
		v := judge(err)
		j.tally.judged(v.action)
		switch v.action {
		case accept:
			j.answered(p.group, node)
			return nil
		case surface:
			if asStatus(err).Code() == codes.DeadlineExceeded {
				// The replica may hang: let the next request try another.
				j.failed(m, p.group, node, err)
			}
			return err
		case repeat:
			next.again = node
			err = j.pause(ctx, p, err, pauses.retry)
		case relieve:
			err = j.pause(ctx, p, err, pauses.overload)
		case elsewhere:
			j.failed(m, p.group, node, err)
			next.tried = append(next.tried, node)
			if v.outcome == timedOut {
				next.timeouts++
			}
			if failures++; failures%max(1, len(askable(m.Group(p.group)))) == 0 {
				next.tried = nil
				// No replica answers: they may have moved. Do not wait for
				// the map: more likely the group elects a leader.
				j.source.join()
			}
			err = j.pause(ctx, p, err, pauses.retry)
		case reroute:
			reroutes++
			next.tried = nil
			j.source.Learn(v.hints)
			if j.moved(spans, p) {
				if reroutes <= immediateReroutes {
					continue
				}
			} else {
				// The group told nothing new: the directory may know.
				_ = j.source.Refresh(ctx)
				if reroutes <= immediateReroutes && j.moved(spans, p) {
					continue
				}
			}
			err = j.pause(ctx, p, err, pauses.retry)
		}
		if err != nil {
			return err
		}
	}
}

// moved tells whether the map leads elsewhere than to the part that was asked.
func (j *job) moved(spans []span, asked part) bool {
	parts := cover(j.source.Map(), spans)
	return len(parts) != 1 || parts[0].group != asked.group ||
		!slices.EqualFunc(parts[0].refs, asked.refs, func(a, b *clusterv1.RangeRef) bool {
			return a.GetLo() == b.GetLo() && a.GetHi() == b.GetHi() && a.GetEpoch() == b.GetEpoch() && a.GetKeyspace() == b.GetKeyspace()
		})
}

func (j *job) pause(ctx context.Context, p part, cause error, pause func(context.Context) error) error {
	if pause(ctx) == nil {
		return nil
	}
	return &spentError{fmt.Errorf("group %d: %w", p.group, cause)}
}

// divide serves parts at the same time. The first error ends the others and is
// returned after they have ended; unless parts stand for themselves.
func (j *job) divide(ctx context.Context, parts []part, pauses backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		all   sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, p := range parts {
		all.Go(func() {
			if err := j.guarded(ctx, p.spans(), pauses); err != nil && j.lost != nil {
				j.lost(p.spans(), err)
			} else if err != nil {
				once.Do(func() {
					first = err
					cancel()
				})
			}
		})
	}
	all.Wait()
	return first
}

// guarded is serve on a goroutine of our own.
func (j *job) guarded(ctx context.Context, spans []span, pauses backoff) (err error) {
	defer j.recover(j.name, &err)
	return j.serve(ctx, spans, pauses)
}

// recover must be deferred itself, on every goroutine that runs a node's code:
// there a panic would end the process instead of the request.
func (f *fanout) recover(name string, err *error) {
	if r := recover(); r != nil {
		f.metrics.panics.Inc()
		f.log.Error("panic in a fan-out", zap.String("call", name), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// cover divides spans by owner, in order of the group ids.
func cover(m *clusterv1.Map, spans []span) []part {
	if len(spans) == 1 { // as for all adds
		if pieces := m.Cover(spans[0].keyspace, spans[0].lo, spans[0].hi); len(pieces) == 1 {
			return []part{{pieces[0].GroupID, []*clusterv1.RangeRef{pieces[0].Ref}}}
		}
	}
	byGroup := map[uint64]*part{}
	for _, s := range spans {
		for _, piece := range m.Cover(s.keyspace, s.lo, s.hi) {
			p := byGroup[piece.GroupID]
			if p == nil {
				p = &part{group: piece.GroupID}
				byGroup[piece.GroupID] = p
			}
			p.refs = append(p.refs, piece.Ref)
		}
	}
	parts := make([]part, 0, len(byGroup))
	for _, p := range byGroup {
		parts = append(parts, *p)
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.group < b.group {
			return -1
		}
		return 1
	})
	return parts
}

func (p part) spans() []span {
	spans := make([]span, len(p.refs))
	for i, ref := range p.refs {
		spans[i] = span{ref.GetKeyspace(), ref.GetLo(), ref.GetHi()}
	}
	return spans
}
