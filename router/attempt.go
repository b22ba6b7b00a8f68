package router

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const (
	// timedOut is the outcome of an attempt that was given up for another one.
	timedOut = "timeout"
	// The shortest bounds of one attempt: an answer must be possible under load.
	shortestWrite = 300 * time.Millisecond
	shortestRead  = time.Second
	// What is left of a budget that is not worth another attempt.
	tooLate = 5 * time.Millisecond
)

// attempt says how the next try of a part begins.
type attempt struct {
	again    string   // the replica to ask once more
	tried    []string // replicas of the part's group that failed, this turn
	timeouts int      // attempts that were given up
}

// lateError ends an attempt, not the request: the replica may hang.
type lateError struct {
	node  string
	after time.Duration
}

func (e *lateError) Error() string {
	return fmt.Sprintf("node %s did not answer within %v", e.node, e.after.Round(time.Millisecond))
}

// GRPCStatus is what the caller sees if nobody else answers, either.
func (e *lateError) GRPCStatus() *status.Status {
	return status.New(codes.DeadlineExceeded, e.Error())
}

// bound is how long one attempt may take: a replica that hangs costs a fraction
// of the budget. The fraction doubles with every attempt that was given up: if
// the next replica is as slow it is not the replica's fault, and asking ever more
// of them would only add load. Nor is a write given up when many were lately: each
// is proposed again, and a leader that is slow would get ever more. 0 means no bound.
func (j *job) bound(ctx context.Context, replicas, timeouts int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || j.first == 0 || replicas < 2 || timeouts >= 2 || led(j.name) && !j.giveUps.left() {
		return 0
	}
	bound := j.first << timeouts
	if time.Until(deadline) < bound+tooLate {
		return 0
	}
	return bound
}

// firstBound is the bound of a request's first attempts.
func firstBound(ctx context.Context, name string) time.Duration {
	deadline, ok := ctx.Deadline()
	switch {
	case !ok || once(name):
		return 0
	case led(name):
		return max(shortestWrite, time.Until(deadline)/5)
	default:
		return max(shortestRead, time.Until(deadline)/3)
	}
}

// try sends a part's call to one replica, or to a second one if the first is
// slow, takes the answer in, and returns which node it was.
func (j *job) try(ctx context.Context, m *clusterv1.Map, p part, a attempt) (string, error) {
	if err := j.enter(ctx); err != nil {
		return "", err
	}
	node, ok := j.choose(m, p, a)
	if !ok {
		j.leave()
		return "", j.judged(status.Error(codes.Unavailable, "no replica is known"))
	}
	bound := j.bound(ctx, len(askable(m.Group(p.group))), a.timeouts)
	var r result
	if hedged(j.name) && len(askable(m.Group(p.group))) > 1 {
		r = j.hedge(ctx, m, p, node, a, bound)
	} else {
		r = j.send(ctx, m, p, node, bound)
		j.leave()
	}
	if r.err == nil && r.take != nil {
		r.err = r.take()
	}
	return r.node, j.judged(r.err)
}

// judged counts an attempt's end.
func (j *job) judged(err error) error {
	j.metrics.attempts.WithLabelValues(j.name, judge(err).outcome).Inc()
	return err
}

// enter waits for a place among the request's calls.
func (j *job) enter(ctx context.Context) error {
	select {
	case j.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (j *job) leave() { <-j.slots }

// choose picks the replica to ask: the leader, if that is known and the call
// needs it.
func (j *job) choose(m *clusterv1.Map, p part, a attempt) (string, bool) {
	group := m.Group(p.group)
	if led(j.name) && a.again == "" {
		if leading := j.leaders.of(m, group); leading != "" && !slices.Contains(a.tried, leading) {
			return leading, true
		}
	}
	return j.replicas.pick(group, a.again, a.tried)
}

// result is how one call ended.
type result struct {
	node string
	take take
	err  error
	took time.Duration
}

// send calls one replica. With a bound that passes it returns a lateError.
func (j *job) send(ctx context.Context, m *clusterv1.Map, p part, node string, bound time.Duration) (r result) {
	r.node = node
	client, err := nodeClient(j.nodes, m, node)
	if err != nil {
		r.err = status.Errorf(codes.Unavailable, "node %s: %v", node, err)
		return r
	}
	calls := j.replicas.underWay(node)
	calls.Add(1)
	defer calls.Add(-1)
	start := time.Now()
	limited, cancel := ctx, context.CancelFunc(func() {})
	if bound > 0 {
		limited, cancel = context.WithTimeout(ctx, bound)
	}
	defer cancel()
	limited, span := j.tracing.call(limited, j.name, p.group, node)
	r.take, r.err = j.ask(limited, client, p)
	r.took = time.Since(start)
	if r.err != nil {
		r.take = nil
	}
	if j.late(ctx, bound, r.err) {
		r.err = &lateError{node, r.took}
		if led(j.name) {
			j.giveUps.spend()
		}
	}
	j.tally.called(p.group, node, r.took)
	j.tracing.endCall(span, r.err)
	return r
}

// late tells whether a call ended because its attempt's time was over, or the
// node's, and the request's is not.
func (j *job) late(ctx context.Context, bound time.Duration, err error) bool {
	code := asStatus(err).Code()
	if err == nil || bound == 0 || code != codes.DeadlineExceeded && code != codes.Canceled {
		return false
	}
	deadline, limited := ctx.Deadline()
	return ctx.Err() == nil && (!limited || time.Until(deadline) > tooLate)
}

// failed learns from a failure: the replica is left alone for a while, and so is
// the whole node if it does not answer anything.
func (j *job) failed(m *clusterv1.Map, group uint64, node string, err error) {
	if node == "" {
		return
	}
	j.leaders.forget(group, node)
	detail := routeError(asStatus(err))
	if hint := detail.GetLeaderNodeId(); hint != "" && hint != node {
		j.leaders.hinted(m, group, hint)
		if led(j.name) {
			return // a follower in good health
		}
	}
	j.replicas.rest(group, node)
	if detail == nil {
		j.suspect(m, node)
	}
}

const (
	// Writes given up per write, on average, and how many may be at once: what is
	// under way to a leader in the moment in which it hangs.
	giveUpShare = 0.05
	giveUpBurst = 256
)

// giveUps bounds the writes that are proposed again because the first attempt took
// long.
type giveUps struct {
	mu    sync.Mutex
	spent float64
}

// left counts a write and tells whether it may be given up.
func (g *giveUps) left() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent = max(0, g.spent-giveUpShare)
	return g.spent < giveUpBurst
}

func (g *giveUps) spend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent++
}
