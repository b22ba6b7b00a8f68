// Package scenario asks a metastore to do what its clients ask it for, measures
// that, and checks each answer against what was added. It speaks the public API
// only: any server of metastore.v1 can be measured.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Session is what is known of one target: which blocks it has. Its scenarios run
// one after the other.
type Session struct {
	g *generate.Generator
	// Addresses of the target, that callers are spread over.
	conns   []grpc.ClientConnInterface
	timeout time.Duration
	ledger  ledger
	// The kind that was asked last, with its right answers.
	last *asking
}

// New begins with a target that has the blocks up to added-1. A call takes timeout at most.
func New(g *generate.Generator, conns []grpc.ClientConnInterface, timeout time.Duration, added uint64) (*Session, error) {
	if len(conns) == 0 || timeout <= 0 {
		return nil, errors.New("a session needs a connection and a timeout")
	}
	return &Session{g: g, conns: conns, timeout: timeout, ledger: ledger{next: added, sure: added, above: map[uint64]bool{}}}, nil
}

// Use goes on at other connections. No scenario may run.
func (s *Session) Use(conns []grpc.ClientConnInterface) { s.conns = conns }

// Added is the number of blocks that are there: those with indexes below it.
func (s *Session) Added() uint64 {
	sure, _ := s.ledger.bounds()
	return sure
}

// ledger knows which indexes were begun and which are acknowledged.
type ledger struct {
	mu         sync.Mutex
	next, sure uint64
	// Acknowledged ones from sure on.
	above map[uint64]bool
}

func (l *ledger) begin() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next - 1
}

func (l *ledger) acknowledged(i uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.above[i] = true; l.above[l.sure]; l.sure++ {
		delete(l.above, l.sure)
	}
}

// bounds returns below which all are there, and from which on none is.
func (l *ledger) bounds() (sure, begun uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sure, l.next
}

// open lists those that were begun and are not acknowledged.
func (l *ledger) open() (indexes []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.sure; i < l.next; i++ {
		if !l.above[i] {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

func (s *Session) index(caller int) metastorev1.IndexServiceClient {
	return metastorev1.NewIndexServiceClient(s.conns[caller%len(s.conns)])
}

func (s *Session) queries(caller int) metastorev1.MetadataQueryServiceClient {
	return metastorev1.NewMetadataQueryServiceClient(s.conns[caller%len(s.conns)])
}

// prepared is the next block of a caller: it is made while no clock runs.
type prepared struct {
	index   uint64
	request *metastorev1.AddBlockRequest
}

func (s *Session) prepare() *prepared {
	i := s.ledger.begin()
	return &prepared{i, &metastorev1.AddBlockRequest{Block: s.g.Block(i)}}
}

// Write adds blocks that are not there yet. Those whose fate is unknown at the end
// are added again, unmeasured, so that all is known afterwards.
func (s *Session) Write(ctx context.Context, o pace.Options) (*pace.Measurement, error) {
	m, err := pace.Run(ctx, o, s.writer(o.Callers))
	if err != nil {
		return nil, err
	}
	return m, errors.Join(ctx.Err(), s.settle(ctx))
}

func (s *Session) writer(callers int) pace.Call {
	ready := make([]*prepared, callers)
	return func(ctx context.Context, caller int, _ uint64) (func() error, error) {
		p := ready[caller]
		if p == nil {
			p = s.prepare()
		}
		ready[caller] = nil
		if err := s.add(ctx, caller, p.request); err != nil {
			return nil, err
		}
		s.ledger.acknowledged(p.index)
		return func() error {
			ready[caller] = s.prepare()
			return nil
		}, nil
	}
}

func (s *Session) add(ctx context.Context, caller int, request *metastorev1.AddBlockRequest) error {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := s.index(caller).AddBlock(limited, request)
	return err
}

const (
	// How long a block is tried that must be there, and the pause between two tries.
	patience   = time.Minute
	retryPause = 100 * time.Millisecond
)

func (s *Session) addAtLast(ctx context.Context, caller int, request *metastorev1.AddBlockRequest) error {
	for began := time.Now(); ; {
		err := s.add(ctx, caller, request)
		if err == nil || time.Since(began) > patience {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Load adds the blocks that are missing up to last-1; each is tried until it is there.
func (s *Session) Load(ctx context.Context, last uint64, o pace.Options) (*pace.Measurement, error) {
	sure := s.Added()
	if sure >= last {
		return nil, fmt.Errorf("%d blocks are there, no more are wanted", sure)
	}
	o.Calls, o.Duration = last-sure, 0
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	m, err := pace.Run(ctx, o, func(ctx context.Context, caller int, n uint64) (func() error, error) {
		i := s.ledger.begin()
		request := &metastorev1.AddBlockRequest{Block: s.g.Block(i)}
		err := s.add(ctx, caller, request)
		if err == nil {
			s.ledger.acknowledged(i)
			return nil, nil
		}
		if last := s.addAtLast(ctx, caller, request); last != nil {
			stop(fmt.Errorf("block %d cannot be added: %w", i, last))
		} else {
			s.ledger.acknowledged(i)
		}
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	return m, context.Cause(ctx)
}

const settlers = 16

// settle adds what was begun and not acknowledged.
func (s *Session) settle(ctx context.Context) error {
	var (
		open    = s.ledger.open()
		next    atomic.Int64
		running sync.WaitGroup
		faults  = make([]error, settlers)
	)
	for caller := range settlers {
		running.Go(func() {
			for faults[caller] == nil {
				at := next.Add(1) - 1
				if at >= int64(len(open)) {
					return
				}
				if err := s.addAtLast(ctx, caller, &metastorev1.AddBlockRequest{Block: s.g.Block(open[at])}); err != nil {
					faults[caller] = fmt.Errorf("block %d: whether it is there is unknown: %w", open[at], err)
					return
				}
				s.ledger.acknowledged(open[at])
			}
		})
	}
	running.Wait()
	for _, fault := range faults {
		if fault != nil {
			return fault
		}
	}
	return nil
}
