package clustertest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// What Pyroscope does when a call fails.
const (
	retriesMax            = 50
	pauseLeast, pauseMost = 10 * time.Millisecond, 100 * time.Millisecond
	addPatience           = 2 * time.Second
	queryPatience         = 20 * time.Second
)

// pyroscope calls one of several addresses, as Pyroscope does.
type pyroscope struct {
	conns []*grpc.ClientConn
}

func newPyroscope(t *testing.T, c *Cluster, addresses ...string) *pyroscope {
	t.Helper()
	p := &pyroscope{}
	for _, address := range addresses {
		conn, err := c.dial(address)
		must(t, err)
		p.conns = append(p.conns, conn)
	}
	return p
}

// call repeats a call until it succeeds, is refused for good, or its time is up.
func (p *pyroscope) call(ctx context.Context, patience time.Duration, do func(context.Context, *grpc.ClientConn) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first := rand.IntN(len(p.conns))
	var faults []string
	for try := range retriesMax + 1 {
		err := do(ctx, p.conns[(first+try)%len(p.conns)])
		if err == nil {
			return nil
		}
		faults = append(faults, err.Error())
		if status.Code(err) == codes.InvalidArgument || ctx.Err() != nil {
			break
		}
		pause := min(pauseLeast<<min(try, 10), pauseMost)
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
	return fmt.Errorf("%d tries: first %s; last %s", len(faults), faults[0], faults[len(faults)-1])
}

func (p *pyroscope) add(ctx context.Context, block *metastorev1.BlockMeta) error {
	return p.call(ctx, addPatience, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := metastorev1.NewIndexServiceClient(conn).AddBlock(ctx, &metastorev1.AddBlockRequest{Block: block})
		return err
	})
}

func (p *pyroscope) get(ctx context.Context, tenant string, shard uint32, ids []string) ([]*metastorev1.BlockMeta, error) {
	var answer *metastorev1.GetBlockMetadataResponse
	err := p.call(ctx, queryPatience, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		answer, err = metastorev1.NewIndexServiceClient(conn).GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{
			Blocks: &metastorev1.BlockList{Tenant: tenant, Shard: shard, Blocks: ids},
		})
		return err
	})
	return answer.GetBlocks(), err
}

// place is where blocks go that some group owns.
type place struct {
	group  uint64
	tenant string
	shard  uint32
}

// places finds one in each data group that owns some of the tenants' keyspace.
func places(t *testing.T, c *Cluster) []place {
	t.Helper()
	state, err := c.State(t.Context())
	must(t, err)
	m, err := clusterv1.NewMap(state.GetMap())
	must(t, err)
	found := map[uint64]bool{}
	var list []place
	for i := range 1000 {
		tenant := fmt.Sprintf("tenant-%d", i)
		owner := m.Lookup(clusterv1.BlockPoint(tenant, 1)).GetGroupId()
		if !found[owner] {
			found[owner] = true
			list = append(list, place{owner, tenant, 1})
		}
	}
	return list
}

// writer adds blocks to a place, one after the other, and remembers them.
type writer struct {
	place
	client *pyroscope
	name   string

	mu     sync.Mutex
	acked  []string
	faults []error
	// When the call began whose success was the last one.
	lastBegun time.Time
	slowest   time.Duration
}

func (w *writer) run(ctx context.Context, pace time.Duration) {
	for serial := 0; ctx.Err() == nil; serial++ {
		begun := time.Now()
		block := w.block(serial, begun)
		err := w.client.add(ctx, block)
		w.mu.Lock()
		switch {
		case err == nil:
			w.acked = append(w.acked, block.Id)
			w.lastBegun = begun
			w.slowest = max(w.slowest, time.Since(begun))
		case ctx.Err() == nil:
			w.faults = append(w.faults, fmt.Errorf("%s, %s: add at %s: %w", w.name, w.place.tenant, begun.Format(time.TimeOnly), err))
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
}

func (w *writer) block(serial int, at time.Time) *metastorev1.BlockMeta {
	ms := at.UnixMilli()
	var id ulid.ULID
	hash := sha256.Sum256([]byte(fmt.Sprintf("%s, %s, %d", w.name, w.tenant, serial)))
	copy(id[6:], hash[:])
	if err := id.SetTime(uint64(ms)); err != nil {
		panic(err) // after the year 10889
	}
	return &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: w.shard, MinTime: ms, MaxTime: ms, CompactionLevel: 1, Size: 100, Tenant: 1,
		StringTable: []string{"", w.tenant, "service"},
		Datasets:    []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: ms, MaxTime: ms, Size: 10}},
	}
}

// begunSince tells whether a call succeeded that began after a moment, and when it
// began at the latest.
func (w *writer) begunSince(moment time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastBegun.After(moment)
}

// wantAll demands that everything that was acknowledged is there.
func (w *writer) wantAll(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for ids := w.acked; len(ids) > 0; ids = ids[min(500, len(ids)):] {
		asked := ids[:min(500, len(ids))]
		blocks, err := w.client.get(t.Context(), w.tenant, w.shard, asked)
		must(t, err)
		if len(blocks) != len(asked) {
			t.Errorf("%s, %s: %d of %d acknowledged blocks are there", w.name, w.tenant, len(blocks), len(asked))
		}
	}
}
