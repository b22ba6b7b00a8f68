// Package workload is the clients of a cluster under test: writers, readers and
// compaction workers that use the public gRPC API only, through several routers,
// and write down what they saw for package history to judge.
//
//	writers ──► AddBlock ────────────┐
//	readers ──► QueryMetadata ───────┼──► routers      every call ──► history
//	workers ──► PollCompactionJobs ──┘
//
// Every datum has a millisecond of its own and a label that names it, so that
// queries ask for some data exactly, and what compaction made of blocks is
// recognised by what it holds.
package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Options are what a workload consists of. Zero values are replaced by small
// defaults; a negative number of clients means none.
type Options struct {
	// Addresses of the public API; each call goes to one of them.
	Routers []string
	// Tenants in each segment, and as many others that get blocks of their own.
	// Default 3.
	Tenants int
	// Data shards. Default 4.
	Shards int
	// Clients of each kind. Default 4, 4 and 2.
	Writers, Readers, Workers int
	// The mean pause of a client between two calls. Default 10 ms.
	Pace time.Duration
	// That of readers. Default Pace.
	ReadPace time.Duration
	// Of a call. Default 5 s.
	Timeout time.Duration
	// Of all that is drawn.
	Seed uint64
}

func (o Options) withDefaults() Options {
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	number(&o.Tenants, 3)
	number(&o.Shards, 4)
	number(&o.Writers, 4)
	number(&o.Readers, 4)
	number(&o.Workers, 2)
	if o.Pace == 0 {
		o.Pace = 10 * time.Millisecond
	}
	if o.ReadPace == 0 {
		o.ReadPace = o.Pace
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	return o
}

// Workload is the clients and what they know. Methods may be called concurrently.
type Workload struct {
	options Options
	clock   history.Clock
	base    int64 // Unix milliseconds of serial 0
	conns   []*grpc.ClientConn

	// What was seen.
	Data history.Data
	Jobs history.Jobs

	segments atomic.Uint32   // serials given to segments
	blocks   []atomic.Uint32 // serials given to the blocks of each tenant that has its own
	results  results

	mu     sync.Mutex
	counts map[string]int // outcomes of calls
	faults []string       // answers that no fault explains
}

// New connects to the routers. Close must be called.
func New(options Options) (*Workload, error) {
	w := &Workload{options: options.withDefaults(), clock: history.NewClock(), counts: map[string]int{}}
	if len(w.options.Routers) == 0 {
		return nil, errors.New("no routers")
	}
	w.base = time.Now().UnixMilli()
	w.blocks = make([]atomic.Uint32, w.options.Tenants)
	w.results.byBlock = map[string]*result{}
	for _, router := range w.options.Routers {
		conn, err := grpc.NewClient(router, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20)),
			grpc.WithConnectParams(grpc.ConnectParams{
				// Routers that come back are used at once.
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
				MinConnectTimeout: time.Second,
			}))
		if err != nil {
			w.Close()
			return nil, err
		}
		w.conns = append(w.conns, conn)
	}
	return w, nil
}

// Close ends the connections.
func (w *Workload) Close() {
	for _, conn := range w.conns {
		conn.Close()
	}
}

// Run lets the clients work until the context ends.
func (w *Workload) Run(ctx context.Context) {
	var clients sync.WaitGroup
	start := func(kind uint64, count int, pace time.Duration, turn func(context.Context, *client)) {
		for i := range count {
			random := rand.New(rand.NewPCG(w.options.Seed, kind<<32|uint64(i)))
			clients.Go(func() {
				c := &client{Workload: w, random: random, jobs: map[string]*heldJob{}}
				for ctx.Err() == nil {
					turn(ctx, c)
					c.pause(ctx, pace)
				}
			})
		}
	}
	start(1, w.options.Writers, w.options.Pace, func(ctx context.Context, c *client) { c.write(ctx) })
	start(2, w.options.Readers, w.options.ReadPace, func(ctx context.Context, c *client) { c.read(ctx) })
	start(3, w.options.Workers, w.options.Pace, func(ctx context.Context, c *client) { c.work(ctx) })
	clients.Wait()
}

// client is one of many; its fields are its own.
type client struct {
	*Workload
	random *rand.Rand
	// Of a writer: the block whose addition failed.
	pending *addition
	// Of a worker.
	jobs map[string]*heldJob
}

// pause takes twice the mean at most.
func (c *client) pause(ctx context.Context, mean time.Duration) {
	timer := time.NewTimer(time.Duration(c.random.Int64N(2*int64(mean) + 1)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (c *client) conn() *grpc.ClientConn { return c.conns[c.random.IntN(len(c.conns))] }

// call bounds a call and counts its outcome.
func (w *Workload) call(ctx context.Context, kind string, fn func(context.Context) error) error {
	call, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	err := fn(call)
	code := status.Code(err)
	if ctx.Err() != nil && err != nil {
		return err // the run ends
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind+" "+code.String()]++
	switch code {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
	default:
		w.fault("%s: %v", kind, err)
	}
	return err
}

const shownFaults = 20

// fault notes what must not happen. The lock is held.
func (w *Workload) fault(format string, args ...any) {
	if len(w.faults) < shownFaults {
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
}

// Faults are answers that no fault of processes, disks or networks explains.
func (w *Workload) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults[:len(w.faults):len(w.faults)]
}

// Outcomes counts calls by kind and gRPC code.
func (w *Workload) Outcomes() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := map[string]int{}
	for kind, n := range w.counts {
		counts[kind] = n
	}
	return counts
}

func (w *Workload) index(c *grpc.ClientConn) metastorev1.IndexServiceClient {
	return metastorev1.NewIndexServiceClient(c)
}
