package router

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// StrictHeader, set to "1", asks for an answer that is one snapshot of all streams
// and tenants asked for, at the price of reading all at least twice: see
// DESIGN.md, Consistency.
const StrictHeader = "skerry-strict"

const (
	// Reads after the first that make both sides of transfers fit. A second one
	// takes a transfer that was made and accepted within the time of a read.
	maxRereads = 5
	// Reads of everything of which two in a row must agree, if asked for.
	maxCollects = 5
)

// Reasons of rounds, as metrics name them.
const (
	tenantsBehind = "tenants_behind"
	streamsBehind = "streams_behind"
	strictRound   = "strict"
)

// collected is what the parts of a query bring together. No read is under way
// when its methods are called.
type collected interface {
	// stale tells which points do not fit to the others.
	stale() stale
	// forget drops what was read of spans: they are read anew.
	forget(spans spanSet)
	// reset drops all.
	reset()
	// sum identifies the answer to the client.
	sum() ([sha256.Size]byte, error)
}

// agreement decides, after each round of reads, what is read once more.
type agreement struct {
	*fanout
	call   string
	into   collected
	tally  *tally
	strict bool
	all    []span // what a collect reads

	answers  atomic.Int32 // of parts
	rereads  int          // in this collect
	collects int
	rounds   int // in all, without the first
	last     [sha256.Size]byte
}

// next returns the spans to read anew; none if the answer is complete.
func (a *agreement) next() ([]span, error) {
	if behind := a.into.stale(); len(behind.streams)+len(behind.tenants) > 0 {
		return a.reread(behind)
	}
	// What one part answered at once is a snapshot.
	if !a.strict || a.answers.Load() == 1 {
		return nil, nil
	}
	sum, err := a.into.sum()
	if err != nil {
		return nil, err
	}
	a.collects++
	if a.collects > 1 && sum == a.last {
		return nil, nil
	}
	if a.collects == maxCollects {
		return nil, a.exhausted(strictRound, "data changed during each of %d reads of everything; ask for less, or not for one snapshot", maxCollects)
	}
	a.last, a.rereads = sum, 0
	a.into.reset()
	a.again(strictRound)
	return a.all, nil
}

// reread reads the side that is behind, and nothing else.
func (a *agreement) reread(behind stale) ([]span, error) {
	if a.rereads == maxRereads {
		a.log.Warn("streams and tenants do not fit", zap.String("call", a.call), zap.Int("streams_behind", len(behind.streams)), zap.Int("tenants_behind", len(behind.tenants)))
		return nil, a.exhausted("transfers", "transfers between groups overtook each of %d reads", maxRereads+1)
	}
	a.rereads++
	var reasons []string
	if len(behind.streams) > 0 {
		reasons = append(reasons, streamsBehind)
	}
	if len(behind.tenants) > 0 {
		reasons = append(reasons, tenantsBehind)
	}
	spans := behind.spans()
	a.into.forget(newSpanSet(spans))
	a.again(reasons...)
	return spans, nil
}

func (a *agreement) again(reasons ...string) {
	a.rounds++
	a.tally.again()
	for _, reason := range reasons {
		a.metrics.rounds.WithLabelValues(reason).Inc()
	}
}

// exhausted ends a query that may be repeated.
func (a *agreement) exhausted(reason, format string, args ...any) error {
	a.metrics.exhausted.WithLabelValues(a.call, reason).Inc()
	return &spentError{status.Errorf(codes.Unavailable, format, args...)}
}

// agree runs a request in rounds until what it collected makes an answer.
func (r *Router) agree(ctx context.Context, name string, budget time.Duration, spans []span, tally *tally, into collected, ask ask) error {
	a := &agreement{fanout: r.fanout, call: name, into: into, tally: tally, all: spans, strict: headerSet(ctx, StrictHeader)}
	err := r.fanout.rounds(ctx, name, budget, spans, tally, a.next,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			take, err := ask(ctx, node, p)
			return func() error {
				a.answers.Add(1)
				return take()
			}, err
		})
	r.fanout.metrics.rereads.WithLabelValues(name).Observe(float64(a.rounds))
	return err
}

// headerSet tells whether a request's header is "1".
func headerSet(ctx context.Context, name string) bool {
	values := metadata.ValueFromIncomingContext(ctx, name)
	return len(values) == 1 && values[0] == "1"
}
